"""DMA: a Wishbone master with a channel that reads memory and one that writes it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from .words import WORD

#: Transfers that are under way at most, both channels together.
IN_FLIGHT = 16
#: Bits of the word address: 4 GiB.
DMA_ADDRESS_BITS = 30


def master_ports(prefix: str) -> dict:
    """Ports of a Wishbone B4 pipelined master of 32 bits; `adr` is the byte address over four."""
    ports = {
        "cyc": Out(1),
        "stb": Out(1),
        "we": Out(1),
        "adr": Out(DMA_ADDRESS_BITS),
        "dat_w": Out(WORD),
        "sel": Out(WORD // 8),
        "stall": In(1),
        "ack": In(1),
        "err": In(1),
        "dat_r": In(WORD),
    }
    return {f"{prefix}{name}": port for name, port in ports.items()}


def connect_master(m, inner, outer, prefix: str, inner_prefix: str = "wb_") -> None:
    """The master of `inner` becomes that of `outer`; the prefixes are those of their ports."""
    for name, port in master_ports("").items():
        a, b = getattr(inner, inner_prefix + name), getattr(outer, prefix + name)
        m.d.comb += a.eq(b) if port.flow == In else b.eq(a)


class _Channel:
    """State of a channel: `left` words are still to be asked for, from word address `addr` on."""

    def __init__(self, name: str):
        self.running = Signal(name=f"{name}_running")
        self.drop = Signal(name=f"{name}_drop")  # stopped: what is under way does not count
        self.addr = Signal(DMA_ADDRESS_BITS, name=f"{name}_addr")
        self.left = Signal(WORD, name=f"{name}_left")
        self.flight = Signal(range(IN_FLIGHT + 1), name=f"{name}_flight")
        self.issue = Signal(name=f"{name}_issue")
        self.answer = Signal(name=f"{name}_answer")  # ack or err

    def step(self, m, start, stop, addr, words):
        """Start, stop, count; a channel that runs is not disturbed by `start`."""
        m.d.sync += self.flight.eq(self.flight + self.issue - self.answer)
        with m.If(self.issue):
            m.d.sync += [self.addr.eq(self.addr + 1), self.left.eq(self.left - 1)]
        with m.If(self.flight == 0):
            m.d.sync += self.drop.eq(0)
        with m.If(start & ~self.running):
            m.d.sync += [self.running.eq(1), self.addr.eq(addr), self.left.eq(words)]
        with m.If(stop):
            m.d.sync += [self.running.eq(0), self.drop.eq(1)]


class Dma(wiring.Component):
    """Reads `read_words` words from memory and gives them; writes up to `write_words` words that it takes.

    A transfer a cycle where memory never stalls, both directions mixed, read and write in turn when both can; at most
    `IN_FLIGHT` under way. A read is only asked for when there is room for its word. A transfer that is stalled or
    under way is completed even when its channel is stopped, and its answer ignored. Works with memories that answer in
    the cycle of the request too (a classic slave with `stall = ~(ack | err)`).

    Members
    -------
    wb_* : the master, see `master_ports`
    read_start, read_stop, read_addr (word address), read_words : In; reading : Out, until every word has come
    write_start, write_stop, write_addr, write_words : In; writing : Out, until stopped and every word is answered
    read_running, write_running : Out, the same without what is still under way when a channel has been stopped
    written : Out, words that memory has acknowledged since the start
    give_valid, give_data : Out, words read; they must be taken
    room : In, words that the taker has room for, those that it is just given not yet counted
    take_valid, take_ready, take_data : words to write
    read_error, write_error, full : Out, a bus error; a word waits that there is no room in memory for
    """

    def __init__(self, room: int):
        channel = {"start": In(1), "stop": In(1), "addr": In(DMA_ADDRESS_BITS), "words": In(WORD)}
        super().__init__(
            {
                **master_ports("wb_"),
                **{f"read_{name}": port for name, port in channel.items()},
                **{f"write_{name}": port for name, port in channel.items()},
                "reading": Out(1),
                "writing": Out(1),
                "read_running": Out(1),
                "write_running": Out(1),
                "written": Out(WORD),
                "give_valid": Out(1),
                "give_data": Out(WORD),
                "room": In(range(room + 1)),
                "take_valid": In(1),
                "take_ready": Out(1),
                "take_data": In(WORD),
                "read_error": Out(1),
                "write_error": Out(1),
                "full": Out(1),
            }
        )
        self.read, self.write = _Channel("read"), _Channel("write")

    def elaborate(self, platform):
        m = Module()
        # Which channel each transfer under way belongs to: answers come in order.
        m.submodules.order = order = SyncFIFO(width=1, depth=IN_FLIGHT)
        answer = (self.wb_ack | self.wb_err) & order.r_rdy
        m.d.comb += [
            order.w_en.eq(self.read.issue | self.write.issue),
            order.w_data.eq(self.write.issue),
            order.r_en.eq(answer),
            self.read.answer.eq(answer & ~order.r_data),
            self.write.answer.eq(answer & order.r_data),
            self.wb_cyc.eq(order.r_rdy),
            self.wb_sel.eq(~0),
        ]
        self._request(m, order.w_rdy)
        self._reader(m)
        self._writer(m)
        return m

    def _request(self, m, allowed):
        """The request register: a new transfer whenever the last one has been accepted."""
        read, write = self.read, self.write
        can_read, can_write, turn = Signal(), Signal(), Signal()
        free = allowed & ~(self.wb_stb & self.wb_stall)
        m.d.comb += [
            can_read.eq(read.running & ~read.drop & (read.left != 0) & (read.flight < self.room)),
            can_write.eq(write.running & ~write.drop & (write.left != 0) & self.take_valid),
            read.issue.eq(free & can_read & ~(can_write & turn)),
            write.issue.eq(free & can_write & ~read.issue),
            self.take_ready.eq(write.issue),
        ]
        with m.If(~self.wb_stall):
            m.d.sync += self.wb_stb.eq(0)
        with m.If(read.issue):
            m.d.sync += [self.wb_stb.eq(1), self.wb_we.eq(0), self.wb_adr.eq(read.addr)]
            m.d.sync += turn.eq(1)
        with m.If(write.issue):
            m.d.sync += [self.wb_stb.eq(1), self.wb_we.eq(1), self.wb_adr.eq(write.addr)]
            m.d.sync += [self.wb_dat_w.eq(self.take_data), turn.eq(0)]

    def _reader(self, m):
        read = self.read
        counts = read.answer & ~read.drop
        m.d.comb += [
            self.read_running.eq(read.running),
            self.reading.eq(read.running | (read.flight != 0)),
            self.give_valid.eq(counts & ~self.wb_err),
            self.give_data.eq(self.wb_dat_r),
            self.read_error.eq(counts & self.wb_err),
        ]
        with m.If((read.left == 0) & (read.flight == 0)):
            m.d.sync += read.running.eq(0)
        read.step(m, self.read_start, self.read_stop, self.read_addr, self.read_words)

    def _writer(self, m):
        write = self.write
        counts = write.answer & ~write.drop
        m.d.comb += [
            self.writing.eq(write.running | (write.flight != 0)),
            self.write_running.eq(write.running),
            self.write_error.eq(counts & self.wb_err),
            self.full.eq(write.running & ~write.drop & (write.left == 0) & self.take_valid),
        ]
        with m.If(counts & ~self.wb_err):
            m.d.sync += self.written.eq(self.written + 1)
        with m.If(self.write_start & ~write.running):
            m.d.sync += self.written.eq(0)
        write.step(m, self.write_start, self.write_stop, self.write_addr, self.write_words)


class NoMemory(Dma):
    """The same where there is no memory: a channel that is to move words ends with an error."""

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [
            self.read_running.eq(self.read_start & ~self.read_stop & (self.read_words != 0)),
            self.write_running.eq(self.write_start & ~self.write_stop & (self.write_words != 0)),
        ]
        m.d.comb += [
            self.reading.eq(self.read_running),
            self.writing.eq(self.write_running),
            self.read_error.eq(self.read_running),
            self.write_error.eq(self.write_running),
        ]
        return m
