"""Packs the elements of drain steps densely into buffer words."""

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .spec.params import Params, clog2


def pack_layout(params: Params) -> data.StructLayout:
    """A step: elements of each slot, whether it is the last of its drain, whether the rest is kept."""
    return data.StructLayout(
        {
            "valid": 1,
            "last": 1,
            "keep": 1,
            "lens": data.ArrayLayout(clog2(params.granule + 1), params.slots),
        }
    )


class Packer(wiring.Component):
    """Appends the elements of every slot, in order, to what is left of the step before: rtl/views/packer.v.

    Combinational from `step` to `write`. A word is written when it is full, or with the last step unless the rest
    is kept; it is then filled up with zeros. A last step that leaves elements behind a full word loses them: the
    program adds a flush step.

    Members
    -------
    clear : In, forget what is left
    step, elements : In, the step and its lanes
    write, word : Out, a buffer word is complete
    """

    def __init__(self, params: Params):
        self.params = p = params
        super().__init__(
            {
                "clear": In(1),
                "step": In(pack_layout(p)),
                "elements": In(p.word_bits),
                "write": Out(1),
                "word": Out(p.word_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p, step = self.params, self.step
        m.submodules.words = Instance(
            "blockcim_packer",
            p_LANES=p.lanes,
            p_ACT=p.act_bits,
            p_GRANULE=p.granule,
            p_LEN=clog2(p.granule + 1),
            p_COUNT=clog2(p.lanes + 1),
            i_clk=ClockSignal(),
            i_clear=self.clear | ResetSignal(),
            i_valid=step.valid,
            i_last=step.last,
            i_keep=step.keep,
            i_lens=step.lens.as_value(),
            i_elements=self.elements,
            o_write=self.write,
            o_word=self.word,
        )
        return m
