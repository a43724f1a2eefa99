"""A drain port: reads a result column by column over all blocks, and requantises it.

The front steps through the columns and controls the heads of the chains; the back follows when the sums of
a step are complete at the tails, gathers the lanes from the tiles, adds bias, requantises, and hands the
step to the row registers (fill bus) or to the packer (rtl/packer.py), three cycles later.
"""

from amaranth.hdl import Array, Cat, ClockSignal, Const, Instance, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .fill import Part, Position, bus_layout, copies, land, slot_layout, slot_tiles
from .layout import instr_layout, instr_view
from .packer import Packer
from .spans import DRAIN_ENTRIES, span_layout
from .spec import isa
from .spec.isa import Op
from .spec.numeric import ACC_BITS, CONST_BITS
from .spec.params import Params, clog2, index_bits
from .steps import Steps
from .tile import control_layout
from .tilemask import multiples, rotate


class DrainPort(wiring.Component):
    """One DRAIN at a time in front, a second one behind it.

    Members
    -------
    restart : In, a program starts: no elements are kept
    go, word, ea, fill_mask : In, start with this instruction
    free, tail : Out, the front can take a drain in this cycle; cycles until the last step's sums are complete
    idle : Out, nothing in flight
    heads, control : Out, tiles that head a chain, and the control they get in this cycle
    sums : In, per tile its partial sums, slots * column groups * 32 bits
    const_addr, const_en, const_data : read port of the constants, data one cycle later, for the next step to come
    bus, filled : Out, the fill port
    write_en, write_addr, write_data, spans : Out, buffer writes, and the words still to be written
    """

    def __init__(self, params: Params):
        self.params = p = params
        super().__init__(
            {
                "restart": In(1),
                "go": In(1),
                "word": In(isa.width(p)),
                "ea": In(clog2(p.act_depth) + 1),
                "fill_mask": In(p.tiles),
                "free": Out(1),
                "tail": Out(clog2(p.tiles + 1)),
                "idle": Out(1),
                "stepping": Out(1),
                "heads": Out(p.tiles),
                "control": Out(control_layout(p)),
                "sums": In(p.slots * p.col_groups * ACC_BITS).array(p.tiles),
                "const_addr": Out(clog2(p.const_depth)),
                "const_en": Out(1),
                "const_data": In(p.lanes * CONST_BITS),
                "bus": Out(bus_layout(p)),
                "filled": Out(p.tiles),
                "write_en": Out(1),
                "write_addr": Out(clog2(p.act_depth)),
                "write_data": Out(p.word_bits),
                "spans": Out(data.ArrayLayout(span_layout(p), DRAIN_ENTRIES)),
            }
        )
        self.layout = instr_layout(Op.DRAIN, p)
        self.entries = self._per_entry(self.layout, "entry")

    def elaborate(self, platform):
        m = Module()
        p = self.params
        self.masks = self._per_entry(p.tiles, "fill_mask")
        self.patterns = self._per_entry(p.tiles, "pattern")
        # Known when a drain goes: its first step, and the part that this fills.
        self.first_steps = self._per_entry(2, "first_steps")
        new = instr_view(Op.DRAIN, p, self.word)
        self.first = Part.of(new.d_part, new)
        self.first_tiles = self._per_entry(self.first.tiles.shape(), "first_tiles")
        self.first_groups = self._per_entry(self.first.groups.shape(), "first_groups")
        self.used = Signal(DRAIN_ENTRIES)
        self.newest = Signal(range(DRAIN_ENTRIES))
        emitted, chain = self._front(m)
        line = Signal(p.tiles)
        here = (Const(1, p.tiles + 1) << chain)[1 : p.tiles + 1]
        m.d.sync += line.eq((line >> 1) | Mux(emitted, here, 0))
        gathered, stage = self._back(m, line[0])
        values, stage = self._requantise(m, gathered, stage)
        self._finish(m, values, stage)
        return m

    @staticmethod
    def _per_entry(shape, name: str) -> Array:
        return Array(
            Signal(shape, name=f"{name}{i}", reset_less=True) for i in range(DRAIN_ENTRIES)
        )

    # -- front -----------------------------------------------------------------------------------

    def _front(self, m):
        """Steps that read the accumulators. Returns (a step is emitted, chain length)."""
        p = self.params
        new = instr_view(Op.DRAIN, p, self.word)
        active, v = Signal(), Signal(self.layout, name="front", reset_less=True)
        heads, tail = Signal(p.tiles, reset_less=True), Signal(clog2(p.tiles + 1))
        steps, emits = Steps(m, p, "front", ahead=True), self._emits(m, active)
        last, _ = steps.advance(m, v, emits)
        m.d.comb += [
            self.stepping.eq(active),
            self.heads.eq(Mux(emits, heads, 0)),
            self.control.en.eq(~steps.flush),
            self.control.column.eq(v.column + steps.column),
            self.control.col.eq(v.col),
            self.control.pieces.eq(v.pieces),
            self.control.last.eq(last),
            self.control.release.eq(v.release),
            self.control.left.eq(v.chain - 1),
            self.free.eq((~active | (emits & last)) & ~self.used.all()),
            self.tail.eq(Mux(emits & last, v.chain, tail)),
            self.idle.eq(~self.used.any()),
        ]
        with m.If(tail != 0):
            m.d.sync += tail.eq(tail - 1)
        with m.If(emits & last):
            m.d.sync += [active.eq(0), tail.eq(v.chain - 1)]
        with m.If(self.go):
            entry = ~self.newest
            base = multiples(new.chain, new.groups, p.tiles)
            m.d.sync += [
                steps.start(Steps.first(new)),
                self.first_steps[entry].eq(Steps.first(new)),
                active.eq(1),
                v.eq(new),
                heads.eq(rotate(base, new.tile, p.tiles)),
                self.newest.eq(entry),
                self.entries[entry].eq(new),
                self.masks[entry].eq(self.fill_mask),
                self.patterns[entry].eq(copies(new, p.tiles)),
                self.first_tiles[entry].eq(self.first.tiles),
                self.first_groups[entry].eq(self.first.groups),
                self.used.bit_select(entry, 1).eq(1),
            ]
        return emits, v.chain

    def _emits(self, m, active):
        """Whether the front gives a step in this cycle: the last of its `step_cycles`."""
        cycles = self.params.step_cycles
        if cycles == 1:
            return active
        phase = Signal(range(cycles))
        with m.If(active):
            m.d.sync += phase.eq(Mux(phase == cycles - 1, 0, phase + 1))
        return active & (phase == cycles - 1)

    # -- back ------------------------------------------------------------------------------------

    def _back(self, m, valid):
        """The step whose sums are complete: gather its lanes, and say where they go."""
        p = self.params
        entry = Signal(range(DRAIN_ENTRIES), init=1)
        v = Signal(self.layout, name="back", reset_less=True)
        steps = Steps(m, p, "back", ahead=True)
        last, next_const = steps.advance(m, v, valid)
        with m.If(valid & last):
            m.d.sync += entry.eq(~entry)
        begun = Signal()
        with m.If(valid):
            m.d.sync += begun.eq(~last)
        current, following = (
            data.View(self.layout, self.entries[e].as_value()) for e in (entry, ~entry)
        )
        # A drain is in its entry two cycles before its first step comes here: `v` is a register of its own.
        coming = Signal(self.layout, name="coming")
        m.d.comb += coming.eq(Mux(valid & last, following.as_value(), current.as_value()))
        m.d.sync += v.eq(coming)
        with m.If((valid & last) | (~valid & ~begun)):
            first = Mux(valid & last, self.first_steps[~entry], self.first_steps[entry])
            m.d.sync += steps.start(first)
        part = self._parts(m, v, steps, entry, begun, Cat(valid, last, next_const))
        self._constant(m, current, following, begun, Cat(valid, last, next_const))
        stage = Signal(self._stage_layout(), name="stage0")
        position = Position(*(Signal(n, name=f"slice_{i}") for i, n in enumerate(Position.bits(p))))
        place = Mux(begun, position.place, v.d_m0)
        start = Position(Mux(begun, position.offset, 0), place)
        self._slots(m, v, steps, start, position, part, valid, stage)
        gathered = self._gather(m, v, steps, valid, next_const)
        m.d.comb += [
            stage.valid.eq(valid),
            stage.last.eq(last),
            stage.entry.eq(entry),
            stage.raw.eq(v.raw),
            stage.sub.eq(steps.sub),
        ]
        return gathered, stage

    def _parts(self, m, v, steps, entry, begun, state):
        """The part that the first slot of a step fills: a register, which moves on with the steps of a column."""
        valid, last, next_const = state
        bits = Part.bits((1 << len(v.d_part)) + (1 << len(steps.step)) * self.params.slots, v)
        part = Part(*(Signal(n, name=f"part_{i}", reset_less=True) for i, n in enumerate(bits)))
        further = part.next(m, v, "part_next", self.params.slots)
        for now, after, firsts in (
            (part.tiles, further.tiles, self.first_tiles),
            (part.groups, further.groups, self.first_groups),
        ):
            # Of the drain that `v` is.
            first = Signal(len(firsts[0]), name="first", reset_less=True)
            coming = Signal.like(first, name="coming_first")
            m.d.comb += coming.eq(Mux(valid & last, firsts[~entry], firsts[entry]))
            m.d.sync += first.eq(coming)
            with m.If(valid & next_const):
                m.d.sync += now.eq(Mux(steps.step_last, first, after))
            with m.If((valid & last) | (~valid & ~begun)):
                m.d.sync += now.eq(coming)
        return part

    def _constant(self, m, current, following, begun, state):
        """Reads the constant of the step that may follow in the next cycle: it is there when the step is."""
        valid, last, next_const = state
        kept, at = (
            Signal(clog2(self.params.const_depth), name=f"const_{n}") for n in ("kept", "at")
        )
        m.d.comb += [
            at.eq(Mux(begun, kept, current["const"])),
            self.const_addr.eq(Mux(valid, Mux(last, following["const"], at + next_const), at)),
            self.const_en.eq(valid | (~begun & self.used.any())),
        ]
        m.d.sync += kept.eq(self.const_addr)

    def _stage_layout(self):
        p = self.params
        return data.StructLayout(
            {
                "valid": 1,
                "last": 1,
                "entry": 1,
                "raw": 1,
                "sub": index_bits(p.raw_elements),
                "lens": data.ArrayLayout(clog2(p.granule + 1), p.slots),
                "slots": data.ArrayLayout(slot_layout(p), p.slots),
            }
        )

    def _slots(self, m, v, steps, start, position, part, valid, stage):
        """Per slot of the step: piece, first block, valid length, landing place."""
        p = self.params
        piece, slot = Const(0, 1), Const(0, 1)
        where, lens, first_part = start, [], part
        for s in range(p.slots):
            block = (steps.step * p.slots + slot) * p.granule
            size = Signal(range(p.granule + 1), name=f"len{s}")
            left = v["count"] - block
            inside = (piece < v.pieces) & (steps.column + piece < v.columns) & ~steps.flush
            with m.If(inside & (left > 0)):
                m.d.comb += size.eq(Mux(left > p.granule, p.granule, left))
            land(m, stage.slots[s], v, where, part, size != 0, p)
            lens.append(size)
            wraps = Signal(name=f"wraps{s}")
            m.d.comb += wraps.eq(slot + 1 == v["slots"])
            further = part.next(m, v, f"part{s}")
            part = Part(
                Mux(wraps, first_part.tiles, further.tiles),
                Mux(wraps, first_part.groups, further.groups),
            )
            after = where.next(m, v, f"slice{s}")
            one_step = wraps & (v.steps == 1)
            where = Position(
                Mux(one_step, after.offset, where.offset), Mux(one_step, after.place, where.place)
            )
            piece, slot = (
                self._named(m, Mux(wraps, piece + 1, piece), clog2(p.slots + 1), f"piece{s}"),
                self._named(m, Mux(wraps, 0, slot + 1), clog2(p.slots + 1), f"sub{s}"),
            )
        self._raw_lens(m, v, steps, lens, stage)
        # With several steps a column the slice moves on after the last of them; unused slots do not count.
        step_last = steps.step == v.steps - 1
        sub_last = ~v.raw | (steps.sub == p.raw_elements - 1)
        many = start.next(m, v, "many")
        moved = self._after_pieces(m, v, start)
        with m.If(valid & sub_last):
            m.d.sync += [
                position.offset.eq(
                    Mux(v.steps == 1, moved.offset, Mux(step_last, many.offset, start.offset))
                ),
                position.place.eq(
                    Mux(v.steps == 1, moved.place, Mux(step_last, many.place, start.place))
                ),
            ]
        with m.Elif(valid):
            m.d.sync += [position.offset.eq(start.offset), position.place.eq(start.place)]

    def _after_pieces(self, m, v, start):
        """The slice after the `pieces` of a step."""
        where, options = start, [start]
        for i in range(self.params.slots):
            where = where.next(m, v, f"ahead{i}")
            options.append(where)
        offset = Array(o.offset for o in options)[v.pieces]
        place = Array(o.place for o in options)[v.pieces]
        return Position(offset, place)

    @staticmethod
    def _named(m, value, bits, name):
        signal = Signal(bits, name=name)
        m.d.comb += signal.eq(value)
        return signal

    def _raw_lens(self, m, v, steps, lens, stage):
        """Elements per slot; in a raw step those of its quarter, where a value takes raw_elements."""
        p = self.params
        values = Signal(range(p.lanes + 1))
        m.d.comb += values.eq(sum(lens))
        share = p.lanes // p.raw_elements
        difference = signed(clog2(p.lanes * p.raw_elements) + 2)
        for s in range(p.slots):
            left = Signal(difference, name=f"raw_left{s}")
            m.d.comb += left.eq(values - steps.sub * share)
            elements = Mux(left > share, p.lanes, Mux(left > 0, left * p.raw_elements, 0))
            rest = Signal(difference, name=f"raw_rest{s}")
            m.d.comb += rest.eq(elements - s * p.granule)
            raw = Mux(rest > p.granule, p.granule, Mux(rest > 0, rest, 0))
            m.d.comb += stage.lens[s].eq(Mux(v.raw, raw, lens[s]))

    def _gather(self, m, v, steps, valid, next_const):
        """The lanes of the step, registered: rtl/views/gather.v."""
        p = self.params
        gathered = Signal(p.lanes * ACC_BITS)
        m.submodules.gather = Instance(
            "blockcim_gather",
            p_SIZE=p.drain_chunk * ACC_BITS,
            p_PIECE=p.col_groups // p.drain_chunk,
            p_PIECES=p.slots,
            p_SLOTS=p.slots,
            p_CHUNKS=p.granule // p.drain_chunk,
            p_TILES=p.tiles,
            p_COUNT=clog2(p.tiles + 1),
            p_BLOCKS=len(v.blocks),
            p_SLOT=len(v["slots"]),
            i_clk=ClockSignal(),
            i_en=valid,
            i_first=steps.step == 0,
            i_advance=next_const,
            i_restart=v.steps == 1,
            i_tile=v.tile[: clog2(p.tiles + 1)],
            i_chain=v.chain[: clog2(p.tiles + 1)],
            i_span=(v.groups * v.chain)[: clog2(p.tiles + 1)],
            i_blocks=v.blocks,
            i_slots=v["slots"],
            i_constants=self.const_data,
            o_lanes=gathered,
            **{f"i_sums{t}": self.sums[t] for t in range(p.tiles)},
        )
        return gathered

    # -- arithmetic ------------------------------------------------------------------------------

    def _requantise(self, m, gathered, stage):
        """rtl/views/requantise.v: take constants; multiply; round, shift, clamp, place in the slices.

        With `step_cycles` above 1 the first stage takes so many cycles: groups of lanes take turns.
        """
        p = self.params
        stages = [stage]
        for i in range(1, 4):
            stages.append(Signal(self._stage_layout(), name=f"stage{i}"))
        _, stage1, stage2, stage3 = stages
        m.d.sync += [stage2.eq(stage1), stage3.eq(stage2)]
        self._limit(m, stage2, stage3)
        turns = self._first_stage(m, stages)
        self.before_last = stage2
        word, self.placed = Signal(p.word_bits), Signal(p.lanes)
        self.moved = Signal(p.word_bits)
        v = data.View(self.layout, self.entries[stage2.entry].as_value())
        m.submodules.requantise = Instance(
            "blockcim_requantise",
            p_LANES=p.lanes,
            p_ACT=p.act_bits,
            p_GRANULE=p.granule,
            p_SUB=len(stage2.sub),
            p_LEN=len(stage2.lens[0]),
            p_OFF=len(v.d_off),
            i_clk=ClockSignal(),
            i_en0=stage.valid,
            i_raw0=stage.raw,
            i_constants=self.const_data,
            **turns,
            i_sums=gathered,
            i_en2=stage2.valid,
            i_lens2=stage2.lens.as_value(),
            i_off2=Mux(v.rows, v.d_off, 0),
            o_word=word,
            o_moved=self.moved,
            o_mask=self.placed,
        )
        return word, stage3

    def _limit(self, m, stage, after):
        """No more elements than `elems` of the drain allow go on from one stage to the next."""
        bits = self.layout["elems"].width
        elems = self._per_entry(bits, "elems")
        left = elems[stage.entry]
        for s in range(self.params.slots):
            size, rest = Signal.like(stage.lens[s], name=f"size{s}"), Signal(bits, name=f"rest{s}")
            m.d.comb += [
                size.eq(Mux(stage.lens[s] > left, left, stage.lens[s])),
                rest.eq(left - size),
            ]
            m.d.sync += after.lens[s].eq(size)
            left = rest
        with m.If(stage.valid):
            m.d.sync += elems[stage.entry].eq(left)
        with m.If(self.go):
            new = instr_view(Op.DRAIN, self.params, self.word)
            m.d.sync += elems[~self.newest].eq(new.elems)

    def _first_stage(self, m, stages):
        """The stage that multiplies; returns ports of the requantiser that depend on how many lanes do at a time."""
        p, (stage, stage1, stage2, _) = self.params, stages
        if p.step_cycles == 1:
            m.d.sync += stage1.eq(stage)
            return {"i_en1": stage1.valid, "i_raw2": stage2.raw, "i_sub2": stage2.sub}
        turn, busy = Signal(range(p.step_cycles)), Signal()
        held = Signal(self._stage_layout(), name="held")
        ends = busy & (turn == p.step_cycles - 1)
        m.d.comb += [stage1.eq(held), stage1.valid.eq(ends)]
        with m.If(busy):
            m.d.sync += turn.eq(turn + 1)
        with m.If(ends):
            m.d.sync += busy.eq(0)
        with m.If(stage.valid):
            m.d.sync += [held.eq(stage), busy.eq(1), turn.eq(0)]
        return {
            "i_en1": busy,
            "i_turn1": turn,
            "i_sub0": stage.sub,
            "p_UNITS": p.multipliers,
            "p_DIGITS": p.multiply_cycles,
            "p_TURN": len(turn),
        }

    # -- destination -----------------------------------------------------------------------------

    def _finish(self, m, word, stage):
        """The finished step: on the fill bus, or into the packer and the buffer."""
        v = data.View(self.layout, Signal(self.layout.size, name="done"))
        m.d.comb += v.as_value().eq(self.entries[stage.entry].as_value())
        self._fill_bus(m, v, stage)
        self._write(m, v, word, stage)
        with m.If(stage.valid & stage.last):
            m.d.sync += self.used.bit_select(stage.entry, 1).eq(0)
        # A fill counts as complete in the cycle before it is on the bus: a pass that issues while it is reads it.
        early = self.before_last
        rows = data.View(self.layout, self.entries[early.entry].as_value()).rows
        complete = early.valid & early.last & rows
        m.d.comb += self.filled.eq(Mux(complete, self.masks[early.entry], 0))

    def _fill_bus(self, m, v, stage):
        p, bus = self.params, self.bus
        group = index_bits(p.row_groups)
        pattern = Signal(p.tiles, name="done_pattern")
        m.d.comb += pattern.eq(self.patterns[stage.entry])
        for s in range(p.slots):
            slot = stage.slots[s]
            tiles = slot_tiles(pattern, v.d_tile, slot, p.tiles)
            m.d.comb += [
                bus.tiles[s].eq(Mux(stage.valid & v.rows, tiles, 0)),
                bus.group[s * group : (s + 1) * group].eq(slot.group),
            ]
        m.d.comb += [bus.mask.eq(self.placed), bus.data.eq(self.moved)]

    def _write(self, m, v, word, stage):
        """Packs the step and writes complete words; `spans` are the words still owed."""
        p = self.params
        new = instr_view(Op.DRAIN, p, self.word)
        m.submodules.packer = packer = Packer(p)
        addr = self._per_entry(clog2(p.act_depth) + 1, "addr")
        end = self._per_entry(clog2(p.act_depth) + 1, "end")
        m.d.comb += [
            packer.clear.eq(self.restart),
            packer.step.valid.eq(stage.valid & ~v.rows),
            packer.step.last.eq(stage.last),
            packer.step.keep.eq(v.keep),
            packer.step.lens.eq(stage.lens),
            packer.elements.eq(word),
            self.write_en.eq(packer.write & (addr[stage.entry] != end[stage.entry])),
            self.write_addr.eq(addr[stage.entry]),
            self.write_data.eq(packer.word),
        ]
        for i in range(DRAIN_ENTRIES):
            rows = data.View(self.layout, self.entries[i].as_value()).rows
            m.d.comb += [
                self.spans[i].active.eq(self.used[i] & ~rows),
                self.spans[i].addr.eq(addr[i]),
                self.spans[i].end.eq(end[i]),
            ]
        with m.If(self.write_en):
            m.d.sync += addr[stage.entry].eq(addr[stage.entry] + 1)
        with m.If(self.go):
            entry = ~self.newest
            m.d.sync += [
                addr[entry].eq(self.ea),
                end[entry].eq(self.ea + new.words),
            ]
