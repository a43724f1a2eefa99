"""Runs the tests of tb_bus.py on a top with a bus."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from firmware.image import Image
from gen.emit import emit
from rtl.spec.params import Params
from tests.cosim.bench import Bench
from tests.cosim.bus_host import Job

TESTS = len(re.findall(r"@cocotb\.test", (Path(__file__).parent / "tb_bus.py").read_text()))


def image_jobs(image: Image) -> tuple[Job, Job]:
    """What loads an image, and its program."""
    return (
        Job(image.boot, image.boot_input, np.zeros(0, np.uint32)),
        Job(image.program, image.input, image.output, image.length, image.cycles),
    )


def run_on_bus(
    bench: Bench,
    simulator: str,
    bus: str,
    params: Params,
    rounds: dict[int, Sequence[Job]],
    *,
    bursts: int = 4,
    seed: int = 1,
    only: Sequence[str] = (),
) -> None:
    """All tests, or `only` some by name. `rounds` has the jobs of each round: 0 and 1 by stream, 2 and 3 by DMA."""
    top = bus.partition("-")[0]
    texts = emit(params, "behavioural", top)
    arrays = {
        f"{number}.{job}.{name}": value
        for number, jobs in rounds.items()
        for job, each in enumerate(jobs)
        for name, value in asdict(each).items()
    }
    np.savez(bench.directory / "jobs.npz", **arrays)
    ran = bench.run(
        simulator,
        f"blockcim_{top}",
        "tests.cosim.tb_bus",
        {n: text for n, text in texts.items() if n.endswith(".v") and n != "blockcim_sim.v"},
        {
            "BUS": bus,
            "BUS_PARAMS": json.dumps(params.as_dict()),
            "BUS_JOBS": str(bench.directory / "jobs.npz"),
            "BUS_SEED": str(seed),
            "BUS_BURSTS": str(bursts),
            "COCOTB_LOG_LEVEL": "WARNING",
        },
        only=only,
    )
    assert len({name.split("/")[0] for name in ran}) == (len(only) or TESTS)
