"""The cost of a configuration is what `compile` reports, summed over the layers."""

import dataclasses

import pytest

from mapper.cli import main
from mapper.program import load
from mapper.sweep import cost, grid


def one(**axes):
    (found,) = grid.expand(grid.parse({"model": ["gpt2-medium"], **axes}))
    return found


@pytest.mark.parametrize(
    ("strategy", "arrays"), [("linear", 4608), ("sparsemap", 2304), ("densemap", 480)]
)
def test_all_layers_of_gpt2_medium(strategy, arrays, tmp_path):
    found = cost.cost(one(strategy=[strategy]), grid.version())
    assert main(["compile", "gpt2-medium", "--strategy", strategy, "-o", str(tmp_path / "p")]) == 0
    layer = load(tmp_path / "p").report
    assert found["error"] is None and found["final"] and not found["stale"]
    assert found["arrays"] == found["area"] == arrays == 24 * layer["arrays"]
    assert found["cycles_per_token"] == 24 * layer["cycles_predicted"]
    assert found["latency_bound"] == 24 * layer["latency_bound"]
    assert found["array_cycles"] == found["area_cycles"] == 24 * layer["array_cycles"]
    assert found["utilization"] == pytest.approx(layer["utilization"])


def test_several_tokens_with_the_barriers_of_real_weights(tmp_path):
    """MiniLM's attention waits for the whole sentence, in a sweep as in `compile`."""
    options = [
        "--strategy",
        "densemap",
        "--tokens",
        "4",
        "--layers",
        "0",
        "-o",
        str(tmp_path / "p"),
    ]
    assert main(["compile", "minilm", *options]) == 0
    (made,) = grid.expand(
        grid.parse({"model": ["minilm"], "strategy": ["densemap"], "tokens": ["4"]}), [0]
    )
    found = cost.cost(made, grid.version())
    assert found["cycles_per_token"] == load(tmp_path / "p").report["cycles_predicted"] / 4


def test_layers_of_two_kinds():
    axes = grid.parse({"model": ["bart-large"], "strategy": ["densemap"]})
    (both,) = grid.expand(axes)
    assert cost.cost(both, grid.version())["arrays"] == 12 * 20 + 12 * 24
    (two,) = grid.expand(axes, [11, 12])
    assert cost.cost(two, grid.version())["arrays"] == 44


def test_area_counts_small_arrays_as_parts_of_large_ones():
    found = cost.cost(one(strategy=["densemap"], array=["128"]), grid.version())
    assert found["arrays"] == 4 * 480 and found["area"] == 480
    assert found["area_cycles"] == found["array_cycles"] / 4


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"tiles": ["7"]}, "tiles: 7 arrays are too few, densemap needs 20 (13 missing)"),
        ({"lanes": ["512"]}, "lanes: 512 is above the limit cols = 256"),
        ({"granule": ["24"]}, "granule: 24 does not divide rows = 256"),
        ({"tokens": ["0"]}, "tokens: 0 must be at least 1"),
        ({"blocks": ["3"]}, "q: k = 3 does not divide n_in = 1024"),
    ],
)
def test_what_does_not_work_is_a_line(axes, message):
    found = cost.cost(one(strategy=["densemap"], **axes), grid.version())
    assert found["error"] == message and found["final"]


def test_factors_and_unknown_layers_are_lines_too():
    (made,) = grid.expand(grid.parse({"model": ["minilm-4x"], "strategy": ["densemap"]}))
    assert "factors have patterns of their own" in cost.cost(made, grid.version())["error"]
    (made,) = grid.expand(grid.parse({"model": ["minilm"], "strategy": ["linear"]}), [99])
    assert "layers: 99 is outside 0..5" in cost.cost(made, grid.version())["error"]


def test_a_mistake_of_ours_is_a_line_that_is_not_kept(monkeypatch):
    def broken(configuration):
        raise ZeroDivisionError("first line\nsecond")

    monkeypatch.setattr(cost, "_total", broken)
    found = cost.cost(one(strategy=["linear"]), grid.version())
    assert found["error"] == "ZeroDivisionError: first line" and not found["final"]


def test_other_sources_refuse():
    found = cost.cost(one(strategy=["linear"]), "other")
    assert found["stale"] and not found["final"] and "another version" in found["error"]


def test_nothing_but_what_counts_is_in_a_key():
    made = one(strategy=["densemap"])
    assert made.key("v") != dataclasses.replace(made, seed=1).key("v")
