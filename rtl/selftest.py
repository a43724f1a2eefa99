"""Self-test: plays a script of bus transfers from a ROM once after reset, and says whether all went as written.

A script is a list of steps (`write`, `expect`, `wait`), each on one register; `encode` makes half words of a ROM.
"""

import enum
from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .spec.params import ConfigError, clog2
from .spec.regmap import BUS_ADDRESS_BITS, ON_BUS
from .words import WORD

#: Transfers of one word that may be refused, or read the wrong value where one waits, before the test fails.
PATIENCE = 1 << 16


class Kind(enum.IntEnum):
    """What a step does with each of its words."""

    END = 0  #: the test has passed
    WRITE = 1  #: write the word; again, while it is refused
    EXPECT = 2  #: read, and fail unless the word comes
    WAIT = 3  #: read until any bit of the word is set


#: First half word of a step; its words follow, low half first.
_STEP = data.StructLayout({"count": 8, "address": BUS_ADDRESS_BITS, "kind": 2})


@dataclass(frozen=True)
class Step:
    """A step: a kind, the register (word address), one to 255 words."""

    kind: Kind
    address: int
    words: tuple[int, ...]


def write(register: str, *words: int) -> list[Step]:
    """Steps that write words to a register, one after the other."""
    return _steps(Kind.WRITE, register, words)


def expect(register: str, *words: int) -> list[Step]:
    """Steps that read a register as often as there are words, which must come."""
    return _steps(Kind.EXPECT, register, words)


def wait(register: str, mask: int) -> list[Step]:
    """A step that reads a register until a bit of `mask` is set."""
    return _steps(Kind.WAIT, register, (mask,))


def _steps(kind: Kind, register: str, words) -> list[Step]:
    address, most = ON_BUS[register].address, 255
    return [Step(kind, address, tuple(words[i : i + most])) for i in range(0, len(words), most)]


def encode(script: list[Step]) -> list[int]:
    """The half words of a script, its end included. Raises `ConfigError` on a word of more than 32 bits."""
    result = []
    for step in script:
        result.append(len(step.words) | step.address << 8 | step.kind << 8 + BUS_ADDRESS_BITS)
        for word in step.words:
            if not 0 <= word < 1 << WORD:
                raise ConfigError(f"self-test: {word} is no word of {WORD} bits")
            result += [word & 0xFFFF, word >> 16]
    return [*result, 0]


class SelfTest(wiring.Component):
    """A Wishbone master (classic) that carries out a script. Half words of the ROM take two cycles each.

    Parameters
    ----------
    script : steps

    Members
    -------
    cyc, stb, we, adr, dat_w : Out; dat_r, ack, err : In; the bus
    running, passed, failed : Out, one of them is high
    """

    def __init__(self, script: list[Step]):
        self.rom = encode(script)
        super().__init__(
            {
                "cyc": Out(1),
                "stb": Out(1),
                "we": Out(1),
                "adr": Out(BUS_ADDRESS_BITS),
                "dat_w": Out(WORD),
                "dat_r": In(WORD),
                "ack": In(1),
                "err": In(1),
                "running": Out(1, init=1),
                "passed": Out(1),
                "failed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # As a power of two: block RAM of every family then takes it.
        m.submodules.rom = rom = Memory(shape=16, depth=1 << clog2(len(self.rom)), init=self.rom)
        half = rom.read_port()
        step, part = Signal(_STEP), Signal(range(3))
        low, word = Signal(16), Signal(WORD)
        tries = Signal(range(PATIENCE))
        m.d.comb += [self.adr.eq(step.address), self.dat_w.eq(word)]
        m.d.comb += self.we.eq(step.kind == Kind.WRITE)
        with m.FSM():
            with m.State("read"):
                m.d.comb += half.en.eq(1)
                m.d.sync += tries.eq(0)
                m.next = "take"
            with m.State("take"):
                m.d.sync += [half.addr.eq(half.addr + 1), part.eq(part + 1)]
                m.next = "read"
                with m.Switch(part):
                    with m.Case(0):
                        m.d.sync += step.eq(half.data)
                        with m.If(data.View(_STEP, half.data).kind == Kind.END):
                            m.d.sync += [self.running.eq(0), self.passed.eq(1)]
                            m.next = "over"
                    with m.Case(1):
                        m.d.sync += low.eq(half.data)
                    with m.Default():
                        m.d.sync += [word.eq(Cat(low, half.data)), step.count.eq(step.count - 1)]
                        m.next = "transfer"
            self._transfer(m, step, part, word, tries)
            with m.State("over"):
                pass
        return m

    def _transfer(self, m, step, part, word, tries):
        """One word of a step on the bus."""
        good = Signal()
        given_up = (tries == PATIENCE - 1) | (step.kind == Kind.EXPECT)
        with m.State("transfer"):
            m.d.comb += [self.cyc.eq(1), self.stb.eq(1)]
            with m.Switch(step.kind):
                with m.Case(Kind.WRITE):
                    m.d.comb += good.eq(self.ack)
                with m.Case(Kind.EXPECT):
                    m.d.comb += good.eq(self.ack & (self.dat_r == word))
                with m.Case(Kind.WAIT):
                    m.d.comb += good.eq(self.ack & ((self.dat_r & word) != 0))
            with m.If(good):
                m.d.sync += part.eq(step.count != 0)
                m.next = "read"
            with m.Elif(self.ack | self.err):
                m.d.sync += tries.eq(tries + 1)
                with m.If(given_up):
                    m.d.sync += [self.running.eq(0), self.failed.eq(1)]
                    m.next = "over"
