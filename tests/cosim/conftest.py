"""Simulators of the co-simulation tests: a missing one skips its tests and says what to install."""

import json

import pytest

from gen.emit import line_simulation
from rtl.spec.params import ConfigError
from sim.netlist import find_yosys
from sim.runner import build, simulate
from sim.tools import find_icarus, find_verilator

#: Of the simulated serial line: clock cycles of a bit, bits after which the bridge forgets what it has heard.
DIVISOR, IDLE_BITS = 8, 64

_FIND = {"icarus": find_icarus, "verilator": find_verilator}


@pytest.fixture
def need():
    """`need("icarus")`: skip unless the simulator is there."""

    def check(simulator: str) -> str:
        try:
            _FIND[simulator]()
        except ConfigError as error:
            pytest.skip(str(error))
        return simulator

    return check


@pytest.fixture
def serial(tmp_path, monkeypatch):
    """`serial(simulator, image, params, noise, seed)`: what the driver found (tests/cosim/tb_serial.py)."""

    def run(simulator, image, params, noise=0, seed=0) -> dict:
        texts = line_simulation(params, "serial", DIVISOR, idle_bits=IDLE_BITS)
        where = build(params, simulator, texts=texts, public=("running", "rx", "tx"), quick=True)
        (tmp_path / "image").write_bytes(image.to_bytes())
        for name, value in {
            "IMAGE": tmp_path / "image",
            "BIT": DIVISOR,
            "IDLE": IDLE_BITS,
            "NOISE": noise,
            "SEED": seed,
            "RESULT": tmp_path / "result",
        }.items():
            monkeypatch.setenv(f"SERIAL_{name}", str(value))
        simulate(simulator, where, tmp_path, [], module="tests.cosim.tb_serial")
        return json.loads((tmp_path / "result").read_text())

    return run


@pytest.fixture
def yosys():
    try:
        return find_yosys()
    except ConfigError as error:
        pytest.skip(str(error))
