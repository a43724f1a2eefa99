"""Where a slot of a fill lands: the running destination of slices and parts (isa.py, the d_ fields)."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data

from .spec.params import Params, clog2, index_bits
from .tilemask import multiples, rotate, wrap


def slot_layout(params: Params) -> data.StructLayout:
    """One slot on its way to the row registers: tile offset within a copy, row group, validity."""
    return data.StructLayout(
        {
            "valid": 1,
            "offset": index_bits(params.tiles),
            "group": index_bits(params.row_groups),
        }
    )


def bus_layout(params: Params) -> data.StructLayout:
    """A fill port as every tile sees it: per slot the tiles that take it, row group, element mask, data."""
    group = index_bits(params.row_groups)
    return data.StructLayout(
        {
            "tiles": data.ArrayLayout(params.tiles, params.slots),
            "group": params.slots * group,
            "mask": params.lanes,
            "data": params.word_bits,
        }
    )


class Position:
    """Combinational position of a slice: tile offset of its group of D slices, and place in the group."""

    def __init__(self, offset, place):
        self.offset, self.place = offset, place

    def next(self, m: Module, v, name: str) -> "Position":
        """The position of the following slice."""
        wraps = self.place + 1 == v.d_blocks
        offset = Signal(len(self.offset), name=f"{name}_offset")
        place = Signal(len(self.place), name=f"{name}_place")
        m.d.comb += [
            place.eq(Mux(wraps, 0, self.place + 1)),
            offset.eq(Mux(wraps & ~self.offset[-1], self.offset + v.d_tstride, self.offset)),
        ]
        return Position(offset, place)

    @staticmethod
    def bits(params: Params) -> tuple[int, int]:
        """Register widths (tile offset, place). Beyond every span the offset saturates at its top bit."""
        return clog2(params.tiles + 1) + 1, index_bits(params.row_groups)


class Part:
    """Combinational distance of a part from part 0 of its slice, in tiles and in row groups.

    Counted up part by part: a multiplier would be a long way in a small FPGA.
    """

    def __init__(self, tiles, groups):
        self.tiles, self.groups = tiles, groups

    @staticmethod
    def of(number, v) -> "Part":
        """The distance of part `number`, by multipliers."""
        return Part(number * v.d_tpart, number * v.d_rpart)

    @staticmethod
    def bits(parts: int, v) -> tuple[int, int]:
        """Register widths (tiles, row groups) for parts 0..parts."""
        return len(v.d_tpart) + clog2(parts + 1), len(v.d_rpart) + clog2(parts + 1)

    def next(self, m: Module, v, name: str, parts: int = 1) -> "Part":
        """The distance of the part so many parts further on."""
        tiles, groups = (Signal.like(n, name=f"{name}_{k}") for k, n in vars(self).items())
        m.d.comb += [
            tiles.eq(self.tiles + parts * v.d_tpart),
            groups.eq(self.groups + parts * v.d_rpart),
        ]
        return Part(tiles, groups)


def land(m: Module, slot, v, position: Position, part: Part, valid, params: Params) -> None:
    """Set `slot` for a part of the slice at `position`; slots outside the span or the array are dropped."""
    offset = position.offset + part.tiles
    group = v.d_row + position.place + part.groups
    m.d.comb += [
        slot.offset.eq(offset),
        slot.group.eq(group),
        slot.valid.eq(valid & (offset < v.d_span) & (group < params.row_groups)),
    ]


def copies(v, tiles: int):
    """Mask of the first tile of every copy, relative to the destination tile."""
    return multiples(v.d_span, v.d_copies, tiles)


def slot_tiles(pattern, first, slot, tiles: int):
    """Tiles that take `slot`: its offset from `first` in every copy of `pattern`; none if it is not valid."""
    amount = wrap(first + slot.offset, tiles)
    return Mux(slot.valid, rotate(pattern, amount, tiles), Const(0, tiles))
