"""Ranges of buffer words that running units still have to touch; hazards are overlaps with them."""

from amaranth.lib import data

from .spec.params import Params, clog2

#: Drains that a port tracks at a time, from issue to their last write.
DRAIN_ENTRIES = 2


def span_layout(params: Params) -> data.StructLayout:
    """A range of buffer words [addr, end) that a unit still has to touch."""
    width = clog2(params.act_depth) + 1
    return data.StructLayout({"active": 1, "addr": width, "end": width})
