"""A host on a bus: what a driver does, in the terms of the register map."""

from dataclasses import dataclass

import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiStreamBus, AxiStreamSink, AxiStreamSource

from rtl.spec import isa
from rtl.spec.params import Params
from rtl.spec.regmap import ON_BUS, Fault
from tests.cosim.bus_memory import Memory, registers

#: Bits of registers by "REGISTER.field".
BIT = {f"{r.name}.{n}": 1 << first for r in ON_BUS.values() for n, first, _, _ in r.bits}
SOURCE, SINK, CHECK = (BIT[f"MODE.{n}"] for n in ("source", "sink", "check_last"))
START, CLEAR, RESET = (BIT[f"CTRL.{n}"] for n in ("start", "clear", "reset"))
INPUT, OUTPUT, PROGRAM = (BIT[f"DMA_START.{n}"] for n in ("input", "output", "program"))
#: Byte addresses of program, input and output in the memory of DMA.
CODE, DATA, RESULT = 0x1000_0000, 0x1001_0000, 0x1002_0000


@dataclass
class Job:
    """A run as 32-bit words: program, input, expected output; LEN; cycles if the streams never wait (0: not known)."""

    program: np.ndarray
    input: np.ndarray
    output: np.ndarray
    length: int = 0
    cycles: int = 0


