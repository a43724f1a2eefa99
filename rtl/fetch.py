"""Fetch: the instructions in the order of execution, each decoded as far as it can be before it issues.

An instruction passes two registers: the output of the program memory, from which everything is derived that depends on
the instruction alone, and the decoded instruction, which issues; the long way out of the memory is no part of the issue
decision. Loops are followed here: what comes after an instruction is known when it leaves the memory. With
`issue_cycles` above 1 there is time for a register between the memory, whose output is late, and all that.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .layout import instr_view
from .legal import faults, faults_layout
from .memory import Memory
from .spec import isa
from .spec.isa import AREGS, Op
from .spec.params import Params, clog2
from .tilemask import tile_range


def decoded_layout(params: Params) -> data.StructLayout:
    """An instruction and what follows from it alone.

    `op` has a bit for each opcode. `buffer`: it accesses the words `first` .. `past` - 1 of the buffer, relative to
    A[areg]; the masks are of tiles.
    """
    p = params
    words = clog2(p.act_depth) + 1
    return data.StructLayout(
        {
            "word": isa.width(p),
            "pc": clog2(p.prog_depth) + 1,
            "ran_out": 1,
            "in_loop": 1,
            "op": len(Op),
            "faults": faults_layout(p),
            "buffer": 1,
            "areg": range(AREGS),
            "inc": clog2(p.act_depth),
            "first": words,
            "past": words + 1,
            "pass_mask": p.tiles,
            "drain_mask": p.tiles,
            "fill_mask": p.tiles,
        }
    )


def settling(params: Params) -> int:
    """Cycles after a run or a write of the program in which the first instruction is not there yet."""
    return 1 if params.issue_cycles == 1 else 2


class Fetch(wiring.Component):
    """Program memory, loops, decoder.

    `now` is the first instruction of the program from the cycle in which `running` rises; `advance` moves on to
    the next one, which is there in the following cycle. Before a start, the program must not have run or been written
    for `settling(params)` cycles.

    Members
    -------
    start, running, advance : In, see above
    length : In, register LEN
    prog_we, prog_instr, prog_part, prog_data : In, writes of 32-bit words into the program memory
    now : Out, the instruction that may issue
    """

    def __init__(self, params: Params):
        self.params = p = params
        super().__init__(
            {
                "start": In(1),
                "running": In(1),
                "advance": In(1),
                "length": In(16),
                "prog_we": In(1),
                "prog_instr": In(clog2(p.prog_depth)),
                "prog_part": In(range(isa.width(p) // 32)),
                "prog_data": In(32),
                "now": Out(decoded_layout(p)),
            }
        )
        # Of the instruction that leaves the memory: its place, whether it is in a loop, the first one of that loop.
        self.pc = Signal(clog2(p.prog_depth) + 1)
        self.in_loop, self.first = Signal(), Signal.like(self.pc)

    def elaborate(self, platform):
        m = Module()
        p = self.params
        pc, after, moves = self.pc, Signal.like(self.pc), Signal()
        m.d.comb += moves.eq(self.advance | ~self.running)
        word = self._memory(m, moves, Mux(self.start | self.running, after, 0))
        with m.If(moves):
            m.d.sync += pc.eq(Mux(self.start | self.running, after, 0))
        in_loop = self._follow(m, word, pc, after, moves)
        # A signal a field: assignments to parts of one signal begin as x in a simulator.
        decoded = {
            name: Signal(field.shape, name=f"decoded_{name}") for name, field in decoded_layout(p)
        }
        m.d.comb += [
            decoded["word"].eq(word),
            decoded["pc"].eq(pc),
            decoded["ran_out"].eq(pc == p.prog_depth),
            decoded["in_loop"].eq(in_loop),
        ]
        self._decode(m, word, decoded)
        with m.If(moves):
            m.d.sync += self.now.eq(Cat(decoded.values()))
        return m

    def _memory(self, m, read_en, addr):
        """The program memory; returns the word that was read."""
        width = isa.width(self.params)
        memory = Memory(width, self.params.prog_depth, parts=width // 32)
        memory.add_to(m, "program")
        (write,), (read,) = memory.writes, memory.reads
        m.d.comb += [
            write.addr.eq(self.prog_instr),
            write.data.eq(self.prog_data),
            write.en.eq(self.prog_we << self.prog_part),
            read.en.eq(read_en),
            read.addr.eq(addr),
        ]
        if self.params.issue_cycles == 1:
            return read.data
        word = Signal(width)
        m.d.sync += word.eq(read.data)
        return word

    def _follow(self, m, word, pc, after, moves):
        """What comes `after` the instruction that leaves the memory; whether that one is in a loop."""
        p = self.params
        v = instr_view(Op.LOOP, p, word)
        in_loop, first, last, left = self.in_loop, self.first, Signal.like(pc), Signal(16)
        is_loop = v.op == Op.LOOP
        times = Mux(v.use_len, self.length, v.times)
        skipped = is_loop & v.use_len & (self.length == 0)
        again = in_loop & (pc == last) & (left != 1)
        end = Signal(len(pc) + 1)
        m.d.comb += [
            end.eq(pc + v.body + skipped),
            after.eq(pc + 1),
        ]
        with m.If(again):
            m.d.comb += after.eq(first)
        with m.If(skipped):
            m.d.comb += after.eq(Mux(end > p.prog_depth, p.prog_depth, end))
        with m.If(moves):
            with m.If(in_loop & (pc == last)):
                m.d.sync += [left.eq(left - 1), in_loop.eq(again)]
            with m.If(is_loop & ~skipped):
                m.d.sync += [in_loop.eq(1), left.eq(times), first.eq(pc + 1), last.eq(end)]
        with m.If(~(self.start | self.running)):
            m.d.sync += in_loop.eq(0)
        return in_loop

    def _decode(self, m, word, decoded):
        """Everything that follows from the word alone."""
        p = self.params
        views = {op: instr_view(op, p, word) for op in Op}
        op = views[Op.NOP].op
        vp, vd = views[Op.PASS], views[Op.DRAIN]
        m.d.comb += [
            decoded["op"].eq(Cat(op == known for known in Op)),
            decoded["faults"].eq(faults(m, views, p)),
            decoded["pass_mask"].eq(tile_range(vp.tile, vp.span, p.tiles)),
            decoded["drain_mask"].eq(self._tiles(vd.tile, vd.groups * vd.chain)),
        ]
        with m.Switch(op):
            for access in (Op.RECV, Op.SEND, Op.LOAD, Op.DRAIN):
                with m.Case(access):
                    v = views[access]
                    m.d.comb += [
                        decoded["buffer"].eq(~v.rows if access == Op.DRAIN else 1),
                        decoded["areg"].eq(v.areg),
                        decoded["inc"].eq(v.inc),
                        decoded["first"].eq(v.addr),
                        decoded["past"].eq(v.addr + v.words),
                    ]
        with m.Switch(op):
            for fill in (Op.LOAD, Op.DRAIN):
                with m.Case(fill):
                    v = views[fill]
                    m.d.comb += decoded["fill_mask"].eq(
                        self._tiles(v.d_tile, v.d_span * v.d_copies)
                    )

    def _tiles(self, first, count):
        tiles = self.params.tiles
        return tile_range(first, count[: clog2(tiles + 1)], tiles)
