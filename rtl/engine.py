"""The engine: sequencer, tiles, buffer, drains and streams of one core, without its registers."""

import math

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .drain import DrainPort
from .load import LoadUnit
from .memory import Memory
from .sequencer import Sequencer
from .spans import DRAIN_ENTRIES
from .spec import isa
from .spec.isa import Error
from .spec.numeric import CONST_BITS, CONST_FIELDS
from .spec.params import Params, clog2
from .stream import StreamIn, StreamOut
from .tile import ID_BITS, control_layout
from .tilemask import count

#: Busy outputs that the performance counters count, besides `running`.
COUNTED = ("in_busy", "load_busy", "pass_busy", "out_busy")


class Engine(wiring.Component):
    """One core but for its register file (rtl/core.py). Timing: mapper/cycles.py states the contract.

    Members
    -------
    first_tile : In, number of the core's first tile among all of a chip, see rtl/tile.py
    start, running, halted, failed, issued, error, pc, length : control, see Sequencer
    prog_we, prog_instr, prog_part, prog_data : program memory writes
    in_*, out_* : streams
    in_busy, load_busy, pass_busy, out_busy : Out, units active in this cycle
    pass_tiles, drain_steps : Out, tiles computing and drain ports stepping in this cycle
    """

    def __init__(self, params: Params):
        self.params = p = params
        super().__init__(
            {
                "first_tile": In(ID_BITS),
                "start": In(1),
                "running": Out(1),
                "halted": Out(1),
                "failed": Out(1),
                "issued": Out(1),
                "error": Out(range(max(Error) + 1)),
                "pc": Out(clog2(p.prog_depth) + 1),
                "length": In(16),
                "prog_we": In(1),
                "prog_instr": In(clog2(p.prog_depth)),
                "prog_part": In(range(isa.width(p) // 32)),
                "prog_data": In(32),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(p.stream_bits),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(p.stream_bits),
                "out_last": Out(1),
                **dict.fromkeys(COUNTED, Out(1)),
                "pass_tiles": Out(clog2(p.tiles + 1)),
                "drain_steps": Out(clog2(p.drain_ports + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.sequencer = self.seq = Sequencer(p)
        m.submodules.load = self.load = LoadUnit(p)
        m.submodules.stream_in = self.sin = StreamIn(p)
        m.submodules.stream_out = self.sout = StreamOut(p)
        self.drains = [DrainPort(p) for _ in range(p.drain_ports)]
        for k, drain in enumerate(self.drains):
            m.submodules[f"drain{k}"] = drain
        self._control(m)
        self._units(m)
        self._buffer(m)
        self._constants(m)
        self._tiles(m)
        return m

    def _control(self, m):
        seq = self.seq
        for name in ("start", "length", "prog_we", "prog_instr", "prog_part", "prog_data"):
            m.d.comb += getattr(seq, name).eq(getattr(self, name))
        for name in ("running", "halted", "failed", "issued", "error", "pc"):
            m.d.comb += getattr(self, name).eq(getattr(seq, name))
        for name in ("in_valid", "in_data"):
            m.d.comb += getattr(self.sin, name).eq(getattr(self, name))
        m.d.comb += self.in_ready.eq(self.sin.in_ready)
        for name in ("out_valid", "out_data", "out_last"):
            m.d.comb += getattr(self, name).eq(getattr(self.sout, name))
        m.d.comb += self.sout.out_ready.eq(self.out_ready)
        m.d.comb += [
            self.in_busy.eq(self.sin.active),
            self.load_busy.eq(self.load.active),
            self.out_busy.eq(self.sout.active),
            self.pass_busy.eq(seq.busy.any()),
            self.pass_tiles.eq(count(list(seq.busy))),
            self.drain_steps.eq(sum(d.stepping for d in self.drains)),
        ]

    def _units(self, m):
        """Start bits and state between the sequencer and its units."""
        seq, sin, load, sout = self.seq, self.sin, self.load, self.sout
        for unit in (sin, load, sout, *self.drains):
            m.d.comb += [unit.word.eq(seq.word), unit.ea.eq(seq.ea)]
        m.d.comb += [
            sin.recv_go.eq(seq.recv_go),
            sin.ldw_go.eq(seq.ldw_go),
            sin.ldc_go.eq(seq.ldc_go),
            load.go.eq(seq.load_go),
            load.fill_mask.eq(seq.fill_mask),
            sout.go.eq(seq.send_go),
            seq.in_active.eq(sin.active),
            seq.in_ldw.eq(sin.ldw),
            seq.in_ldc.eq(sin.ldc),
            seq.load_active.eq(load.active),
            seq.send_active.eq(sout.active),
            seq.send_idle.eq(sout.idle),
            seq.filled[0].eq(load.filled),
            seq.spans[0].eq(sin.span),
            seq.spans[1].eq(load.span),
            seq.spans[2].eq(sout.span),
            seq.drain_idle.eq(Cat(*(d.idle for d in self.drains)).all()),
        ]
        for k, drain in enumerate(self.drains):
            m.d.comb += [
                drain.restart.eq(self.start),
                drain.go.eq(seq.drain_go[k]),
                drain.fill_mask.eq(seq.fill_mask),
                seq.drain_free[k].eq(drain.free),
                seq.drain_tail[k].eq(drain.tail),
                seq.filled[1 + k].eq(drain.filled),
            ]
            for i in range(DRAIN_ENTRIES):
                m.d.comb += seq.spans[3 + DRAIN_ENTRIES * k + i].eq(drain.spans[i])

    def _buffer(self, m):
        """Activation buffer: one read port (LOAD before SEND), a write port per drain (RECV on the first)."""
        p, seq = self.params, self.seq
        buffer = Memory(p.word_bits, p.act_depth, writes=p.drain_ports)
        buffer.add_to(m, "buffer")
        read = buffer.reads[0]
        writers = [
            seq.spans[0],
            *(seq.spans[i] for i in range(3, 3 + DRAIN_ENTRIES * p.drain_ports)),
        ]

        def owed(addr):
            return Cat(*(w.active & (w.addr <= addr) & (addr < w.end) for w in writers)).any()

        load, sout = self.load, self.sout
        m.d.comb += [
            load.grant.eq(load.want & ~owed(load.span.addr)),
            sout.grant.eq(sout.want & ~load.grant & ~owed(sout.span.addr)),
            read.addr.eq(Mux(load.grant, load.span.addr, sout.span.addr)),
            read.en.eq(load.grant | sout.grant),
            load.read_data.eq(read.data),
            sout.read_data.eq(read.data),
        ]
        for k, drain in enumerate(self.drains):
            write = buffer.writes[k]
            m.d.comb += [
                write.en.eq(drain.write_en),
                write.addr.eq(drain.write_addr),
                write.data.eq(drain.write_data),
            ]
            if k == 0:
                m.d.comb += self.sin.blocked.eq(drain.write_en)
                with m.If(self.sin.write_en):
                    m.d.comb += [
                        write.en.eq(1),
                        write.addr.eq(self.sin.write_addr),
                        write.data.eq(self.sin.write_data),
                    ]

    def _constants(self, m):
        """Requantisation constants: one word of 64 bits a lane per drain step, a read port per drain.

        Bits that no field has are not stored. Stream words that hold different fields have memories of their own.
        """
        p, sin = self.params, self.sin
        bits, kinds = p.word_bits, CONST_BITS // math.gcd(CONST_BITS, p.word_bits)
        for kind in range(kinds):
            words, kept = range(kind, p.const_words, kinds), _stored(kind * bits, bits)
            width = len(words) * sum(map(len, kept))
            memory = Memory(width, p.const_depth, reads=p.drain_ports, parts=len(words))
            memory.add_to(m, f"constants{kind}")
            write = memory.writes[0]
            m.d.comb += [
                write.en.eq(Cat(sin.const_en[word] for word in words)),
                write.addr.eq(sin.const_addr),
                write.data.eq(Cat(sin.const_data[run.start : run.stop] for run in kept)),
            ]
            for drain, read in zip(self.drains, memory.reads, strict=True):
                places = (
                    range(word * bits + r.start, word * bits + r.stop)
                    for word in words
                    for r in kept
                )
                stored = Cat(drain.const_data[place.start : place.stop] for place in places)
                m.d.comb += [
                    read.addr.eq(drain.const_addr),
                    read.en.eq(drain.const_en),
                    stored.eq(read.data),
                ]

    def _tiles(self, m):
        """The tiles, chained in a ring; each is an instance of one emitted module."""
        p, seq = self.params, self.seq
        buses = [self.load.bus, *(d.bus for d in self.drains)]
        sums_bits = p.slots * p.col_groups * 32
        sums = [Signal(sums_bits, name=f"sums{t}") for t in range(p.tiles)]
        controls = [Signal(control_layout(p), name=f"control{t}") for t in range(p.tiles)]
        valids = [Signal(name=f"control_valid{t}") for t in range(p.tiles)]
        ports = Signal(data.ArrayLayout(control_layout(p), p.drain_ports))
        m.d.comb += [ports[k].eq(d.control) for k, d in enumerate(self.drains)]
        for drain in self.drains:
            m.d.comb += [drain.sums[t].eq(sums[t]) for t in range(p.tiles)]
        for t in range(p.tiles):
            fills = {}
            for k, bus in enumerate(buses):
                fills[f"i_fill{k}_valid"] = Cat(*(bus.tiles[s][t] for s in range(p.slots)))
                for name in ("group", "mask", "data"):
                    fills[f"i_fill{k}_{name}"] = getattr(bus, name)
            m.submodules[f"tile{t}"] = Instance(
                "blockcim_tile",
                i_clk=ClockSignal(),
                i_rst=ResetSignal(),
                i_id=(self.first_tile + t)[:ID_BITS],
                **fills,
                i_restart=self.start,
                i_pass_start=seq.pass_go[t],
                i_command=seq.command.as_value(),
                o_ready=seq.ready[t],
                o_running=seq.busy[t],
                i_heads=Cat(*(d.heads[t] for d in self.drains)),
                i_controls=ports.as_value(),
                i_chain_in=sums[t - 1],
                i_chain_control=controls[t - 1].as_value(),
                i_chain_valid=valids[t - 1],
                o_q=sums[t],
                o_control_out=controls[t].as_value(),
                o_control_valid=valids[t],
                o_drained=seq.drained[t],
                o_released=seq.released[t],
                i_w_en=self.sin.weight_en & (self.sin.weight_tile == t),
                i_w_row=self.sin.weight_row,
                i_w_group=self.sin.weight_group,
                i_w_data=self.sin.weight_data,
            )


def _stored(first: int, count: int) -> list[range]:
    """Which of `count` bits of constants, from bit `first` of them on, are of a field: runs of bits."""
    used = max(bit + size for _, bit, size in CONST_FIELDS)
    entries = range(-(first % CONST_BITS), count, CONST_BITS)
    runs = (range(max(0, start), min(count, start + used)) for start in entries)
    return [run for run in runs if run]
