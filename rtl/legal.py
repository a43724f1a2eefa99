"""Which instructions are legal: the error an instruction raises, in hardware.

The rules, in order of priority: OPCODE, LOOP, FIELD, TILE, ADDRESS, CONST (rtl/spec/isa.py Error). The ISS
states them again, independently.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data

from .layout import instr_layout
from .spec.isa import Error, Op
from .spec.params import Params, clog2


def any_of(*conditions):
    """One bit: whether any of the conditions holds."""
    return reduce(or_, (c.any() for c in conditions))


def _fill_fields(v, p: Params):
    """FIELD rules of a fill destination."""
    return any_of(
        v.d_span == 0,
        v.d_copies == 0,
        v.d_blocks == 0,
        v.d_blocks > p.row_groups,
        v.d_m0 >= v.d_blocks,
    )


def _fill_tiles(v, p: Params):
    """TILE rules of a fill destination."""
    return any_of(v.d_tile >= p.tiles, v.d_span * v.d_copies > p.tiles)


def drain_constants(v, p: Params):
    """Constant words that a legal DRAIN reads: ceil(columns / pieces) * steps; several pieces have one step."""
    words = v.columns * v.steps
    for pieces in range(2, p.slots + 1):
        ceiling = Array((columns + pieces - 1) // pieces for columns in range(p.granule + 1))
        words = Mux(v.pieces == pieces, ceiling[v.columns], words)
    return words


def faults_layout(p: Params) -> data.StructLayout:
    """Rules that an instruction breaks, as far as it says so itself: `address` and `loop` come at issue.

    `elements` and `capacity` are those of a LOAD: elements that it reads or skips, and that its words hold; `constants`
    is the end of the constant words that are read or written.
    """
    load, drain = instr_layout(Op.LOAD, p), instr_layout(Op.DRAIN, p)
    constants = drain["columns"].width + drain["steps"].width
    numbers = {
        "elements": max(load["skip"].width, load["elems"].width) + 1,
        "capacity": load["words"].width + clog2(p.lanes),
        "constants": max(clog2(p.const_depth + 1), constants) + 1,
    }
    return data.StructLayout(dict.fromkeys(("unknown", "field", "tile", "load"), 1) | numbers)


def misfit(found, p: Params):
    """Whether a LOAD has too many or too few words for its elements; apart, since it takes two sums."""
    most, few = found.elements > found.capacity, found.elements + p.lanes <= found.capacity
    return found.load & (most | few)


def illegal(found, in_loop, address, p: Params):
    """Whether `error_code` is not 0, apart: issue waits for no more than that."""
    static = found.unknown | found.field | found.tile | (found.constants > p.const_depth)
    return static | in_loop | address | misfit(found, p)


def error_code(m: Module, found, in_loop, address, p: Params):
    """The error code for what was found, in its order of priority; 0 if the instruction is legal."""
    code = Signal(range(max(Error) + 1))
    m.d.comb += code.eq(Error.NONE)
    for bad, error in (
        (found.constants > p.const_depth, Error.CONST),
        (address, Error.ADDRESS),
        (found.tile, Error.TILE),
        (found.field | misfit(found, p), Error.FIELD),
        (in_loop, Error.LOOP),
        (found.unknown, Error.OPCODE),
    ):
        with m.If(bad):
            m.d.comb += code.eq(error)
    return code


def faults(m: Module, views: dict, p: Params):
    """The faults (`faults_layout`) of the instruction seen through `views`."""
    found = Signal(faults_layout(p))
    field, tile = found.field, found.tile
    with m.Switch(views[Op.NOP].op):
        with m.Case(Op.NOP, Op.HALT, Op.SETA):
            pass
        with m.Case(Op.LOOP):
            v = views[Op.LOOP]
            m.d.comb += field.eq((v.body == 0) | ((v.times == 0) & ~v.use_len))
        with m.Case(Op.RECV, Op.SEND):
            m.d.comb += field.eq(views[Op.RECV].words == 0)
        with m.Case(Op.LOAD):
            v = views[Op.LOAD]
            _load(m, v, field, tile, p)
            m.d.comb += [
                found.load.eq(1),
                found.elements.eq(v.skip + v.elems),
                found.capacity.eq(v.words * p.lanes),
            ]
        with m.Case(Op.PASS):
            v = views[Op.PASS]
            m.d.comb += field.eq(
                any_of(
                    v.span == 0,
                    v.steps == 0,
                    v.steps > p.row_groups,
                    v.stride >= p.row_groups,
                    v.rot >= p.col_groups,
                    *(v.sel[h] >= p.row_groups for h in range(p.col_groups)),
                )
            )
            m.d.comb += tile.eq((v.tile >= p.tiles) | (v.span > p.tiles))
        with m.Case(Op.DRAIN):
            _drain(m, views[Op.DRAIN], found, p)
        with m.Case(Op.LDW):
            v = views[Op.LDW]
            m.d.comb += field.eq((v.rows == 0) | (v.row + v.rows > p.rows))
            m.d.comb += tile.eq(v.tile >= p.tiles)
        with m.Case(Op.LDC):
            v = views[Op.LDC]
            m.d.comb += field.eq(v.words == 0)
            m.d.comb += found.constants.eq(v["const"] + v.words)
        with m.Default():
            m.d.comb += found.unknown.eq(1)
    return found


def _load(m, v, field, tile, p: Params):
    m.d.comb += field.eq(
        any_of(
            v.words == 0,
            v.skip >= p.lanes,
            v.elems == 0,
            v.parts == 0,
            v.tail == 0,
            v.tail > p.granule,
            v.part_n == 0,
            _fill_fields(v, p),
        )
    )
    m.d.comb += tile.eq(_fill_tiles(v, p))


def _drain(m, v, found, p: Params):
    m.d.comb += found.field.eq(
        any_of(
            v.groups == 0,
            v.chain == 0,
            v.blocks == 0,
            v.blocks > p.col_groups // p.drain_chunk,
            v.col >= p.col_groups,
            v.count == 0,
            v.columns == 0,
            v.column + v.columns > p.granule,
            v.slots == 0,
            v.pieces == 0,
            v.slots * v.pieces > p.slots,
            v.steps == 0,
            (v.pieces > 1) & ((v.steps > 1) | v.raw),
            (v.steps > 1) & (v.slots != p.slots),
            v.rows & (v.raw | (v.d_off >= p.granule) | _fill_fields(v, p)),
            ~v.rows & ((v.words == 0) | (v.elems == 0)),
        )
    )
    m.d.comb += [
        found.tile.eq(
            (v.tile >= p.tiles) | (v.groups * v.chain > p.tiles) | (v.rows & _fill_tiles(v, p))
        ),
        found.constants.eq(v["const"] + drain_constants(v, p)),
    ]
