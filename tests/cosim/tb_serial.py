"""cocotb bench: the host driver talks to a simulated core over a simulated serial line.

Environment: `SERIAL_IMAGE`, image file; `SERIAL_BIT`, clock cycles of a bit; `SERIAL_IDLE`, the bridge's `idle_bits`;
`SERIAL_NOISE`, one in how many bits is wrong (0: none), `SERIAL_SEED`; `SERIAL_RESULT`, file for what the driver found.
"""

import json
import os
import random
from pathlib import Path

import cocotb
from cocotb.task import bridge, resume
from cocotb.triggers import Event, FallingEdge, First, RisingEdge, Timer

from firmware.host import Device, Link, LinkError
from firmware.image import load

CYCLE = 10  # ns
BIT = int(os.environ["SERIAL_BIT"]) * CYCLE
IDLE = int(os.environ["SERIAL_IDLE"])


class Line:
    """The port of the driver: bits on `rx` and `tx` of the simulation top, by time; some of them wrong."""

    def __init__(self, dut, noise: int, seed: int):
        self.dut, self.noise, self.rng = dut, noise, random.Random(seed)
        self.received, self.arrived, self.time_out = bytearray(), Event(), 3 * IDLE * BIT

    def _wrong(self) -> int:
        return self.noise and self.rng.randrange(self.noise) == 0

    async def send(self, data: bytes) -> None:
        for byte in data:
            for level in (0, *(byte >> i & 1 for i in range(8)), 1):
                self.dut.rx.value = level ^ self._wrong()
                await Timer(BIT, "ns")
            self.dut.rx.value = 1

    async def listen(self) -> None:
        while True:
            await FallingEdge(self.dut.tx)
            await Timer(BIT // 2, "ns")
            byte = 0
            for i in range(8):
                await Timer(BIT, "ns")
                byte |= (int(self.dut.tx.value) ^ self._wrong()) << i
            await Timer(BIT, "ns")
            self.received.append(byte)
            self.arrived.set()

    async def wait(self, size: int) -> None:
        """Until there are `size` bytes, or none has come for the time-out."""
        while (seen := len(self.received)) < size:
            self.arrived.clear()
            await First(self.arrived.wait(), Timer(self.time_out, "ns"))
            if len(self.received) == seen:
                return

    # What `firmware.host.Port` says, from the thread of the driver.

    def write(self, data: bytes) -> None:
        resume(self.send)(data)

    def read(self, size: int) -> bytes:
        resume(self.wait)(size)
        data = bytes(self.received[:size])
        del self.received[:size]
        return data

    def reset_input_buffer(self) -> None:
        self.received.clear()


def drive(line: Line, image) -> dict:
    """What a user does: probe, boot, run, twice, read counters, compare.

    Where the noise is too much, it ends when the driver has given up.
    """
    link = Link(line)
    device = Device(link)
    gave_up = ""
    try:
        found = device.probe()
    except LinkError as error:
        gave_up, line.noise = str(error), 0
        found = device.probe()
    device.boot(image)
    outputs = [device.run(image), device.run(image)]
    expected = image.output.tolist()
    wrong = [sum(a != b for a, b in zip(o, expected, strict=True)) for o in outputs]
    refused = ""
    try:
        link.read(0x100, 1)
    except LinkError as error:
        refused = str(error)
    return {
        "gave_up": gave_up,
        "found": found,
        "wrong": wrong,
        "counters": device.counters(),
        "refused": refused,
        "repeated": link.repeated,
    }


@cocotb.test()
async def host(dut) -> None:
    """Writes what the driver found, or the error that it gave up with."""
    line = Line(dut, int(os.environ["SERIAL_NOISE"]), int(os.environ["SERIAL_SEED"]))
    await RisingEdge(dut.running)
    cocotb.start_soon(line.listen())
    result = await bridge(drive)(line, load(os.environ["SERIAL_IMAGE"]))
    Path(os.environ["SERIAL_RESULT"]).write_text(json.dumps(result))
