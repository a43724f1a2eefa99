"""The cocotb test of a whole program: the simulation top does the run, Python waits for its end."""

import time
from pathlib import Path

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge


@cocotb.test()
async def program(dut) -> None:
    """Wait until the run is finished, and say how long the program proper took; sim/runner.py checks the rest."""
    await RisingEdge(dut.running)
    start = time.perf_counter()
    await FallingEdge(dut.running)
    wall = time.perf_counter() - start
    await RisingEdge(dut.finished)
    Path(f"{cocotb.plusargs['results']}.wall").write_text(str(wall))
