"""MonarchLinear: the function of the contract, its gradients, its data types."""

import copy

import pytest
import torch

from mapper.d2s import fit
from mapper.monarch import MonarchLinear
from mapper.pattern import pattern

SHAPES = {
    "square": pattern(24, 24, "rect", 4, 4),
    "rank": pattern(24, 36, "blocks", 3, 4, 2),
    "wide": pattern(40, 16, "blocks", 5, 2, 3),
    "pad": pattern(20, 14, "pad"),
    "trim": pattern(20, 14, "trim"),
}


@pytest.mark.parametrize("batch", [(5,), (2, 3), ()], ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_is_the_function_of_the_contract(name, batch):
    shape = SHAPES[name]
    torch.manual_seed(1)
    monarch = fit(torch.randn(shape.n_out, shape.n_in), shape)
    bias = torch.randn(shape.n_out)
    layer = MonarchLinear.of(monarch, bias, dtype=torch.float64)
    x = torch.randn(*batch, shape.n_in, dtype=torch.float64)
    torch.testing.assert_close(layer(x), monarch.forward(x) + bias)
    torch.testing.assert_close(layer(x), x @ monarch.dense().mT + bias)
    assert torch.equal(layer.monarch().R, monarch.R)


@pytest.mark.parametrize("name", SHAPES)
def test_gradients(name):
    torch.manual_seed(2)
    layer = MonarchLinear(SHAPES[name], dtype=torch.float64)
    x = torch.randn(3, SHAPES[name].n_in, dtype=torch.float64, requires_grad=True)
    names = [n for n, _ in layer.named_parameters()]

    def run(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert names == ["R", "L", "bias"]
    assert torch.autograd.gradcheck(run, (x, *layer.parameters()))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_data_types(dtype, tolerance):
    torch.manual_seed(3)
    shape = SHAPES["rank"]
    layer = MonarchLinear(shape, bias=False, dtype=dtype)
    x = torch.randn(16, shape.n_in, dtype=dtype)
    y = layer(x)
    assert y.dtype == dtype and layer.bias is None
    exact = layer.monarch().forward(x.double())
    assert torch.linalg.norm(y.double() - exact) <= tolerance * torch.linalg.norm(exact)


def test_autocast_rounds_products_and_not_parameters():
    torch.manual_seed(3)
    layer = MonarchLinear(SHAPES["rank"])
    x = torch.randn(16, layer.pattern.n_in, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, copy.deepcopy(layer).bfloat16()(x.bfloat16()))
    y.float().square().sum().backward()
    rough = [value.grad for value in (x, *layer.parameters())]
    x.grad = None
    layer.zero_grad()
    layer(x).square().sum().backward()
    for got, exact in zip(rough, (x.grad, *(v.grad for v in layer.parameters())), strict=True):
        assert got.dtype == torch.float32
        assert torch.linalg.norm(got - exact) <= 0.05 * torch.linalg.norm(exact)


def test_outputs_keep_the_variance_of_the_inputs():
    torch.manual_seed(4)
    layer = MonarchLinear(pattern(256, 256, "rect", 16, 16), bias=False)
    assert 0.7 < layer(torch.randn(200, 256)).std() < 1.4


def test_training_lowers_the_error():
    torch.manual_seed(5)
    shape = SHAPES["square"]
    weight, x = torch.randn(24, 24), torch.randn(400, 24)
    layer = MonarchLinear.of(fit(weight, shape), torch.zeros(24))
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.01)
    losses = []
    for _ in range(50):
        loss = (layer(x) - x @ weight.mT).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_repr_says_the_shapes():
    assert "k=3, l=4, rank=2" in repr(MonarchLinear(SHAPES["rank"]))
