"""Packs the elements of drain steps densely into buffer words."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .shift import shift
from .spec.params import Params, clog2


def pack_layout(params: Params) -> data.StructLayout:
    """A step: valid elements in each slot, whether it is the last of its drain, whether the rest is kept."""
    return data.StructLayout(
        {
            "valid": 1,
            "last": 1,
            "keep": 1,
            "lens": data.ArrayLayout(clog2(params.granule + 1), params.slots),
        }
    )


class Packer(wiring.Component):
    """Appends the valid elements of every slot, in order, to what is left of the step before.

    Combinational from `step` to `write`. A word is written when it is full, or with the last step unless the rest
    is kept; it is then filled up with zeros. A last step that leaves elements behind a full word loses them: the
    program adds a flush step.

    Members
    -------
    step, elements : In, the step and its lanes
    limit : In, elements that may still be taken
    taken : Out, elements taken
    write, word : Out, a buffer word is complete
    """

    def __init__(self, params: Params):
        self.params = p = params
        super().__init__(
            {
                "step": In(pack_layout(p)),
                "elements": In(p.word_bits),
                "limit": In(20),
                "taken": Out(clog2(p.lanes + 1)),
                "write": Out(1),
                "word": Out(p.word_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p, step = self.params, self.step
        size = p.granule * p.act_bits
        rest, count = Signal(p.word_bits), Signal(range(p.lanes))
        line = Signal(2 * p.word_bits)
        left, fill, parts = self.limit, count, [rest]
        for s in range(p.slots):
            length = Signal(range(p.granule + 1), name=f"len{s}")
            m.d.comb += length.eq(Mux(step.lens[s] > left, left, step.lens[s]))
            mask = Signal(size, name=f"mask{s}")
            m.d.comb += mask.eq(((Const(1, size + 1) << (length * p.act_bits)) - 1)[:size])
            slot = Signal(size, name=f"slot{s}")
            m.d.comb += slot.eq(self.elements[s * size : (s + 1) * size] & mask)
            wide = 2 * p.word_bits
            parts.append(
                shift(m, slot, fill, unit=p.act_bits, width=wide, left=True, name=f"placed{s}")
            )
            fill_next, left_next = (
                Signal(range(2 * p.lanes), name=f"fill{s}"),
                Signal(20, name=f"l{s}"),
            )
            m.d.comb += [fill_next.eq(fill + length), left_next.eq(left - length)]
            fill, left = fill_next, left_next
        for part in parts[1:]:
            parts[0] = parts[0] | part
        full = fill >= p.lanes
        m.d.comb += [
            line.eq(parts[0]),
            self.taken.eq(fill - count),
            self.word.eq(line[: p.word_bits]),
            self.write.eq(step.valid & (full | (step.last & ~step.keep & (fill != 0)))),
        ]
        with m.If(step.valid):
            with m.If(step.last & ~step.keep):
                m.d.sync += [rest.eq(0), count.eq(0)]
            with m.Elif(full):
                m.d.sync += [rest.eq(line[p.word_bits :]), count.eq(fill - p.lanes)]
            with m.Else():
                m.d.sync += [rest.eq(line[: p.word_bits]), count.eq(fill)]
        return m
