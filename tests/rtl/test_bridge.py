"""The bridge on a serial line and a random bus against a model of the protocol, with damaged requests between."""

import random
from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from rtl.bridge import Bridge
from rtl.spec.link import (
    BURST,
    DAMAGED,
    SYNC_ANSWER,
    SYNC_REQUEST,
    Answer,
    Command,
    Request,
    Status,
    crc8,
    decode_answer,
)
from tests.rtl.serial_line import receive, send

DIVISOR, IDLE_BITS = 8, 16
READ, WRITE, FIXED = Command.READ, Command.WRITE, Command.FIXED
#: Addresses of the bus below: memory up to here, then errors, then nothing answers; one pops a word a read.
ERRORS, NOTHING, POP = 0x1000, 0x2000, 0x200


class Bus:
    """A Wishbone slave with random delays."""

    def __init__(self, seed: int):
        self.rng, self.memory, self.popped, self.written = random.Random(seed), {}, 0, []

    async def run(self, ctx, bridge) -> None:
        while True:
            await ctx.tick()
            address = ctx.get(bridge.adr) * 4
            if not ctx.get(bridge.stb & bridge.cyc) or address >= NOTHING:
                continue
            await ctx.tick().repeat(self.rng.randrange(1, 4))
            assert ctx.get(bridge.stb) and ctx.get(bridge.adr) * 4 == address
            line = bridge.err if address >= ERRORS else bridge.ack
            if line is bridge.ack:
                self._access(ctx, bridge, address)
            ctx.set(line, 1)
            await ctx.tick()
            ctx.set(line, 0)
            ctx.set(bridge.dat_r, 0xDEADBEEF)

    def _access(self, ctx, bridge, address: int) -> None:
        if ctx.get(bridge.we):
            self.memory[address] = ctx.get(bridge.dat_w)
            self.written.append(address)
        else:
            self.popped += address == POP
            value = self.popped if address == POP else self.memory.get(address, 0)
            ctx.set(bridge.dat_r, value)


class Line:
    """What a host sees: sends bytes, waits for the bytes of an answer."""

    def __init__(self, ctx, bridge, got: bytearray):
        self.ctx, self.bridge, self.got = ctx, bridge, got

    async def send(self, data: bytes, **options) -> None:
        await send(self.ctx, self.bridge.rx, data, DIVISOR, **options)

    async def pause(self, bits: int) -> None:
        await self.ctx.tick().repeat(bits * DIVISOR)

    async def hold(self, bits: int) -> None:
        """A break."""
        self.ctx.set(self.bridge.rx, 0)
        await self.pause(bits)
        self.ctx.set(self.bridge.rx, 1)
        await self.pause(2)

    async def quiet(self) -> bytes:
        """Whatever the bridge says until it has been quiet for long."""
        seen, bits = -1, 0
        while bits < 3 * IDLE_BITS:
            bits = bits + 12 if seen == len(self.got) else 0
            seen = len(self.got)
            await self.pause(12)
        said = bytes(self.got)
        self.got.clear()
        return said

    async def answer(self) -> Answer:
        answer = decode_answer(await self.quiet())
        assert answer is not None
        return answer

    async def ask(self, request: Request) -> Answer:
        await self.send(request.encode())
        return await self.answer()


def run(bench, seed: int = 0) -> Bus:
    """Run `bench(line, bus)`."""
    bridge, bus, got = Bridge(IDLE_BITS), Bus(seed), bytearray()

    async def main(ctx):
        ctx.set(bridge.divisor, DIVISOR)
        await bench(Line(ctx, bridge, got), bus)

    async def slave(ctx):
        await bus.run(ctx, bridge)

    async def listen(ctx):
        await receive(ctx, bridge.tx, DIVISOR, got)

    simulator = Simulator(bridge)
    simulator.add_clock(1e-6)
    simulator.add_testbench(main)
    simulator.add_testbench(slave, background=True)
    simulator.add_testbench(listen, background=True)
    simulator.run()
    return bus


def test_words_come_back():
    async def bench(line, bus):
        words = tuple(random.Random(3).randbytes(1)[0] << 24 | n for n in range(BURST))
        assert await line.ask(Request(WRITE, 0x40, BURST, words)) == Answer(0, BURST, (), 0)
        assert await line.ask(Request(READ, 0x40, BURST)) == Answer(0, BURST, words, 0)
        assert await line.ask(Request(WRITE | FIXED, 0x40, 3, (7, 8, 9))) == Answer(0, 3, (), 0)
        assert await line.ask(Request(READ, 0x40, 2)) == Answer(0, 2, (9, words[1]), 0)

    assert len(run(bench).written) == BURST + 3