def assemble(code: list, params: Params) -> np.ndarray:
    """Instructions, or their encodings, as 32-bit words, low word first."""
    words = [i if isinstance(i, int) else isa.encode(i, params) for i in code]
    data = b"".join(word.to_bytes(isa.width(params) // 8, "little") for word in words)
    return np.frombuffer(data, "<u4")


def echo(params: Params, bursts: int, rng, sizes=(1, 2, 3, 5)) -> Job:
    """A job that sends what it receives: `bursts` packets of `sizes` buffer words in turn, random data."""
    body = []
    for at, words in enumerate(sizes):
        body += [isa.make(op, addr=8 * at, words=words) for op in (isa.Op.RECV, isa.Op.SEND)]
    times, rest = divmod(bursts, len(sizes))
    assert rest == 0
    code = [isa.make(isa.Op.LOOP, body=len(body), use_len=1), *body, isa.make(isa.Op.HALT)]
    words = times * sum(sizes) * params.word_bits // 32
    data = rng.integers(0, 1 << 32, words, dtype=np.uint32)
    return Job(assemble(code, params), data, data, length=times)


class Host:
    """Everything around the device: clock, register master, stream source and sink, memory of DMA."""

    def __init__(self, dut, bus: str, params: Params, seed: int = 0):
        self.dut, self.params, self._bus = dut, params, bus
        Clock(dut.clk, 10, unit="ns").start()
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.clk)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.clk)
        self.memory = Memory(dut, 3 << 14, base=CODE // 4, seed=seed)

    async def start(self) -> "Host":
        """Reset the hardware."""
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 1)
        self.bus = registers(self.dut, self._bus)  # Icarus loses what the model sets at time 0
        await ClockCycles(self.dut.clk, 2)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 2)
        return self

    async def read(self, name: str) -> int:
        """A register; the bus must answer without an error."""
        value, answer = await self.bus.read_word(ON_BUS[name].address)
        assert answer == "OKAY", f"read of {name}: {answer}"
        return value

    async def write(self, name: str, value: int) -> None:
        """Write a register; the bus must answer without an error."""
        answer = await self.bus.write_word(ON_BUS[name].address, int(value))
        assert answer == "OKAY", f"write of {name}: {answer}"

    async def load(self, job: Job) -> None:
        """The program, by register, and LEN."""
        await self.write("PROG_ADDR", 0)
        for word in job.program:
            await self.write("PROG_DATA", word)
        await self.write("LEN", job.length)

    async def irq(self, cycles: int = 200_000) -> None:
        """Wait for the interrupt."""
        for _ in range(cycles):
            await RisingEdge(self.dut.clk)
            if int(self.dut.irq.value):
                return
        raise AssertionError(f"no interrupt in {cycles} cycles")

    async def state(self) -> tuple[int, int, Fault]:
        """STATUS, ERROR and FAULT."""
        return (
            await self.read("STATUS"),
            await self.read("ERROR"),
            Fault(await self.read("FAULT")),
        )

    async def done(self) -> None:
        """Wait for the interrupt; the program must have reached its end."""
        await self.irq()
        assert await self.state() == (BIT["STATUS.done"], 0, Fault.NONE)
        await self.write("CTRL", CLEAR)
        assert int(self.dut.irq.value) == 0

    async def by_stream(self, job: Job, check: bool = True, mode: int = 0) -> np.ndarray:
        """Run with data at the stream ports; the output."""
        await self.write("MODE", mode | (CHECK if check else 0))
        await self.write("IRQ_ENABLE", 1)
        await self.load(job)
        if len(job.input):
            await self.source.send(job.input.astype("<u4").tobytes())
        await self.write("CTRL", START)
        await self.done()
        return await self.received(len(job.output))

    async def received(self, words: int) -> np.ndarray:
        """That many words of the output stream, packets joined."""
        data = b""
        while len(data) < 4 * words:
            data += (await self.sink.recv()).tdata
        return np.frombuffer(data, "<u4")

    async def by_dma(self, job: Job) -> np.ndarray:
        """Run with program, input and output in the memory of DMA; the output."""
        await self.write("MODE", SOURCE | SINK)
        await self.write("IRQ_ENABLE", 1)
        await self.write("LEN", job.length)
        self.memory.write(CODE, job.program)
        self.memory.write(DATA, job.input)
        await self.fetch(CODE, len(job.program), PROGRAM)
        while await self.read("DMA_BUSY") & PROGRAM:
            pass
        await self.write("DMA_OUT_ADDR", RESULT)
        await self.write("DMA_OUT_WORDS", len(job.output))
        await self.write("DMA_START", OUTPUT)
        await self.fetch(DATA, len(job.input), INPUT)
        await self.write("CTRL", START)
        await self.done()
        for _ in range(1000):
            if await self.read("DMA_OUT_COUNT") == len(job.output):
                break
        assert await self.read("DMA_OUT_COUNT") == len(job.output)
        assert await self.read("DMA_BUSY") == OUTPUT
        await self.write("DMA_STOP", OUTPUT)
        return np.array(self.memory.read(RESULT, len(job.output)), np.uint32)

    async def fetch(self, address: int, words: int, channel: int) -> None:
        """Start a reading channel."""
        await self.write("DMA_IN_ADDR", address)
        await self.write("DMA_IN_WORDS", words)
        await self.write("DMA_START", channel)

    async def by_register(self, job: Job) -> np.ndarray:
        """Run with every word of input and output through IN_DATA and OUT_DATA."""
        await self.write("MODE", SOURCE | SINK)
        await self.write("IRQ_ENABLE", 1)
        await self.load(job)
        await self.write("CTRL", START)
        words, got = list(job.input), []
        while words or len(got) < len(job.output):
            state = await self.read("FIFO")
            free, level = state & 255, state >> 8 & 255
            for _ in range(min(free, len(words))):
                await self.write("IN_DATA", words.pop(0))
            for _ in range(level):
                got.append(await self.read("OUT_DATA"))
        await self.done()
        return np.array(got, np.uint32)


def same(got: np.ndarray, want: np.ndarray) -> None:
    """Equal words, or the first that differs."""
    assert len(got) == len(want), f"{len(got)} words, expected {len(want)}"
    bad = np.flatnonzero(got != want)
    assert not len(bad), (
        f"{len(bad)} words differ, first {bad[0]}: {got[bad[0]]:#x}, {want[bad[0]]:#x}"
    )


def pauses(rng, rate: float):
    """An endless random pattern of pauses for source or sink."""
    while True:
        yield from (rng.random(1024) < rate).tolist()
