"""Where cells are lost, counted; bounds on arrays and the greedy, held against an exhaustive search."""

import itertools
import json
import math

import numpy as np
import pytest

from mapper import fill, study
from mapper.cli import main
from mapper.layout import DensePanel
from mapper.placement import densemap, place
from mapper.program import load
from mapper.workload import shapes
from rtl.spec.params import ConfigError, Params
from tests.mapper import programs

#: G x H = 2 x 2 and 2 x 4 granules of 4 x 4.
TINY = {
    "2x2": Params(rows=8, cols=8, granule=4, lanes=4),
    "2x4": Params(rows=8, cols=16, granule=4, lanes=4),
}


def segments_of(params, *matrices):
    """One segment for each tuple of block counts (k, l), blocks of R with p inputs, of L with s outputs."""
    rng = np.random.default_rng(0)
    parts = {
        f"s{i}": [programs.monarch(rng, params, f"m{i}{j}", *m) for j, m in enumerate(each)]
        for i, each in enumerate(matrices)
    }
    return programs.workload(rng, params, parts).segments


def cells(placement):
    """Cells (tile, row group, column group) that hold a granule, from the placement itself."""
    found = set()
    for panel in placement.panels:
        if isinstance(panel, DensePanel):
            found |= {tuple(c) for c in panel.granules(placement.params).reshape(-1, 3).tolist()}
            continue
        for column in panel.columns:
            where = panel.granules(column, placement.params).reshape(-1, 3)
            found |= {tuple(c) for c in where.tolist()}
    return found


@pytest.mark.parametrize("strategy", ["linear", "sparsemap", "densemap"])
@pytest.mark.parametrize(("rows", "cols", "granule"), fill.ARRAYS)
@pytest.mark.parametrize("model", fill.MODELS_AT)
def test_granules_are_those_that_are_placed(strategy, rows, cols, granule, model):
    params = Params(rows=rows, cols=cols, granule=granule, lanes=granule * 4)
    policy = "dense" if strategy == "linear" else "rect"
    segments = shapes(model, [0], policy=policy)[0].segments
    try:
        placement = place(strategy, segments, params)
    except ConfigError as error:
        assert "exceeds the array" in str(error)
        return
    found = fill.of(segments, placement)
    if strategy == "linear":  # deals its outputs to all column groups of its arrays
        assert found.granules <= len(cells(placement))
    else:
        assert found.granules == len(cells(placement))
    assert found.arrays == placement.used_tiles >= found.strategy_bound >= found.arrays_bound
    shares = (found.lost_in_granules, found.lost_in_last_array, found.lost_by_placement)
    assert min(shares) >= 0 and found.fill + sum(shares) == pytest.approx(1)
    weights = sum(m.weights for s in segments for m in s.matrices)
    assert found.fill == pytest.approx(weights / (found.arrays * rows * cols))


def test_a_full_layer_loses_nothing():
    params = Params.load("gpt2-medium")
    segments = shapes("gpt2-medium", [0], policy="pad")[0].segments
    found = fill.of(segments, place("densemap", segments, params))
    assert (found.arrays, found.arrays_bound, found.cells_in_granules) == (20, 20, 1)
    assert found.why() == "lost: nothing"


def test_by_hand():
    # SmolLM2 with 24 blocks, q: R 24 blocks 24 x 24, L 24 blocks 24 x 24, a granule each.
    segment = shapes("smollm2", [0], policy="rect", k=24, l=24)[0].segments[0]
    assert fill.granules(segment.matrices[0], 32) == 48
    # Dense 576 x 576 at 32: 18 x 18.
    segment = shapes("smollm2", [0], policy="dense")[0].segments[0]
    assert fill.granules(segment.matrices[0], 32) == 18 * 18


def test_report_and_summary_say_where_cells_are_lost(tmp_path, capsys):
    options = ["compile", "gpt2-medium", "--strategy", "densemap", "--policy", "rect"]
    options += ["--rows", "128", "--cols", "512", "-o"]
    assert main([*options, str(tmp_path / "p")]) == 0
    assert "  its granules fill 9 arrays; lost: 43.8% by placement\n" in capsys.readouterr().out
    found = load(tmp_path / "p").report["fill"]
    assert found == {
        "cells_in_granules": 1,
        "granules": 576,
        "arrays": 16,
        "arrays_bound": 9,
        "strategy_bound": 9,
        "lost_in_granules": 0,
        "lost_in_last_array": 0,
        "lost_by_placement": 7 / 16,
    }
    assert (
        main(["compile", "gpt2-medium", "--strategy", "densemap", "-o", str(tmp_path / "q")]) == 0
    )
    assert "lost" not in capsys.readouterr().out


def test_table_of_the_study(tmp_path, capsys):
    assert main(["study", "--figures", "fill", "-o", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == len(fill.MODELS_AT) * len(fill.PATTERNS) * len(fill.ARRAYS)
    by = {(row["model"], row["what"]): row for row in rows}
    row = by["smollm2", "fill, rect 24, 192x192, granule 24"]
    assert row["ours"] == pytest.approx(0.828, abs=0.001)
    assert row["note"].startswith(
        "8 arrays, at least 8 by area, 8 with densemap's shapes; lost: 10.9% "
    )
    assert {row["figure"] for row in rows} == {"fill"} <= set(study.FIGURES)


# -- exhaustive ----------------------------------------------------------------------------------


def exists(segments, params, tiles):
    """Whether any choice of rectangles, at any places, can be built and ordered on this many arrays."""
    params = params.replace(tiles=tiles)
    for families in densemap._ways(segments, params, 1):
        choices = [list(densemap._options(f, params)) for f in families if f.role == "R"]
        for combination in itertools.product(*choices):
            items = [item for option in combination for item in option]
            band = math.gcd(*(item.blocks for item in items))
            heights = [range(0, params.row_groups // band, item.height // band) for item in items]
            for spots in itertools.product(
                *(itertools.product(range(tiles), height) for height in heights)
            ):
                panels = densemap._panels(items, list(spots), band, params)
                if panels is None:
                    continue
                placement = densemap.Placement("densemap", params, tuple(panels))
                if densemap.feasible(segments, placement):
                    return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("size", TINY)
@pytest.mark.parametrize(
    "matrices",
    [
        # Segments of matrices (k, l, p, s).
        [[(2, 2, 4, 4)]],
        [[(3, 3, 4, 4)]],
        [[(4, 2, 4, 4)]],
        [[(2, 2, 8, 4)]],
        [[(2, 2, 4, 8)]],
        [[(2, 2, 4, 4), (2, 2, 4, 4)]],
        [[(2, 2, 4, 4)], [(2, 2, 4, 4)]],
        [[(4, 4, 4, 4)], [(2, 2, 4, 4)]],
        [[(3, 3, 4, 4)], [(2, 2, 4, 8)]],
    ],
)
def test_the_greedy_takes_as_few_arrays_as_an_exhaustive_search(size, matrices):
    params = TINY[size]
    segments = segments_of(params, *matrices)
    placement = place("densemap", segments, params)
    found = fill.of(segments, placement)
    fewest = next(n for n in range(1, 9) if exists(segments, params, n))
    assert found.arrays == fewest >= found.strategy_bound >= found.arrays_bound
