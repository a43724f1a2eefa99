"""Weight and constant images: what the memories of the core hold before a run."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rtl.spec import numeric
from rtl.spec.params import ConfigError, Params

from .graph import Factor, Matrix, Segment
from .layout import LEFT, DensePanel, Placement, ceil_div, input_map
from .lower import Constants, live_blocks


def weight_image(segments: list[Segment], placement: Placement) -> np.ndarray:
    """Weights of all arrays, int8 (tiles, rows, cols).

    Rows whose row registers are never filled are zero whatever the factor holds, see `read_blocks`. Raises
    `ConfigError` if a weight does not fit `weight_bits`, or if a block of R without inputs has a bias.
    """
    p = placement.params
    for matrix in (m for s in segments for m in s.matrices if m.monarch):
        if matrix.factors[0].bias[live_blocks(matrix) :].any():
            raise ConfigError(f"{matrix.name}.R: a block that sees only padding has a bias")
    image = np.zeros((p.tiles, p.rows, p.cols), dtype=np.int8)
    cells = _cells(image, p)
    for part in _parts(segments, placement):
        granules = part.cut(read_blocks(part.matrix, part.number, part.blocks))
        for column, where in part.columns:
            cells[where] = granules[:, :, :, column]
    low, high = numeric.signed_range(p.weight_bits)
    if image.min() < low or image.max() > high:
        raise ConfigError(f"weight_bits: a weight is outside {low}..{high}")
    return image


def fill_blocks(image: np.ndarray, segments: list[Segment], placement: Placement) -> None:
    """The inverse of `weight_image`: write the blocks of all factors, in place, as they are on the arrays."""
    cells = _cells(image, placement.params)
    for part in _parts(segments, placement):
        blocks = part.matrix.factors[part.number].blocks[part.blocks]
        granules = part.cut(np.zeros_like(blocks))
        for column, where in part.columns:
            granules[:, :, :, column] = cells[where]
        blocks[:] = part.join(granules, blocks.shape)


def read_blocks(matrix: Matrix, number: int, which: slice = slice(None)) -> np.ndarray:
    """Blocks of factor `number` as far as they count: zero in rows that never get an input.

    Those are rows of inputs beyond n_in, and those that blocks of R without inputs would feed.
    """
    blocks = matrix.factors[number].blocks
    k, i = np.indices(blocks.shape[:2])
    if number:
        unread = i % matrix.factors[0].shape[0] >= live_blocks(matrix)
    else:
        unread = k * blocks.shape[1] + i >= matrix.n_in
    unread = np.asarray(unread)[which]
    return (
        np.where(unread[:, :, None], np.int8(0), blocks[which]) if unread.any() else blocks[which]
    )


@dataclass(frozen=True)
class _Part:
    """Blocks of one factor that one panel holds, and how they are cut into granules."""

    matrix: Matrix
    number: int  #: factor
    blocks: slice
    granule: int  #: B
    row: tuple[np.ndarray, np.ndarray]  #: granule and row in it of every input of a block
    shape: tuple[int, int, int]  #: blocks, granules down, granules across
    columns: list[tuple[int, tuple]]  #: granule column, and index of its granules among the cells
    turned: bool  #: columns before blocks: output o is column o // K of block o % K (dense)

    def cut(self, blocks: np.ndarray) -> np.ndarray:
        """int8 (blocks, granules down, B, granules across, B) of blocks (K, fan_in, fan_out)."""
        count, down, across = self.shape
        full = np.zeros((count, down, self.granule, across * self.granule), dtype=np.int8)
        if self.turned:
            fan_in, fan_out = blocks.shape[1:]
            wide = np.zeros((fan_in, self.granule * count), dtype=np.int8)
            wide[:, :fan_out] = blocks[0]
            blocks = wide.reshape(fan_in, self.granule, count).transpose(2, 0, 1)
        full[:, *self.row, : blocks.shape[2]] = blocks
        return full.reshape(count, down, self.granule, across, self.granule)

    def join(self, granules: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The inverse of `cut`, for blocks of that shape."""
        full = granules.reshape(*granules.shape[:3], -1)[:, *self.row]
        if not self.turned:
            return full[:, :, : shape[2]]
        return full.transpose(1, 2, 0).reshape(1, shape[1], -1)[:, :, : shape[2]]


