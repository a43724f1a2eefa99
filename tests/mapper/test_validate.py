import dataclasses

import numpy as np
import pytest

from mapper.placement import place, suited
from mapper.validate import validate
from rtl.spec.params import ConfigError, Params
from tests.mapper import programs

PARAMS = Params(rows=16, cols=16, granule=4, lanes=8)


def make(strategy: str):
    rng = np.random.default_rng(3)
    if strategy == "linear":
        matrices = [programs.dense(rng, PARAMS, name, 40, 24) for name in "ab"]
    else:
        matrices = [programs.monarch(rng, PARAMS, name, 8, 8, 8, 8) for name in "ab"]
    segments = programs.workload(rng, PARAMS, {"s": matrices}).segments
    return segments, place(strategy, segments, PARAMS)


def change(placement, index: int, **fields):
    panels = list(placement.panels)
    panels[index] = dataclasses.replace(panels[index], **fields)
    return dataclasses.replace(placement, panels=tuple(panels))


@pytest.mark.parametrize("strategy", ["linear", "sparsemap", "densemap"])
def test_real_placements_pass(strategy):
    validate(*make(strategy))


@pytest.mark.parametrize("strategy", ["linear", "sparsemap", "densemap"])
def test_a_missing_panel_is_found(strategy):
    segments, placement = make(strategy)
    with pytest.raises(ConfigError, match=r"[ab]\.[RLW] block 0 .* is placed 0 times"):
        validate(segments, dataclasses.replace(placement, panels=placement.panels[1:]))


@pytest.mark.parametrize("strategy", ["linear", "sparsemap", "densemap"])
def test_a_panel_twice_is_found(strategy):
    segments, placement = make(strategy)
    twice = dataclasses.replace(placement, panels=(*placement.panels, placement.panels[0]))
    with pytest.raises(ConfigError, match="overlaps"):
        validate(segments, twice)


@pytest.mark.parametrize("strategy", ["sparsemap", "densemap"])
def test_overlap_is_found(strategy):
    segments, placement = make(strategy)
    base, columns = placement.panels[1].base, placement.panels[1].columns
    moved = tuple(
        dataclasses.replace(a, rots=b.rots)
        for a, b in zip(placement.panels[2].columns, columns, strict=True)
    )
    with pytest.raises(ConfigError, match=r"b\.L block .* overlaps a\.L block .* in tile"):
        validate(segments, change(placement, 2, base=base, row=0, columns=moved))


def test_a_dense_panel_outside_the_core_is_found():
    segments, placement = make("linear")
    with pytest.raises(ConfigError, match="its arrays exceed tiles"):
        validate(segments, change(placement, 1, base=placement.panels[1].base + 1))


def test_uncovered_dense_inputs_are_found():
    segments, placement = make("linear")
    with pytest.raises(ConfigError, match="40 x 24 is not covered"):
        validate(segments, change(placement, 0, row_granules=9))


def test_a_slice_beyond_the_array_is_found():
    segments, placement = make("densemap")
    with pytest.raises(ConfigError, match=r"a\.R block \d+ part \d+: its slice is dropped"):
        validate(segments, change(placement, 0, row=3))


def test_slices_that_overwrite_each_other_are_found():
    segments, placement = make("sparsemap")
    assert placement.panels[0].rpart == 2
    with pytest.raises(ConfigError, match=r"a\.R block 1 part 0: its slice overwrites"):
        validate(segments, change(placement, 0, rpart=1))


def test_blocks_that_share_a_column_group_are_found():
    segments, placement = make("sparsemap")
    first, second, *rest = placement.panels[0].columns
    moved = (first, dataclasses.replace(second, col=first.col), *rest)
    with pytest.raises(ConfigError, match=r"overlaps|shares column group"):
        validate(segments, change(placement, 0, columns=moved))


def test_a_wrong_copy_is_found():
    segments, placement = make("sparsemap")
    first, *rest = placement.panels[0].columns
    moved = (dataclasses.replace(first, copy=9), *rest)
    with pytest.raises(ConfigError, match=r"column granule 0 is in no copy"):
        validate(segments, change(placement, 0, columns=moved))


def test_partial_sums_apart_are_found():
    rng = np.random.default_rng(3)
    matrix = programs.monarch(rng, PARAMS, "m", 4, 4, 12, 4)  # three parts: spread over tiles
    segments = programs.workload(rng, PARAMS, {"s": [matrix]}).segments
    placement = place("densemap", segments, PARAMS)
    assert placement.panels[0].tpart == 1
    with pytest.raises(ConfigError, match="not in neighbouring tiles"):
        validate(segments, change(placement, 0, tpart=2))


def test_a_pass_that_reads_the_wrong_rows_is_found():
    segments, placement = make("sparsemap")
    with pytest.raises(ConfigError, match=r"no pass reads its row group"):
        validate(segments, change(placement, 0, steps=1))


def test_groups_that_the_drain_cannot_gather_are_found():
    segments, placement = make("sparsemap")
    coarse = dataclasses.replace(placement, params=placement.params.replace(chunk=4))
    with pytest.raises(ConfigError, match=r"2 blocks a group, chunk 4"):
        validate(segments, coarse)


ADC = {"readout": "adc", "adc_bits": 3, "adcs": 4}
ANALOG = PARAMS.replace(**ADC)


@pytest.mark.parametrize(
    ("strategy", "tree"),
    [("linear", "full"), ("sparsemap", "full"), ("densemap", "shared"), ("sparsemap", "shared")],
)
def test_real_placements_pass_on_analog_arrays(strategy, tree):
    segments, placement = make(strategy)
    params = ANALOG.replace(tree=tree, tiles=placement.params.tiles, chunk=placement.params.chunk)
    validate(segments, dataclasses.replace(placement, params=params))


def test_rows_that_are_on_for_two_blocks_are_found():
    """densemap puts other blocks into the same columns: all rows at once would add them up."""
    segments, placement = make("densemap")
    params = placement.params.replace(tree="full", **ADC)
    with pytest.raises(ConfigError, match=r"[ab]\.[RL] block .*: its row group . is on in a pass"):
        validate(segments, dataclasses.replace(placement, params=params))


@pytest.mark.parametrize(
    ("strategy", "tree"), [("linear", "full"), ("sparsemap", "full"), ("densemap", "shared")]
)
def test_rows_that_are_on_follow_from_the_strategy(strategy, tree):
    given = "shared" if tree == "full" else "full"
    params = ANALOG.replace(tree=given)
    assert suited(strategy, params).tree == tree
    assert suited(strategy, PARAMS.replace(tree=given)).tree == given  # digital: as it is
    if strategy == "densemap":
        with pytest.raises(ConfigError, match="tree: 'full' turns on all rows at once, densemap"):
            suited(strategy, params, frozenset({"tree"}))
    else:
        assert suited(strategy, params, frozenset({"tree"})).tree == given
