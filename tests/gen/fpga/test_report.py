"""Reports of nextpnr: what is read from them, and what a build says."""

import json

import pytest

from gen.fpga import report
from rtl.spec.params import ConfigError


def step(kind: str, start: str, end: str, delay: float) -> dict:
    return {"type": kind, "from": {"cell": start}, "to": {"cell": end}, "delay": delay}


def sample() -> dict:
    """A report as nextpnr writes it, cut down."""
    return {
        "fmax": {
            "$glbnet$clk_core": {"achieved": 81.25, "constraint": 80.0},
            "clk25_0__io": {"achieved": 300.0, "constraint": 25.0},
        },
        "critical_paths": [
            {"from": "<async>", "to": "posedge $glbnet$clk_core", "path": []},
            {
                "from": "posedge $glbnet$clk_core",
                "to": "posedge $glbnet$clk_core",
                "path": [
                    step("clk-to-q", "a", "a", 0.523),
                    step("routing", "a", "b", 1.0),
                    step("setup", "b", "b", 0.1),
                ],
            },
        ],
        "utilization": {
            "TRELLIS_COMB": {"used": 6000, "available": 24288},
            "DP16KD": {"used": 14, "available": 56},
            "EHXPLLL": {"used": 0, "available": 0},
        },
    }


def test_timing_is_of_the_clock_that_is_closest_to_its_constraint():
    found = report.timing(sample())
    assert found["clock"] == "$glbnet$clk_core"
    assert (found["fmax_mhz"], found["constraint_mhz"], found["met"]) == (81.25, 80.0, True)
    assert [s["ns"] for s in found["path"]] == [0.52, 1.0, 0.1]
    assert found["path"][1] == {"type": "routing", "from": "a", "to": "b", "ns": 1.0}


def test_a_clock_below_its_constraint_is_not_met():
    text = sample()
    text["fmax"]["clk25_0__io"]["achieved"] = 24.9
    found = report.timing(text)
    assert (found["clock"], found["met"], found["path"]) == ("clk25_0__io", False, [])


def test_report_without_clock_is_refused():
    with pytest.raises(ConfigError, match=r"here: names no clock"):
        report.timing({"fmax": {}}, "here")


def test_utilisation_names_what_the_device_has():
    assert report.utilisation(sample(), "ecp5") == {
        "LUTs": {"used": 6000, "available": 24288, "percent": 24.7},
        "block RAMs": {"used": 14, "available": 56, "percent": 25.0},
    }


def test_missing_and_damaged_report_files(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.json: .*No such file"):
        report.load(tmp_path / "no.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ConfigError, match=r"bad\.json: "):
        report.load(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ("Info: x\nERROR: Unable to place cell 'a', no BELs remaining\nERROR: y\n", "Unable to"),
        ("all good\n", ""),
        ("an ERROR: in the middle of a line\n", ""),
    ],
)
def test_first_error_of_a_log(log, found):
    assert report.first_error(log).startswith(found)
    assert bool(report.first_error(log)) == bool(found)


def test_table_says_what_counts():
    result = {
        "board": "ulx3s",
        "title": "a board",
        "device": "12f",
        "preset": "ulx3s",
        "params": {"rows": 16, "cols": 16, "granule": 4, "lanes": 4},
        **report.timing(sample()),
        "utilisation": report.utilisation(sample(), "ecp5"),
        "seconds": {"synthesis": 30.4},
        "bitstream": "build/top.bit",
        "bytes": 12345,
        "program": "openFPGALoader -b ulx3s build/top.bit",
    }
    text = report.table(json.loads(json.dumps(result)))
    assert "80 MHz wanted, 81.25 MHz reached: met" in text
    assert "6,000 of  24,288   24.7 %" in text
    assert "build/top.bit (12,345 bytes)" in text
    assert "NOT MET" in report.table(result | {"met": False})
