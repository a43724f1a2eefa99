"""Which instructions are legal: the error an instruction raises at decode, in hardware.

The rules, in order of priority: OPCODE, LOOP, FIELD, TILE, ADDRESS, CONST (rtl/spec/isa.py Error). The ISS
states them again, independently.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal

from .spec.isa import AREGS, Error, Op
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
    """Constant words that a DRAIN reads: ceil(columns / pieces) * steps."""
    pieces = Mux(v.pieces == 0, 1, v.pieces)
    return (((v.columns + pieces - 1) // pieces) * v.steps)[: clog2(p.granule + 1) + 10]


def legality(m: Module, views: dict, ea, in_loop, p: Params):
    """The error code of the instruction seen through `views`, 0 if legal; `ea` is its buffer address."""
    op = views[Op.NOP].op
    field, tile, address, const = (
        Signal(name=f"bad_{n}") for n in ("field", "tile", "address", "const")
    )
    unknown, loop = Signal(), Signal()
    with m.Switch(op):
        with m.Case(Op.NOP, Op.HALT, Op.SETA):
            pass
        with m.Case(Op.LOOP):
            v = views[Op.LOOP]
            m.d.comb += loop.eq(in_loop)
            m.d.comb += field.eq((v.body == 0) | ((v.times == 0) & ~v.use_len))
        with m.Case(Op.RECV, Op.SEND):
            v = views[Op.RECV]
            m.d.comb += [field.eq(v.words == 0), address.eq(ea + v.words > p.act_depth)]
        with m.Case(Op.LOAD):
            _load(m, views[Op.LOAD], ea, field, tile, address, p)
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
            _drain(m, views[Op.DRAIN], ea, (field, tile, address, const), p)
        with m.Case(Op.LDW):
            v = views[Op.LDW]
            m.d.comb += field.eq((v.rows == 0) | (v.row + v.rows > p.rows))
            m.d.comb += tile.eq(v.tile >= p.tiles)
        with m.Case(Op.LDC):
            v = views[Op.LDC]
            m.d.comb += field.eq(v.words == 0)
            m.d.comb += const.eq(v.const + v.words > p.const_depth)
        with m.Default():
            m.d.comb += unknown.eq(1)
    code = Signal(range(max(Error) + 1))
    m.d.comb += code.eq(Error.NONE)
    for bad, error in (
        (const, Error.CONST),
        (address, Error.ADDRESS),
        (tile, Error.TILE),
        (field, Error.FIELD),
        (loop, Error.LOOP),
        (unknown, Error.OPCODE),
    ):
        with m.If(bad):
            m.d.comb += code.eq(error)
    return code


def _load(m, v, ea, field, tile, address, p: Params):
    total = v.skip + v.elems
    m.d.comb += field.eq(
        any_of(
            v.words == 0,
            v.skip >= p.lanes,
            v.elems == 0,
            total > v.words * p.lanes,
            total + p.lanes <= v.words * p.lanes,
            v.parts == 0,
            v.tail == 0,
            v.tail > p.granule,
            v.part_n == 0,
            _fill_fields(v, p),
        )
    )
    m.d.comb += [tile.eq(_fill_tiles(v, p)), address.eq(ea + v.words > p.act_depth)]


def _drain(m, v, ea, errors, p: Params):
    field, tile, address, const = errors
    m.d.comb += field.eq(
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
        tile.eq(
            (v.tile >= p.tiles) | (v.groups * v.chain > p.tiles) | (v.rows & _fill_tiles(v, p))
        ),
        address.eq(~v.rows & (ea + v.words > p.act_depth)),
        const.eq(v["const"] + drain_constants(v, p) > p.const_depth),
    ]


def effective_address(m: Module, views: dict, aregs):
    """Buffer address of the instruction: addr plus its address register (no wrap; A0 is zero)."""
    v, drain, load = views[Op.RECV], views[Op.DRAIN], views[Op.LOAD]
    width = v.addr.shape().width
    addr, areg = Signal(width), Signal(range(AREGS))
    m.d.comb += [addr.eq(v.addr), areg.eq(v.areg)]
    with m.Switch(views[Op.NOP].op):
        with m.Case(Op.DRAIN):
            m.d.comb += [addr.eq(drain.addr), areg.eq(drain.areg)]
        with m.Case(Op.LOAD):
            m.d.comb += [addr.eq(load.addr), areg.eq(load.areg)]
    ea = Signal(width + 1)
    m.d.comb += ea.eq(addr + aregs[areg])
    return ea
