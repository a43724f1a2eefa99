"""The peripheral on AXI and Wishbone, on Icarus and Verilator: registers, programs, bursts, rates, faults."""

import numpy as np
import pytest

from firmware.image import pack
from mapper.compile import Compiler
from mapper.program import pack_elements
from rtl.spec.params import Params
from sim.execute import boot_program
from sim.iss import Iss
from sim.random_program import random_program
from tests.cosim.bench import Bench
from tests.cosim.bus_bench import image_jobs, run_on_bus
from tests.cosim.bus_host import Job, assemble
from tests.mapper.programs import monarch, workload

TINY = Params.load("tiny").replace(tiles=1, act_depth=64, const_depth=32, prog_depth=512)
#: Bits of a beat: half a buffer word of one 32-bit word, or a whole one of two.
WIDTHS = {"axi": 32, "wishbone": 64, "wishbone-classic": 32}
SEED = 1
#: What a classic Wishbone master is tried with.
CLASSIC = ["capabilities", "access_rights", "back_to_back", "jobs_by_stream", "by_register"]


def words(elements: np.ndarray, params: Params) -> np.ndarray:
    """Buffer words as 32-bit words, low first."""
    return pack_elements(elements, params).reshape(-1).view("<u4")


def random_job(iss: Iss, seed: int) -> Job:
    """A random program, which loads weights and constants itself, and what the ISS says of it."""
    params = iss.p
    code = random_program(params, seed, size=60)
    want = iss.run(code.words, code.inputs, code.after, length=code.length)
    assert want.error == 0 and len(want.outputs)
    return Job(
        assemble(code.words, params),
        words(code.inputs, params),
        words(want.outputs, params),
        code.length,
        want.cycles,
    )


def layer_jobs(iss: Iss, seed: int) -> tuple[Job, Job]:
    """A compiled layer: the program that loads it through the front door, and itself, equal to the golden model."""
    params, rng = iss.p, np.random.default_rng(seed)
    work = workload(rng, params, {"a": [monarch(rng, params, "m", 4, 4, 4, 4)]}, tokens=4)
    program = Compiler("densemap", params).compile(work)
    for code, stream in (boot_program(program, front_door=True), (program.words, program.inputs)):
        iss.run(code, stream)
    return image_jobs(pack(program))


def rounds_of_jobs(params: Params, seed: int) -> dict[int, tuple[Job, ...]]:
    """Four rounds: a random program, the loading of a layer, the layer. What memories hold is kept between them."""
    iss = Iss(params)
    return {n: (random_job(iss, 100 * seed + n), *layer_jobs(iss, seed + n)) for n in range(4)}


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """`bench(simulator, bus, bursts)`: all tests of a bus, or `only` some."""

    def run(simulator: str, bus: str, bursts: int, only=()) -> None:
        params = TINY.replace(stream_width=WIDTHS[bus])
        rounds = rounds_of_jobs(params, SEED)
        made = Bench(tmp_path, monkeypatch)
        run_on_bus(made, simulator, bus, params, rounds, bursts=bursts, seed=SEED, only=only)

    return run


@pytest.mark.icarus
@pytest.mark.parametrize("bus", ["axi", "wishbone"])
def test_peripheral_on_icarus(bench, bus):
    bench("icarus", bus, bursts=1000)


@pytest.mark.icarus
def test_classic_master_on_icarus(bench):
    bench("icarus", "wishbone-classic", bursts=100, only=CLASSIC)


@pytest.mark.verilator
@pytest.mark.parametrize("bus", ["axi", "wishbone"])
def test_peripheral_on_verilator(bench, bus):
    bench("verilator", bus, bursts=1000)
