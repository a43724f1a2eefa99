"""From a serial line to a bus: carries out the requests of rtl/spec/link.py as a Wishbone master."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import crc, data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .spec.link import (
    ANSWER_HEAD,
    BURST,
    CRC_POLYNOMIAL,
    IDLE_BITS,
    REQUEST_HEAD,
    SYNC_ANSWER,
    SYNC_REQUEST,
    Status,
)
from .uart import DIVISOR_BITS, Receiver, Transmitter

_CRC = crc.Algorithm(
    crc_width=8,
    polynomial=CRC_POLYNOMIAL,
    initial_crc=0,
    reflect_input=False,
    reflect_output=False,
    xor_output=0,
)
#: A request behind its sync byte, low byte first; the command is `rtl.spec.link.Command` and the number.
_HEAD = data.StructLayout(
    {"read": 1, "write": 1, "fixed": 1, "unused": 1, "number": 4}
    | {"count": 8, "low": 2, "address": 30}
)


class Bridge(wiring.Component):
    """A serial line on one side, a Wishbone master (classic, 32-bit words) on the other.

    A request is received whole before its first bus transfer, and its answer is sent after the last one. A transfer
    takes two cycles and what the bus takes. Whatever comes over the line: `idle_bits` bit times after it has become
    quiet, or after a break, the bridge waits for a new request. A bus transfer is given up after as long.

    Parameters
    ----------
    idle_bits : bit times, at least `FRAME_BITS` of rtl/uart.py

    Members
    -------
    divisor : In, clock cycles of a bit, at least 8
    rx, tx : the line
    cyc, stb, we, adr, dat_w : Out; dat_r, ack, err : In; the bus. `adr` counts words; all four bytes are selected
    """

    def __init__(self, idle_bits: int = IDLE_BITS):
        self.idle_bits = idle_bits
        super().__init__(
            {
                "divisor": In(DIVISOR_BITS),
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "cyc": Out(1),
                "stb": Out(1),
                "we": Out(1),
                "adr": Out(30),
                "dat_w": Out(32),
                "dat_r": In(32),
                "ack": In(1),
                "err": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = self._byte = Receiver()
        m.submodules.transmitter = transmitter = Transmitter()
        m.submodules.crc = self._crc = crc.Processor(_CRC(8))
        # Words of a write in the low half, of a read in the high one: those may have to be sent again.
        m.submodules.words = words = Memory(shape=32, depth=2 * BURST, init=[])
        self._store, self._fetch = words.write_port(), words.read_port()
        self._send = transmitter.data
        self._head, self._problem = Signal(_HEAD), Signal(Status)
        self._place, self._part = Signal(range(REQUEST_HEAD)), Signal(2)
        self._word, self._done = Signal(range(BURST + 1)), Signal(range(BURST + 1))
        # Of the request that was carried out last.
        self._status, self._number, self._reading = Signal(Status), Signal(4), Signal()
        self._quiet, self._busy = Signal(), Signal()
        m.d.comb += [
            self._byte.divisor.eq(self.divisor),
            self._byte.rx.eq(self.rx),
            transmitter.divisor.eq(self.divisor),
            self.tx.eq(transmitter.tx),
            self._fetch.en.eq(0),
        ]
        self._clock(m)
        with m.FSM():
            self._receive(m)
            self._recover(m)
            self._carry_out(m)
            self._answer(m)
        return m

    def _clock(self, m):
        """`quiet`: nothing has happened for `idle_bits` bit times; `busy` is high when something happens."""
        bit, bits = Signal(DIVISOR_BITS), Signal(range(self.idle_bits + 1))
        m.d.comb += self._quiet.eq(bits == self.idle_bits)
        m.d.sync += bit.eq(Mux(bit == 0, self.divisor - 1, bit - 1))
        with m.If(self._busy):
            m.d.sync += bits.eq(0)
        with m.Elif((bit == 0) & ~self._quiet):
            m.d.sync += bits.eq(bits + 1)

    def _receive(self, m):
        """Sync byte, head, words of a write, CRC."""
        byte, head, whole = self._byte, self._head, Signal(32)
        good = Signal()
        number, count = head.number, head.count
        wrong = (head.read == head.write) | head.unused | (head.low != 0)
        m.d.comb += [
            good.eq(byte.valid & ~byte.framing),
            self._store.data.eq(whole),
            self._store.addr.eq(self._word[:-1]),
        ]
        with m.State("idle"):
            m.d.sync += [self._place.eq(0), self._part.eq(0), self._word.eq(0)]
            m.d.sync += self._problem.eq(Status.OK)
            m.d.comb += [self._crc.start.eq(1), self._busy.eq(1)]
            with m.If(good & (byte.data == SYNC_REQUEST)):
                m.next = "head"
        with m.State("head"):
            with m.If(good):
                m.d.sync += head.eq(Cat(head.as_value()[8:], byte.data))
                m.d.sync += self._place.eq(self._place + 1)
                self._check(m, byte.data)
            with m.If(self._place == REQUEST_HEAD - 1):
                m.next = "crc"
                with m.If(head.write):
                    m.next = "words"
                with m.If(wrong | (count == 0) | (count > BURST)):
                    self._fail(m, Status.COMMAND)
            self._interrupted(m)
        with m.State("words"):
            with m.If(good):
                m.d.sync += [whole.eq(Cat(whole[8:], byte.data)), self._part.eq(self._part + 1)]
                self._check(m, byte.data)
                with m.If(self._part == 3):
                    m.next = "store"
            self._interrupted(m)
        with m.State("store"):
            m.d.comb += self._store.en.eq(1)
            m.d.sync += self._word.eq(self._word + 1)
            m.next = "words"
            with m.If(self._word + 1 == count):
                m.next = "crc"
        with m.State("crc"):
            with m.If(good):
                with m.If(byte.data != self._crc.crc):
                    self._fail(m, Status.CRC)
                with m.Elif((number != 0) & (number == self._number)):
                    m.next = "head of answer"
                with m.Else():
                    m.d.sync += [self._number.eq(number), self._reading.eq(head.read)]
                    m.d.sync += [self._status.eq(Status.OK), self._done.eq(0)]
                    m.next = "fetch"
            self._interrupted(m)

    def _check(self, m, byte):
        """Take a byte into the CRC."""
        m.d.comb += [self._crc.valid.eq(1), self._crc.data.eq(byte)]

    def _fail(self, m, problem: Status):
        m.d.sync += self._problem.eq(problem)
        m.next = "recover"

    def _interrupted(self, m):
        """Leave a receiving state: at a break, a byte without stop bit, or when the rest does not come."""
        byte = self._byte
        m.d.comb += self._busy.eq(byte.busy)
        with m.If(byte.valid & byte.broken):
            m.next = "idle"
        with m.Elif(byte.valid & byte.framing):
            self._fail(m, Status.FRAMING)
        with m.Elif(self._quiet):
            self._fail(m, Status.TIMEOUT)

    def _recover(self, m):
        """Wait until whatever comes is over, then say what was wrong."""
        byte = self._byte
        with m.State("recover"):
            m.d.comb += self._busy.eq(byte.busy)
            with m.If(self._quiet):
                m.next = "head of answer"
            with m.If(byte.valid & byte.broken):
                m.next = "idle"

    def _carry_out(self, m):
        """One bus transfer after the other; the word that an error stops is not counted."""
        step = Mux(self._head.fixed, 0, self._done)
        with m.State("fetch"):
            m.d.comb += [self._fetch.en.eq(1), self._fetch.addr.eq(self._done[:-1])]
            m.d.comb += self._busy.eq(1)
            m.next = "transfer"
        with m.State("transfer"):
            m.d.comb += [self.cyc.eq(1), self.stb.eq(1), self.we.eq(self._head.write)]
            m.d.comb += [self.adr.eq(self._head.address + step), self.dat_w.eq(self._fetch.data)]
            with m.If(self.err):
                m.d.sync += self._status.eq(Status.BUS)
                m.next = "head of answer"
            with m.Elif(self.ack):
                m.d.comb += [self._store.en.eq(self._head.read), self._store.data.eq(self.dat_r)]
                m.d.comb += self._store.addr.eq(Cat(self._done[:-1], 1))
                m.d.sync += self._done.eq(self._done + 1)
                m.next = "fetch"
                with m.If(self._done + 1 == self._head.count):
                    m.next = "head of answer"
            with m.Elif(self._quiet):
                m.d.sync += self._status.eq(Status.STUCK)
                m.next = "head of answer"

    def _answer(self, m):
        """Sync byte, result, done, words of a read, CRC."""
        send, failed = self._send, self._problem != Status.OK
        result = Mux(failed, self._problem, Cat(self._status, self._number))
        done = Mux(failed, 0, self._done)
        place, index, word = Signal(range(ANSWER_HEAD)), Signal(range(BURST)), Signal(32)
        with m.State("head of answer"):
            m.d.comb += send.valid.eq(1)
            m.d.sync += [index.eq(0), self._part.eq(0)]
            with m.Switch(place):
                with m.Case(0):
                    m.d.comb += [send.payload.eq(SYNC_ANSWER), self._crc.start.eq(1)]
                with m.Case(1):
                    m.d.comb += send.payload.eq(result)
                with m.Default():
                    m.d.comb += send.payload.eq(done)
            with m.If(send.ready):
                m.d.sync += place.eq(place + 1)
                with m.If(place != 0):
                    self._check(m, send.payload)
                with m.If(place == ANSWER_HEAD - 1):
                    m.d.sync += place.eq(0)
                    m.next = "crc of answer"
                    with m.If(self._reading & (done != 0)):
                        m.next = "load"
        with m.State("load"):
            m.d.comb += [self._fetch.en.eq(1), self._fetch.addr.eq(Cat(index, 1))]
            m.next = "keep"
        with m.State("keep"):
            m.d.sync += word.eq(self._fetch.data)
            m.next = "words of answer"
        with m.State("words of answer"):
            m.d.comb += [
                send.valid.eq(1),
                send.payload.eq(word.word_select(self._part, 8)),
            ]
            with m.If(send.ready):
                self._check(m, send.payload)
                m.d.sync += self._part.eq(self._part + 1)
                with m.If(self._part == 3):
                    m.d.sync += index.eq(index + 1)
                    m.next = "load"
                    with m.If(index + 1 == done):
                        m.next = "crc of answer"
        with m.State("crc of answer"):
            m.d.comb += [send.valid.eq(1), send.payload.eq(self._crc.crc)]
            with m.If(send.ready):
                m.next = "idle"
