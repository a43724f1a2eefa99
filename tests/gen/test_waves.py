"""Timing diagrams: shapes of waves, and the committed ones are what the simulations give now."""

import runpy
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from gen.waves import CYCLE, WAVE, Wave, picture
from rtl.spec.params import ConfigError
from sim.tools import find_icarus

DOCS = Path(__file__).parents[2] / "docs"


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text")]


def test_names_values_and_runs():
    svg = picture({"go": Wave(1, [0, 1, 1]), "data": Wave(8, [None, 0xA5, 0xA5])}, "a < b")
    assert texts(svg) == ["clk", "go", "data", "a5"]
    assert "<title>a &lt; b</title>" in svg
    assert svg.count(f"v{-WAVE}h{CYCLE // 2}v{WAVE}") == 3


def test_a_long_value_is_shortened():
    assert texts(picture({"d": Wave(64, [0x123456789ABCDEF0])}, ""))[-1] == "123456…"


def test_vcd_is_sampled_before_each_edge():
    vcd = runpy.run_path(str(DOCS / "pictures.py"))["vcd"]
    text = """$scope module top $end
$var reg 1 ! clk $end
$var reg 4 " d $end
$scope module inner $end
$var reg 1 # hidden $end
$upscope $end
$upscope $end
$enddefinitions $end
#0
0!
bx "
#5
1!
b1010 "
#7
b11 "
#10
0!
#15
1!
"""
    assert vcd(text) == {"clk": Wave(1, [0, 0]), "d": Wave(4, [None, 3])}


@pytest.mark.icarus
def test_committed_pictures_are_current():
    """Otherwise: python -m docs.pictures."""
    try:
        find_icarus()
    except ConfigError as error:
        pytest.skip(str(error))
    for name, text in runpy.run_path(str(DOCS / "pictures.py"))["pictures"]().items():
        assert (DOCS / name).read_text() == text, name