def test_a_repeated_request_is_carried_out_once():
    async def bench(line, bus):
        pop = Request(READ | FIXED, POP, 3, number=5)
        first = await line.ask(pop)
        assert first == Answer(0, 3, (1, 2, 3), 5)
        damaged = bytearray(Request(WRITE, 0x40, 4, (1, 2, 3, 4), number=5).encode())
        damaged[9] ^= 1
        await line.send(bytes(damaged))
        assert (await line.answer()).status is Status.CRC
        assert await line.ask(pop) == first
        assert await line.ask(replace(pop, number=6)) == Answer(0, 3, (4, 5, 6), 6)
        zero = replace(pop, number=0)
        assert [(await line.ask(zero)).words[0] for _ in range(2)] == [7, 10]

    run(bench)


def test_bus_errors_say_where():
    async def bench(line, bus):
        before = ERRORS - 8
        assert await line.ask(Request(WRITE, before, 5, (1,) * 5, 1)) == Answer(1, 2, (), 1)
        assert await line.ask(Request(READ, before, 5, number=2)) == Answer(1, 2, (1, 1), 2)
        assert await line.ask(Request(READ, ERRORS, 1, number=3)) == Answer(1, 0, (), 3)
        assert await line.ask(Request(READ, NOTHING, 9, number=4)) == Answer(2, 0, (), 4)
        assert await line.ask(Request(READ, before, 1, number=5)) == Answer(0, 1, (1,), 5)

    assert run(bench).written == [ERRORS - 8, ERRORS - 4]


@pytest.mark.parametrize(
    ("command", "address", "count"),
    [
        (0, 0, 1),
        (READ | WRITE, 0, 1),
        (READ | 8, 0, 1),
        (READ, 2, 1),
        (READ, 0, 0),
        (READ, 0, BURST + 1),
    ],
)
def test_a_request_that_means_nothing(command, address, count):
    async def bench(line, bus):
        assert await line.ask(Request(command, address, count)) == Answer(Status.COMMAND, 0, (), 0)
        assert (await line.ask(Request(READ, 0, 1))).status is Status.OK

    run(bench)


def test_half_a_request_times_out_wherever_it_ends():
    frame = Request(WRITE, 0x40, 1, (SYNC_REQUEST * 0x01010101,)).encode()

    async def bench(line, bus):
        for size in range(1, len(frame)):
            await line.send(frame[:size])
            assert await line.answer() == Answer(Status.TIMEOUT, 0, (), 0), size
            assert not bus.written

    run(bench)


def test_a_break_drops_half_a_request_without_an_answer():
    frame = Request(WRITE, 0x40, 1, (1,)).encode()

    async def bench(line, bus):
        for size in range(1, len(frame)):
            await line.send(frame[:size])
            await line.hold(12)
            assert (await line.ask(Request(READ, 0x40, 1, number=size))).number == size, size
            assert not bus.written
        bad = frame[:-1] + bytes([frame[-1] ^ 1])
        await line.send(bad)
        await line.hold(12)  # while it waits for quiet
        assert (await line.ask(Request(READ, 0x40, 1, number=1))).status is Status.OK

    run(bench)


def test_a_byte_without_stop_bit_is_reported():
    frame = Request(WRITE, 0x40, 1, (0x11223344,)).encode()

    async def bench(line, bus):
        for place in (2, 8, len(frame) - 1):
            await line.send(frame[:place])
            await line.send(frame[place : place + 1], stop=0)
            await line.pause(2)
            await line.send(frame[place + 1 :])
            assert await line.answer() == Answer(Status.FRAMING, 0, (), 0)
            assert not bus.written

    run(bench)


@pytest.mark.parametrize("seed", range(3), ids="seed{}".format)
def test_noise_never_hangs_and_never_writes(seed):
    """Random damage to random requests: the answer says so, or the line stays quiet; then all is well."""
    rng = random.Random(seed)

    async def bench(line, bus):
        for number in range(12):
            count = rng.choice((1, 2, 5))
            words = tuple(rng.choice((0, 0xA5A5A5A5, rng.getrandbits(32))) for _ in range(count))
            command, words = rng.choice(((WRITE, words), (READ, ())))
            frame = bytearray(Request(command, 0x40, count, words).encode())
            for _ in range(rng.choice((1, 1, 3))):
                frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
            await line.send(
                rng.randbytes(rng.randrange(4)) + frame + rng.randbytes(rng.randrange(3))
            )
            said = await line.quiet()
            if frame[0] == SYNC_REQUEST and bus.written:
                body = bytes(frame[1:-1])  # one in 256 passes the CRC: then it is as good as sent
                assert crc8(body) == frame[-1]
            assert said == b"" or said[0] == SYNC_ANSWER
            if said and (answer := decode_answer(said)) and answer.status in DAMAGED:
                assert answer == Answer(answer.status, 0, (), 0)
            bus.written.clear()
            check = Request(WRITE, 0x80, 1, (number,), number=1 + number % 15)
            assert (await line.ask(check)).status is Status.OK
            assert bus.written == [0x80]
            bus.written.clear()

    run(bench, seed)
