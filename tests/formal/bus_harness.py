"""Harnesses of the bus side: what holds for every master, memory and stream that keeps to its protocol."""

from typing import ClassVar

from amaranth.hdl import Assert, Assume, Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from rtl.spec.regmap import BUS_ADDRESS_BITS
from rtl.words import WORD


def past(m, value, init: int = 0):
    """The value in the cycle before."""
    before = Signal(len(value), init=init)
    m.d.sync += before.eq(value)
    return before


def check(m, condition, *, when=1):
    """Assert `condition` in every cycle in which `when` holds."""
    with m.If(when):
        m.d.sync += Assert(condition)


def assume(m, condition, *, when=1):
    """Assume `condition` in every cycle in which `when` holds."""
    with m.If(when):
        m.d.sync += Assume(condition)


def constant(m, signal) -> None:
    """An input that has any value, always the same."""
    assume(m, signal == past(m, signal), when=past(m, Const(1)))


def stays(m, valid, ready, *payload, verify=check):
    """A transfer that is offered stays as it is until it is taken."""
    waits = past(m, valid & ~ready)
    verify(m, valid, when=waits)
    for signal in payload:
        verify(m, signal == past(m, signal), when=waits)


class AxiLite(wiring.Component):
    """An AXI4-Lite slave between a master that keeps to the protocol and a control port that answers anything."""

    def __init__(self, module):
        self.slave = module.AxiLiteSlave()
        free = {"err": 1, "outside": 1, "rdata": WORD, "awaddr": 8, "wdata": WORD, "wstrb": 4}
        free |= {"araddr": 8, "awvalid": 1, "wvalid": 1, "arvalid": 1, "bready": 1, "rready": 1}
        super().__init__({name: In(bits) for name, bits in free.items()})

    def elaborate(self, platform):
        m = Module()
        m.submodules.slave = s = self.slave
        for name in ("awaddr", "awvalid", "wdata", "wstrb", "wvalid", "araddr", "arvalid"):
            m.d.comb += getattr(s, f"axi_{name}").eq(getattr(self, name))
        m.d.comb += [s.axi_bready.eq(self.bready), s.axi_rready.eq(self.rready)]
        for name in ("err", "outside", "rdata"):
            m.d.comb += getattr(s, f"control_{name}").eq(getattr(self, name))
        m.d.sync += s.control_ack.eq(s.control_request)
        assume(m, self.err, when=self.outside)
        stays(m, s.axi_awvalid, s.axi_awready, s.axi_awaddr, verify=assume)
        stays(m, s.axi_wvalid, s.axi_wready, s.axi_wdata, s.axi_wstrb, verify=assume)
        stays(m, s.axi_arvalid, s.axi_arready, s.axi_araddr, verify=assume)
        stays(m, s.axi_bvalid, s.axi_bready, s.axi_bresp)
        stays(m, s.axi_rvalid, s.axi_rready, s.axi_rresp, s.axi_rdata)
        check(m, ~(s.control_request & past(m, s.control_request)))
        write, read = (s.control_request & (s.control_we == we) for we in (1, 0))
        resp = Mux(self.outside, 3, Mux(self.err, 2, 0))
        strobed = Cat(s.axi_wdata, s.axi_wstrb)
        aw = self._requests(m, s.aw, s.axi_awvalid & s.axi_awready, write, s.axi_awaddr)
        w = self._requests(m, s.w, s.axi_wvalid & s.axi_wready, write, strobed)
        ar = self._requests(m, s.ar, s.axi_arvalid & s.axi_arready, read, s.axi_araddr)
        check(m, s.pending == s.control_ack)
        check(m, s.writing == past(m, s.control_we), when=s.pending)
        check(m, s.control_addr == aw[2:], when=write)
        check(m, Cat(s.control_wdata, s.control_strobe) == w, when=write)
        check(m, s.control_addr == ar[2:], when=read)
        answered = s.control_ack
        for mine, valid, ready, code in (
            (past(m, s.control_we), s.axi_bvalid, s.axi_bready, s.axi_bresp),
            (~past(m, s.control_we), s.axi_rvalid, s.axi_rready, s.axi_rresp),
        ):
            # A response is there exactly one cycle after its answer, and until it is taken.
            came = past(m, answered & mine)
            check(m, valid == (came | past(m, valid & ~ready)))
            check(m, ~past(m, valid & ~ready), when=came)
            check(m, code == past(m, resp), when=came)
        check(
            m, s.axi_rdata == past(m, self.rdata), when=past(m, answered & ~past(m, s.control_we))
        )
        self._no_deadlock(m, s)
        return m

    def _requests(self, m, slot, taken, done, payload):
        """One transfer of a channel at most waits, and a request is made of one that does; its payload."""
        waiting, kept = Signal(), Signal(len(payload))
        check(m, waiting == slot.full)
        check(m, kept == slot.data, when=waiting)
        check(m, ~taken, when=waiting)
        check(m, waiting, when=done)
        with m.If(done):
            m.d.sync += waiting.eq(0)
        with m.If(taken):
            m.d.sync += [waiting.eq(1), kept.eq(payload)]
        self.waiting = [*getattr(self, "waiting", []), waiting]
        return kept

    def _no_deadlock(self, m, s):
        """With a master that takes responses, what is complete is on its way in five cycles."""
        aw, w, ar = self.waiting
        for complete, done in (
            (aw & w & self.bready, s.control_request & s.control_we),
            (ar & self.rready, s.control_request & ~s.control_we),
        ):
            waited = Signal(range(16))
            m.d.sync += waited.eq(
                Mux(complete & ~done & (self.bready & self.rready), waited + 1, 0)
            )
            check(m, waited < 5)


