"""Axes and configurations of a sweep."""

import pytest

from mapper.sweep import grid
from rtl.spec.params import ConfigError


def expanded(**axes):
    return grid.expand(grid.parse({"model": ["gpt2-medium"], **axes}))


def test_every_combination_once_the_last_axis_fastest():
    found = expanded(strategy=["densemap"], rows=["128", "256"], lanes=["32", "64", "128"])
    hardware = [dict(c.hardware) for c in found]
    assert [(h["rows"], h["lanes"]) for h in hardware] == [
        *((128, 32), (128, 64), (128, 128)),
        *((256, 32), (256, 64), (256, 128)),
    ]
    assert {h["act_depth"] for h in hardware} == {4096}  # the model's preset
    assert {c.fixed for c in found} == {("lanes", "rows")}


def test_what_a_combination_does_not_use_makes_no_configuration_of_its_own():
    found = expanded(policy=["pad", "rect"], blocks=["16", "32"], rank=["1", "2"])
    by = {(c.strategy, c.policy): 0 for c in found}
    for c in found:
        by[c.strategy, c.policy] += 1
    assert by.pop(("linear", "dense")) == 1
    assert by == {
        (s, p): n for s in ("sparsemap", "densemap") for p, n in (("pad", 1), ("rect", 4))
    }
    assert len(expanded(lanes=["32", "32"], strategy=["linear", "linear"])) == 1


def test_block_counts_choose_a_policy_that_has_some():
    assert {c.policy for c in expanded(blocks=["8x16"], strategy=["densemap"])} == {"blocks"}
    assert {c.policy for c in expanded(rank=["2"], strategy=["densemap"])} == {"rect"}
    (one,) = expanded(blocks=["8x16"], strategy=["densemap"])
    assert (one.k, one.l, one.blocks, one.row()["blocks"]) == (8, 16, "8x16", "8x16")


def test_array_sizes():
    found = [dict(c.hardware) for c in expanded(array=["128", "128x512"], strategy=["linear"])]
    assert [(h["rows"], h["cols"]) for h in found] == [(128, 128), (128, 512)]


def test_a_file_has_the_same_axes(tmp_path):
    path = tmp_path / "axes.toml"
    path.write_text('model = "gpt2-medium"\narray = [128, "128x512"]\nact_bits = [4, 8]\n')
    assert len(grid.expand(grid.parse(grid.read_file(path)))) == 3 * 2 * 2


def test_a_hardware_file_is_a_limit_and_is_read_once(tmp_path):
    path = tmp_path / "chip.toml"
    path.write_text("lanes = 64\ntiles = 7\n")
    (one,) = expanded(config=[str(path)], strategy=["densemap"])
    path.unlink()
    assert {"tiles", "act_depth"} <= set(one.fixed) and dict(one.hardware)["tiles"] == 7
    assert len(one.key("v")) == 24


def test_keys_differ_with_everything_that_counts():
    one, two = expanded(strategy=["densemap", "sparsemap"])
    assert one.key("v") == expanded(strategy=["densemap"])[0].key("v")
    assert len({one.key("v"), two.key("v"), one.key("w")}) == 3
    assert len(grid.version()) == 16


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"strategy": ["best"]}, "strategy: 'best' is not one of linear"),
        ({"policy": ["dense"]}, "policy: 'dense' is not one of pad"),
        ({"lanes": ["many"]}, "lanes: 'many' is not an integer"),
        ({"array": ["1x2x3"]}, "array: '1x2x3' is neither N nor NxM"),
        ({"rows": [""]}, "rows: '' is not an integer"),
        ({"lanes": []}, "lanes: an axis needs a value"),
        ({"config": [""]}, "config: an axis needs a value"),
        ({"color": ["red"]}, "color: not an axis, only model"),
        ({"array": ["128"], "rows": ["128"]}, "array: stands for rows and cols"),
        ({"blocks": ["8"], "policy": ["pad"]}, "blocks: needs policy rect or blocks"),
        ({"model": ["no-such"]}, "model: 'no-such' is neither a checkpoint nor one of"),
        ({"model": []}, "model: an axis needs a value"),
        ({"config": ["no-such"]}, "config: 'no-such' is neither"),
    ],
)
def test_wrong_axes(axes, message):
    with pytest.raises(ConfigError, match=message):
        expanded(**axes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = [", "axes.toml: "),
        ("colour = 1", "axes.toml: colour: not an axis"),
        ("lanes = [true]", "axes.toml: lanes: values must be numbers or strings"),
        ("lanes = [1.5]", "axes.toml: lanes: values must be numbers or strings"),
        (None, "axes.toml: No such file"),
    ],
)
def test_wrong_files(tmp_path, text, message):
    path = tmp_path / "axes.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        grid.read_file(path)
    assert "\n" not in str(caught.value)
