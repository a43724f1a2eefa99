import numpy as np
import pytest

from mapper.compile import Compiler
from mapper.image import weight_image
from mapper.layout import InputMap
from mapper.lower import lower
from mapper.placement import STRATEGIES, place
from mapper.placement.packing import Shape, pack
from mapper.validate import validate
from mapper.workload import shapes
from rtl.spec.params import ConfigError, Params
from tests.mapper import programs

GPT2 = Params.load("gpt2-medium")
SMALL = Params(rows=16, cols=16, granule=4, lanes=8)


@pytest.mark.parametrize(
    ("strategy", "policy", "arrays", "full"),
    [
        ("linear", "dense", 192, 1.0),
        ("sparsemap", "pad", 96, 20 / 96),
        ("densemap", "pad", 20, 1.0),
        ("densemap", "trim", 13, None),
        ("densemap", "rect", 9, 1.0),
    ],
)
def test_reference_workloads_take_the_stated_arrays(strategy, policy, arrays, full):
    segments = shapes("gpt2-medium", [0], policy=policy)[0].segments
    placement = place(strategy, segments, GPT2)
    validate(segments, placement)
    lower(segments, placement)
    assert placement.used_tiles == placement.params.tiles == arrays
    if full:
        cells = sum(m.weights for s in segments for m in s.matrices)
        assert cells / (arrays * 256 * 256) == pytest.approx(full)


def test_placement_is_the_same_twice():
    segments = shapes("gpt2-medium", [0], policy="rect")[0].segments
    assert place("densemap", segments, GPT2) == place("densemap", segments, GPT2)


def single(k, params, granule=32):
    """Segments of one matrix, k blocks of a granule in both factors."""
    matrix = programs.monarch(np.random.default_rng(0), params, "m", k, k, granule, granule)
    return programs.workload(np.random.default_rng(0), params, {"s": [matrix]}).segments


def test_groups_have_empty_positions_where_that_takes_fewer_arrays():
    # 20 blocks: groups of 4 have none, but are five, with slices on five arrays; three groups of 8 do with three.
    params = Params()
    placement = place("densemap", single(20, params), params)
    assert {panel.blocks for panel in placement.panels} == {8}
    assert placement.used_tiles == 3
    # Where arrays are full either way, groups have none.
    placement = place("densemap", single(16, params), params)
    assert placement.used_tiles == 2 and {panel.blocks for panel in placement.panels} == {8}


@pytest.mark.parametrize(
    ("model", "rows", "cols", "granule", "blocks", "arrays"),
    [
        # Shared slices leave no order for Q, K and V on few arrays: 9 and 16 before they could be loaded apart.
        ("smollm2", 256, 256, 32, 12, 6),
        ("smollm2", 128, 512, 32, 32, 9),
        # Groups of 2 of 10 row groups: 43 before they could have empty positions.
        ("gpt2-medium", 240, 240, 24, 16, 15),
        ("minilm", 192, 192, 24, 6, 11),
    ],
)
def test_awkward_sizes(model, rows, cols, granule, blocks, arrays):
    params = Params(rows=rows, cols=cols, granule=granule, lanes=4 * granule)
    segments = shapes(model, [0], policy="rect", k=blocks, l=blocks)[0].segments
    placement = place("densemap", segments, params)
    validate(segments, placement)
    lower(segments, placement)
    assert placement.used_tiles == arrays


def test_matrices_of_a_segment_share_one_load():
    segments = shapes("gpt2-medium", [0], policy="pad")[0].segments
    for strategy in ("sparsemap", "densemap"):
        low, _ = lower(segments, place(strategy, segments, GPT2))
        assert sum(task.op.name == "LOAD" for task in low[0].tasks) == 1


def test_linear_multicasts_one_load():
    segments = shapes("gpt2-medium", [0], policy="dense")[0].segments
    low, _ = lower(segments, place("linear", segments, GPT2))
    assert sum(task.op.name == "LOAD" for task in low[0].tasks) == 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_too_few_tiles_names_the_missing_arrays(strategy):
    policy = "dense" if strategy == "linear" else "pad"
    segments = shapes("gpt2-medium", [0], policy=policy)[0].segments
    with pytest.raises(ConfigError, match=r"tiles: 7 arrays are too few, \w+ needs \d+ \(\d+ miss"):
        place(strategy, segments, GPT2.replace(tiles=7), frozenset({"tiles"}))