class Wishbone(wiring.Component):
    """A Wishbone slave between a master, classic or pipelined, and a control port that answers anything."""

    def __init__(self, module):
        self.slave = module.WishboneSlave()
        free = {"cyc": 1, "stb": 1, "we": 1, "adr": BUS_ADDRESS_BITS, "sel": 4, "dat_w": WORD}
        super().__init__({n: In(b) for n, b in (free | {"err": 1, "rdata": WORD}).items()})

    def elaborate(self, platform):
        m = Module()
        m.submodules.slave = s = self.slave
        for name in ("cyc", "stb", "we", "adr", "sel", "dat_w"):
            m.d.comb += getattr(s, f"wb_{name}").eq(getattr(self, name))
        m.d.comb += [s.control_err.eq(self.err), s.control_rdata.eq(self.rdata)]
        m.d.sync += s.control_ack.eq(s.control_request)
        here, answer = self.cyc & self.stb, s.wb_ack | s.wb_err
        stays(m, here, ~s.wb_stall, self.we, self.adr, self.sel, self.dat_w, verify=assume)
        check(m, ~(s.wb_ack & s.wb_err))
        check(m, answer == (here & ~s.wb_stall))
        check(m, answer == past(m, s.control_request))
        check(m, answer, when=past(m, here & s.wb_stall))
        check(m, ~(s.control_request & past(m, s.control_request)))
        asked = Cat(s.control_addr, s.control_we, s.control_strobe, s.control_wdata)
        check(m, asked == Cat(self.adr, self.we, self.sel, self.dat_w), when=s.control_request)
        check(m, (s.wb_err == self.err) & (s.wb_dat_r == self.rdata), when=answer)
        return m


class _DmaHarness(wiring.Component):
    """DMA with free commands, a taker with room for `CAP` words, and a memory that answers what was asked."""

    CAP = 3
    FREE: ClassVar = {
        "wb_stall": 1,
        "wb_ack": 1,
        "wb_err": 1,
        "wb_dat_r": WORD,
        "take_valid": 1,
        "take_data": WORD,
    }

    def __init__(self, module):
        self.dma, self.limit = module.Dma(self.CAP), module.IN_FLIGHT
        free = self.FREE | {"pop": 1, "watched": 30, "value": WORD}
        for way in ("read", "write"):
            free |= {f"{way}_start": 1, f"{way}_stop": 1, f"{way}_addr": 30, f"{way}_words": WORD}
        self.free = free
        super().__init__({name: In(bits) for name, bits in free.items()})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dma = d = self.dma
        for name in self.free.keys() - {"pop", "watched", "value"}:
            m.d.comb += getattr(d, name).eq(getattr(self, name))
        self.level = Signal(range(self.CAP + 1))
        pop = self.pop & (self.level != 0)
        m.d.sync += self.level.eq(self.level + d.give_valid - pop)
        m.d.comb += d.room.eq(self.CAP - self.level)
        self.base = {way: Signal(30, name=f"{way}_base") for way in ("read", "write")}
        self.size = {way: Signal(WORD, name=f"{way}_size") for way in ("read", "write")}
        for way, channel in (("read", d.read), ("write", d.write)):
            with m.If(getattr(self, f"{way}_start") & ~channel.running):
                m.d.sync += [
                    self.base[way].eq(getattr(self, f"{way}_addr")),
                    self.size[way].eq(getattr(self, f"{way}_words")),
                ]
        self.accepted = d.wb_cyc & d.wb_stb & ~d.wb_stall
        self.answer = d.wb_ack | d.wb_err
        self.properties(m, d)
        return m


