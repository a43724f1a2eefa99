"""cocotb bench of a peripheral on a bus, against independent bus models.

Environment: `BUS` axi, wishbone or wishbone-classic; `BUS_PARAMS` JSON; `BUS_JOBS` a file of numpy arrays, see
`test_bus.py`; `BUS_SEED`; `BUS_BURSTS`.
"""

import json
import os

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from rtl.spec.isa import Op, make
from rtl.spec.params import ISA_VERSION, Params
from rtl.spec.regmap import MAGIC, ON_BUS, PERIPHERAL_VERSION, Fault
from tests.cosim import bus_host
from tests.cosim.bus_host import BIT, CHECK, RESET, SINK, SOURCE, START, Host, Job, pauses, same

BUS, SEED = os.environ["BUS"], int(os.environ["BUS_SEED"])
PARAMS = Params.from_dict(json.loads(os.environ["BUS_PARAMS"]))
BURSTS = int(os.environ["BUS_BURSTS"])
BEAT = PARAMS.stream_bits // 32  #: 32-bit words of a beat


def round_of_jobs(number: int) -> list[Job]:
    """A round of the jobs in the file: arrays `ROUND.JOB.field`."""
    found: dict[str, dict] = {}
    with np.load(os.environ["BUS_JOBS"]) as arrays:
        for key, array in arrays.items():
            at, job, field = key.split(".")
            if int(at) == number:
                found.setdefault(job, {})[field] = array if array.ndim else int(array)
    assert found, number
    return [Job(**found[job]) for job in sorted(found)]


async def host(dut) -> Host:
    """A host at a device that has been reset."""
    return await Host(dut, BUS, PARAMS, SEED).start()


def rng() -> np.random.Generator:
    """Random numbers of this run."""
    return np.random.default_rng(SEED)


def small(bursts: int = 4) -> Job:
    """A short job that echoes."""
    return bus_host.echo(PARAMS, bursts, rng())


# -- registers -------------------------------------------------------------------------------------


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def capabilities(dut):
    """Constant registers say what the hardware was made of."""
    h, p = await host(dut), PARAMS
    expected = {
        "ID": MAGIC,
        "CONFIG_HASH": p.config_hash,
        "VERSION": ISA_VERSION | PERIPHERAL_VERSION << 16,
        "CAP_ARRAY": p.rows | p.cols << 16,
        "CAP_CORE": p.tiles | p.lanes << 16,
        "CAP_FORMAT": p.granule | p.weight_bits << 16 | p.act_bits << 24,
        "CAP_BUFFERS": p.act_depth - 1 | (p.const_depth - 1) << 16,
        "CAP_PROG": p.prog_depth,
        "CAP_BEAT": BEAT | 32 << 8,
    }
    for name, value in expected.items():
        assert await h.read(name) == value, name


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def access_rights(dut):
    """rw registers keep what is written; ro ones and holes of the map refuse; wo ones read as 0."""
    h = await host(dut)
    bits = {"MODE": 7, "IRQ_ENABLE": 1, "LEN": 0xFFFF}
    for register in ON_BUS.values():
        name, before = register.name, await h.read(register.name)
        value = int(rng().integers(1, 1 << 32)) | 1
        if register.access == "ro":
            assert await h.bus.write_word(register.address, value) == h.bus.REFUSED, name
            assert await h.read(name) == before, name
        elif register.access == "rw":
            assert await h.bus.write_word(register.address, value, 2) == h.bus.REFUSED, name
            assert await h.read(name) == before, name
            await h.write(name, value)
            assert await h.read(name) == value & bits.get(name, 0xFFFF_FFFF), name
        else:
            assert before == 0, name
    for address in sorted(set(range(64)) - {r.address for r in ON_BUS.values()}):
        assert (await h.bus.read_word(address))[1] == h.bus.OUTSIDE, address
        assert await h.bus.write_word(address, 1) == h.bus.OUTSIDE, address


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def back_to_back(dut):
    """Many transfers at once, reads and writes in flight together, on AXI in any order of the channels."""
    h = await host(dut)
    if BUS != "axi":
        for value in range(20):
            await h.write("DMA_IN_WORDS", value)
            assert await h.read("DMA_IN_WORDS") == value
        return
    master, r = h.bus.master, rng()
    for channel in (
        master.write_if.aw_channel,
        master.write_if.w_channel,
        master.write_if.b_channel,
    ):
        channel.set_pause_generator(pauses(r, 0.5))
    for channel in (master.read_if.ar_channel, master.read_if.r_channel):
        channel.set_pause_generator(pauses(r, 0.5))
    at = 4 * ON_BUS["DMA_OUT_ADDR"].address
    for value in range(50):
        writes = [master.init_write(at + 4 * i, (value + i).to_bytes(4, "little")) for i in (0, 1)]
        reads = [master.init_read(4 * ON_BUS["ID"].address, 4) for _ in range(3)]
        for event in [*writes, *reads]:
            await event.wait()
        for event in reads:
            assert int.from_bytes(event.data.data, "little") == MAGIC
        for i in (0, 1):
            answer = await master.read(at + 4 * i, 4)
            assert int.from_bytes(answer.data, "little") == value + i


