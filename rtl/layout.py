"""Amaranth layouts of the instruction word, derived from the ISA tables."""

from amaranth.lib import data

from .spec import isa
from .spec.params import Params


def instr_layout(op: isa.Op, params: Params) -> data.StructLayout:
    """Layout of one format: `op`, then its fields; a field with a count becomes an array."""
    members: dict = {"op": isa.OP_BITS}
    for field in isa.FORMATS[op]:
        width, count = field.width(params), field.count(params)
        counted = field.name in ("mask", "sel")
        members[field.name] = data.ArrayLayout(width, count) if counted else width
    return data.StructLayout(members)


def instr_view(op: isa.Op, params: Params, word) -> data.View:
    """The word seen as one format; the upper bits that the format does not use are cut off."""
    layout = instr_layout(op, params)
    return data.View(layout, word[: layout.size])
