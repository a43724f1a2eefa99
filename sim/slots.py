"""Slots of LOAD and DRAIN: which elements each one carries, and where in the row registers it lands."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mapper.cycles import fields
from rtl.spec.isa import Instr, Op
from rtl.spec.params import Params


@dataclass(frozen=True)
class LoadSlots:
    """Slots of a LOAD, in order: slice and part number, first element, elements; int64 arrays."""

    slice: np.ndarray
    part: np.ndarray
    start: np.ndarray
    size: np.ndarray


@lru_cache(maxsize=1024)
def load_slots(granule: int, elems: int, parts: int, tail: int) -> LoadSlots:
    """Cut `elems` elements into slices of `parts` parts, the last of `tail` elements."""
    per_slice = (parts - 1) * granule + tail
    slices = -(-elems // per_slice)
    part = np.tile(np.arange(parts), slices)
    number = np.repeat(np.arange(slices), parts)
    start = number * per_slice + part * granule
    size = np.clip(np.minimum(np.where(part == parts - 1, tail, granule), elems - start), 0, None)
    used = size > 0
    return LoadSlots(number[used], part[used], start[used], size[used])


@dataclass(frozen=True)
class DrainPlan:
    """Lanes of a drain: column (from the first), block, validity, each (steps, slots, granule); slot of its column."""

    column: np.ndarray
    block: np.ndarray
    valid: np.ndarray
    slot: np.ndarray


@lru_cache(maxsize=1024)
def drain_plan(params, count, columns, slots, pieces, steps) -> DrainPlan:
    """Which column of which block each lane of each step carries."""
    s_count, b = params.slots, params.granule
    first = np.repeat(np.arange(0, columns, pieces), steps)[:, None]
    step = np.tile(np.arange(steps), -(-columns // pieces))[:, None]
    piece, slot = np.divmod(np.arange(s_count)[None], slots)
    column = first + piece
    block = (step * s_count + slot)[:, :, None] * b + np.arange(b)
    used = (piece < pieces) & (column < columns)
    valid = used[:, :, None] & (block < count)
    column = np.minimum(np.broadcast_to(column[:, :, None], block.shape), columns - 1)
    return DrainPlan(column, block, valid, step * s_count + slot)


class Landing(NamedTuple):
    """Where each slot of a fill lands in a copy, in order; int64 arrays (slots,), `keep` bool."""

    offset: np.ndarray  #: tiles from the first of the copy
    group: np.ndarray  #: row group
    first: np.ndarray  #: element of the row group that its first element goes to
    size: np.ndarray  #: elements
    keep: np.ndarray  #: not dropped


def load_landing(f: dict, params: Params) -> Landing:
    """Of a LOAD with these fields, one entry for each of its `load_slots`."""
    slots = load_slots(params.granule, f["elems"], f["parts"], f["tail"])
    part = slots.part - f["part_lo"]
    chosen = (slots.part >= f["part_lo"]) & (part < f["part_n"])
    return _landing(f, slots.slice, part, chosen, np.zeros_like(part), slots.size, params)


def drain_landing(f: dict, plan: DrainPlan, params: Params) -> Landing:
    """Of a DRAIN to row registers, one entry for each slot of each of its steps."""
    n = np.maximum(plan.column[:, :, 0], 0).reshape(-1)
    part = (f["d_part"] + plan.slot).reshape(-1)
    chosen, size = plan.valid.any(axis=2).reshape(-1), plan.valid.sum(axis=2).reshape(-1)
    return _landing(f, n, part, chosen, np.full(n.size, f["d_off"]), size, params)


def _landing(f: dict, n, part, chosen, first, size, params: Params) -> Landing:
    """Of slices `n` and their parts (isa.py, the d_ fields); slots beyond the span or the array are dropped."""
    place = f["d_m0"] + n
    offset = place // f["d_blocks"] * f["d_tstride"] + part * f["d_tpart"]
    group = f["d_row"] + place % f["d_blocks"] + part * f["d_rpart"]
    keep = chosen & (offset < f["d_span"]) & (group < params.row_groups)
    return Landing(offset, group, first, size, keep)


def clashes(instr: Instr, params: Params) -> bool:
    """Whether two slots of a fill may reach one row element in the same cycle, which no program may do (isa.py).

    A cycle carries at most `params.slots` consecutive slots.
    """
    f = fields(instr)
    if instr.op == Op.LOAD:
        landing = load_landing(f, params)
    elif instr.op == Op.DRAIN and f["rows"]:
        names = ("count", "columns", "slots", "pieces", "steps")
        plan = drain_plan(params, *(f[name] for name in names))
        landing = drain_landing(f, plan, params)
    else:
        return False
    end = np.minimum(landing.first + landing.size, params.granule)
    for apart in range(1, params.slots):
        one, other = slice(None, -apart), slice(apart, None)
        both = landing.keep[one] & landing.keep[other]
        both &= landing.offset[one] == landing.offset[other]
        both &= landing.group[one] == landing.group[other]
        both &= landing.first[one] < end[other]
        if (both & (landing.first[other] < end[one])).any():
            return True
    return False
