import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapper.allocate import Curve
from mapper.architectures import ARCHITECTURES
from mapper.codesign import TIE, choose, options
from mapper.compile import Compiler
from mapper.oracle import Oracle, Site, by_layer
from mapper.pattern import Pattern
from mapper.synthetic import random_workload
from mapper.workload import resolve
from rtl.spec.params import ConfigError, Params

SMALL = Params(rows=16, cols=16, granule=4, lanes=8)
MINILM = Params.load("minilm")
#: One for all examples: costs depend on shapes only, so what is known stays true.
SMALL_ORACLE, ORACLE = Oracle(SMALL), Oracle(MINILM)


def sites(layers=1, hidden=384, ffn=1536) -> list[Site]:
    """Matrices of BERT-like layers."""
    sizes = {"hidden": hidden, "ffn": ffn}
    return [
        Site(f"{n}.{m.name}", n, s.name, m.name, sizes[m.n_in], sizes[m.n_out], s.barrier)
        for n in range(layers)
        for s in ARCHITECTURES["bert"].stacks[0].segments
        for m in s.matrices
    ]


def made_up(places, blocks, seed, granule=32) -> dict[int, list[Curve]]:
    """Curves that fall with the share of weights, by random sensitivities."""
    rng = np.random.default_rng(seed)
    scale = {site.name: rng.lognormal() for site in places}

    def curve(name, forms):
        kept = np.array([f.weights / (f.n_in * f.n_out) for f in forms])
        losses = scale[name] * rng.uniform(0.8, 1.25) * np.exp(-4 * kept ** rng.uniform(0.5, 1))
        return Curve(name, forms, tuple(map(float, losses)))

    found = options(places, blocks, granule)
    return {b: [curve(n, forms) for n, forms in mine.items()] for b, mine in found.items()}


def small_case(seed, layers=2):
    places = sites(layers, 16, 32)
    return places, made_up(places, (2, 4, 8), seed, 4)


def loss_of(patterns: dict[str, Pattern], curves) -> float:
    """What the curves say about patterns."""
    known = {
        (c.name, form): loss
        for mine in curves.values()
        for c in mine
        for form, loss in zip(c.patterns, c.losses, strict=True)
    }
    return sum(known[item] for item in patterns.items())


def least_uniform(places, curves, oracle, arrays) -> float:
    """The least loss of one block count and rank for all, by trying all."""
    best = np.inf
    for mine in curves.values():
        if {c.name for c in mine} != {s.name for s in places}:
            continue
        for rank in {form.rank for c in mine for form in c.patterns}:
            found = {c.name: f for c in mine for f in c.patterns if f.rank == rank}
            if len(found) < len(places):
                continue
            used = sum(
                oracle.arrays(layer, tuple(found[s.name] for s in layer))
                for layer in by_layer(places).values()
            )
            if used <= arrays:
                best = min(best, loss_of(found, curves))
    return best


def check(choice, places, curves, oracle, arrays):
    """What holds for every choice."""
    assert set(choice.patterns) == {site.name for site in places}
    assert choice.arrays == sum(choice.arrays_per_layer.values()) <= arrays
    layers = by_layer(places)
    taken = {n: tuple(choice.patterns[s.name] for s in layer) for n, layer in layers.items()}
    assert choice.arrays_per_layer == {n: oracle.arrays(layers[n], taken[n]) for n in layers}
    assert choice.expected_loss == pytest.approx(loss_of(choice.patterns, curves))
    cycles = sum(oracle.cycles(layers[n], taken[n]) for n in layers)
    assert choice.cycles_per_token == cycles / oracle.tokens
    least = least_uniform(places, curves, oracle, arrays)
    assert choice.expected_loss <= least * (1 + 1e-9)
    assert (choice.uniform.expected_loss if choice.uniform else np.inf) == pytest.approx(least)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), arrays=st.integers(5, 14))
def test_within_the_budget_and_never_worse_than_uniform(seed, arrays):
    places, curves = small_case(seed)
    try:
        choice = choose(curves, places, SMALL_ORACLE, arrays)
    except ConfigError as error:
        need = int(str(error).split()[-1])
        assert "too few" in str(error) and need > arrays
        check(choose(curves, places, SMALL_ORACLE, need), places, curves, SMALL_ORACLE, need)
    else:
        check(choice, places, curves, SMALL_ORACLE, arrays)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_more_arrays_never_raise_the_loss(seed):
    places, curves = small_case(seed)
    losses = [choose(curves, places, SMALL_ORACLE, arrays).expected_loss for arrays in range(8, 15)]
    assert all(more <= less * (1 + 1e-9) for less, more in itertools.pairwise(losses))
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_more_arrays_never_raise_the_loss_of_minilm():
    places = sites(2)
    curves = made_up(places, (8, 16, 32), 1)
    losses = [choose(curves, places, ORACLE, arrays).expected_loss for arrays in range(8, 26)]
    assert all(more <= less * (1 + 1e-9) for less, more in itertools.pairwise(losses))
    assert len(set(losses)) > 14


def test_minilm_uses_the_space_that_it_gets():
    places = sites(2)
    curves = made_up(places, (8, 16, 32), 1)
    found = {arrays: choose(curves, places, ORACLE, arrays) for arrays in (12, 13, 16)}
    for arrays, choice in found.items():
        check(choice, places, curves, ORACLE, arrays)
        assert choice.arrays == arrays
        assert choice.uniform and choice.expected_loss < choice.uniform.expected_loss
    assert found[12].expected_loss > found[13].expected_loss > found[16].expected_loss
    assert len({(p.k, p.rank) for p in found[16].patterns.values()}) > 1


