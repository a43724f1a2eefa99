"""Integer networks: by hand, padded batches, each choice of a scheme, files, wrong requests."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from mapper import integer, program, quantise
from mapper.compile import Compiler
from mapper.integer import Integer, Scheme, balanced, integer_module, weights_only
from mapper.monarch import MonarchLinear
from rtl.spec.params import ConfigError, Params
from sim import golden
from tests.mapper import programs
from tests.mapper.small_nets import Net, batches

PARAMS = Params()
SCHEMES = [
    Scheme(),
    Scheme("max", None, None, False, False, False),
    Scheme(by_size=False),
    Scheme("percentile", 0.5, 0.0, True, False),
    Scheme("mse", None, 1.0, False, True),
]


def by_hand(matrix, x):
    """A matrix multiply on real x (T, n_in), in float64 from the integers and the definition, and back to real."""
    size = 2.0 ** np.floor(np.log2(np.abs(x).max(1, keepdims=True))) if matrix.by_size else 1.0
    q = np.clip(np.rint(x.astype(np.float64) / size / matrix.in_scales), -128, 127)
    first = matrix.factors[0]
    k, p, _ = first.shape
    rows = np.zeros((len(x), k * p))
    rows[:, : matrix.n_in] = q[:, : k * p]
    out = requantised(np.einsum("tkp,kpq->tkq", rows.reshape(len(x), k, p), first.blocks), first)
    if matrix.monarch:
        second = matrix.factors[1]
        l, r, _ = second.shape  # noqa: E741
        order = golden.middle_permutation(k, l, matrix.rank)
        v = out.reshape(len(x), -1)[:, order].reshape(len(x), l, r)
        out = requantised(np.einsum("tlr,lrs->tls", v, second.blocks), second).swapaxes(1, 2)
    steps = out.reshape(len(x), -1)[:, : matrix.n_out]
    return steps * matrix.out_scales * size + np.asarray(matrix.out_offset)


def requantised(acc, part):
    scale = part.mult / 2.0**part.shift
    return np.clip(np.floor((acc + part.bias) * scale + 0.5), -128, 127)


def massive(data):
    """One token of each sequence is a hundred times as large."""
    for batch in data:
        batch["x"][:, 0] *= 100
    return data


@pytest.mark.parametrize("change", [list, massive], ids=["alike", "massive"])
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_a_network_equals_the_same_by_hand(scheme, change):
    module = integer_module(Net(), change(batches()), PARAMS, dense=["last"], scheme=scheme)
    assert module.first.matrix.by_size == (scheme.by_size and change is massive)
    (batch,) = change(batches(1, seed=1, hidden=0.5))
    x = batch["x"].flatten(0, 1).numpy()
    for name in ("first", "second", "last"):
        x = by_hand(module.get_submodule(name).matrix, np.maximum(x, 0) if name != "first" else x)
    np.testing.assert_allclose(module(**batch).flatten(0, 1).numpy(), x, rtol=1e-6, atol=1e-7)
    assert module(**batch).shape == (4, 6, 5)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_golden_agrees(scheme):
    module = integer_module(Net(), batches(), PARAMS, scheme=scheme)
    module(**batches(1, seed=2)[0])
    for name in ("first", "second"):
        layer = module.get_submodule(name)
        np.testing.assert_array_equal(
            golden.run_matrix(layer.matrix, layer.x, PARAMS),
            quantise.apply_matrix(layer.matrix, layer.x, PARAMS),
        )


def distance(module, net):
    (batch,) = batches(1, seed=3, hidden=0.5)
    with torch.no_grad():
        wanted = net(**batch)
        return float((module(**batch) - wanted).norm() / wanted.norm())


def test_sizes_of_tokens_keep_massive_ones_apart():
    """Errors of all other tokens, against the same network with one range for all."""
    net, data = Net(), massive(batches(20))
    (batch,) = massive(batches(1, seed=3, hidden=0.5))
    with torch.no_grad():
        wanted = net(**batch)[:, 1:]
        errors = [
            float((integer_module(net, data, PARAMS, scheme=s)(**batch)[:, 1:] - wanted).norm())
            for s in (Scheme(), Scheme(by_size=False))
        ]
    assert errors[0] < 0.04 * float(wanted.norm()) < 10 * errors[0] < errors[1]


def test_sizes_are_powers_of_two():
    x = np.array([[0.0, 0.0], [3.0, -5.0], [-4.0, 0.1], [0.3, 0.2]], np.float32)
    assert quantise.sizes(x).tolist() == [[1], [4], [4], [0.25]]
    assert quantise.sizes(x).dtype == np.float32


def test_eight_bits_are_near_and_four_are_not_far():
    net = Net()
    eight, four = (
        distance(integer_module(net, batches(20), PARAMS.replace(weight_bits=bits)), net)
        for bits in (8, 4)
    )
    assert eight < 0.04 < four < 0.3
    assert distance(weights_only(net, 8), net) < eight
    assert distance(weights_only(net, 4), net) < 0.25


def test_the_float_module_is_left_alone():
    net = Net()
    before = copy.deepcopy(net.state_dict())
    integer_module(net, batches(), PARAMS, dense=["last"])
    weights_only(net, 2)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert isinstance(net.first, MonarchLinear) and not net.first._forward_hooks


def test_only_what_is_named_is_replaced():
    module = integer_module(Net(), batches(), PARAMS)
    kinds = [type(module.get_submodule(name)) for name in ("first", "second", "last")]
    assert kinds == [Integer, Integer, torch.nn.Linear]


def test_masked_positions_do_not_count():
    net = Net()
    assert distance(integer_module(net, batches(20), PARAMS), net) < 0.04
    same = [
        integer_module(net, batches(hidden=hidden), PARAMS).first.matrix for hidden in (0.5, 1e4)
    ]
    assert same[0].in_scale == same[1].in_scale and same[0].out_scale == same[1].out_scale
    without, plain = [{"x": batch["x"]} for batch in batches()], Scheme(by_size=False)
    assert max(integer_module(net, without, PARAMS, scheme=plain).first.matrix.in_scale) > 10


def test_weights_only_uses_few_values():
    made = weights_only(Net(), 4)
    for factor in (made.first.R, made.first.L):
        for row in factor.detach().flatten(0, 1):
            assert len(row.unique()) <= 15
    assert made.first.R.unique().numel() > 100


def test_balanced_exponents():
    each = np.array([[1.0, 4.0, 16.0, 0.0]])
    assert balanced(each, 1.0).tolist() == each.tolist()
    assert balanced(each, 0.5).tolist() == [[4, 8, 16, 0]]
    assert balanced(each, 0.0).tolist() == [[16, 16, 16, 0]]
    assert not balanced(np.zeros((2, 2)), 0.5).any()


@pytest.mark.parametrize("per_element", [False, True])
def test_scales_survive_a_program_directory(tmp_path, per_element):
    params = Params(rows=16, cols=16, granule=4, lanes=8)
    rng = np.random.default_rng(2)
    matrix = programs.monarch(rng, params, "m", 4, 4, 4, 4)
    if per_element:
        scales = {
            "in_scale": tuple(rng.uniform(0, 1, matrix.n_in).tolist()),
            "out_scale": tuple(rng.uniform(0, 1, matrix.n_out).tolist()),
        }
    else:
        scales = {"in_scale": 0.1, "out_scale": 1 / 3}
    work = programs.workload(rng, params, {"s": [dataclasses.replace(matrix, **scales)]}, 2)
    program.write(Compiler("densemap", params).compile(work), tmp_path / "p")
    read = program.load(tmp_path / "p").workload.segments[0].matrices[0]
    assert {name: getattr(read, name) for name in scales} == scales


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ({"method": "best"}, "range: 'best' is not one of mse, percentile, max"),
        ({"equalise": 1.5}, r"equalise: 1.5 is outside 0..1"),
        ({"inputs": -0.1}, r"inputs: -0.1 is outside 0..1"),
    ],
)
def test_wrong_scheme(scheme, message):
    with pytest.raises(ConfigError, match=message):
        Scheme(**scheme)


def test_wrong_batches():
    with pytest.raises(ConfigError, match="first: quantisation has seen no input other than zero"):
        integer_module(Net(), [], PARAMS)
    bad = batches(1)
    bad[0]["x"][0, 0, 0] = torch.nan
    with pytest.raises(ConfigError, match="an activation is NaN or infinite"):
        integer_module(Net(), bad, PARAMS)


def test_few_tokens_get_headroom():
    """Ranges of channels come down to what was seen as tokens become more; never above the tensor's largest."""
    net = Net()
    data = batches(1)
    (one, many) = (
        integer.observe(net, data * n, Scheme("max", by_size=False))["first"].ranges(8).input
        for n in (1, 1000)
    )
    seen = data[0]["x"][:, :4].abs().amax((0, 1)).numpy()
    assert (many > 0.999 * seen).all() and (many < 1.07 * seen).all()
    assert (one > 0.999 * many).all() and one.max() == pytest.approx(seen.max())
    assert (one > 1.5 * seen).any()


def test_weights_are_rounded_for_the_mean_over_tokens():
    """With equal ranges, the same batch twice gives the same integers as once."""
    net, scheme = Net(), Scheme(inputs=None, equalise=None, per_channel=False)
    params = PARAMS.replace(weight_bits=4)
    one, two = (
        integer.observe(net, batches(1) * n, scheme)["second"].matrix("m", 3, params)
        for n in (1, 2)
    )
    assert (one.name, one.layer, one.in_scale) == ("m", 3, two.in_scale)
    for a, b in zip(one.factors, two.factors, strict=True):
        np.testing.assert_array_equal(a.blocks, b.blocks)
