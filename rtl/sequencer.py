"""The sequencer: legality, hazards, issue; address registers, errors. Instructions come from rtl/fetch.py.

One instruction at most issues a cycle, in order. Everything that an instruction waits for is a register of
the unit that owns it or one of the tile vectors here, so the issue decision is one combinational step. With
`issue_cycles` above 1 it ends in registers and acts a cycle later, and the next decision is about the state after that;
with 3 the buffer addresses are registers too. What an instruction waits for stays clear until it issues.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .fetch import Fetch
from .layout import instr_view
from .legal import error_code, illegal
from .spans import DRAIN_ENTRIES, span_layout
from .spec import isa
from .spec.isa import AREGS, Error, Op
from .spec.params import Params, clog2, index_bits
from .tile import command_layout


class Sequencer(wiring.Component):
    """Fetches from the program memory and issues.

    Members
    -------
    start, halted, failed, error, pc : control; `halted` and `failed` are one-cycle pulses, `running` the state
    length : In, register LEN
    prog_we, prog_instr, prog_part, prog_data : writes of 32-bit words into the program memory
    word, ea, go : Out, the instruction, its buffer address, and one start bit per unit
    drain_go : Out, per drain port
    pass_go : Out, per tile
    command : Out, the PASS as tiles see it
    fill_mask, drain_mask : Out, tiles that the fill / the drain at issue touches
    ready, busy, drained, released : In, per tile
    filled : In, per fill port, tiles whose fill is complete
    """

    def __init__(self, params: Params):
        self.params = p = params
        fills = 1 + p.drain_ports
        super().__init__(
            {
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
                "word": Out(isa.width(p)),
                "ea": Out(clog2(p.act_depth) + 1),
                "recv_go": Out(1),
                "ldw_go": Out(1),
                "ldc_go": Out(1),
                "send_go": Out(1),
                "load_go": Out(1),
                "drain_go": Out(p.drain_ports),
                "pass_go": Out(p.tiles),
                "command": Out(command_layout(p)),
                "fill_mask": Out(p.tiles),
                "drain_mask": Out(p.tiles),
                "ready": In(p.tiles),
                "busy": In(p.tiles),
                "drained": In(p.tiles),
                "released": In(p.tiles),
                "filled": In(data.ArrayLayout(p.tiles, fills)),
                "in_active": In(1),
                "in_ldw": In(1),
                "in_ldc": In(1),
                "load_active": In(1),
                "send_active": In(1),
                "send_idle": In(1),
                "drain_free": In(p.drain_ports),
                "drain_tail": In(data.ArrayLayout(clog2(p.tiles + 1), p.drain_ports)),
                "drain_idle": In(1),
                "spans": In(data.ArrayLayout(span_layout(p), 3 + DRAIN_ENTRIES * p.drain_ports)),
            }
        )
        self.filling, self.draining = Signal(p.tiles), Signal(p.tiles)
        self.full1, self.full2 = Signal(p.tiles), Signal(p.tiles)
        self.fetch = Fetch(p)
        self.now = self.fetch.now
        self.past = Signal(len(self.now.past) + 1)  # end of the buffer words that `now` accesses
        self.port = Signal(p.drain_ports)  # that a DRAIN takes
        self.bad = Signal()  # the instruction is not legal
        self.clear = Signal()  # it waits for nothing
        self.stuck = (
            Signal()
        )  # it waits for more than buffer words, which somebody is about to free

    def elaborate(self, platform):
        m = Module()
        p = self.params
        issue = Signal()
        self._fetch(m, issue)
        now = self.now
        self.views = {op: instr_view(op, p, self.word) for op in Op}
        self.at = {op: now.op[i] for i, op in enumerate(Op)}
        aregs = Array(
            Const(0, 1) if i == 0 else Signal(clog2(p.act_depth) + 1, name=f"a{i}")
            for i in range(AREGS)
        )
        base = Signal(clog2(p.act_depth) + 1)
        addressed = m.d.sync if p.issue_cycles == 3 else m.d.comb
        m.d.comb += base.eq(aregs[now.areg])
        addressed += [self.ea.eq(now.first + base), self.past.eq(now.past + base)]
        beyond = now.buffer & (self.past > p.act_depth)
        nested = now.in_loop & self.at[Op.LOOP]
        code, bad = self._verdict(m, nested, beyond)
        m.d.comb += self.bad.eq(bad)
        free = self._choose_port(m)
        self._hazards(m, free)
        idle = (
            ~self.in_active
            & ~self.load_active
            & self.drain_idle
            & ~self.busy.any()
            & self.send_idle
        )
        halt, decides = self.at[Op.HALT], self._decides(m, issue)
        issues, halts, fails, error = Signal(), Signal(), Signal(), Signal.like(self.error)
        m.d.comb += issues.eq(decides & ~self.bad & ~halt & self.clear)
        with m.If(decides):
            with m.If(now.ran_out):
                m.d.comb += [fails.eq(1), error.eq(Error.PC)]
            with m.Elif(code != Error.NONE):
                m.d.comb += [fails.eq(1), error.eq(code)]
            with m.Elif(halt):
                m.d.comb += halts.eq(idle)
            with m.Elif(idle & self.stuck):
                m.d.comb += [fails.eq(1), error.eq(Error.DEADLOCK)]
        acting = m.d.comb if p.issue_cycles == 1 else m.d.sync
        acting += [
            issue.eq(issues),
            self.halted.eq(halts),
            self.failed.eq(fails),
            self.error.eq(error),
            self.port.eq(free),
        ]
        with m.If(self.start & ~self.running):
            m.d.sync += self.running.eq(1)
        with m.Elif(self.halted | self.failed):
            m.d.sync += self.running.eq(0)
        m.d.comb += self.issued.eq(issue)
        self._address_registers(m, issue, aregs)
        self._issue(m, issue)
        return m

    def _verdict(self, m, nested, beyond):
        """Error code of the instruction if it is legal to fetch, and whether it must not issue.

        With `issue_cycles` 3 what does not depend on the address is known a cycle before.
        """
        p, now = self.params, self.now

        def verdict(beyond):
            code = error_code(m, now.faults, nested, beyond, p)
            return Cat(code, now.ran_out | illegal(now.faults, nested, beyond, p))

        if p.issue_cycles < 3:
            found = verdict(beyond)
        else:
            inside, outside = verdict(Const(0, 1)), verdict(Const(1, 1))
            either = [Signal(len(v), name=f"verdict{n}") for n, v in enumerate((inside, outside))]
            m.d.sync += [either[0].eq(inside), either[1].eq(outside)]
            found = Mux(beyond, either[1], either[0])
        return found[:-1], found[-1]

    def _decides(self, m, issue):
        """Whether this cycle may decide: nothing is under way that changes what the decision depends on."""
        if self.params.issue_cycles == 1:
            return self.running
        acting = issue | self.halted | self.failed
        if self.params.issue_cycles == 2:
            return self.running & ~acting
        arrived = Signal()  # `now` came with this cycle, and the addresses are not yet its own
        m.d.sync += arrived.eq(issue | ~self.running)
        return self.running & ~acting & ~arrived

    def _fetch(self, m, issue):
        """The instruction that is to issue: `now`."""
        m.submodules.fetch = fetch = self.fetch
        for name in ("start", "length", "prog_we", "prog_instr", "prog_part", "prog_data"):
            m.d.comb += getattr(fetch, name).eq(getattr(self, name))
        m.d.comb += [
            fetch.running.eq(self.running),
            fetch.advance.eq(issue),
            self.word.eq(self.now.word),
            self.pc.eq(self.now.pc),
            self.fill_mask.eq(self.now.fill_mask),
            self.drain_mask.eq(self.now.drain_mask),
        ]

    def _address_registers(self, m, issue, aregs):
        """SETA, and the increment after issue with its wrap to the initial value."""
        p = self.params
        width = clog2(p.act_depth) + 1
        start = Array(Signal(width, name=f"start{i}") for i in range(AREGS))
        limit = Array(Signal(width, name=f"limit{i}") for i in range(AREGS))
        v = self.views[Op.SETA]
        moving, inc = self.now.areg, self.now.inc
        total = Signal(width)
        m.d.comb += total.eq(aregs[moving] + inc)
        for i in range(1, AREGS):
            with m.If(issue & self.at[Op.SETA] & (v.areg == i)):
                m.d.sync += [aregs[i].eq(v.value), start[i].eq(v.value), limit[i].eq(v.wrap)]
            with m.Elif(issue & (moving == i) & (inc != 0)):
                wraps = (limit[i] != 0) & (total >= limit[i])
                m.d.sync += aregs[i].eq(Mux(wraps, start[i], total))
        with m.If(~self.running):
            for i in range(1, AREGS):
                m.d.sync += [aregs[i].eq(0), start[i].eq(0), limit[i].eq(0)]

    def _overlap(self):
        """Whether a running reader or writer still touches a word that the instruction accesses."""
        return reduce(
            or_, ((s.active & (s.addr < self.past) & (self.ea < s.end)) for s in self.spans)
        )

    def _hazards(self, m, free):
        """Whether the units and tiles that the instruction needs are free."""
        p = self.params
        vp, vd = self.views[Op.PASS], self.views[Op.DRAIN]
        pass_mask = self.now.pass_mask
        overlap = self._overlap()
        blocked = (
            ~self.ready
            | (self.filling & vp.fresh.replicate(p.tiles))
            | Mux(vp.first, self.full2, self.draining)
        )
        result = self.full2 | (self.full1 & ~self.busy)
        unready = (self.drain_mask & (self.draining | ~result)).any()
        filling = (self.filling & self.fill_mask).any()
        tile = Array(self.busy[t] for t in range(p.tiles))[self.views[Op.LDW].tile]
        waits = {
            Op.RECV: self.in_active,
            Op.SEND: self.send_active,
            Op.LOAD: self.load_active | filling,
            Op.PASS: self.in_ldw | (blocked & pass_mask).any(),
            Op.DRAIN: ~free.any() | unready | (vd.rows & filling) | self.in_ldc,
            Op.LDW: self.in_active | tile,
            Op.LDC: self.in_active | ~self.drain_idle,
        }
        touches = self.at[Op.RECV] | (self.at[Op.DRAIN] & ~vd.rows)
        m.d.comb += [
            self.stuck.eq(reduce(or_, (self.at[op] & wait for op, wait in waits.items()))),
            self.clear.eq(~self.stuck & ~(touches & overlap)),
        ]

    def _choose_port(self, m):
        """One-hot: the lowest drain port that can take the DRAIN; the kept one if a word was kept there."""
        p, v = self.params, self.views[Op.DRAIN]
        self.keep_valid, self.keep_port = Signal(), Signal(p.drain_ports)
        able, chosen = Signal(p.drain_ports), Signal(p.drain_ports)
        for k in range(p.drain_ports):
            in_order = v.chain + 1 > self.drain_tail[k]
            kept = v.rows | ~self.keep_valid | self.keep_port[k]
            m.d.comb += able[k].eq(self.drain_free[k] & in_order & kept)
        m.d.comb += chosen.eq(able & (~able + 1)[: p.drain_ports])
        return chosen

    def _issue(self, m, issue):
        """Start bits of the units, and the tile vectors."""
        p, vp, vd = self.params, self.views[Op.PASS], self.views[Op.DRAIN]
        at = {op: issue & here for op, here in self.at.items()}
        m.d.comb += [
            self.recv_go.eq(at[Op.RECV]),
            self.ldw_go.eq(at[Op.LDW]),
            self.ldc_go.eq(at[Op.LDC]),
            self.send_go.eq(at[Op.SEND]),
            self.load_go.eq(at[Op.LOAD]),
            self.drain_go.eq(self.port & at[Op.DRAIN].replicate(p.drain_ports)),
            self.pass_go.eq(self.now.pass_mask & at[Op.PASS].replicate(p.tiles)),
        ]
        self._command(m)
        filled = reduce(or_, (self.filled[k] for k in range(1 + p.drain_ports)))
        fills = at[Op.LOAD] | (at[Op.DRAIN] & vd.rows)
        opened = self.pass_go & vp.first.replicate(p.tiles)
        both = self.released & self.full2
        kept1 = self.full1 & ~(self.released & ~self.full2)
        m.d.sync += [
            self.filling.eq((self.filling & ~filled) | (self.fill_mask & fills.replicate(p.tiles))),
            self.draining.eq(
                (self.draining & ~self.drained)
                | (self.drain_mask & at[Op.DRAIN].replicate(p.tiles))
            ),
            self.full1.eq(kept1 | opened),
            self.full2.eq((self.full2 & ~both) | (kept1 & opened)),
        ]
        with m.If(at[Op.DRAIN] & ~vd.rows):
            m.d.sync += [self.keep_valid.eq(vd.keep), self.keep_port.eq(self.port)]
        with m.If(~self.running & self.start):
            m.d.sync += [self.keep_valid.eq(0), self.full1.eq(0), self.full2.eq(0)]

    def _command(self, m):
        """The PASS for the tiles; with tree = full the steps become a mask of row groups."""
        p, v, c = self.params, self.views[Op.PASS], self.command
        m.d.comb += [
            c.fresh.eq(v.fresh),
            c.first.eq(v.first),
            c.rot.eq(v.rot),
            c.mask.eq(v.mask.as_value()),
        ]
        if p.tree == "shared":
            m.d.comb += [c.steps.eq(v.steps), c.stride.eq(v.stride), c.sel.eq(v.sel)]
            return
        rows = []
        for h in range(p.col_groups):
            mask, at = Const(0, p.row_groups), v.sel[h]
            for step in range(p.row_groups):
                bit = (Const(1, p.row_groups) << at)[: p.row_groups]
                mask = mask | Mux(v.steps > step, bit, 0)
                total = at + v.stride
                at = Mux(total >= p.row_groups, total - p.row_groups, total)[
                    : index_bits(p.row_groups)
                ]
            rows.append(mask)
        m.d.comb += c.rows.eq(Cat(*rows))