def test_same_inputs_same_choice():
    places, curves = small_case(3)
    first, second = (choose(curves, places, Oracle(SMALL, seed=5), 11) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("tokens", [1, 3])
def test_cycles_are_those_of_the_compiler(tokens):
    """For the same patterns, with other weights and another compiler."""
    model = resolve("minilm")
    places = sites()
    curves = made_up(places, (8, 16), 4)
    choice = choose(curves, places, Oracle(MINILM, tokens=tokens), 9)
    work = random_workload(
        model, 0, "blocks", lambda name, i, o: choice.patterns[f"0.{name}"], MINILM, tokens, 0
    )
    work.barrier = {site.segment: site.barrier for site in places}
    report = Compiler("densemap", MINILM).compile(work).report
    assert report["cycles_predicted"] == choice.cycles_per_token * tokens
    assert report["arrays"] <= choice.arrays


def test_draws_are_decided_by_cycles():
    """The same loss whatever the blocks: the fastest that fits."""
    places = sites()
    ranks = {4: 8, 8: 8, 16: 4}  # as many weights each
    curves = {
        b: [
            Curve(s.name, (Pattern(s.n_in, s.n_out, b, b, s.n_in // b, s.n_out // b, r),), (1.0,))
            for s in places
        ]
        for b, r in ranks.items()
    }
    choice = choose(curves, places, ORACLE, 12)
    cycles = {row.label: row.cycles_per_token for row in choice.considered}
    assert cycles["uniform, 4 blocks of rank 8"] > 1.5 * choice.cycles_per_token
    assert choice.cycles_per_token == min(cycles.values())


def test_near_ties_are_decided_by_cycles():
    places = sites(6)
    curves = made_up(places, (8, 16, 32), 1)
    choice = choose(curves, places, ORACLE, 48)
    least = next(row for row in choice.considered if row.label == "least loss")
    assert least.expected_loss < choice.expected_loss <= (1 + TIE) * least.expected_loss
    assert choice.cycles_per_token < least.cycles_per_token
    before = choose(curves, places, ORACLE, 47)
    assert choice.expected_loss <= before.expected_loss


def test_sparsemap():
    places = sites(1, 16, 32)
    curves = made_up(places, (2, 4, 8), 0, 4)
    oracle = Oracle(SMALL, "sparsemap")
    with pytest.raises(ConfigError, match="too few, the cheapest patterns need") as error:
        choose(curves, places, oracle, 1)
    need = int(str(error.value).split()[-1])
    for arrays in (need, need + 5):
        check(choose(curves, places, oracle, arrays), places, curves, oracle, arrays)


def test_a_block_count_may_suit_some_matrices_only():
    places = [*sites(1, 24, 48), Site("1.x", 1, "s", "x", 16, 16)]
    curves = made_up(places, (4, 6, 8), 0, 4)
    assert "1.x" not in {c.name for c in curves[6]}
    choice = choose(curves, places, SMALL_ORACLE, 80)
    check(choice, places, curves, SMALL_ORACLE, 80)
    assert all("6 blocks" not in row.label for row in choice.considered)


def test_progress_counts_steps():
    places, curves = small_case(0)
    steps: list[int] = []
    choose(curves, places, SMALL_ORACLE, 40, steps.append)
    assert len(steps) > 2 and set(steps) == {1}


@pytest.mark.parametrize("arrays", [0, -3])
def test_wrong_arrays(arrays):
    places, curves = small_case(0)
    with pytest.raises(ConfigError, match=f"arrays: {arrays} must be at least 1"):
        choose(curves, places, SMALL_ORACLE, arrays)


def test_too_few_arrays_says_how_many_are_needed():
    places = sites(2)
    curves = made_up(places, (8, 16), 0)
    with pytest.raises(ConfigError, match=r"arrays: 7 are too few, the cheapest patterns need 8$"):
        choose(curves, places, ORACLE, 7)
    assert choose(curves, places, ORACLE, 8).arrays == 8


def test_wrong_block_counts():
    with pytest.raises(ConfigError, match=r"blocks: 7 suits no matrix: .* 7 blocks do not divide"):
        options(sites(), (8, 7), 32)
    with pytest.raises(ConfigError, match="blocks: 0 must be at least 1"):
        options(sites(), (0,), 32)
    odd = Site("0.odd", 0, "s", "odd", 30, 30)
    with pytest.raises(ConfigError, match=r"0\.odd: 16 blocks do not divide 30 inputs"):
        options([*sites(), odd], (16,), 32)


def test_wrong_curves():
    places, curves = small_case(0)
    with pytest.raises(ConfigError, match=r"0\.q: no block count has a curve for it"):
        choose({4: curves[4][1:]}, places, SMALL_ORACLE, 40)
    with pytest.raises(ConfigError, match=r"0\.q: has a curve and is no matrix of a layer"):
        choose(curves, places[1:], SMALL_ORACLE, 40)
    wrong = [dataclasses.replace(places[0], n_in=32), *places[1:]]
    with pytest.raises(ConfigError, match=r"0\.q: a pattern of 16 x 16 for a matrix of 16 x 32"):
        choose(curves, wrong, SMALL_ORACLE, 40)
    with pytest.raises(ConfigError, match="matrices: none"):
        choose({}, [], SMALL_ORACLE, 40)


def test_wrong_oracle():
    with pytest.raises(ConfigError, match="strategy: 'linear' stores dense matrices"):
        Oracle(SMALL, "linear")
    with pytest.raises(ConfigError, match="tokens: 0 must be at least 1"):
        Oracle(SMALL, tokens=0)
