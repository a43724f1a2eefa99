"""A program through the serial line: the host driver, the bridge, the peripheral and the core, to equal outputs."""

import json

import pytest

from firmware.image import pack
from gen.emit import line_simulation
from mapper.compile import Compiler
from rtl.spec.params import ConfigError
from sim.fuzz import random_case
from sim.runner import build, simulate

DIVISOR = 8


def image_of(seed: int):
    """The image of a random layer, on a bus of 32 bits, and its parameters."""
    strategy, params, work = random_case(seed)
    program = Compiler(strategy, params.replace(stream_width=32), seed=seed).compile(work)
    return pack(program), program.params


@pytest.fixture
def serial(tmp_path, monkeypatch):
    """`serial(simulator, image, params, noise, seed)`: what the driver found (tests/cosim/tb_serial.py)."""

    def run(simulator, image, params, noise=0, seed=0) -> dict:
        where = build(
            params,
            simulator,
            texts=line_simulation(params, "serial", DIVISOR),
            public=("running", "rx", "tx"),
        )
        (tmp_path / "image").write_bytes(image.to_bytes())
        for name, value in {
            "IMAGE": tmp_path / "image",
            "BIT": DIVISOR,
            "NOISE": noise,
            "SEED": seed,
            "RESULT": tmp_path / "result",
        }.items():
            monkeypatch.setenv(f"SERIAL_{name}", str(value))
        simulate(simulator, where, tmp_path, [], module="tests.cosim.tb_serial")
        return json.loads((tmp_path / "result").read_text())

    return run


def check(result: dict, image, params) -> None:
    found, counters = result["found"], result["counters"]
    assert result["wrong"] == [0, 0]
    assert found["config_hash"] == params.config_hash
    assert (found["rows"], found["tiles"], found["prog"]) == (
        params.rows,
        params.tiles,
        params.prog_depth,
    )
    assert counters["CYCLES"] >= image.cycles > 0
    assert counters["ISSUED"] == len(image.program) // image.instruction
    assert result["refused"] == "bus: answers with an error: read of word 0 of 1 at 0x00000100"


@pytest.mark.verilator
@pytest.mark.parametrize("noise", [0, 20_000], ids="noise{}".format)
def test_host_runs_a_layer_over_the_line(need, serial, noise):
    """With noise: bits flip both ways, requests are repeated, and the outputs are the same."""
    image, params = image_of(1039)
    result = serial(need("verilator"), image, params, noise=noise, seed=1)
    check(result, image, params)
    assert (result["repeated"] > 0) == (noise > 0)


@pytest.mark.icarus
def test_host_runs_a_layer_on_icarus(need, serial):
    image, params = image_of(1030)
    check(serial(need("icarus"), image, params), image, params)


@pytest.mark.verilator
def test_a_line_of_noise_is_an_error_and_not_a_hang(need, serial):
    image, params = image_of(1039)
    with pytest.raises(ConfigError, match="the simulation failed"):
        serial(need("verilator"), image, params, noise=40)
