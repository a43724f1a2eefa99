"""Whole programs on the ISS against the golden model: placement, lowering, schedule and images."""

import numpy as np
import pytest

from mapper.compile import Compiler
from mapper.lower import lower, needs_flush, step_elements
from mapper.placement import place
from mapper.tilestate import Effects, TileState, find_order
from mapper.workload import shapes
from rtl.spec.isa import Op
from rtl.spec.params import ConfigError, Params
from tests.mapper import programs

SMALL = Params(rows=16, cols=16, granule=4, lanes=8, act_depth=2, const_depth=2, prog_depth=2)


def check(strategy, params, matrices, tokens=2, seed=0, barrier=(), fixed=()):
    """Compile segments of matrices, run them, compare outputs and cycles."""
    rng = np.random.default_rng(seed)
    work = programs.workload(rng, params, matrices(rng), tokens, barrier)
    program = Compiler(strategy, params, fixed, seed).compile(work)
    assert programs.run(program) == program.report["cycles_predicted"]
    return program


def chain(*forms):
    """Segments of one Monarch matrix each, from (k, l, p, s, rank, n_in, n_out)."""

    def make(rng, params=SMALL):
        return {
            f"s{i}": [programs.monarch(rng, params, f"m{i}", *form)] for i, form in enumerate(forms)
        }

    return make


FORMS = {
    "square": (4, 4, 4, 4),
    "blocks larger than a granule": (8, 8, 8, 8),
    "rectangular": (8, 4, 3, 7),
    "few blocks": (3, 5, 6, 5),
    "rank 2, short pieces": (2, 4, 4, 4, 2),
    "rank 3, long pieces": (6, 4, 8, 8, 3),
    "padding": (8, 8, 8, 8, 1, 23, 41),
    "more blocks than lanes": (9, 11, 4, 4),
    "one block": (1, 1, 5, 3),
}


