"""The engine with its sequencer, for any program: what issues, in which states it can be, and which memory is touched.

Memories give any data in any cycle, so any program runs; tiles, and the data path behind addresses, give any outputs.
"""

from functools import cache, reduce
from operator import add, or_

from amaranth.hdl import Cat, Signal
from amaranth.lib import data

from gen.emit import component_verilog
from rtl.fetch import settling
from rtl.layout import instr_view
from rtl.spec.isa import Error, Op
from rtl.spec.params import Params
from rtl.template import render
from rtl.tile import Tile
from tests.formal.bus_harness import assume, check, past

#: No size is a power of two where it need not be: addresses can then be too large.
PARAMS = Params(rows=6, cols=4, granule=2, lanes=4, tiles=3, act_depth=6, const_depth=5)
PARAMS = PARAMS.replace(prog_depth=5, weight_bits=2, dac_bits=8)
#: Modules whose outputs are free.
FREE = ("memory", "window", "gather", "requantise")


@cache
def files(params: Params) -> dict[str, str]:
    """Verilog of the instances in an engine."""
    texts = {f"{name}.v": render(name, {}) for name in ("memory", "window", "packer", "requantise")}
    texts["gather.v"] = render("gather", {}, tiles=params.tiles)
    texts["tile.v"] = component_verilog(Tile(params), "blockcim_tile")
    return texts


def commands(params: Params) -> str:
    """yosys commands that read the instances and free the outputs of those in `FREE`, and of tiles."""
    cells = [f"cutpoint */t:*blockcim_{name}*" for name in (*FREE, "tile")]
    return "\n".join(
        [
            *(f"read_verilog {name}" for name in files(params)),
            "hierarchy -top proof",
            "proc",
            *cells,
        ]
    )


def checked(engine, params: Params, *groups: str):
    """An engine of module `engine` that asserts groups of properties: see the methods of `Checks`."""

    class Engine(Checks, engine.Engine):
        GROUPS = groups

    return Engine(params)


#: yosys commands that read the engine of a core, from engine.v, and free its outputs.
ENGINE_COMMANDS = "read_verilog engine.v\nhierarchy -top proof\ncutpoint */t:blockcim_engine"


def settled(core, params: Params):
    """A core of module `core` that asserts what its engine relies on: no start soon after a run or a write.

    The engine gives any outputs, by `ENGINE_COMMANDS`.
    """

    class Core(core.Core):
        def _engine(self, m, control, length):
            program, engine = super()._engine(m, control, length)
            before = engine["running"] | program["prog_we"]
            for _ in range(settling(params)):
                before = past(m, before)
                check(m, ~before, when=control["start"])
            return program, engine

    return Core(params)


