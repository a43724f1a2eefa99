"""The reads of a PASS with `readout = "adc"`: which row groups are on, and how long the converters take.

tree = full: one read, with all row groups of the PASS on at once. tree = shared: in each step of the PASS one read for
every row group that an enabled column group selects, in ascending order; column groups that select the same one are
read together. A read without columns (no column group is enabled) only settles.

A read takes planes x weight_planes times `Params.plane_cycles`; mapper/cycles.py states the same.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .spec.params import Params, index_bits
from .tilemask import count


class Reads(wiring.Component):
    """Counts planes within reads, and reads within a pass.

    Members
    -------
    start : In, a pass starts: its first cycle is the next one
    running : In, a pass computes in this cycle
    first, enabled, sel, steps, stride : In, of the PASS (the last three with tree = shared), stable while it runs
    convert : Out, all columns of the read have been converted for the pair of planes `plane`, `wplane`
    opens : Out, the read opens a new result
    on : Out, column groups that are read
    offset : Out, added to the selects in this step
    last : Out, last cycle of the pass
    """

    def __init__(self, params: Params):
        self.params = p = params
        group = index_bits(p.row_groups)
        command = {"first": In(1), "enabled": In(p.col_groups)}
        if p.tree == "shared":
            command |= {
                "sel": In(p.col_groups * group),
                "steps": In(range(p.row_groups + 1)),
                "stride": In(group),
            }
        super().__init__(
            {
                "start": In(1),
                "running": In(1),
                **command,
                "convert": Out(1),
                "plane": Out(index_bits(p.planes)),
                "wplane": Out(index_bits(p.weight_planes)),
                "opens": Out(1),
                "on": Out(p.col_groups),
                "offset": Out(group),
                "last": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        read_ends = Signal()
        final = self._row_groups(m, read_ends) if p.tree == "shared" else self._one_read(m)
        self._planes(m, read_ends)
        m.d.comb += self.last.eq(read_ends & final)
        return m

    def _planes(self, m, read_ends):
        """Settle and convert, for one pair of planes after the other."""
        p = self.params
        longest = p.plane_cycles(p.cols)
        cycle = Signal(range(longest), reset_less=True)
        end = Signal(range(longest))
        with m.Switch(count(list(self.on))):
            for groups in range(p.col_groups + 1):
                with m.Case(groups):
                    m.d.comb += end.eq(p.plane_cycles(groups * p.granule) - 1)
        last_w, last = self.wplane == p.weight_planes - 1, self.plane == p.planes - 1
        m.d.comb += [
            self.convert.eq(self.running & (cycle == end)),
            read_ends.eq(self.convert & last_w & last),
        ]
        with m.If(self.running):
            m.d.sync += cycle.eq(cycle + 1)
        with m.If(self.convert):
            m.d.sync += [cycle.eq(0), self.wplane.eq(self.wplane + 1)]
            with m.If(last_w):
                m.d.sync += [self.wplane.eq(0), self.plane.eq(Mux(last, 0, self.plane + 1))]
        with m.If(self.start):
            m.d.sync += [cycle.eq(0), self.wplane.eq(0), self.plane.eq(0)]

    def _one_read(self, m):
        """All column groups at once; whether this is the final read."""
        m.d.comb += [self.on.eq(self.enabled), self.opens.eq(self.first)]
        return 1

    def _row_groups(self, m, read_ends):
        """One row group a read, those of a step in ascending order; whether this is the final read."""
        p = self.params
        step = Signal(range(p.row_groups), reset_less=True)
        seen = Signal(p.row_groups, reset_less=True)
        rows = [self._row(m, h) for h in range(p.col_groups)]
        asked = Signal(p.row_groups)
        for h, row in enumerate(rows):
            with m.If(self.enabled[h]):
                m.d.comb += asked.bit_select(row, 1).eq(1)
        left = asked & ~seen
        now = Signal(p.row_groups)
        m.d.comb += now.eq(left & (-left)[: p.row_groups])
        on = [self.enabled[h] & now.bit_select(row, 1) for h, row in enumerate(rows)]
        m.d.comb += [self.on.eq(Cat(on)), self.opens.eq(self.first & (step == 0))]
        step_ends = Signal()
        m.d.comb += step_ends.eq((left & ~now) == 0)
        with m.If(read_ends):
            m.d.sync += seen.eq(seen | now)
            with m.If(step_ends):
                following = self.offset + self.stride
                groups = p.row_groups
                m.d.sync += [
                    seen.eq(0),
                    step.eq(step + 1),
                    self.offset.eq(Mux(following >= groups, following - groups, following)),
                ]
        with m.If(self.start):
            m.d.sync += [seen.eq(0), step.eq(0), self.offset.eq(0)]
        return step_ends & (step + 1 == self.steps)

    def _row(self, m, h: int):
        """Row group that column group h selects in this step."""
        groups = self.params.row_groups
        row = Signal(index_bits(groups), name=f"row{h}")
        total = self.sel.word_select(h, len(row)) + self.offset
        m.d.comb += row.eq(Mux(total >= groups, total - groups, total))
        return row
