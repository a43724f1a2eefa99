import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mapper.picture import draw
from mapper.placement import place
from mapper.workload import shapes
from rtl.spec.params import Params
from tests.mapper import programs

SVG = "{http://www.w3.org/2000/svg}"
GPT2 = Params.load("gpt2-medium")


@pytest.mark.parametrize(
    ("strategy", "policy", "granules"),
    [("densemap", "pad", 1280), ("sparsemap", "pad", 1280), ("linear", "dense", 192 * 64)],
)
def test_every_granule_and_array_is_drawn_once(strategy, policy, granules):
    segments = shapes("gpt2-medium", [0], policy=policy)[0].segments
    placement = place(strategy, segments, GPT2)
    root = ElementTree.fromstring(draw(segments, placement))
    cells = [
        c for path in root.iter(f"{SVG}path") for c in re.findall(r"M(\d+ \d+)", path.get("d"))
    ]
    assert len(cells) == len(set(cells)) == granules
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert str(placement.params.tiles - 1) in texts
    assert any(t.startswith("ffn1 ") for t in texts)


def test_nothing_is_drawn_outside():
    segments = shapes("gpt2-medium", [0], policy="pad")[0].segments
    root = ElementTree.fromstring(draw(segments, place("sparsemap", segments, GPT2)))
    width, height = int(root.get("width")), int(root.get("height"))
    for path in root.iter(f"{SVG}path"):
        for x, y in re.findall(r"M(\d+) (\d+)", path.get("d")):
            assert int(x) + 12 <= width and int(y) + 12 <= height


def test_names_are_escaped():
    rng = np.random.default_rng(0)
    params = Params(rows=16, cols=16, granule=4, lanes=8)
    matrix = programs.monarch(rng, params, "<a&b>", 2, 2, 4, 4)
    segments = programs.workload(rng, params, {"s": [matrix]}).segments
    root = ElementTree.fromstring(draw(segments, place("densemap", segments, params)))
    assert any(t.text.startswith("<a&b> ") for t in root.iter(f"{SVG}text"))
