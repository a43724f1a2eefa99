"""Combinational masks over the tiles of a core: ranges, strides, rotation, all modulo the tile count."""

from amaranth.hdl import Array, Cat, Const, Mux

from .spec.params import clog2, index_bits


def low_ones(count, tiles: int):
    """Mask with the lowest `count` (0..tiles) bits set."""
    return ((Const(1, tiles + 1) << count) - 1)[:tiles]


def rotate(mask, amount, tiles: int):
    """`mask` rotated upwards by `amount` (0..tiles-1)."""
    # A right shift stays as wide as its operand, which a simulator thanks us for.
    back = (tiles - amount)[: clog2(tiles + 1)]
    return (Cat(mask, mask) >> back)[:tiles]


def tile_range(first, count, tiles: int):
    """Mask of `count` tiles from `first` on."""
    return rotate(low_ones(count, tiles), first, tiles)


def multiples(stride, count, tiles: int):
    """Mask of the tiles 0, stride, .. (count - 1) * stride; stride * count <= tiles."""
    every = [Const(0, tiles)]
    for step in range(1, tiles + 1):
        every.append(Const(sum(1 << t for t in range(0, tiles, step)), tiles))
    return Array(every)[stride] & low_ones((stride * count)[: clog2(tiles + 1)], tiles)


def count(bits: list):
    """How many of the bits are set: a balanced tree, for a core can have a thousand tiles."""
    if len(bits) == 1:
        return bits[0]
    half = len(bits) // 2
    return count(bits[:half]) + count(bits[half:])


def wrap(index, tiles: int):
    """`index` (0..2 * tiles - 1) modulo `tiles`."""
    return Mux(index >= tiles, index - tiles, index)[: index_bits(tiles)]
