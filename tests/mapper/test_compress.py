"""Dense to Monarch in place: what is replaced, and that calibration pays."""

import copy

import pytest
import torch
from torch import nn

from mapper import compress, d2s
from mapper.monarch import MonarchLinear
from mapper.network import stacks
from mapper.pattern import pattern
from mapper.surgery import forward, linears
from rtl.spec.params import ConfigError
from tests.mapper import networks

EVERY = pytest.mark.parametrize("architecture", list(networks.CONFIGS))


@torch.no_grad()
def result(module, batch):
    found = forward(module, batch)
    hidden = found.logits if "logits" in found else found.last_hidden_state
    return hidden[batch["attention_mask"].bool()]


def error(module, dense, batches):
    pairs = [(result(module, b), result(dense, b)) for b in batches]
    return sum(float((a - b).square().sum()) for a, b in pairs)


@EVERY
def test_calibration_beats_plain_projection(architecture, tmp_path):
    """On the outputs of the whole network for the calibration batches."""
    network = networks.loaded(architecture, tmp_path)
    batches, patterns = networks.batches(40), networks.patterns_of(network, rank=3)
    plain, made = copy.deepcopy(network.module), copy.deepcopy(network.module)
    compress.project_all(plain, patterns)
    count = []
    errors = compress.calibrate_all(
        network.module, made, stacks(network), batches, patterns, count.append
    )
    assert sum(count) == len(patterns) == len(errors)
    assert all(0 < e < 1 for e in errors.values())
    assert error(made, network.module, batches) < 0.8 * error(plain, network.module, batches)


@EVERY
def test_exact_for_networks_that_are_monarch_already(architecture, tmp_path):
    network = networks.loaded(architecture, tmp_path)
    patterns = networks.patterns_of(network, rank=2)
    for name, shape in patterns.items():
        weight = linears(network.module)[name].weight
        weight.data = d2s.fit(weight.detach(), shape).dense().float()
    batches = networks.batches(20)
    for calibrated in (False, True):
        made = copy.deepcopy(network.module)
        if calibrated:
            errors = compress.calibrate_all(
                network.module, made, stacks(network), batches, patterns
            )
        else:
            errors = compress.project_all(made, patterns)
        assert max(errors.values()) < 1e-4
        for batch in batches[:2]:
            torch.testing.assert_close(
                result(made, batch), result(network.module, batch), atol=2e-3, rtol=1e-3
            )


@EVERY
@pytest.mark.parametrize("calibrated", [False, True])
def test_only_named_matrices_are_replaced(architecture, calibrated, tmp_path):
    network = networks.loaded(architecture, tmp_path)
    patterns = dict(list(networks.patterns_of(network, rank=1).items())[1::2])
    before = networks.values(network.module)
    made = copy.deepcopy(network.module)
    if calibrated:
        compress.calibrate_all(network.module, made, stacks(network), networks.batches(2), patterns)
    else:
        compress.project_all(made, patterns)
    monarchs = {n: m for n, m in made.named_modules() if isinstance(m, MonarchLinear)}
    assert set(monarchs) == set(patterns)
    assert all(monarchs[n].pattern == patterns[n] for n in patterns)
    inside = tuple(f"{n}." for n in patterns)
    after = networks.values(made)
    for name, value in before.items():
        torch.testing.assert_close(networks.values(network.module)[name], value, rtol=0, atol=0)
        if not name.startswith(inside):
            assert torch.equal(after[name], value), name


def test_cross_attention_reads_the_compressed_encoder(tmp_path):
    """The decoder's calibration undoes errors of the encoder: it must see what the encoder now gives."""
    network = networks.loaded("bart", tmp_path)
    patterns, batches = networks.patterns_of(network, rank=1), networks.batches(10)
    made = copy.deepcopy(network.module)
    seen = []
    original = compress.calls

    def spy(module, layers, given):
        found = original(module, layers, given)
        seen.append((module, given, found[0]))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compress, "calls", spy)
        compress.calibrate_all(network.module, made, stacks(network), batches, patterns)
    here = [(m, call) for m, given, call in seen if m is made and given is batches[0]]
    there = [(m, call) for m, given, call in seen if m is not made and given is batches[0]]
    (_, first), (_, dense) = here[1], there[1]
    encoder = made.encoder(**batches[0]).last_hidden_state
    torch.testing.assert_close(first.args[2], encoder)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(dense.args[2], encoder)


def regression(bias: bool):
    """A linear on inputs far from zero, its copy, and data."""
    torch.manual_seed(3)
    dense = nn.Sequential(nn.Linear(16, 16, bias=bias))
    x = 5 + torch.randn(300, 16) @ torch.randn(16, 16)
    return dense, copy.deepcopy(dense), [{"input": x[:100]}, {"input": x[100:]}], x


