"""Streams in and out of the core: words from beats, RECV, weight and constant loading, SEND."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from .layout import instr_view
from .spans import span_layout
from .spec import isa
from .spec.isa import Op
from .spec.params import Params, clog2, index_bits

#: Words that wait between the buffer and the output stream at most.
SEND_FIFO = 4


class StreamIn(wiring.Component):
    """RECV, LDW, LDC: takes stream words for the buffer, the weights, or the constants.

    Beats are collected to buffer words, low beat first; the last beat of a word passes through, so a
    word is taken in the cycle its last beat arrives. RECV takes a word a cycle unless drain port 0 writes the
    buffer; LDW writes one slot a cycle; LDC takes a word a cycle.

    Members
    -------
    in_valid, in_ready, in_data : the stream; valid does not wait for ready
    recv_go, ldw_go, ldc_go, word, ea : In, start
    active, ldw, ldc, span : Out, state and buffer words still to be written
    blocked : In, the write port is taken in this cycle
    write_en, write_addr, write_data : Out, buffer
    weight_tile, weight_en, weight_row, weight_group, weight_data : Out, weights
    const_en, const_addr, const_data : Out, constants; an enable for each of the const_words parts of a word
    """

    def __init__(self, params: Params):
        self.params = p = params
        super().__init__(
            {
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(p.stream_bits),
                "recv_go": In(1),
                "ldw_go": In(1),
                "ldc_go": In(1),
                "word": In(isa.width(p)),
                "ea": In(clog2(p.act_depth) + 1),
                "active": Out(1),
                "ldw": Out(1),
                "ldc": Out(1),
                "span": Out(span_layout(p)),
                "blocked": In(1),
                "write_en": Out(1),
                "write_addr": Out(clog2(p.act_depth)),
                "write_data": Out(p.word_bits),
                "weight_tile": Out(index_bits(p.tiles)),
                "weight_en": Out(1),
                "weight_row": Out(clog2(p.rows)),
                "weight_group": Out(index_bits(p.col_groups)),
                "weight_data": Out(p.granule * p.weight_bits),
                "const_en": Out(p.const_words),
                "const_addr": Out(clog2(p.const_depth)),
                "const_data": Out(p.word_bits),
            }
        )
        self.rows_left = Signal.like(instr_view(Op.LDW, p, self.word).rows)
        self.constants_left = Signal.like(instr_view(Op.LDC, p, self.word).words)

    def elaborate(self, platform):
        m = Module()
        full, word, take = Signal(), Signal(self.params.word_bits), Signal()
        self._beats(m, full, word, take)
        recv = self._receive(m, full, word)
        weights, constants = self._weights(m, full, word), self._constants(m, full, word)
        m.d.comb += [
            take.eq(recv | weights | constants),
            self.active.eq(self.span.active | self.ldw | self.ldc),
        ]
        return m

    def _beats(self, m, full, word, take):
        """Collect beats: `full` with the whole `word` while its last beat waits."""
        p = self.params
        if p.beats_per_word == 1:
            m.d.comb += [full.eq(self.in_valid), word.eq(self.in_data), self.in_ready.eq(take)]
            return
        count, kept = Signal(index_bits(p.beats_per_word)), Signal(p.word_bits - p.stream_bits)
        final = count == p.beats_per_word - 1
        m.d.comb += [
            full.eq(self.in_valid & final),
            word.eq(Cat(kept, self.in_data)),
            self.in_ready.eq(~final | take),
        ]
        with m.If(self.in_valid & self.in_ready):
            m.d.sync += count.eq(Mux(final, 0, count + 1))
            with m.If(~final):
                m.d.sync += kept.word_select(count, p.stream_bits).eq(self.in_data)

    def _receive(self, m, full, word):
        span, take = self.span, Signal(name="recv_take")
        m.d.comb += [
            take.eq(span.active & full & ~self.blocked),
            self.write_en.eq(take),
            self.write_addr.eq(span.addr),
            self.write_data.eq(word),
        ]
        with m.If(take):
            m.d.sync += span.addr.eq(span.addr + 1)
            with m.If(span.addr + 1 == span.end):
                m.d.sync += span.active.eq(0)
        v = instr_view(Op.RECV, self.params, self.word)
        with m.If(self.recv_go):
            m.d.sync += [span.active.eq(1), span.addr.eq(self.ea), span.end.eq(self.ea + v.words)]
        return take

    def _weights(self, m, full, word):
        """One granule row per weight_slots slots, row by row over all column groups."""
        p = self.params
        v = instr_view(Op.LDW, p, self.word)
        slot = Signal(index_bits(p.slots))
        group, part = Signal(index_bits(p.col_groups)), Signal(index_bits(p.weight_slots))
        row, rows, tile = Signal.like(v.row), self.rows_left, Signal.like(v.tile)
        low = Signal(p.granule * p.act_bits)
        last_slot, last_part = slot == p.slots - 1, part == p.weight_slots - 1
        last_group = group == p.col_groups - 1
        done = last_part & last_group & (rows == 1)
        step, take = Signal(name="weight_step"), Signal(name="weight_take")
        lanes = word.word_select(slot, p.granule * p.act_bits)
        elements = [lanes.word_select(i, p.act_bits) for i in range(p.granule)]
        if p.weight_slots > 1:
            lows = [low.word_select(i, p.act_bits) for i in range(p.granule)]
            elements = [Cat(a, b) for a, b in zip(lows, elements, strict=True)]
        m.d.comb += [
            step.eq(self.ldw & full),
            take.eq(step & (last_slot | done)),
            self.weight_en.eq(step & last_part),
            self.weight_tile.eq(tile),
            self.weight_row.eq(row),
            self.weight_group.eq(group),
            self.weight_data.eq(Cat(*(e[: p.weight_bits] for e in elements))),
        ]
        with m.If(step):
            m.d.sync += [low.eq(lanes), slot.eq(Mux(last_slot | done, 0, slot + 1))]
            m.d.sync += part.eq(Mux(last_part, 0, part + 1))
            with m.If(last_part):
                m.d.sync += group.eq(Mux(last_group, 0, group + 1))
                with m.If(last_group):
                    m.d.sync += [row.eq(row + 1), rows.eq(rows - 1)]
            with m.If(done):
                m.d.sync += self.ldw.eq(0)
        with m.If(self.ldw_go):
            m.d.sync += [self.ldw.eq(1), row.eq(v.row), rows.eq(v.rows), tile.eq(v.tile)]
            m.d.sync += [slot.eq(0), group.eq(0), part.eq(0)]
        return take

    def _constants(self, m, full, word):
        """const_words stream words make one constant word."""
        p = self.params
        v = instr_view(Op.LDC, p, self.word)
        part, left = Signal(range(p.const_words)), self.constants_left
        addr = Signal.like(v["const"])
        last, take = part == p.const_words - 1, Signal(name="const_take")
        m.d.comb += [
            take.eq(self.ldc & full),
            self.const_en.eq(take << part),
            self.const_addr.eq(addr),
            self.const_data.eq(word),
        ]
        with m.If(take):
            m.d.sync += part.eq(Mux(last, 0, part + 1))
            with m.If(last):
                m.d.sync += [addr.eq(addr + 1), left.eq(left - 1)]
                with m.If(left == 1):
                    m.d.sync += self.ldc.eq(0)
        with m.If(self.ldc_go):
            m.d.sync += [self.ldc.eq(1), addr.eq(v["const"]), left.eq(v.words), part.eq(0)]
        return take


class StreamOut(wiring.Component):
    """SEND: a word requested in cycle c is offered to the stream in c+2; words wait in a small queue.

    Members
    -------
    out_valid, out_ready, out_data, out_last : the stream; `last` marks the last beat of a SEND
    go, word, ea : In, start
    active, idle, span : Out, words still to be requested; nothing left anywhere; those words
    want, grant, read_data : read port of the buffer, data one cycle after a grant
    """

    def __init__(self, params: Params):
        self.params = p = params
        super().__init__(
            {
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(p.stream_bits),
                "out_last": Out(1),
                "go": In(1),
                "word": In(isa.width(p)),
                "ea": In(clog2(p.act_depth) + 1),
                "active": Out(1),
                "idle": Out(1),
                "span": Out(span_layout(p)),
                "want": Out(1),
                "grant": In(1),
                "read_data": In(p.word_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p, span = self.params, self.span
        layout = data.StructLayout({"last": 1, "data": p.word_bits})
        m.submodules.queue = queue = SyncFIFO(width=layout.size, depth=SEND_FIFO)
        inflight, last = Signal(), Signal()
        m.d.comb += [
            self.active.eq(span.active),
            self.idle.eq(~span.active & ~inflight & ~queue.r_rdy),
            self.want.eq(span.active & (queue.level + inflight < SEND_FIFO)),
            queue.w_en.eq(inflight),
            queue.w_data.eq(Cat(last, self.read_data)),
        ]
        ends = span.addr + 1 == span.end
        m.d.sync += [inflight.eq(self.grant), last.eq(ends)]
        with m.If(self.grant):
            m.d.sync += [span.addr.eq(span.addr + 1), span.active.eq(~ends)]
        v = instr_view(Op.SEND, p, self.word)
        with m.If(self.go):
            m.d.sync += [span.active.eq(1), span.addr.eq(self.ea), span.end.eq(self.ea + v.words)]
        out = data.View(layout, queue.r_data)
        beat = Signal(index_bits(p.beats_per_word))
        final = beat == p.beats_per_word - 1
        m.d.comb += [
            self.out_valid.eq(queue.r_rdy),
            self.out_data.eq(out.data.word_select(beat, p.stream_bits)),
            self.out_last.eq(out.last & final),
            queue.r_en.eq(self.out_ready & final),
        ]
        with m.If(self.out_valid & self.out_ready):
            m.d.sync += beat.eq(Mux(final, 0, beat + 1))
        return m