@pytest.mark.parametrize("strategy", ["sparsemap", "densemap"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_monarch_matches_golden(strategy, form):
    rank = form[4] if len(form) > 4 else 1
    if strategy == "sparsemap" and max(form[2], rank * form[1], rank * form[0]) > 16:
        with pytest.raises(ConfigError, match="exceeds the array"):
            check(strategy, SMALL, chain(form))
    else:
        check(strategy, SMALL, chain(form))


@pytest.mark.parametrize("sizes", [(16, 16), (40, 24), (3, 5), (17, 90)])
def test_dense_matches_golden(sizes):
    check(
        "linear",
        SMALL,
        lambda rng: {"s": [programs.dense(rng, SMALL, "a", *sizes)]},
    )


def test_windows_of_blocks_match_golden():
    """R has 8 blocks of two parts, 4 tiles wide, on a core of 3."""
    params = SMALL.replace(tiles=3)
    form = (8, 4, 8, 4)
    program = check("densemap", params, chain(form), fixed={"tiles"})
    assert [p.k0 for p in program.placement.panels if p.role == "R"] != [0]


def test_parts_in_time_match_golden():
    """L has 8 blocks of two parts, spread 4 tiles wide, on a core of 3."""
    params = SMALL.replace(tiles=3)
    program = check("densemap", params, chain((8, 8, 4, 4)), fixed={"tiles"})
    assert any(p.shifts for p in program.placement.panels)


@pytest.mark.parametrize("seed", range(24))
def test_random_configurations_match_golden(seed):
    rng = np.random.default_rng(seed)
    granule, groups = int(rng.choice([2, 4, 8])), int(rng.choice([2, 4]))
    cols = granule * int(rng.choice([groups, 4]))
    params = Params(
        rows=granule * groups,
        cols=cols,
        granule=granule,
        lanes=max(8, granule) if cols % 8 == 0 and cols >= 8 else cols,
        act_bits=int(rng.choice([4, 8])) if cols % 8 == 0 else 8,
        weight_bits=int(rng.choice([2, 4, 8])),
        dac_bits=int(rng.choice([1, 2, 4])),
        tree=str(rng.choice(["shared", "full"])),
        drain_ports=int(rng.choice([1, 2, 4])),
        act_depth=2,
        const_depth=2,
        prog_depth=2,
    )
    strategy = ("linear", "sparsemap", "densemap")[seed % 3]

    def matrices(rng):
        segments = {}
        for s in range(int(rng.integers(1, 4))):
            k, p = int(rng.integers(1, 7)), int(rng.integers(1, granule + 3))
            n_in = int(rng.integers(max(1, k * p // 2), k * p + 1))
            mine = []
            for m in range(int(rng.integers(1, 4))):
                l_blocks, size = int(rng.integers(1, 7)), int(rng.integers(1, granule + 3))
                n_out = int(rng.integers(max(1, l_blocks * size // 2), l_blocks * size + 1))
                if strategy == "linear":
                    mine.append(programs.dense(rng, params, f"{s}{m}", n_in, n_out))
                else:
                    rank = int(rng.choice([1, 1, 2]))
                    mine.append(
                        programs.monarch(
                            rng, params, f"{s}{m}", k, l_blocks, p, size, rank, n_in, n_out
                        )
                    )
            segments[f"s{s}"] = mine
        return segments

    try:
        check(strategy, params, matrices, tokens=1 + seed % 4, seed=seed, barrier={"s1"})
    except ConfigError as error:
        assert "exceeds the array" in str(error)


def test_a_bias_behind_padding_is_rejected():
    rng = np.random.default_rng(0)
    matrix = programs.monarch(rng, SMALL, "m", 4, 4, 4, 4, n_in=8)
    matrix.factors[0].bias[3, 0] = 1
    work = programs.workload(rng, SMALL, {"s": [matrix]})
    with pytest.raises(ConfigError, match=r"m\.R: a block that sees only padding has a bias"):
        Compiler("densemap", SMALL).compile(work)


@pytest.mark.parametrize(
    ("count", "columns", "steps"),
    [(4, 3, [8, 4]), (3, 5, [6, 6, 3]), (8, 2, [8, 8]), (9, 2, [8, 1, 8, 1])],
)
def test_step_elements(count, columns, steps):
    assert step_elements(count, columns, SMALL) == steps


@pytest.mark.parametrize(
    ("pending", "elems", "steps", "flush"),
    [
        (0, 16, [8, 8], False),
        (0, 18, [6, 6, 6], True),  # 6, then 12 of which 4 stay, then 10
        (0, 12, [6, 6], True),
        (0, 7, [6, 6], False),
        (4, 8, [8], True),
        (4, 4, [4], False),
    ],
)
def test_flush_is_for_a_last_step_of_two_words(pending, elems, steps, flush):
    assert needs_flush(pending, elems, steps, lanes=8) == flush


def test_every_wait_is_on_an_earlier_task():
    for policy, strategy in (("pad", "densemap"), ("rect", "densemap"), ("dense", "linear")):
        segments = shapes("gpt2-medium", [0], policy=policy)[0].segments
        for segment in lower(segments, place(strategy, segments, Params.load("gpt2-medium")))[0]:
            for i, task in enumerate(segment.tasks):
                assert task.needs < 1 << i
            assert segment.tasks[0].op == Op.RECV
            assert segment.tasks[-1].op == Op.SEND


def test_find_order_reports_factors_that_block_each_other():
    # Two results fill the queue of tile 0; draining one needs a row bank that the third one holds.
    needs = [0, 0, 0b1, 0b10]
    effects = [
        Effects(claims=1, swaps=0, opens=0b1, result=0),
        Effects(opens=0b1, result=1),
        Effects(claims=1, reads=1, frees=True, result=0),
        Effects(reads=1, frees=True, result=1),
    ]
    assert find_order(needs, effects) is None


def test_tile_state_keeps_queue_order():
    state = TileState()
    state.do(0, 0, Effects(opens=0b11, result=0))
    state.do(1, 0, Effects(opens=0b01, result=0))
    assert not state.can(2, 0, Effects(opens=0b01, result=0))
    assert not state.can(1, 1, Effects(reads=0b01, result=0))
    state.do(0, 1, Effects(reads=0b11, frees=True, result=0))
    assert state.can(1, 1, Effects(reads=0b01, result=0))
    assert state.one == 0b01 and state.two == 0
