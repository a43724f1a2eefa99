"""The bundle as a FuseSoC core: it lints, its self-test passes on Icarus and Verilator, and a wrong core fails it."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gen import fusesoc, selftest
from gen.cli import TOPS, generate
from rtl.spec.params import ConfigError, Params
from sim.tools import find_icarus, find_verilator

TINY = Params.load("tiny")
CONFIGS = {
    "tiny": TINY,
    "adc": TINY.replace(tiles=2, tree="full", readout="adc", adc_bits=3, adcs=3, stream_width=16),
    "chip": TINY.replace(tiles=2, cores=2, act_bits=4),
    "axi": TINY.replace(tiles=1),
    "wishbone": TINY.replace(tiles=1, stream_width=32),
}

needs_fusesoc = pytest.mark.skipif(
    importlib.util.find_spec("fusesoc") is None, reason="pip install fusesoc"
)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bundles")
    for name, params in CONFIGS.items():
        generate(params, "both", root / name, name if name in TOPS else "core")
    return {name: root / name for name in CONFIGS}


def fusesoc_run(bundle: Path, target: str, find, work: Path) -> subprocess.CompletedProcess:
    """`fusesoc run --target TARGET blockcim` in an empty folder, away from the user's own cores."""
    try:
        tool = find()
    except ConfigError as error:
        pytest.skip(str(error))
    path = os.pathsep.join([tool.environ()["PATH"], str(Path(sys.executable).parent)])
    environment = {**tool.environ(), "PATH": path, "HOME": str(work), "XDG_CONFIG_HOME": str(work)}
    command = [sys.executable, "-m", "fusesoc.main", "--cores-root", str(bundle)]
    return subprocess.run(
        [*command, "run", "--target", target, "blockcim"],
        cwd=work,
        env=environment | {"XDG_DATA_HOME": str(work), "XDG_CACHE_HOME": str(work)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.verilator
@needs_fusesoc
@pytest.mark.parametrize("name", CONFIGS)
def test_lint(bundles, name, tmp_path):
    done = fusesoc_run(bundles[name], "lint", find_verilator, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    options = next(tmp_path.rglob("*.vc")).read_text()
    top = f"blockcim_{name}" if (bundles[name] / f"blockcim_{name}.v").exists() else "blockcim_core"
    assert "--lint-only" in options and f"--top-module {top}\n" in options


@pytest.mark.icarus
@needs_fusesoc
@pytest.mark.parametrize("name", ["tiny", "adc", "chip"])
def test_selftest_on_icarus(bundles, name, tmp_path):
    done = fusesoc_run(bundles[name], "sim", find_icarus, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "selftest: PASSED" in done.stdout


@pytest.mark.verilator
@needs_fusesoc
def test_selftest_on_verilator(bundles, tmp_path):
    done = fusesoc_run(bundles["tiny"], "sim_verilator", find_verilator, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "selftest: PASSED" in done.stdout


@pytest.mark.icarus
@needs_fusesoc
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("blockcim_requantise.v", "rounded[i] >> 1", "rounded[i] >> 2"),
        (selftest.FILE, "localparam OUTPUTS = 3", "localparam OUTPUTS = 4"),
        (selftest.FILE, f"32'h{TINY.config_hash:08x}", "32'h00000001"),
    ],
)
def test_selftest_goes_red(bundles, file, old, new, tmp_path):
    bundle, work = tmp_path / "bundle", tmp_path / "work"
    work.mkdir()
    for path in bundles["tiny"].rglob("*"):
        if path.is_file():
            text = path.read_text()
            if path.relative_to(bundles["tiny"]).as_posix() == file:
                assert old in text
                text = text.replace(old, new)
            copy = bundle / path.relative_to(bundles["tiny"])
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text)
    done = fusesoc_run(bundle, "sim", find_icarus, work)
    assert done.returncode != 0
    assert "selftest: FAILED" in done.stdout + done.stderr


@pytest.mark.parametrize("view", ["structural", "behavioural", "both"])
def test_every_hardware_file_is_in_a_file_set(view):
    views = ("structural", "behavioural") if view == "both" else (view,)
    names = ["blockcim_core.v", "blockcim_tile.v", *(f"blockcim_macro_{v}.v" for v in views)]
    text = fusesoc.core_file(TINY, view, [*names, "blockcim_sim.v", "lint.vlt"])
    assert text.startswith("CAPI=2:\n")
    assert re.findall(r"^      - (.*)$", text, re.M) == [*names, "lint.vlt", selftest.FILE]
    assert f"filesets: [rtl, {views[0]}]" in text
    assert f"filesets: [waivers, rtl, {views[-1]}, testbench]" in text
