"""The load unit: reads words of the buffer, cuts them into slices and parts, and fills row registers."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .fill import Position, bus_layout, copies, land, slot_layout, slot_tiles
from .layout import instr_layout, instr_view
from .spans import span_layout
from .spec import isa
from .spec.isa import Op
from .spec.params import Params, clog2, index_bits


class LoadUnit(wiring.Component):
    """LOAD. A word is requested in cycle c, cut in c+2, on the fill bus in c+3, in the row registers in c+4.

    Elements wait in a window of two words (rtl/views/window.v); each cycle takes what the next `slots` slots need,
    so slices of any length pass, at one word a cycle where they fill their slots.

    Members
    -------
    go, word, ea, fill_mask : In, start with this instruction, buffer address, tiles it may fill
    active, span : Out, busy; buffer words still to read
    want, grant, read_data : read port of the buffer; data one cycle after a grant
    bus, filled : Out, the fill port; tiles whose fill is complete after this cycle
    """

    def __init__(self, params: Params):
        self.params = p = params
        super().__init__(
            {
                "go": In(1),
                "word": In(isa.width(p)),
                "ea": In(clog2(p.act_depth) + 1),
                "fill_mask": In(p.tiles),
                "active": Out(1),
                "span": Out(span_layout(p)),
                "want": Out(1),
                "grant": In(1),
                "read_data": In(p.word_bits),
                "bus": Out(bus_layout(p)),
                "filled": Out(p.tiles),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        v = Signal(instr_layout(Op.LOAD, p), name="instr", reset_less=True)
        incoming = instr_view(Op.LOAD, p, self.word)
        have = Signal(range(2 * p.lanes + 1))
        skipping, inflight = Signal(), Signal()
        elems, part = Signal(20, reset_less=True), Signal(6, reset_less=True)
        position = Position(*(Signal(n, reset_less=True) for n in Position.bits(p)))
        need, ends = self._slots(m, v, position, part, elems, skipping)
        wanted = Signal(range(p.lanes + 1))
        m.d.comb += wanted.eq(Mux(skipping, v.skip, need))
        emit = self.active & (have >= wanted)
        rest, arriving = Signal.like(have), Signal(range(p.lanes + 1))
        m.d.comb += [
            rest.eq(Mux(emit, have - wanted, have)),
            arriving.eq(Mux(inflight, p.lanes, 0)),
            self.want.eq(self.span.active & (rest + arriving <= p.lanes)),
        ]
        m.d.sync += [have.eq(rest + arriving), inflight.eq(self.grant)]
        with m.If(self.grant):
            m.d.sync += self.span.addr.eq(self.span.addr + 1)
            with m.If(self.span.addr + 1 == self.span.end):
                m.d.sync += self.span.active.eq(0)
        self._emit(m, v, emit & ~skipping)
        m.submodules.window = Instance(
            "blockcim_window",
            p_LANES=p.lanes,
            p_ACT=p.act_bits,
            p_GRANULE=p.granule,
            p_COUNT=len(wanted),
            i_clk=ClockSignal(),
            i_clear=self.go,
            i_emit=emit & ~skipping,
            i_start=Cat(*self.starts),
            i_take=emit,
            i_gone=wanted,
            i_arrive=inflight,
            i_data=self.read_data,
            o_cut=self.bus.data,
        )
        with m.If(emit):
            m.d.sync += skipping.eq(0)
            with m.If(~skipping):
                m.d.sync += [
                    elems.eq(elems - wanted),
                    position.offset.eq(ends[0].offset),
                    position.place.eq(ends[0].place),
                    part.eq(ends[1]),
                ]
                with m.If(elems == wanted):
                    m.d.sync += self.active.eq(0)
                    m.d.comb += self.filled.eq(self.mask)
        with m.If(self.go):
            m.d.sync += [
                v.eq(incoming),
                self.mask.eq(self.fill_mask),
                self.active.eq(1),
                self.span.active.eq(1),
                self.span.addr.eq(self.ea),
                self.span.end.eq(self.ea + incoming.words),
                have.eq(0),
                skipping.eq(incoming.skip != 0),
                elems.eq(incoming.elems),
                part.eq(0),
                position.offset.eq(0),
                position.place.eq(incoming.d_m0),
                self.pattern.eq(copies(incoming, p.tiles)),
            ]
        return m

    def _slots(self, m, v, position, part, elems, skipping):
        """Chain of the slots of one cycle. Returns the elements they take, and where the next cycle goes on."""
        p = self.params
        self.mask, self.pattern = (Signal(p.tiles, reset_less=True) for _ in range(2))
        self.slots, self.lens, self.starts = [], [], []
        taken, left = Const(0, clog2(p.lanes + 1)), elems
        for s in range(p.slots):
            last = part == v.parts - 1
            size = Signal(range(p.granule + 1), name=f"size{s}")
            whole = Mux(last, v.tail, p.granule)
            m.d.comb += size.eq(Mux(left < whole, left, whole))
            slot = Signal(slot_layout(p), name=f"slot{s}")
            shown = Signal(6, name=f"shown{s}")
            m.d.comb += shown.eq(part - v.part_lo)
            wanted = (part >= v.part_lo) & (shown < v.part_n) & (size != 0)
            land(m, slot, v, position, shown, wanted, p)
            self.slots.append(slot)
            self.lens.append(size)
            self.starts.append(taken)
            after, following = position.next(m, v, f"after{s}"), Signal(6, name=f"part{s}")
            m.d.comb += following.eq(Mux(last, 0, part + 1))
            moved = Position(
                Mux(last, after.offset, position.offset), Mux(last, after.place, position.place)
            )
            total = Signal(range(p.lanes + 1), name=f"taken{s}")
            rest = Signal(20, name=f"left{s}")
            m.d.comb += [total.eq(taken + size), rest.eq(left - size)]
            position, part, taken, left = moved, following, total, rest
        return taken, (position, part)

    def _emit(self, m, v, emit):
        """Register the slots of this cycle on the fill bus; their elements come from the window."""
        p, bus = self.params, self.bus
        group = index_bits(p.row_groups)
        for s, (slot, length) in enumerate(zip(self.slots, self.lens, strict=True)):
            m.d.sync += bus.tiles[s].eq(0)
            with m.If(emit):
                elements = slice(s * p.granule, (s + 1) * p.granule)
                m.d.sync += [
                    bus.tiles[s].eq(slot_tiles(self.pattern, v.d_tile, slot, p.tiles)),
                    bus.group[s * group : (s + 1) * group].eq(slot.group),
                    bus.mask[elements].eq((1 << length) - 1),
                ]
