"""Random co-simulation of both macro views against a numpy model, on Icarus and Verilator."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from cocotb_test.simulator import run

from rtl.spec.params import ConfigError, Params
from sim.tools import find_icarus, find_verilator
from tests.cosim.macro_pair import EMITTERS, pairs_verilog

FINDERS = {"icarus": find_icarus, "verilator": find_verilator}

SMALL = {"rows": 16, "cols": 16, "granule": 4, "lanes": 8}
#: Configurations by name.
CONFIGS = {
    "shared": SMALL,
    "full": SMALL | {"tree": "full"},
    "w2-a4": SMALL | {"weight_bits": 2, "act_bits": 4, "drain_ports": 2},
    "w4-dac2-full": SMALL | {"weight_bits": 4, "dac_bits": 2, "tree": "full", "rows": 8},
    "w2-dac4": SMALL | {"weight_bits": 2, "dac_bits": 4, "lanes": 16, "drain_ports": 2},
    "w4-a4-dac4-full": SMALL | {"weight_bits": 4, "act_bits": 4, "dac_bits": 4, "tree": "full"},
    "dac8-one-granule": {"rows": 12, "cols": 12, "granule": 12, "lanes": 12, "dac_bits": 8},
    "b6-full": {
        "rows": 18,
        "cols": 36,
        "granule": 6,
        "lanes": 12,
        "tree": "full",
        "drain_ports": 4,
    },
    "adc3-shared": SMALL | {"readout": "adc", "adc_bits": 3, "adcs": 4},
    "adc8-full": SMALL | {"readout": "adc", "adc_bits": 8, "adcs": 1, "tree": "full"},
    "adc1-w2-b6": {"rows": 18, "cols": 12, "granule": 6, "drain_ports": 2}
    | {"lanes": 12, "weight_bits": 2, "readout": "adc", "adc_bits": 1, "adcs": 5},
    "adc4-w4-full": SMALL
    | {"rows": 32, "weight_bits": 4, "tree": "full", "readout": "adc", "adc_bits": 4, "adcs": 16},
    "64x128": {"rows": 64, "cols": 128, "granule": 16, "lanes": 32},
    "128x64-full": {"rows": 128, "cols": 64, "granule": 32, "lanes": 64, "tree": "full"},
    "240x240-b24": {"rows": 240, "cols": 240, "granule": 24, "lanes": 24, "drain_ports": 2},
}
LARGE = ["64x128", "128x64-full", "240x240-b24"]

#: Verilator: the testbench only needs the ports of the top; a netlist of many equal modules compiles fast
#: when they stay modules. Lint has a test of its own, and generated netlists are full of unused bits.
VERILATOR_ARGS = [
    *("--no-public-flat-rw", "--no-timing", "-Wno-fatal", "-Wno-lint", "-Wno-style"),
    *("-fno-inline", "-fno-dfg", "-fno-gate"),
]
VISIBLE = '`verilator_config\npublic_flat_rw -module "pairs" -var "*"\n'


class Bench:
    """Runs the cocotb bench through cocotb-test in a directory of its own."""

    def __init__(self, directory, monkeypatch) -> None:
        self.directory = directory
        self.monkeypatch = monkeypatch

    def run(self, simulator: str, configs: list[str], seed: int, cycles: int) -> None:
        """Simulate both views of each configuration, and once more the first with weights by the back door."""
        pairs = [(Params.from_dict(CONFIGS[name]), tuple(EMITTERS), None) for name in configs]
        pairs.append((pairs[0][0], ("behavioural",), 2))
        size = 3 * max(params.rows * params.cols for params, _, _ in pairs)
        weights = self.directory / "weights.bin"
        weights.write_bytes(np.random.default_rng(seed).bytes(size))
        source = self.directory / "pairs.v"
        source.write_text(pairs_verilog([(params, views) for params, views, _ in pairs]))
        settings = self._tool(simulator)
        results = run(
            simulator,
            toplevel="pairs",
            module="tests.cosim.tb_macro",
            verilog_sources=[*settings.pop("first_sources"), str(source)],
            sim_build=str(self.directory / "sim"),
            timescale="1ns/1ns",
            plus_args=[f"+weights={weights}"],
            extra_env={
                "MACRO_PAIRS": json.dumps(
                    [
                        {"params": p.as_dict(), "views": views, "tile": tile}
                        for p, views, tile in pairs
                    ]
                ),
                "MACRO_WEIGHTS": str(weights),
                "MACRO_SEED": str(seed),
                "MACRO_CYCLES": str(cycles),
            },
            **settings,
        )
        # A bench that finds no test passes: count what ran.
        ran = [
            case for suite in ET.parse(results).iter("testsuite") for case in suite.iter("testcase")
        ]
        skipped = [case for case in ran if list(case.iter("skipped"))]
        assert len(ran) == len(pairs) and not skipped, f"ran {len(ran)} of {len(pairs)} tests"

    def _tool(self, simulator: str) -> dict:
        try:
            tool = FINDERS[simulator]()
        except ConfigError as error:
            pytest.skip(str(error))
        self.monkeypatch.delenv("SIM", raising=False)
        for name, value in tool.env.items():
            self.monkeypatch.setenv(name, value)
        if simulator == "icarus":
            return {"first_sources": []}
        visible = self.directory / "visible.vlt"
        visible.write_text(VISIBLE)
        make_args = ["-j2", "OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0"]
        return {
            "first_sources": [str(visible)],
            "extra_args": VERILATOR_ARGS,
            "make_args": make_args,
        }


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return Bench(tmp_path, monkeypatch)


@pytest.mark.icarus
@pytest.mark.parametrize("seed", [1], ids="seed{}".format)
@pytest.mark.parametrize("config", [name for name in CONFIGS if name not in LARGE])
def test_views_equal_model_on_icarus(bench, config, seed):
    analog = "readout" in CONFIGS[config]  # more cycles a step
    bench.run("icarus", [config], seed, cycles=1000 if analog else 200)


@pytest.mark.verilator
@pytest.mark.parametrize("seed", [2], ids="seed{}".format)
def test_views_equal_model_on_verilator(bench, seed):
    bench.run("verilator", ["w4-dac2-full", "shared", "w2-a4"], seed, cycles=500)


@pytest.mark.verilator
@pytest.mark.parametrize("seed", [4], ids="seed{}".format)
def test_analog_views_equal_model_on_verilator(bench, seed):
    """Steps of up to 64 pairs of planes, some of which wait for converters."""
    bench.run("verilator", ["adc3-shared", "adc4-w4-full", "adc1-w2-b6"], seed, cycles=2000)


@pytest.mark.slow
@pytest.mark.verilator
@pytest.mark.parametrize("seed", [3], ids="seed{}".format)
def test_large_arrays_equal_model_on_verilator(bench, seed):
    bench.run("verilator", LARGE, seed, cycles=200)