class DmaAddresses(_DmaHarness):
    """Requests stay as they are until accepted, and inside the range that their channel was started with."""

    def properties(self, m, d):
        stays(m, d.wb_stb, ~d.wb_stall, d.wb_we, d.wb_adr, d.wb_dat_w)
        for way, channel in (("read", d.read), ("write", d.write)):
            base, size = self.base[way], self.size[way]
            done = (size - channel.left)[:WORD]
            check(m, channel.left <= size)
            check(m, channel.addr == (base + done)[:30])
            mine_base, mine_size = Signal(30), Signal(WORD)  # of the request that is offered
            with m.If(channel.issue):
                m.d.sync += [mine_base.eq(base), mine_size.eq(size)]
            offered = d.wb_stb & (d.wb_we == (way == "write"))
            check(m, (d.wb_adr - mine_base)[:30] < mine_size, when=offered)


class DmaTransfers(_DmaHarness):
    """Each word once and in order: what memory holds is given, what is taken is written; counts and kinds agree."""

    def properties(self, m, d):
        # What is under way, oldest first: (write, the address that is watched).
        watched, value = self.watched, self.value
        constant(m, watched)
        constant(m, value)
        queue = Signal(2 * (self.limit + 1))
        count = Signal(range(self.limit + 2))
        entry = Cat(d.wb_we, d.wb_adr == watched)
        oldest = Mux(count == 0, entry, queue[:2])
        after = (queue | (Mux(self.accepted, entry, 0) << (count << 1)))[: len(queue)]
        m.d.sync += queue.eq(Mux(self.answer, after >> 2, after))
        m.d.sync += count.eq(count + self.accepted - self.answer)
        assume(m, (count != 0) | self.accepted, when=self.answer)
        assume(m, ~(d.wb_ack & d.wb_err))
        assume(m, d.wb_dat_r == value, when=self.answer & (oldest == 2))
        flights = d.read.flight + d.write.flight
        check(m, d.wb_cyc, when=d.wb_stb | (count != 0))
        check(m, flights == count + d.wb_stb)
        check(m, d.read.answer == (self.answer & ~oldest[0]))
        check(m, d.write.answer == (self.answer & oldest[0]))
        check(m, self.level < self.CAP, when=d.give_valid)
        issue = d.read.issue | d.write.issue
        check(m, ~d.wb_stb, when=past(m, self.accepted & ~issue))
        self._reads(m, d, watched, value)
        self._writes(m, d)

    def _reads(self, m, d, watched, value):
        given, error = Signal(WORD), Signal()
        with m.If(d.give_valid):
            m.d.sync += given.eq(given + 1)
        with m.If(d.read_error):
            m.d.sync += error.eq(1)
        with m.If(self.read_start & ~d.read.running):
            m.d.sync += [given.eq(0), error.eq(0)]
        whole = d.read.running & ~d.read.drop & ~error
        check(m, given + d.read.flight + d.read.left == self.size["read"], when=whole)
        here = (self.base["read"] + given)[:30] == watched
        check(m, d.give_data == value, when=d.give_valid & here & ~error)

    def _writes(self, m, d):
        taken, error = Signal(WORD), Signal()
        moved = d.take_valid & d.take_ready
        with m.If(moved):
            m.d.sync += taken.eq(taken + 1)
        with m.If(d.write_error):
            m.d.sync += error.eq(1)
        with m.If(self.write_start & ~d.write.running):
            m.d.sync += [taken.eq(0), error.eq(0)]
        address = (self.base["write"] + taken)[:30]
        check(m, d.wb_stb & d.wb_we, when=past(m, moved))
        check(m, d.wb_adr == past(m, address), when=past(m, moved))
        check(m, d.wb_dat_w == past(m, d.take_data), when=past(m, moved))
        whole = d.write.running & ~d.write.drop & ~error
        check(m, d.written + d.write.flight == taken, when=whole)
        check(m, d.full == (whole & (taken == self.size["write"]) & d.take_valid), when=~error)
