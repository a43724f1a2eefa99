"""The load unit: reads words of the buffer, cuts them into slices and parts, and fills row registers."""

from amaranth.hdl import ClockSignal, Const, Instance, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .fill import Part, Position, bus_layout, copies, land, slot_layout, slot_tiles
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
        self.mask, self.pattern = (Signal(p.tiles, reset_less=True) for _ in range(2))
        have, inflight = Signal(range(2 * p.lanes + 1)), Signal()
        skipping, part = Signal(), Signal(6, reset_less=True)
        elems = Signal.like(v.elems, reset_less=True)
        position = Position(*(Signal(n, reset_less=True) for n in Position.bits(p)))
        distance = Part(
            *(Signal(n, name=f"part_{i}", reset_less=True) for i, n in enumerate(Part.bits(63, v)))
        )
        planned = Signal()
        plan = Signal(self._plan_layout(), name="plan", reset_less=True)
        emit = self.active & planned & (have >= plan.wanted)
        rest, arriving = Signal.like(have), Signal(range(p.lanes + 1))
        # Whether a word is emitted is known late: both answers are ready by then.
        fits = [n + arriving <= p.lanes for n in (have, have - plan.wanted)]
        m.d.comb += [
            rest.eq(Mux(emit, have - plan.wanted, have)),
            arriving.eq(Mux(inflight, p.lanes, 0)),
            self.want.eq(self.span.active & Mux(emit, fits[1], fits[0])),
        ]
        m.d.sync += [have.eq(rest + arriving), inflight.eq(self.grant)]
        with m.If(self.grant):
            m.d.sync += self.span.addr.eq(self.span.addr + 1)
            with m.If(self.span.addr + 1 == self.span.end):
                m.d.sync += self.span.active.eq(0)
        self._emit(m, v, plan, emit & ~plan.skip)
        m.submodules.window = Instance(
            "blockcim_window",
            p_LANES=p.lanes,
            p_ACT=p.act_bits,
            p_GRANULE=p.granule,
            p_COUNT=len(plan.wanted),
            i_clk=ClockSignal(),
            i_clear=self.go,
            i_emit=emit & ~plan.skip,
            i_start=plan.starts.as_value(),
            i_take=emit,
            i_gone=plan.wanted,
            i_arrive=inflight,
            i_data=self.read_data,
            o_cut=self.bus.data,
        )
        following, ends = self._slots(m, v, position, part, distance, elems)
        with m.If(emit | ~planned):
            m.d.sync += [planned.eq(1), plan.eq(following), plan.skip.eq(skipping)]
            m.d.sync += skipping.eq(0)
            with m.If(skipping):
                m.d.sync += [plan.wanted.eq(v.skip), plan.last.eq(0)]
            with m.Else():
                m.d.sync += [
                    elems.eq(ends[3]),
                    position.offset.eq(ends[0].offset),
                    position.place.eq(ends[0].place),
                    part.eq(ends[1]),
                    distance.tiles.eq(ends[2].tiles),
                    distance.groups.eq(ends[2].groups),
                ]
        with m.If(emit & plan.last):
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
                planned.eq(0),
                skipping.eq(incoming.skip != 0),
                elems.eq(incoming.elems),
                part.eq(0),
                distance.tiles.eq(0),
                distance.groups.eq(0),
                position.offset.eq(0),
                position.place.eq(incoming.d_m0),
                self.pattern.eq(copies(incoming, p.tiles)),
            ]
        return m

    def _plan_layout(self):
        """What one cycle takes from the window: elements, where each slot starts and ends, where it lands."""
        p = self.params
        count = clog2(p.lanes + 1)
        return data.StructLayout(
            {
                "wanted": count,
                "skip": 1,
                "last": 1,
                "starts": data.ArrayLayout(count, p.slots),
                "lens": data.ArrayLayout(clog2(p.granule + 1), p.slots),
                "slots": data.ArrayLayout(slot_layout(p), p.slots),
            }
        )

    def _slots(self, m, v, position, part, distance, elems):
        """Chain of the slots of one cycle. Returns their plan, and where the next cycle goes on.

        A plan is made while the one before it is carried out: the first word is there two cycles after its request.
        """
        p = self.params
        plan = Signal(self._plan_layout(), name="following")
        taken, left = Const(0, clog2(p.lanes + 1)), elems
        for s in range(p.slots):
            last = part == v.parts - 1
            size = Signal(range(p.granule + 1), name=f"size{s}")
            whole = Mux(last, v.tail, p.granule)
            ends = left <= whole
            m.d.comb += size.eq(Mux(ends, left, whole))
            shown = Signal(6, name=f"shown{s}")
            m.d.comb += shown.eq(part - v.part_lo)
            begun = part >= v.part_lo
            wanted = begun & (shown < v.part_n) & (size != 0)
            land(m, plan.slots[s], v, position, distance, wanted, p)
            m.d.comb += [plan.lens[s].eq(size), plan.starts[s].eq(taken)]
            after, following = position.next(m, v, f"after{s}"), Signal(6, name=f"part{s}")
            m.d.comb += following.eq(Mux(last, 0, part + 1))
            moved = Position(
                Mux(last, after.offset, position.offset), Mux(last, after.place, position.place)
            )
            further = distance.next(m, v, f"distance{s}")
            counts = begun & ~last
            distance = Part(Mux(counts, further.tiles, 0), Mux(counts, further.groups, 0))
            total = Signal(range(p.lanes + 1), name=f"taken{s}")
            rest = Signal.like(elems, name=f"left{s}")
            m.d.comb += [total.eq(taken + size), rest.eq(Mux(ends, 0, left - whole))]
            position, part, taken, left = moved, following, total, rest
        m.d.comb += [plan.wanted.eq(taken), plan.last.eq(ends)]
        return plan, (position, part, distance, left)

    def _emit(self, m, v, plan, emit):
        """Register the slots of this cycle on the fill bus; their elements come from the window."""
        p, bus = self.params, self.bus
        group = index_bits(p.row_groups)
        for s in range(p.slots):
            slot, length = plan.slots[s], plan.lens[s]
            m.d.sync += bus.tiles[s].eq(0)
            with m.If(emit):
                elements = slice(s * p.granule, (s + 1) * p.granule)
                m.d.sync += [
                    bus.tiles[s].eq(slot_tiles(self.pattern, v.d_tile, slot, p.tiles)),
                    bus.group[s * group : (s + 1) * group].eq(slot.group),
                    bus.mask[elements].eq((1 << length) - 1),
                ]