# -- programs --------------------------------------------------------------------------------------


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def jobs_by_stream(dut):
    """Random program and compiled layer at the stream ports: outputs of ISS and golden, cycles of the ISS."""
    h = await host(dut)
    for job in round_of_jobs(0):
        same(await h.by_stream(job), job.output)
        assert job.cycles in (0, await h.read("CYCLES"))
        await h.write("CTRL", RESET)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def jobs_under_stalls(dut):
    """The same with random pauses at source and sink."""
    h = await host(dut)
    h.source.set_pause_generator(pauses(rng(), 0.4))
    h.sink.set_pause_generator(pauses(rng(), 0.6))
    for job in round_of_jobs(1):
        same(await h.by_stream(job), job.output)
        await h.write("CTRL", RESET)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def jobs_by_dma(dut):
    """The same with program, input and output in memory, without and with stalls of the memory."""
    h = await host(dut)
    for number, stalls, latency in ((2, 0, 1), (3, 0.5, 9)):
        h.memory.stalls, h.memory.latency = stalls, latency
        for job in round_of_jobs(number):
            same(await h.by_dma(job), job.output)
            await h.write("CTRL", RESET)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def by_register(dut):
    """Input and output through IN_DATA and OUT_DATA."""
    h = await host(dut)
    for bursts in (4, 12):
        job = small(bursts)
        same(await h.by_register(job), job.output)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def bursts_by_stream(dut):
    """Bursts under random stalls and back-pressure: none lost, none doubled, each a packet of its own."""
    h, job = await host(dut), small(BURSTS)
    h.source.set_pause_generator(pauses(rng(), 0.5))
    h.sink.set_pause_generator(pauses(rng(), 0.5))
    same(await h.by_stream(job, check=False), job.output)
    again = small(BURSTS)
    await h.write("CTRL", START)
    await h.source.send(again.input.astype("<u4").tobytes())
    sizes, data = [], b""
    for _ in range(BURSTS):
        frame = await h.sink.recv()
        sizes.append(8 * len(frame.tdata) // PARAMS.word_bits)
        data += frame.tdata
    assert sizes == [1, 2, 3, 5] * (BURSTS // 4)
    same(np.frombuffer(data, "<u4"), again.output)
    await h.done()
    await ClockCycles(dut.clk, 100)
    assert h.sink.empty()


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def bursts_by_dma(dut):
    """The same through DMA with a memory that stalls and answers late."""
    h, job = await host(dut), small(BURSTS)
    h.memory.stalls, h.memory.latency = 0.4, 12
    same(await h.by_dma(job), job.output)


# -- rates -----------------------------------------------------------------------------------------


async def handshakes(dut, valid, ready, found: list) -> None:
    """Cycles in which a beat moves."""
    cycle = 0
    while True:
        await RisingEdge(dut.clk)
        cycle += 1
        if int(valid.value) and int(ready.value):
            found.append(cycle)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def beat_a_cycle(dut):
    """Without stalls, a stream moves a beat in every cycle."""
    h, beats = await host(dut), PARAMS.beats_per_word * PARAMS.act_depth
    words = PARAMS.act_depth
    data = rng().integers(0, 1 << 32, words * PARAMS.word_bits // 32, dtype=np.uint32)
    code = [make(op, addr=0, words=words) for op in (Op.RECV, Op.SEND)]
    job = Job(bus_host.assemble([*code, make(Op.HALT)], PARAMS), data, data)
    came, went = [], []
    cocotb.start_soon(handshakes(dut, dut.s_axis_tvalid, dut.s_axis_tready, came))
    cocotb.start_soon(handshakes(dut, dut.m_axis_tvalid, dut.m_axis_tready, went))
    same(await h.by_stream(job), job.output)
    assert len(came) == len(went) == beats
    # The first three wait until the program starts to receive: two in the port, and one of a word's two in the core.
    assert came[-1] - came[3] == beats - 4 and went[-1] - went[0] == beats - 1
    h.memory.accepted.clear()
    same(await h.by_dma(job), job.output)
    # Input and output share the memory's port: words of either, one a cycle, but for what waits in the input FIFO
    # when the program starts.
    cycles = [cycle for cycle, _ in h.memory.accepted[len(job.program) :]]
    assert len(cycles) == len(job.input) + len(job.output)
    assert cycles[-1] - cycles[40] == len(cycles) - 41


# -- faults ----------------------------------------------------------------------------------------


async def faulty(h: Host, fault: Fault) -> None:
    """A fault shows everywhere; after a soft reset the next run is good."""
    await h.irq()
    assert await h.state() == (BIT["STATUS.error"], 0, fault)
    await h.write("CTRL", RESET)
    assert await h.state() == (0, 0, Fault.NONE)
    assert int(h.dut.irq.value) == 0
    await ClockCycles(h.dut.clk, 40)
    assert await h.read("DMA_BUSY") == 0
    assert await h.read("FIFO") == 32


async def runs_well(h: Host) -> None:
    """Runs with data by stream and by DMA, whatever the last run has sent; a packet that it has begun has an end."""
    await ClockCycles(h.dut.clk, 8)
    assert h.sink.idle()
    while not h.sink.empty():
        h.sink.recv_nowait()
    for _ in range(2):
        job = small()
        same(await h.by_stream(job), job.output)
        same(await h.by_dma(job), job.output)


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(less=[1, 2, 3, 7])
async def packet_too_short(dut, less):
    """TLAST before the program's last beat, within a buffer word or at its end."""
    h, job = await host(dut), small()
    await h.write("MODE", CHECK)
    await h.write("IRQ_ENABLE", 1)
    await h.load(job)
    await h.write("CTRL", START)
    await h.source.send(job.input[: -less * BEAT].astype("<u4").tobytes())
    await faulty(h, Fault.SHORT)
    await runs_well(h)


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(more=[1, 2, 3, 40])
async def packet_too_long(dut, more):
    """TLAST after the program's last beat; what is left of the packet is dropped."""
    h, job = await host(dut), small()
    await h.write("MODE", CHECK)
    await h.write("IRQ_ENABLE", 1)
    await h.load(job)
    await h.write("CTRL", START)
    packet = np.concatenate([job.input, np.arange(more * BEAT, dtype=np.uint32)])
    await h.source.send(packet.astype("<u4").tobytes())
    await faulty(h, Fault.LONG)
    await runs_well(h)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def read_error(dut):
    """A bus error for an address of the input, and for one of the program."""
    h, job = await host(dut), small()
    for channel in (bus_host.INPUT, bus_host.PROGRAM):
        h.memory.bad = {bus_host.DATA // 4 + 7}
        h.memory.latency = 5
        await h.write("MODE", SOURCE | SINK)
        await h.write("IRQ_ENABLE", 1)
        await h.load(job)
        if channel == bus_host.INPUT:
            await h.write("CTRL", START)
        await h.fetch(bus_host.DATA, 20, channel)
        await faulty(h, Fault.READ)
        h.memory.bad = set()
        await runs_well(h)


async def _output_to(h: Host, job: Job, words: int) -> None:
    await h.write("MODE", SOURCE | SINK)
    await h.write("IRQ_ENABLE", 1)
    await h.load(job)
    await h.write("DMA_OUT_ADDR", bus_host.RESULT)
    await h.write("DMA_OUT_WORDS", words)
    await h.write("DMA_START", bus_host.OUTPUT)
    h.memory.write(bus_host.DATA, job.input)
    await h.write("CTRL", START)
    await h.fetch(bus_host.DATA, len(job.input), bus_host.INPUT)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def write_error(dut):
    """A bus error for an address of the output."""
    h, job = await host(dut), small()
    h.memory.bad = {bus_host.RESULT // 4 + 3}
    await _output_to(h, job, len(job.output))
    await faulty(h, Fault.WRITE)
    h.memory.bad = set()
    await runs_well(h)


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(room=[0, 1, -1])
async def output_too_long(dut, room):
    """More output than memory has room for: nothing is written behind it."""
    h, job = await host(dut), small()
    room %= len(job.output)
    await _output_to(h, job, room)
    await h.irq()
    assert await h.read("DMA_OUT_COUNT") <= room
    await faulty(h, Fault.FULL)
    behind = h.memory.read(bus_host.RESULT + 4 * room, 4)
    assert behind == [0] * 4
    await runs_well(h)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def input_register_full(dut):
    """IN_DATA refuses a word that does not fit, and takes it later."""
    h, pushed = await host(dut), 0
    while await h.read("FIFO"):
        await h.write("IN_DATA", pushed)
        pushed += 1
    assert pushed == 32 + BEAT - 1  # all but the last word of a beat leave the FIFO
    address = ON_BUS["IN_DATA"].address
    assert await h.bus.write_word(address, 99) == h.bus.REFUSED
    await h.write("DMA_STOP", bus_host.INPUT)
    assert await h.read("FIFO") == 32
    await runs_well(h)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def soft_reset_at_any_time(dut):
    """A reset in the middle of a run, data by stream and by DMA; the next run is good."""
    h, r = await host(dut), rng()
    h.memory.latency = 6
    for _ in range(6):
        job = small(8)
        await h.write("MODE", CHECK)
        await h.load(job)
        await h.write("CTRL", START)
        came = []
        watch = cocotb.start_soon(handshakes(dut, dut.s_axis_tvalid, dut.s_axis_tready, came))
        await h.source.send(job.input.astype("<u4").tobytes())
        while (
            len(came) < 4
        ):  # two wait in the port: of a packet of which nothing is taken, nothing is dropped
            await RisingEdge(dut.clk)
        watch.cancel()
        await ClockCycles(dut.clk, int(r.integers(1, 60)))
        await h.write("CTRL", RESET)
        await runs_well(h)
        job = small(8)
        await _output_to(h, job, len(job.output))
        await ClockCycles(dut.clk, int(r.integers(1, 60)))
        await h.write("CTRL", RESET)
        await runs_well(h)
