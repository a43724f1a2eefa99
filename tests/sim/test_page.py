"""report.html: self-contained, and its numbers are those of the report and the run."""

import json
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from mapper import program as program_files
from sim.cli import main
from sim.execute import run_iss
from sim.page import WIDTH, shares_bar, timeline
from sim.timeline import Recorder, Span, by_unit

from .test_timeline import cases

VOID = {"meta", "br", "img", "link"}


class Checked(HTMLParser):
    """Notes what a page refers to, and whether its tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.references, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.references += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def directory(tmp_path):
    ((program, _),) = cases(1)
    program_files.write(program, tmp_path / "p")
    return tmp_path / "p"


def test_page_is_whole_and_needs_nothing_else(directory, capsys):
    assert main(["report", str(directory)]) == 0
    assert "report.html" in capsys.readouterr().out
    page = Checked()
    page.feed((directory / "report.html").read_text())
    assert page.open == [] and page.references == []
    report = json.loads((directory / "report.json").read_text())
    assert f"{report['cycles_predicted']:,}" in page.text
    assert f"{report['utilization']:.1%}" in page.text


def test_page_says_what_a_token_costs(directory):
    assert main(["report", str(directory)]) == 0
    page = Checked()
    page.feed((directory / "report.html").read_text())
    report = json.loads((directory / "report.json").read_text())
    cost, tokens = report["cost"], report["tokens"]
    assert cost["table"] == "digital-sram"
    note = f"{cost['energy_nj'] / tokens:,.1f} nJ and {cost['time_ns'] / tokens:,.0f} ns a token"
    assert any(text.startswith(note) for text in page.text)
    for name, energy in cost["breakdown_nj"].items():
        if energy:
            assert name.replace("_", " ") in page.text
            assert f"{energy / cost['energy_nj']:.1%}" in page.text


def test_shares_fill_the_bar_in_order():
    drawing = ElementTree.fromstring(shares_bar([("a", 0.5), ("b<", 0.3), ("c", 0.2)]))
    parts = [e for e in drawing.iter() if e.tag.endswith("rect")]
    assert [float(e.get("width")) for e in parts] == [WIDTH * share for share in (0.5, 0.3, 0.2)]
    assert [float(e.get("x")) for e in parts] == [0, WIDTH * 0.5, WIDTH * 0.8]


def test_timeline_has_a_row_for_each_unit(directory):
    program = program_files.load(directory)
    result = run_iss(program, timing=Recorder)
    drawing = ElementTree.fromstring(timeline(result.spans, result.cycles))
    texts = [e.text for e in drawing.iter() if e.tag.endswith("text")]
    units = list(by_unit(result.spans))
    assert texts[: len(units)] == units and texts[-1] == f"{result.cycles:,}"


def test_neighbours_are_drawn_as_one():
    spans = [Span("load", "LOAD", n, n + 1, n) for n in range(10_000)]
    assert timeline(spans, 10_000).count("v10h") == 1
    spread = [Span("load", "LOAD", n, n + 1, n) for n in range(0, 100, 10)]
    assert timeline(spread, 100).count("v10h") == 10


def test_damaged_directory(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not list(tmp_path.iterdir())