def test_bias_takes_the_difference_of_the_means():
    dense, made, batches, x = regression(bias=True)
    compress.calibrate_all(dense, made, [[""]], batches, {"0": pattern(16, 16, "rect", 4)})
    with torch.no_grad():
        difference = made(x) - dense(x)
    assert difference.std() > 0.1
    assert difference.mean(0).abs().max() < 1e-4


def test_a_matrix_undoes_errors_of_those_before_it():
    """What is before the last linear is off by a factor of each element: all of that can be undone."""
    torch.manual_seed(4)
    dense = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    made, x = copy.deepcopy(dense), torch.randn(1000, 16) @ torch.randn(16, 16)
    scale = torch.linspace(0.5, 2, 16)
    made[0].weight.data *= scale[:, None]
    made[0].bias.data *= scale
    no_limit = {"2": pattern(16, 16, "blocks", 1, 1, 16)}
    unaware = (made(x) - dense(x)).square().sum()
    compress.calibrate_all(dense, made, [["0", "1", "2"]], [{"input": x}], no_limit)
    assert (made(x) - dense(x)).square().sum() < 0.01 * unaware


def test_no_bias_stays_no_bias():
    dense, made, batches, _ = regression(bias=False)
    compress.calibrate_all(dense, made, [[""]], batches, {"0": pattern(16, 16, "rect", 4)})
    assert made[0].bias is None


def test_inputs_that_never_change():
    dense, made, _, _ = regression(bias=True)
    batches = [{"input": torch.zeros(4, 16)}]
    compress.calibrate_all(dense, made, [[""]], batches, {"0": pattern(16, 16, "rect", 4)})
    torch.testing.assert_close(made(torch.zeros(1, 16)), dense(torch.zeros(1, 16)))


def plain_module():
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 24, bias=False), nn.Tanh(), nn.Linear(24, 24)
    )


PLAIN = {"0": pattern(24, 48, "blocks", 4, 4, 2), "4": pattern(24, 24, "trim")}


def test_project_any_module():
    module = plain_module()
    weight, bias = module[0].weight.detach().clone(), module[0].bias.detach().clone()
    errors = compress.project_all(module, PLAIN)
    assert list(errors) == ["0", "4"] and all(0 < e < 1 for e in errors.values())
    assert [type(m).__name__ for m in module] == [
        "MonarchLinear",
        "ReLU",
        "Linear",
        "Tanh",
        "MonarchLinear",
    ]
    expected = d2s.fit(weight, PLAIN["0"]).dense().float()
    x = torch.randn(3, 24)
    torch.testing.assert_close(module[0](x), x @ expected.mT + bias, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stack", [[[""]], [["0", "1", "2", "3", "4"]]], ids=["whole", "members"])
def test_calibrate_any_module(stack):
    """Batches are keyword arguments; no attention mask. The module is one layer, or its members are."""
    dense = plain_module()
    x = torch.randn(400, 24) @ torch.randn(24, 24)
    plain, made = copy.deepcopy(dense), copy.deepcopy(dense)
    compress.project_all(plain, PLAIN)
    errors = compress.calibrate_all(dense, made, stack, [{"input": x}], PLAIN)
    assert list(errors) == ["0", "4"]
    with torch.no_grad():
        off = [(m(x) - dense(x)).square().sum() for m in (made, plain)]
    assert off[0] < 0.8 * off[1]


def test_the_data_type_is_kept():
    module = plain_module().double()
    compress.project_all(module, PLAIN)
    made = plain_module().double()
    x = torch.randn(50, 24, dtype=torch.float64)
    compress.calibrate_all(plain_module().double(), made, [[""]], [{"input": x}], PLAIN)
    for one in (module, made):
        assert one(x).dtype == torch.float64


def test_wrong_names_and_weights():
    module, shape = plain_module(), pattern(24, 24, "rect", 4)
    for name in ("1", "head"):
        with pytest.raises(ConfigError, match=f"^{name}: the network has no linear layer"):
            compress.project_all(module, {name: shape})
        with pytest.raises(ConfigError, match=f"^{name}: the network has no linear layer"):
            compress.calibrate_all(module, module, [["0"]], [], {name: shape})
    batches = [{"input": torch.randn(30, 24)}]
    with pytest.raises(ConfigError, match=r"^4: is in none of the layers that run$"):
        compress.calibrate_all(module, plain_module(), [["0"]], batches, PLAIN)
    module[4].weight.data[0, 0] = torch.nan
    with pytest.raises(ConfigError, match=r"^4: 1 weights are NaN or infinite$"):
        compress.project_all(module, PLAIN)
