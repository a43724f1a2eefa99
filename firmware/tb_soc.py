"""The cocotb test of the SoC: the CPU does everything, Python waits for the end."""

import cocotb
from cocotb.triggers import RisingEdge


@cocotb.test()
async def demo(dut) -> None:
    """Wait for the last line on the UART, or the time-out of the simulation top."""
    await RisingEdge(dut.finished)
