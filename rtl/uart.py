"""UART, 8 data bits, no parity, one stop bit: transmitter and receiver."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

#: Bits of `divisor`, the clock cycles of a bit, and the smallest one that the receiver can sample.
DIVISOR_BITS, DIVISOR_MIN = 16, 8
#: Bits of a frame: start, data, stop.
FRAME_BITS = 10


class Transmitter(wiring.Component):
    """Sends bytes, lowest bit first; a byte every `FRAME_BITS * divisor + 1` cycles at most.

    Members
    -------
    divisor : In, clock cycles of a bit
    data : stream of bytes; one is taken while nothing is being sent
    tx : Out, the line, a register
    """

    divisor: In(DIVISOR_BITS)
    data: In(stream.Signature(8))
    tx: Out(1, init=1)

    def elaborate(self, platform):
        m = Module()
        left, wait = Signal(range(FRAME_BITS + 1)), Signal(DIVISOR_BITS)
        later = Signal(FRAME_BITS - 1)
        m.d.comb += self.data.ready.eq(left == 0)
        with m.If(self.data.valid & self.data.ready):
            m.d.sync += [self.tx.eq(0), later.eq(Cat(self.data.payload, 1))]
            m.d.sync += [left.eq(FRAME_BITS), wait.eq(self.divisor - 1)]
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.Elif(left != 0):
            m.d.sync += [self.tx.eq(later[0]), later.eq(Cat(later[1:], 1))]
            m.d.sync += [left.eq(left - 1), wait.eq(self.divisor - 1)]
        return m


class Receiver(wiring.Component):
    """Receives bytes. Each bit is what two of three samples say: half way, and an eighth of a bit before and after.

    A start bit that is not low by then is taken for noise and ignored. Sender and receiver may differ by 4 % in their
    bit times. After a byte without stop bit the line has to be high once before the next one. A byte is there for one
    cycle, `valid`, whether it is taken or not.

    Members
    -------
    divisor : In, clock cycles of a bit, at least `DIVISOR_MIN`
    rx : In, the line; may change at any time
    valid, data : Out, a byte
    framing : Out, with `valid`: it has no stop bit
    broken : Out, with `valid`: a break, all bits are low
    busy : Out, a byte is on its way, or the line is low
    """

    divisor: In(DIVISOR_BITS)
    rx: In(1, init=1)
    valid: Out(1)
    data: Out(8)
    framing: Out(1)
    broken: Out(1)
    busy: Out(1)

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        count, bit = Signal(DIVISOR_BITS), Signal(range(FRAME_BITS))
        votes, decide, complete = Signal(2), Signal(), Signal()
        half, step = self.divisor >> 1, self.divisor >> 3
        vote = votes + line
        value = vote >= 2
        m.d.comb += [
            # A good stop bit ends half way: the next byte may begin early.
            decide.eq((count == half + step) | ((bit == FRAME_BITS - 1) & (count == half) & value)),
        ]
        # Registered: what a byte sets going is a long way.
        m.d.sync += [
            self.valid.eq(complete),
            self.framing.eq(~value),
            self.broken.eq(~value & (self.data == 0)),
        ]
        with m.FSM():
            with m.State("idle"):
                m.d.sync += [count.eq(1), bit.eq(0), votes.eq(0)]
                with m.If(~line):
                    m.next = "bits"
            with m.State("bits"):
                last = count == self.divisor - 1
                m.d.comb += self.busy.eq(1)
                m.d.sync += [count.eq(Mux(last, 0, count + 1)), bit.eq(bit + last)]
                with m.If((count == half - step) | (count == half)):
                    m.d.sync += votes.eq(vote)
                with m.If(decide):
                    m.d.sync += votes.eq(0)
                    with m.If((bit == 0) & value):
                        m.next = "idle"
                    with m.Elif(bit == FRAME_BITS - 1):
                        m.d.comb += complete.eq(1)
                        m.next = "idle"
                        with m.If(~value):
                            m.next = "low"
                    with m.Elif(bit != 0):
                        m.d.sync += self.data.eq(Cat(self.data[1:], value))
            with m.State("low"):
                m.d.comb += self.busy.eq(1)
                with m.If(line):
                    m.next = "idle"
        return m