@pytest.mark.parametrize("strategy", ["sparsemap", "densemap"])
def test_more_tiles_than_needed_are_fine(strategy):
    segments = shapes("gpt2-medium", [0], policy="pad")[0].segments
    placement = place(strategy, segments, GPT2.replace(tiles=120), frozenset({"tiles"}))
    validate(segments, placement)
    assert placement.params.tiles == 120


def test_analog_arrays_that_are_left_over_make_a_token_faster():
    """They read the blocks of a factor one after the other, so few blocks on each; digital ones need not."""
    work = shapes("bert-large", [0], policy="pad")[0]
    analog = GPT2.replace(readout="adc", adc_bits=3, adcs=8)
    found = {
        (params.analog, tiles): Compiler("densemap", params.replace(tiles=tiles), fixed={"tiles"})
        .plan(work)
        .cycles
        for params in (analog, GPT2)
        for tiles in (20, 40, 80)
    }
    assert found[True, 20] > 2 * found[True, 40] > 3.9 * found[True, 80]
    assert len({found[False, tiles] for tiles in (20, 40, 80)}) == 1


def test_sparsemap_rejects_a_block_that_exceeds_the_array():
    rng = np.random.default_rng(0)
    matrix = programs.monarch(rng, SMALL, "wide", 4, 20, 4, 4)
    work = programs.workload(rng, SMALL, {"s": [matrix]})
    with pytest.raises(ConfigError, match=r"wide\.R: a block of 4 x 20 exceeds .* 16 x 16"):
        place("sparsemap", work.segments, SMALL)


def test_wrong_kind_of_matrix():
    rng = np.random.default_rng(0)
    dense = programs.workload(rng, SMALL, {"s": [programs.dense(rng, SMALL, "d", 8, 8)]})
    pairs = programs.workload(rng, SMALL, {"s": [programs.monarch(rng, SMALL, "m", 2, 2, 4, 4)]})
    with pytest.raises(ConfigError, match="d: densemap needs Monarch"):
        place("densemap", dense.segments, SMALL)
    with pytest.raises(ConfigError, match="m: linear needs a dense"):
        place("linear", pairs.segments, SMALL)
    with pytest.raises(ConfigError, match="strategy: 'best' is not one of linear"):
        place("best", dense.segments, SMALL)


def test_unfed_rows_hold_zero_weights():
    rng = np.random.default_rng(1)
    matrix = programs.monarch(rng, SMALL, "m", 4, 4, 4, 4, n_in=6)
    segments = programs.workload(rng, SMALL, {"s": [matrix]}).segments
    placement = place("densemap", segments, SMALL)
    image = weight_image(segments, placement)
    right = sum(np.count_nonzero(b) for b in matrix.factors[0].blocks.reshape(16, 4)[:6])
    left = np.count_nonzero(matrix.factors[1].blocks[:, :2])
    assert np.count_nonzero(image) == right + left


@pytest.mark.parametrize(
    ("piece", "pieces", "parts"), [(4, 1, 1), (5, 1, 2), (3, 2, 2), (2, 3, 2), (6, 2, 4)]
)
def test_input_map_keeps_pieces_inside_granules(piece, pieces, parts):
    where = InputMap(piece, pieces, 4)
    part, offset = where.arrays()
    assert where.parts == parts == part.max() + 1
    assert offset.max() < 4
    assert len({*zip(part.tolist(), offset.tolist(), strict=True)}) == piece * pieces


def test_pack_finds_a_tiling_and_reports_none():
    strips, wide = [Shape((1,) * 4, 1)] * 6, Shape((2,) * 8, 1)
    found, _ = pack([*strips, wide, wide], 7, 1, 8, 100)
    assert found is None  # 8 tiles on a ring of 7
    found, steps = pack([*strips, wide, wide], 9, 1, 8, 100)
    assert found is not None and 0 < steps <= 100
    depth = np.zeros(9, int)
    for shape, (tile, _) in zip([*strips, wide, wide], found, strict=True):
        for i, need in enumerate(shape.profile):
            depth[(tile + i) % 9] += need
    assert depth.max() <= 8
