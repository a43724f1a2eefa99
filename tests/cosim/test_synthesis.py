"""What synthesis sees, against the ISS: SYNTHESIS branches of the hand-written Verilog, and the netlist they give."""

import subprocess

import pytest

from gen.emit import emit
from rtl.spec.params import ConfigError, Params
from sim.netlist import FAMILIES, cell_models, netlist
from sim.tools import find_icarus
from sim.verify import run_random

#: One slot a word as on the boards, two slots, elements of four bits, granules that are no power of two.
CONFIGS = {
    "one-slot": {"rows": 8, "cols": 8, "granule": 4, "lanes": 4, "stream_width": 32},
    "two-slots": {"rows": 16, "cols": 16, "granule": 4, "lanes": 8, "tiles": 3},
    "act4": {"rows": 16, "cols": 16, "granule": 4, "lanes": 16, "act_bits": 4, "weight_bits": 4},
    "odd": {"rows": 12, "cols": 24, "granule": 6, "lanes": 12, "tiles": 2, "drain_ports": 2},
}
SMALL = {"act_depth": 64, "const_depth": 32, "prog_depth": 256}


def synthesised(params: Params, change: tuple[str, str, str] | None = None) -> dict[str, str]:
    """The Verilog as a synthesis tool reads it; `change` replaces a text in a file."""
    texts = emit(params, "structural")
    for name in ("requantise", "gather", "window", "packer"):
        texts[f"blockcim_{name}.v"] = "`define SYNTHESIS\n" + texts[f"blockcim_{name}.v"]
    if change:
        name, good, bad = change
        assert good in texts[name]
        texts[name] = texts[name].replace(good, bad)
    return texts


@pytest.mark.icarus
@pytest.mark.parametrize("name", CONFIGS)
def test_synthesis_branches_equal_the_iss(need, name):
    params = Params.from_dict(SMALL | CONFIGS[name])
    texts = synthesised(params)
    for seed in range(2):
        result = run_random(params, need("icarus"), seed, stalls=seed == 1, texts=texts, size=80)
        assert result.good, f"seed {seed}: {result.detail}"


@pytest.mark.icarus
@pytest.mark.parametrize(
    "change",
    [
        ("blockcim_requantise.v", "beyond = beyond | (above != 0)", "beyond = beyond"),
        ("blockcim_requantise.v", "sum[31] ? -{2'b0, mult}", "1'b0 ? -{2'b0, mult}"),
        ("blockcim_gather.v", "? total :", "? next[i*32+:32] :"),
        ("blockcim_window.v", "if (head[s]) turned", "if (head[s] && s) turned"),
        ("blockcim_packer.v", "if (e >= fill) line[e*ACT+:ACT] = 0", "if (e > fill) line[0] = 0"),
    ],
    ids=["clamp", "product", "bias", "ring", "packer"],
)
def test_planted_bug_shows(need, change):
    params = Params.from_dict(SMALL | CONFIGS["two-slots"])
    texts = synthesised(params, change)
    results = (
        run_random(params, need("icarus"), seed, stalls=False, texts=texts, size=120)
        for seed in range(3)
    )
    assert not all(result.good for result in results)


@pytest.mark.slow
@pytest.mark.icarus
def test_netlist_of_an_ice40_equals_the_iss(need, yosys):
    params = Params.from_dict(SMALL | CONFIGS["one-slot"])
    texts = netlist(params, "ice40")
    assert "SB_RAM40_4K" in texts["netlist.v"] and "SB_MAC16" in texts["netlist.v"]
    for seed in range(2):
        result = run_random(params, need("icarus"), seed, stalls=seed == 1, texts=texts, size=60)
        assert result.good, result.detail


@pytest.mark.icarus
@pytest.mark.parametrize("family", FAMILIES)
def test_cell_models_of_a_family(need, yosys, tmp_path, family):
    """Icarus takes them, together with a netlist (here an empty one)."""
    need("icarus")
    text = cell_models(yosys, family)
    assert ("module" in text) == (family != "generic")
    assert "`include" not in text
    files = [tmp_path / "netlist.v", tmp_path / "cells.v"]
    files[0].write_text("module blockcim_core;\nendmodule\n")
    files[1].write_text(text)
    command = [find_icarus().path, "-g2012", "-t", "null", "-s", "blockcim_core", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_wrong_family_and_missing_yosys(monkeypatch):
    with pytest.raises(
        ConfigError, match="family: 'xc7' is not one of generic, ice40, ecp5, gowin"
    ):
        netlist(Params(), "xc7")
    with pytest.raises(ConfigError, match="cores: 2, a netlist is of one core"):
        netlist(Params(cores=2))
    monkeypatch.setenv("YOSYS", "no-such-yosys")
    with pytest.raises(ConfigError, match=r"no-such-yosys is missing: pip install"):
        netlist(Params())
