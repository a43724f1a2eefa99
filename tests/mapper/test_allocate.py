"""Ranks for a budget: never above it, close to the best, from sensitivities that are measured."""

import itertools
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mapper import allocate, compress
from mapper.allocate import Curve
from mapper.calibrated import fit_outputs
from mapper.monarch import MonarchLinear
from mapper.objective import Language, Similarity
from mapper.surgery import forward, inputs, linear, linears, replace, rows
from rtl.spec.params import ConfigError
from tests.mapper import networks

SIZES = ((64, 64), (64, 128), (128, 64), (96, 64))


def weights(pattern):
    return pattern.weights


@st.composite
def curves(draw):
    """Convex curves of matrices of several sizes."""
    made = []
    for n in range(draw(st.integers(1, 5))):
        n_in, n_out = draw(st.sampled_from(SIZES))
        options = allocate.candidates(n_in, n_out, 8, 8, draw(st.integers(1, 2)), f"m{n}")
        sensitivity = draw(st.floats(0, 10))
        decay = draw(st.floats(0.1, 1))
        made.append(Curve(f"m{n}", options, tuple(sensitivity * decay**p.rank for p in options)))
    return made


def expected(curves, patterns):
    return sum(c.losses[c.patterns.index(patterns[c.name])] for c in curves)


def cheapest(curves):
    return sum(c.patterns[0].weights for c in curves)


def dearest(curves):
    return sum(c.patterns[-1].weights for c in curves)


@settings(deadline=None, max_examples=150)
@given(curves=curves(), share=st.floats(0, 1.2))
def test_budget_is_kept_and_used(curves, share):
    """What is left over does not pay for one more step of any matrix."""
    budget = cheapest(curves) + share * (dearest(curves) - cheapest(curves))
    found = allocate.allocate(curves, budget, weights)
    assert list(found) == [c.name for c in curves]
    left = budget - sum(p.weights for p in found.values())
    assert left >= 0
    for curve in curves:
        at = curve.patterns.index(found[curve.name])
        if at + 1 < len(curve.patterns):
            assert curve.patterns[at + 1].weights - curve.patterns[at].weights > left


@settings(deadline=None, max_examples=150)
@given(curves=curves(), shares=st.tuples(st.floats(0, 1.1), st.floats(0, 1.1)))
def test_more_budget_is_never_worse(curves, shares):
    low, high = cheapest(curves), dearest(curves)
    losses = [
        expected(curves, allocate.allocate(curves, low + share * (high - low), weights))
        for share in sorted(shares)
    ]
    assert losses[1] <= losses[0] * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("seed", range(20))
def test_close_to_brute_force(seed):
    """All combinations of three matrices: within a few percent, what a leftover smaller than a step can do."""
    draw = random.Random(seed)
    made = []
    for n in range(3):
        n_in, n_out = draw.choice(SIZES)
        options = allocate.candidates(2 * n_in, 2 * n_out, 8, 8, 1, f"m{n}")
        sensitivity, decay = draw.uniform(0.1, 10), draw.uniform(0.5, 0.9)
        made.append(Curve(f"m{n}", options, tuple(sensitivity * decay**p.rank for p in options)))
    budget = draw.uniform(0.4, 0.9) * dearest(made)
    found = allocate.allocate(made, budget, weights)
    best = min(
        sum(loss for _, loss in choice)
        for choice in itertools.product(
            *(list(zip(c.patterns, c.losses, strict=True)) for c in made)
        )
        if sum(p.weights for p, _ in choice) <= budget
    )
    assert best <= expected(made, found) * (1 + 1e-9)
    assert expected(made, found) <= 1.05 * best


def test_sensitive_matrices_get_more():
    options = allocate.candidates(64, 64, 8, 8, 1, "m")
    made = [
        Curve(n, options, tuple(s * 0.7**p.rank for p in options))
        for n, s in zip("abc", (1, 9, 3), strict=True)
    ]
    found = allocate.allocate(made, 2 * cheapest(made), weights)
    assert found["b"].rank > found["c"].rank > found["a"].rank


@pytest.mark.parametrize("loss", [0.0, float("nan")])
def test_curves_that_tell_nothing_end(loss):
    options = allocate.candidates(64, 64, 8, 8, 1, "m")
    made = [Curve("m", options, (loss,) * len(options))]
    found = allocate.allocate(made, 1e9, weights)
    assert found["m"] in options
    assert allocate.allocate(made, float("inf"), weights) == found


def test_cost_is_what_the_caller_says():
    options = allocate.candidates(64, 64, 8, 8, 1, "m")
    made = [Curve("m", options, tuple(0.5**p.rank for p in options))]
    assert allocate.allocate(made, 2.5, lambda p: float(p.rank))["m"].rank == 2


def test_too_small_a_budget():
    options = allocate.candidates(64, 64, 8, 8, 1, "m")
    made = [Curve(n, options, (1.0,) * len(options)) for n in "ab"]
    with pytest.raises(ConfigError, match=r"^budget: 2,047 is below 2,048, the least that these"):
        allocate.allocate(made, 2047, weights)
    assert {p.rank for p in allocate.allocate(made, 2048, weights).values()} == {1}