class Checks:
    """Properties of an engine, in the groups that `checked` names."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        seq = self.seq
        self.starts = [seq.recv_go, seq.ldw_go, seq.ldc_go, seq.send_go, seq.load_go]
        self.starts += [seq.drain_go.any(), seq.pass_go.any()]
        for group in self.GROUPS:
            getattr(self, group)(m, self.params)
        self._fetched(m, self.params)
        if self.params.issue_cycles > 1:
            self._decided(m, self.params)
        return m

    def _fetched(self, m, p):
        """Instructions arrive decoded: what induction needs on the way from the memory to the issue.

        A start waits after a run, as the core sees to (`settled`).
        """
        seq, fetch, now = self.seq, self.seq.fetch, self.seq.now
        ran = past(m, seq.running)
        assume(m, ~ran, when=seq.start)
        decoded = {name: Signal(field.shape, name=f"known_{name}") for name, field in now.shape()}
        for name in ("word", "pc", "in_loop"):
            m.d.comb += decoded[name].eq(now[name])
        m.d.comb += decoded["ran_out"].eq(now.pc == p.prog_depth)
        fetch._decode(m, now.word, decoded)
        check(m, now.as_value() == Cat(decoded.values()), when=seq.running)
        check(m, (fetch.pc == 0) & ~fetch.in_loop, when=~seq.running & ~ran)
        check(m, fetch.pc <= p.prog_depth, when=seq.running & ~now.ran_out)
        check(m, fetch.first <= p.prog_depth, when=seq.running & ~now.ran_out & fetch.in_loop)

    def _decided(self, m, p):
        """What was decided a cycle ago still holds when it acts: nothing takes away what an instruction waited for.

        Tiles give any outputs but these: without a PASS one stays ready and idle, and only one that is drained frees
        a result (rtl/tile.py).
        """
        seq = self.seq
        went = past(m, seq.pass_go)
        for t in range(p.tiles):
            assume(m, seq.ready[t], when=past(m, seq.ready[t]) & ~went[t])
            assume(m, ~seq.busy[t], when=~past(m, seq.busy[t]) & ~went[t])
        assume(m, (seq.released & ~seq.draining) == 0)
        check(m, seq.running & seq.clear & ~seq.bad, when=seq.issued)
        check(m, seq.issued + seq.halted + seq.failed <= 1)
        for drain in self.drains:
            check(m, drain.control.left < p.tiles, when=drain.stepping)

    def issue(self, m, p):
        """One unit at most starts, only one that is free, and only while the program runs."""
        seq, sin = self.seq, self.sin
        check(m, reduce(add, self.starts) <= 1)
        check(m, seq.running & ~seq.halted & ~seq.failed, when=reduce(or_, self.starts))
        check(m, ~sin.active, when=seq.recv_go | seq.ldw_go | seq.ldc_go)
        check(m, ~self.sout.active, when=seq.send_go)
        check(m, ~self.load.active, when=seq.load_go)
        for k, drain in enumerate(self.drains):
            check(m, drain.free, when=seq.drain_go[k])
            check(m, ~sin.ldc, when=seq.drain_go[k])
            check(m, drain.idle, when=seq.ldc_go)
        check(m, (seq.pass_go & ~seq.ready) == 0)
        check(m, ~sin.ldw, when=seq.pass_go.any())
        check(m, (seq.pass_go & seq.full2) == 0, when=seq.command.first)
        fills = seq.load_go | (seq.drain_go.any() & instr_view(Op.DRAIN, p, seq.word).rows)
        check(m, (seq.filling & seq.fill_mask) == 0, when=fills)
        check(m, (seq.draining & seq.drain_mask) == 0, when=seq.drain_go.any())
        tile = instr_view(Op.LDW, p, seq.word).tile
        for t in range(p.tiles):
            check(m, ~seq.busy[t], when=seq.ldw_go & (tile == t))

    def states(self, m, p):
        """The program counter, ends and errors of a program, results that wait in tiles."""
        seq = self.seq
        check(m, seq.pc <= p.prog_depth, when=seq.running)
        check(m, ~(seq.halted & seq.failed))
        check(m, seq.running, when=seq.halted | seq.failed)
        check(m, ~seq.running, when=past(m, seq.halted | seq.failed))
        legal = reduce(or_, (seq.error == code for code in Error if code != Error.NONE))
        check(m, legal, when=seq.failed)
        for t in range(p.tiles):
            results = Signal(2, name=f"results{t}")
            opened = seq.pass_go[t] & seq.command.first
            m.d.sync += results.eq(results + opened - (seq.released[t] & (results != 0)))
            with m.If(seq.start & ~seq.running):
                m.d.sync += results.eq(0)
            check(m, results == seq.full1[t] + seq.full2[t])
            check(m, seq.full1[t], when=seq.full2[t])
        sin = self.sin
        check(m, sin.span.active + sin.ldw + sin.ldc <= 1)

    def accesses(self, m, p):
        """Buffer, constants and weights are touched where they are."""
        sin, sout, load = self.sin, self.sout, self.load
        check(m, load.span.addr < p.act_depth, when=load.grant)
        check(m, sout.span.addr < p.act_depth, when=sout.grant)
        check(m, sin.write_addr < p.act_depth, when=sin.write_en)
        for drain in self.drains:
            check(m, drain.write_addr < p.act_depth, when=drain.write_en)
        check(m, sin.const_addr < p.const_depth, when=sin.const_en.any())
        check(m, sin.weight_tile < p.tiles, when=sin.weight_en)
        check(m, sin.weight_row < p.rows, when=sin.weight_en)
        check(m, sin.weight_group < p.col_groups, when=sin.weight_en)
        # What induction needs: what is still to be touched is there too.
        spans = [sin.span, sout.span, load.span]
        for span in spans:
            check(m, (span.addr < span.end) & (span.end <= p.act_depth), when=span.active)
        for drain in self.drains:
            for span, entry in zip(drain.spans, drain.entries, strict=True):
                rows = data.View(drain.layout, entry.as_value()).rows
                check(m, (span.addr <= span.end) & (span.end <= p.act_depth), when=~rows)
        check(m, sin.rows_left != 0, when=sin.ldw)
        check(m, sin.weight_row + sin.rows_left <= p.rows, when=sin.ldw)
        check(m, sin.weight_tile < p.tiles, when=sin.ldw)
        check(m, sin.weight_group < p.col_groups)
        check(m, sin.constants_left != 0, when=sin.ldc)
        check(m, sin.const_addr + sin.constants_left <= p.const_depth, when=sin.ldc)
