"""Builds a top with a bus, and runs the tests of tb_bus.py on it."""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from cocotb_test.simulator import run

from firmware.image import Image
from gen.emit import emit
from rtl.spec.params import ConfigError, Params
from sim.tools import find_icarus, find_verilator
from tests.cosim.bus_host import Job

FINDERS = {"icarus": find_icarus, "verilator": find_verilator}
#: Verilator: Python sees the ports of the top; the build matters more than the speed.
VERILATOR_ARGS = ["--no-public-flat-rw", "--no-timing", "-Wno-fatal", "-Wno-lint", "-Wno-style"]
VISIBLE = '`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n'
TESTS = len(re.findall(r"@cocotb\.test", (Path(__file__).parent / "tb_bus.py").read_text()))


def image_jobs(image: Image) -> tuple[Job, Job]:
    """What loads an image, and its program."""
    return (
        Job(image.boot, image.boot_input, np.zeros(0, np.uint32)),
        Job(image.program, image.input, image.output, image.length, image.cycles),
    )


class Bench:
    """Builds a top and runs every test of tb_bus.py on it."""

    def __init__(self, directory: Path, monkeypatch):
        self.directory, self.monkeypatch = directory, monkeypatch

    def run(
        self,
        simulator: str,
        bus: str,
        params: Params,
        rounds: dict[int, Sequence[Job]],
        *,
        bursts: int = 4,
        seed: int = 1,
        only: Sequence[str] = (),
    ) -> None:
        """`rounds` has the jobs of each round: 0 and 1 by stream, 2 and 3 by DMA; `only` names tests of tb_bus.py."""
        top = bus.partition("-")[0]
        settings = self._tool(simulator, f"blockcim_{top}")
        texts = emit(params, "behavioural", top)
        sources = [n for n in texts if n.endswith(".v") and n != "blockcim_sim.v"]
        for name in sources:
            (self.directory / name).write_text(texts[name])
        arrays = {
            f"{number}.{job}.{name}": value
            for number, jobs in rounds.items()
            for job, each in enumerate(jobs)
            for name, value in asdict(each).items()
        }
        np.savez(self.directory / "jobs.npz", **arrays)
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
            testcase="|".join(f"{name}$" for name in only) or None,  # a pattern
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
        assert len({case.get("name").split("/")[0] for case in ran}) == (len(only) or TESTS)

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