@pytest.mark.parametrize(
    ("k", "l_blocks", "granule", "rank"),
    [
        (16, 16, 32, 2),
        (8, 16, 32, 4),
        (32, 32, 32, 1),
        (12, 8, 32, 8),
        (3, 4, 1, 1),
        (4, 6, 12, 6),
        (64, 32, 32, 1),
    ],
)
def test_rank_step(k, l_blocks, granule, rank):
    """Factors of this rank fill granules; of no smaller one."""
    assert allocate.rank_step(k, l_blocks, granule) == rank
    fills = [r for r in range(1, rank + 1) if r * k % granule == r * l_blocks % granule == 0]
    assert fills == [rank]


def test_candidates_are_smaller_than_the_dense_matrix():
    found = allocate.candidates(96, 64, 8, 8, 1, "m")
    assert [p.rank for p in found] == [1, 2, 3, 4]  # 5 would need 5 x 8 x (96 + 64) > 96 x 64
    assert all(p.weights < 96 * 64 for p in found)
    assert [p.rank for p in allocate.candidates(96, 64, 8, 8, 2, "m")] == [2, 4]
    for arguments, message in (
        ((96, 64, 7, 8, 1), "m: 7 blocks do not divide 96 inputs"),
        ((96, 64, 8, 7, 1), "m: 7 blocks do not divide 64 outputs"),
        ((96, 64, 8, 8, 5), "m: 8 and 8 blocks of rank 5 do not make 64 x 96 smaller"),
    ):
        with pytest.raises(ConfigError, match=message):
            allocate.candidates(*arguments, "m")


def measured(architecture, folder, batches=3):
    network = networks.loaded(architecture, folder)
    options = {
        n: allocate.candidates(p.n_in, p.n_out, 8, 8, 1, n)
        for n, p in networks.patterns_of(network, rank=1).items()
    }
    kind = Language if network.architecture.objective == "language" else Similarity
    made = kind(networks.tokenizer(marks=True))
    given = networks.batches(batches)
    return network, options, made, given, allocate.measure(network.module, given, made, options)


@pytest.mark.parametrize("architecture", list(networks.CONFIGS))
def test_measure_leaves_the_dense_module_untouched(architecture, tmp_path):
    network, options, _, _, found = measured(architecture, tmp_path)
    fresh = networks.loaded(architecture, tmp_path)
    assert list(linears(network.module)) == list(linears(fresh.module))
    before, after = fresh.module.state_dict(), network.module.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert all(not m._forward_hooks for m in network.module.modules())
    assert [c.name for c in found] == list(options)
    for curve in found:
        assert curve.patterns == options[curve.name]
        assert curve.losses[0] > 0
        assert list(curve.losses) == sorted(curve.losses, reverse=True)


def test_measure_restores_after_a_failure(tmp_path):
    network, options, made, given, _ = measured("bert", tmp_path, batches=1)
    before, calls = linears(network.module), []

    def failing(*_):
        calls.append(1)
        raise RuntimeError("stop")

    made.loss = failing
    with pytest.raises(RuntimeError, match="stop"):
        allocate.measure(network.module, given, made, options)
    assert calls and linears(network.module) == before


@torch.no_grad()
def test_sensitivity_is_what_one_projection_costs(tmp_path):
    """At the measured rank a curve is the loss of the network with just that matrix projected."""
    network, _, made, given, found = measured("bert", tmp_path)
    curve = found[3]
    at = len(curve.patterns) // 2
    wanted = [made.output(network.module, b) for b in given]
    old = linear(network.module, curve.name)
    cov = sum(rows(x, b).mT @ rows(x, b) for x, b in seen(network.module, old, given)).double()
    cov += compress.SHRINKAGE * cov.diagonal().mean() * torch.eye(len(cov))
    monarch = fit_outputs(old.weight, curve.patterns[at], cov, sweeps=0)
    replace(network.module, curve.name, MonarchLinear.of(monarch, old.bias))
    losses = [
        made.loss(made.output(network.module, b), w) for b, w in zip(given, wanted, strict=True)
    ]
    assert curve.losses[at] == pytest.approx(float(torch.stack(losses).mean()), rel=1e-3)


def seen(module, inner, batches):
    return [(inputs(inner, lambda b=b: forward(module, b)), b) for b in batches]


def test_a_matrix_that_does_nothing_gets_least(tmp_path):
    network = networks.loaded("bert", tmp_path)
    name, other = "encoder.layer.1.intermediate.dense", "encoder.layer.0.intermediate.dense"
    linear(network.module, name.replace("intermediate", "output")).weight.data.zero_()
    options = {n: allocate.candidates(64, 128, 8, 8, 1, n) for n in (name, other)}
    made = Similarity(networks.tokenizer(marks=True))
    found = allocate.measure(network.module, networks.batches(2), made, options)
    ranks = {
        n: p.rank
        for n, p in allocate.allocate(found, 6 * options[name][0].weights, weights).items()
    }
    assert ranks[name] == 1 and ranks[other] == 5
