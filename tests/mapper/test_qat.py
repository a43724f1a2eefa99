"""Quantisation-aware training: the integers' outputs, gradients that flow, a loss that falls, everything undone."""

import copy

import numpy as np
import pytest
import torch

from mapper import quantise
from mapper.integer import Integer, Scheme, observe
from mapper.monarch import MonarchLinear
from mapper.pattern import pattern
from mapper.qat import fake_quantised, through
from rtl.spec.params import ConfigError, Params
from tests.mapper.small_nets import Net, batches

PARAMS = Params()


def inputs(count=40):
    return [{"x": b["x"], "attention_mask": b["attention_mask"]} for b in batches(count, hidden=0)]


def names(net):
    return {name: m for name, m in net.named_modules() if isinstance(m, MonarchLinear)}


@pytest.mark.parametrize("massive", [1, 100], ids=["alike", "massive"])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("method", ["mse", "max"])
def test_fake_layers_compute_what_the_integers_do(method, bits, massive):
    """Up to a step of rounding here and there: bias and scales are rounded in hardware only."""
    net, params, data = Net(), PARAMS.replace(weight_bits=bits), inputs()
    for batch in data:
        batch["x"][:, 0] *= massive
    observers = observe(net, data, Scheme(method, compensate=False))
    x = {"first": data[0]["x"]}
    x["second"] = torch.relu(net.first(x["first"])).detach()
    with fake_quantised(net, data, params, method), torch.no_grad():
        for name, layer in names(net).items():
            matrix = observers[name].matrix(name, 0, params)
            assert matrix.by_size == (massive > 1)
            size = quantise.sizes(x[name].flatten(0, 1).numpy()) if matrix.by_size else np.ones(1)
            steps = (layer(x[name]) - Integer(matrix, params)(x[name])).flatten(0, 1).numpy()
            steps /= matrix.out_scales * size
            assert np.abs(steps).max() < 1.5
            assert (np.abs(steps) > 0.5).mean() < 0.05


def test_padding_of_a_pattern():
    layer = MonarchLinear(pattern(10, 7, "pad"))
    net = torch.nn.Sequential(layer)
    x = torch.randn(50, 10, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = layer(x)
        with fake_quantised(net, [{"input": x}], PARAMS):
            assert (layer(x) - wanted).norm() < 0.05 * wanted.norm()


def test_gradients_reach_all_parameters_and_inputs():
    net = Net()
    (batch,) = inputs(1)
    x = batch["x"].requires_grad_(True)
    gradients = []
    for fake in (False, True):
        net.zero_grad()
        x.grad = None
        if fake:
            with fake_quantised(net, inputs(), PARAMS):
                net(x).square().sum().backward()
        else:
            net(x).square().sum().backward()
        gradients.append([p.grad.clone() for p in (*net.parameters(), x)])
    for real, fake in zip(*gradients, strict=True):
        cosine = torch.nn.functional.cosine_similarity(real.flatten(), fake.flatten(), dim=0)
        assert float(cosine) > 0.9


def test_everything_is_as_before_behind_the_context():
    net = Net()
    (batch,) = inputs(1)
    state = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        before = net(**batch)
        with pytest.raises(RuntimeError, match="stop"), fake_quantised(net, inputs(), PARAMS):
            assert [n for n, _ in net.named_parameters()] == list(state)
            assert not torch.equal(net(**batch), before)
            raise RuntimeError("stop")
        assert torch.equal(net(**batch), before)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all("forward" not in vars(m) for m in net.modules())


def test_training_lowers_what_two_bits_lose():
    """From the same float network, training through the roundings ends below where rounding starts."""
    teacher, net, data = Net(), Net(), inputs()
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    losses = []
    with fake_quantised(net, data, PARAMS.replace(weight_bits=2)):
        for batch in data * 4:
            with torch.no_grad():
                wanted = teacher(**batch)
            loss = (net(**batch) - wanted).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    print(np.mean(losses[-20:]), np.mean(losses[:5]))
    assert np.mean(losses[-20:]) < 0.65 * np.mean(losses[:5])


def test_rounding_passes_gradients_inside_only():
    x = torch.tensor([-9.0, -2.6, 0.4, 3.5, 9.0], requires_grad=True)
    y = through(x, torch.tensor(0.5), -8, 7)
    y.sum().backward()
    assert y.tolist() == [-4.0, -2.5, 0.5, 3.5, 3.5]
    assert x.grad is not None and x.grad.tolist() == [0, 1, 1, 1, 0]


def test_wrong_batches():
    with (
        pytest.raises(ConfigError, match="first: quantisation has seen no input other than zero"),
        fake_quantised(Net(), [], PARAMS),
    ):
        pass
