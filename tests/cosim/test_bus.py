"""The peripheral on AXI and Wishbone, on Icarus and Verilator: registers, programs, bursts, rates, faults."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from cocotb_test.simulator import run

from gen.emit import emit
from mapper.compile import Compiler
from mapper.program import pack_elements
from rtl.spec.params import ConfigError, Params
from sim.execute import boot_program, compare
from sim.iss import Iss
from sim.random_program import random_program
from sim.tools import find_icarus, find_verilator
from tests.cosim.bus_host import Job, assemble
from tests.mapper.programs import monarch, workload

FINDERS = {"icarus": find_icarus, "verilator": find_verilator}
TINY = Params.load("tiny").replace(tiles=2, act_depth=64, const_depth=32, prog_depth=512)
#: A bus, and the bits of its beats: half a buffer word of one 32-bit word, or a whole one of two.
BUSES = {"axi": ("axi", 32), "wishbone": ("wishbone", 64), "wishbone-classic": ("wishbone", 32)}
#: Verilator: Python sees the ports of the top; the build matters more than the speed.
VERILATOR_ARGS = ["--no-public-flat-rw", "--no-timing", "-Wno-fatal", "-Wno-lint", "-Wno-style"]
VISIBLE = '`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n'
TESTS = len(re.findall(r"@cocotb\.test", (Path(__file__).parent / "tb_bus.py").read_text()))


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
    work = workload(rng, params, {"a": [monarch(rng, params, "m", 2, 2, 4, 4)]}, tokens=3)
    program = Compiler("densemap", params).compile(work)
    assert not program.after.any()
    boot, stream = boot_program(program, front_door=True)
    iss.run(boot, stream)
    want = iss.run(program.instructions, program.inputs)
    checked, wrong, first = compare(program, want.outputs)
    assert checked and not wrong, first
    nothing = np.zeros(0, np.uint32)
    return (
        Job(assemble(boot, params), words(stream, params), nothing),
        Job(
            assemble(program.instructions, params),
            words(program.inputs, params),
            words(want.outputs, params),
            cycles=want.cycles,
        ),
    )


def rounds_of_jobs(params: Params, seed: int) -> dict[str, np.ndarray]:
    """Four rounds: a random program, the loading of a layer, the layer. What memories hold is kept between them."""
    iss, arrays = Iss(params), {}
    for number in range(4):
        jobs = random_job(iss, 100 * seed + number), *layer_jobs(iss, seed + number)
        for job, fields in enumerate(map(asdict, jobs)):
            arrays |= {f"{number}.{job}.{name}": value for name, value in fields.items()}
    return arrays


class Bench:
    """Builds a top and runs every test of tb_bus.py on it."""

    def __init__(self, directory: Path, monkeypatch):
        self.directory, self.monkeypatch = directory, monkeypatch

    def run(self, simulator: str, bus: str, bursts: int, seed: int = 1) -> None:
        top, width = BUSES[bus]
        params = TINY.replace(stream_width=width)
        settings = self._tool(simulator, f"blockcim_{top}")
        texts = emit(params, "behavioural", top)
        sources = [n for n in texts if n.endswith(".v") and n != "blockcim_sim.v"]
        for name in sources:
            (self.directory / name).write_text(texts[name])
        np.savez(self.directory / "jobs.npz", **rounds_of_jobs(params, seed))
        results = run(
            simulator,
            toplevel=f"blockcim_{top}",
            module="tests.cosim.tb_bus",
            verilog_sources=[
                *settings.pop("first_sources"),
                *(str(self.directory / name) for name in sources),
            ],
            sim_build=str(self.directory / "sim"),
            timescale="1ns/1ns",
            extra_env={
                "BUS": bus,
                "BUS_PARAMS": json.dumps(params.as_dict()),
                "BUS_JOBS": str(self.directory / "jobs.npz"),
                "BUS_SEED": str(seed),
                "BUS_BURSTS": str(bursts),
                "COCOTB_LOG_LEVEL": "WARNING",
            },
            **settings,
        )
        # A bench that finds no test passes: count what ran.
        ran = [
            case for case in ET.parse(results).iter("testcase") if not list(case.iter("skipped"))
        ]
        assert len({case.get("name").split("/")[0] for case in ran}) == TESTS

    def _tool(self, simulator: str, top: str) -> dict:
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
        visible.write_text(VISIBLE.format(top=top))
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
@pytest.mark.parametrize("bus", BUSES)
def test_peripheral_on_icarus(bench, bus):
    bench.run("icarus", bus, bursts=1000)


@pytest.mark.verilator
@pytest.mark.parametrize("bus", ["axi", "wishbone"])
def test_peripheral_on_verilator(bench, bus):
    bench.run("verilator", bus, bursts=1000)
