"""Random co-simulation of both macro views against a numpy model, on Icarus and Verilator."""

import json

import numpy as np
import pytest

from rtl.spec.params import Params
from tests.cosim.bench import Bench
from tests.cosim.macro_pair import EMITTERS, pairs_verilog

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

#: A netlist of many equal modules compiles fast when they stay modules.
VERILATOR_ARGS = ["-fno-inline", "-fno-dfg", "-fno-gate"]


@pytest.fixture
def views(tmp_path, monkeypatch):
    """`views(simulator, configs, seed, cycles)`: both views of each, and the first with weights by the back door."""

    def run(simulator: str, configs: list[str], seed: int, cycles: int) -> None:
        pairs = [(Params.from_dict(CONFIGS[name]), tuple(EMITTERS), None) for name in configs]
        pairs.append((pairs[0][0], ("behavioural",), 2))
        size = 3 * max(params.rows * params.cols for params, _, _ in pairs)
        weights = tmp_path / "weights.bin"
        weights.write_bytes(np.random.default_rng(seed).bytes(size))
        about = [{"params": p.as_dict(), "views": views, "tile": tile} for p, views, tile in pairs]
        ran = Bench(tmp_path, monkeypatch).run(
            simulator,
            "pairs",
            "tests.cosim.tb_macro",
            {"pairs.v": pairs_verilog([(params, views) for params, views, _ in pairs])},
            {
                "MACRO_PAIRS": json.dumps(about),
                "MACRO_WEIGHTS": str(weights),
                "MACRO_SEED": str(seed),
                "MACRO_CYCLES": str(cycles),
            },
            verilator_args=VERILATOR_ARGS,
            plus_args=[f"+weights={weights}"],
        )
        assert len(ran) == len(pairs), ran

    return run


@pytest.mark.icarus
@pytest.mark.parametrize("seed", [1], ids="seed{}".format)
@pytest.mark.parametrize("config", [name for name in CONFIGS if name not in LARGE])
def test_views_equal_model_on_icarus(views, config, seed):
    analog = "readout" in CONFIGS[config]  # more cycles a step
    views("icarus", [config], seed, cycles=1000 if analog else 200)


@pytest.mark.verilator
@pytest.mark.parametrize("seed", [2], ids="seed{}".format)
def test_views_equal_model_on_verilator(views, seed):
    views("verilator", ["w4-dac2-full", "shared", "w2-a4"], seed, cycles=500)


@pytest.mark.verilator
@pytest.mark.parametrize("seed", [4], ids="seed{}".format)
def test_analog_views_equal_model_on_verilator(views, seed):
    """Steps of up to 64 pairs of planes, some of which wait for converters."""
    views("verilator", ["adc3-shared", "adc4-w4-full", "adc1-w2-b6"], seed, cycles=2000)


@pytest.mark.slow
@pytest.mark.verilator
@pytest.mark.parametrize("seed", [3], ids="seed{}".format)
def test_large_arrays_equal_model_on_verilator(views, seed):
    views("verilator", LARGE, seed, cycles=200)
