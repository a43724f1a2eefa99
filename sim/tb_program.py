"""The cocotb test of a whole program: the simulation top does the run, Python waits for its end."""

import cocotb
from cocotb.triggers import RisingEdge


@cocotb.test()
async def program(dut) -> None:
    """Wait until the run is finished; sim/runner.py checks what it left."""
    await RisingEdge(dut.finished)
