"""Transmitter and receiver against a serial line that is made by time alone."""

import random
from itertools import pairwise

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from rtl.uart import Receiver, Transmitter
from tests.rtl.serial_line import receive, send

#: Clock cycles of a bit: powers of two, the smallest, odd ones.
DIVISORS = (8, 9, 15, 16, 27, 100)


def simulate(component, *benches, background=()) -> None:
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    for bench in background:
        simulator.add_testbench(bench, background=True)
    simulator.run()


def received(divisor: int, drive) -> list[tuple[int, int, int]]:
    """(data, framing, broken) of all bytes while `drive(ctx, pin)` runs and 20 bit times after."""
    receiver, found = Receiver(), []

    async def bench(ctx):
        ctx.set(receiver.divisor, divisor)
        await drive(ctx, receiver.rx)
        await ctx.tick().repeat(20 * divisor)

    async def watch(ctx):
        async for _, _, valid, data, framing, broken in ctx.tick().sample(
            receiver.valid, receiver.data, receiver.framing, receiver.broken
        ):
            if valid:
                found.append((data, framing, broken))

    simulate(receiver, bench, background=(watch,))
    return found


def good(data: bytes) -> list[tuple[int, int, int]]:
    return [(byte, 0, 0) for byte in data]


@pytest.mark.parametrize("divisor", DIVISORS)
def test_transmitter_sends_random_bytes(divisor):
    rng = random.Random(divisor)
    data, got = rng.randbytes(24), bytearray()
    transmitter = Transmitter()

    async def bench(ctx):
        ctx.set(transmitter.divisor, divisor)
        for byte in data:
            await ctx.tick().repeat(rng.choice((1, 3, 5 * divisor)))
            ctx.set(transmitter.data.payload, byte)
            ctx.set(transmitter.data.valid, 1)
            await ctx.tick().until(transmitter.data.ready)
            ctx.set(transmitter.data.valid, 0)
        await ctx.tick().repeat(11 * divisor)

    async def line(ctx):
        await receive(ctx, transmitter.tx, divisor, got)

    simulate(transmitter, bench, background=(line,))
    assert got == data


def test_transmitter_keeps_its_rate():
    """A byte takes exactly 10 bit times and a cycle when the next one waits."""
    transmitter, times = Transmitter(), []

    async def bench(ctx):
        ctx.set(transmitter.divisor, 8)
        ctx.set(transmitter.data.valid, 1)
        for cycle in range(400):
            if ctx.get(transmitter.data.ready):
                times.append(cycle)
            await ctx.tick()

    simulate(transmitter, bench)
    assert {b - a for a, b in pairwise(times)} == {81}


@pytest.mark.parametrize("divisor", DIVISORS)
def test_receiver_takes_random_bytes_with_gaps(divisor):
    rng = random.Random(divisor)
    parts = [rng.randbytes(rng.randrange(1, 6)) for _ in range(8)]

    async def drive(ctx, pin):
        for part in parts:
            await send(ctx, pin, part, divisor)
            await ctx.tick().repeat(rng.randrange(1, 3 * divisor))

    assert received(divisor, drive) == good(b"".join(parts))


@pytest.mark.parametrize("off", [-0.04, 0.04], ids="{:+}".format)
@pytest.mark.parametrize("divisor", [16, 27, 100])
def test_receiver_bears_other_bit_times(divisor, off):
    data = bytes([0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80]) + random.Random(divisor).randbytes(20)

    async def drive(ctx, pin):
        await send(ctx, pin, data, divisor * (1 + off))

    assert received(divisor, drive) == good(data)


def test_receiver_does_not_see_short_pulses():
    """Less than a quarter of a bit: as a start bit and in the middle of bits."""

    async def drive(ctx, pin):
        for level in (0, 1, 0, 1):
            ctx.set(pin, level)
            await ctx.tick().repeat(3)
        for level in (0, *(0x5A >> i & 1 for i in range(8)), 1):
            ctx.set(pin, level)
            await ctx.tick().repeat(15)
            ctx.set(pin, 1 - level)  # around the middle sample
            await ctx.tick().repeat(3)
            ctx.set(pin, level)
            await ctx.tick().repeat(14)

    assert received(32, drive) == good(b"\x5a")


def test_receiver_reports_framing_and_break_and_goes_on():
    async def drive(ctx, pin):
        await send(ctx, pin, b"\x41", 16)
        await send(ctx, pin, b"\x42", 16, stop=0)
        await ctx.tick().repeat(16)
        await send(ctx, pin, b"\x43", 16)
        ctx.set(pin, 0)
        await ctx.tick().repeat(16 * 40)
        ctx.set(pin, 1)
        await ctx.tick().repeat(20)
        await send(ctx, pin, b"\x44", 16)

    assert received(16, drive) == [
        (0x41, 0, 0),
        (0x42, 1, 0),
        (0x43, 0, 0),
        (0, 1, 1),
        (0x44, 0, 0),
    ]


def test_receiver_feeds_from_transmitter():
    """Both together, through a wire."""
    m = Module()
    m.submodules.receiver = receiver = Receiver()
    m.submodules.transmitter = transmitter = Transmitter()
    m.d.comb += [receiver.rx.eq(transmitter.tx)]
    data, got = random.Random(1).randbytes(16), []

    async def bench(ctx):
        for part in (receiver, transmitter):
            ctx.set(part.divisor, 8)
        for byte in data:
            ctx.set(transmitter.data.payload, byte)
            ctx.set(transmitter.data.valid, 1)
            await ctx.tick().until(transmitter.data.ready)
        ctx.set(transmitter.data.valid, 0)
        await ctx.tick().repeat(100)

    async def watch(ctx):
        async for _, _, valid, byte in ctx.tick().sample(receiver.valid, receiver.data):
            if valid:
                got.append(byte)

    simulate(m, bench, background=(watch,))
    assert bytes(got) == data
