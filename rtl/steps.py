"""Where a drain is: column, step of the column, quarter of a raw step."""

from amaranth.hdl import Cat, Module, Mux, Signal

from .layout import instr_layout
from .spec.isa import Op
from .spec.params import Params, clog2


class Steps:
    """Counter over the steps of a drain: columns, steps of a column, quarters of a raw step, then the flush.

    `ahead`: registers say whether the present step is the last of its column and of its drain; `start` sets them.
    """

    def __init__(self, m: Module, params: Params, name: str, *, ahead: bool = False):
        self.column = Signal(clog2(params.granule + 1), name=f"{name}_column")
        self.step = Signal(instr_layout(Op.DRAIN, params)["steps"].width, name=f"{name}_step")
        self.sub = Signal(range(params.raw_elements), name=f"{name}_sub")
        self.flush = Signal(name=f"{name}_flush")
        self.step_last = Signal(name=f"{name}_step_last")
        self.column_last = Signal(name=f"{name}_column_last")
        self.params, self.ahead = params, ahead
        self.name = name

    def clear(self):
        """Statements that start a new drain."""
        return [self.column.eq(0), self.step.eq(0), self.sub.eq(0), self.flush.eq(0)]

    @staticmethod
    def first(v):
        """Whether the first step of drain `v` is the last of its column, and whether that column is the last."""
        return Cat(v.steps == 1, v.pieces >= v.columns)

    def start(self, first):
        """Statement that says, with `ahead`, what the `first` step of a drain is."""
        return Cat(self.step_last, self.column_last).eq(first)

    def advance(self, m: Module, v, enable):
        """Step on while `enable`; returns whether the step is the last, and whether a new constant follows."""
        flush = v.flush & ~v.rows
        sub_last = ~v.raw | (self.sub == self.params.raw_elements - 1)
        column_after = self.column + v.pieces
        if not self.ahead:
            m.d.comb += [
                self.step_last.eq(self.step == v.steps - 1),
                self.column_last.eq(column_after >= v.columns),
            ]
        data_last = sub_last & self.step_last & self.column_last
        last = Signal(name=f"{self.name}_last")
        m.d.comb += last.eq(self.flush | (data_last & ~flush))
        with m.If(enable):
            with m.If(last):
                m.d.sync += self.clear()
            with m.Elif(data_last):
                m.d.sync += self.flush.eq(1)
            with m.Elif(~sub_last):
                m.d.sync += self.sub.eq(self.sub + 1)
            with m.Else():
                m.d.sync += [
                    self.sub.eq(0),
                    self.step.eq(Mux(self.step_last, 0, self.step + 1)),
                    self.column.eq(Mux(self.step_last, column_after, self.column)),
                ]
                if self.ahead:
                    m.d.sync += self._look(v, column_after)
        return last, sub_last & ~self.flush

    def _look(self, v, column_after):
        """Statements for the registers of the step that follows."""
        one_more = column_after + v.pieces >= v.columns
        return [
            self.step_last.eq(Mux(self.step_last, v.steps == 1, self.step + 2 == v.steps)),
            self.column_last.eq(Mux(self.step_last, one_more, self.column_last)),
        ]