def _cells(image: np.ndarray, p: Params) -> np.ndarray:
    """A view of an image as (tiles, row groups, column groups, B, B)."""
    shape = (p.tiles, p.row_groups, p.granule, p.col_groups, p.granule)
    return image.reshape(shape).transpose(0, 1, 3, 2, 4)


def _parts(segments: list[Segment], placement: Placement) -> Iterator[_Part]:
    """All parts of factors, as they are placed."""
    p = placement.params
    for panel in placement.panels:
        segment = segments[panel.segment]
        if isinstance(panel, DensePanel):
            matrix = segment.matrices[panel.matrix]
            where = [(0, tuple(np.moveaxis(panel.granules(p), -1, 0)))]
            row = np.divmod(np.arange(matrix.n_in), p.granule)
            shape = (panel.groups, panel.row_granules, 1)
            yield _Part(matrix, 0, slice(0, 1), p.granule, row, shape, where, True)
            continue
        for number in {c.matrix for c in panel.columns}:
            matrix = segment.matrices[number]
            factor = int(panel.role == LEFT)
            fan_out = matrix.factors[factor].shape[2]
            where = [
                (c.c, tuple(np.moveaxis(panel.granules(c, p), -1, 0)))
                for c in panel.columns
                if c.matrix == number
            ]
            row = input_map(panel.role, matrix, p.granule).arrays()
            shape = (panel.count, panel.parts, ceil_div(fan_out, p.granule))
            blocks = slice(panel.k0, panel.k0 + panel.count)
            yield _Part(matrix, factor, blocks, p.granule, row, shape, where, False)


def pack_constants(factor: Factor) -> np.ndarray:
    """Constant entries of a factor, uint64 (K, fan_out). Raises `ConfigError` on a shift of 0."""
    shift = factor.shift.astype(np.uint64)
    limit = (1 << numeric.SHIFT_BITS) - 1
    if shift.size and not 1 <= shift.min() <= shift.max() <= limit:
        raise ConfigError(f"shift: a value is outside 1..{limit}")
    values = {
        "bias": factor.bias.astype(np.int64).astype(np.uint64) & np.uint64(0xFFFFFFFF),
        "mult": factor.mult.astype(np.uint64),
        "shift": shift,
    }
    word = np.zeros(shift.shape, dtype=np.uint64)
    for name, first, _ in numeric.CONST_FIELDS:
        word |= values[name] << np.uint64(first)
    return word


def const_image(segments: list[Segment], constants: list[Constants], params: Params) -> np.ndarray:
    """Constant words of all drains, uint64 (words, lanes); lanes without a value are 0."""
    total = constants[-1].first + constants[-1].words if constants else 0
    image = np.zeros((total, params.lanes), dtype=np.uint64)
    packed: dict[tuple[int, int, int], np.ndarray] = {}
    for c in constants:
        key = (c.segment, c.matrix, c.factor)
        matrix = segments[c.segment].matrices[c.matrix]
        if key not in packed:
            packed[key] = pack_constants(matrix.factors[c.factor])
        block, column, valid = _lanes(c, params)
        if matrix.monarch:
            k, j = c.k0 + block, c.column + column
        else:
            k, j = np.zeros_like(block), (c.column + column) * c.count + block
            valid &= j < matrix.n_out
        values = packed[key][np.where(valid, k, 0), np.where(valid, j, 0)]
        image[c.first : c.first + c.words] = np.where(valid, values, 0)
    return image


def _lanes(c: Constants, params: Params) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Block, column (from `c.column` on) and validity of every lane: each (words, lanes)."""
    word, lane = np.indices((c.words, params.lanes))
    slot, element = lane // params.granule, lane % params.granule
    piece, part = slot // c.slots, slot % c.slots
    column = word // c.steps * c.pieces + piece
    block = (word % c.steps * params.slots + part) * params.granule + element
    valid = (piece < c.pieces) & (column < c.columns) & (block < c.count)
    return block, column, valid
