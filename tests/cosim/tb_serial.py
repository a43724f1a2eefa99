"""cocotb bench: the host driver talks to a simulated core over a simulated serial line.

Environment: `SERIAL_IMAGE`, image file; `SERIAL_BIT`, clock cycles of a bit; `SERIAL_NOISE`, one in how many bits of the
line is wrong (0: none), `SERIAL_SEED`; `SERIAL_RESULT`, file for what the driver found, JSON.
"""

import json
import os
import random
from pathlib import Path

import cocotb
from cocotb.task import bridge, resume
from cocotb.triggers import FallingEdge, RisingEdge, Timer

from firmware.host import Device, Link, LinkError
from firmware.image import load

CYCLE = 10  # ns
BIT = int(os.environ["SERIAL_BIT"]) * CYCLE


class Line:
    """The port of the driver: bits on `rx` and `tx` of the simulation top, by time; some of them wrong."""

    def __init__(self, dut, noise: int, seed: int):
        self.dut, self.noise, self.rng = dut, noise, random.Random(seed)
        self.received, self.time_out = bytearray(), 600 * BIT

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
            assert self.dut.tx.value == 1
            self.received.append(byte)

    async def wait(self, size: int) -> None:
        """Until there are `size` bytes, or none has come for the time-out."""
        waited, seen = 0, len(self.received)
        while len(self.received) < size and waited < self.time_out:
            await Timer(5 * BIT, "ns")
            waited = 0 if len(self.received) > seen else waited + 5 * BIT
            seen = len(self.received)

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
    """What a user does: probe, boot, run, twice, read counters, compare."""
    link = Link(line)
    device = Device(link)
    found = device.probe()
    device.boot(image)
    outputs = [device.run(image), device.run(image)]
    wrong = [sum(a != b for a, b in zip(o, image.output, strict=True)) for o in outputs]
    refused = ""
    try:
        link.read(0x100, 1)
    except LinkError as error:
        refused = str(error)
    return {
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
