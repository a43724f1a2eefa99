"""Weight and constant images: what the memories of the core hold before a run."""

import numpy as np

from rtl.spec import numeric
from rtl.spec.params import ConfigError, Params

from .graph import Factor, Segment
from .layout import LEFT, DensePanel, Panel, Placement, ceil_div, input_map
from .lower import Constants, live_blocks


def weight_image(segments: list[Segment], placement: Placement) -> np.ndarray:
    """Weights of all arrays, int8 (tiles, rows, cols).

    Rows whose row registers are never filled (inputs beyond n_in, and what blocks of R without
    inputs would feed) are zero whatever the factor holds. Raises `ConfigError` if a weight does not
    fit `weight_bits`, or if a block of R without inputs has a bias.
    """
    p = placement.params
    for matrix in (m for s in segments for m in s.matrices if m.monarch):
        if matrix.factors[0].bias[live_blocks(matrix) :].any():
            raise ConfigError(f"{matrix.name}.R: a block that sees only padding has a bias")
    cells = np.zeros((p.tiles, p.row_groups, p.granule, p.col_groups, p.granule), dtype=np.int8)
    view = cells.transpose(0, 1, 3, 2, 4)
    for panel in placement.panels:
        if isinstance(panel, DensePanel):
            matrix = segments[panel.segment].matrices[panel.matrix]
            where = panel.granules(p)
            view[tuple(np.moveaxis(where, -1, 0))] = _dense_granules(matrix, panel, p)
        else:
            _write_panel(view, panel, segments[panel.segment], p)
    low, high = numeric.signed_range(p.weight_bits)
    if cells.min() < low or cells.max() > high:
        raise ConfigError(f"weight_bits: a weight is outside {low}..{high}")
    return cells.reshape(p.tiles, p.rows, p.cols)


def _dense_granules(matrix, panel, p: Params) -> np.ndarray:
    """int8 (groups, row granules, B, B): output o is column o // groups of group o % groups."""
    rows = panel.row_granules * p.granule
    full = np.zeros((rows, p.granule * panel.groups), dtype=np.int8)
    full[: matrix.n_in, : matrix.n_out] = matrix.factors[0].blocks[0, : matrix.n_in, : matrix.n_out]
    return full.reshape(panel.row_granules, p.granule, p.granule, panel.groups).transpose(
        3, 0, 1, 2
    )


def _write_panel(view: np.ndarray, panel: Panel, segment: Segment, p: Params) -> None:
    for number in {c.matrix for c in panel.columns}:
        matrix = segment.matrices[number]
        blocks = matrix.factors[panel.role == LEFT].blocks[panel.k0 : panel.k0 + panel.count]
        fan_in, fan_out = blocks.shape[1:]
        parts, offsets = input_map(panel.role, matrix, p.granule).arrays()
        cols = ceil_div(fan_out, p.granule)
        full = np.zeros((panel.count, panel.parts, p.granule, cols * p.granule), dtype=np.int8)
        full[:, parts, offsets, :fan_out] = blocks
        k, i = np.indices((panel.count, fan_in))
        if panel.role == LEFT:
            unfilled = i % matrix.factors[0].shape[0] >= live_blocks(matrix)
        else:
            unfilled = (panel.k0 + k) * fan_in + i >= matrix.n_in
        full[k[unfilled], parts[i[unfilled]], offsets[i[unfilled]]] = 0
        granules = full.reshape(panel.count, panel.parts, p.granule, cols, p.granule)
        for column in panel.columns:
            if column.matrix == number:
                where = panel.granules(column, p)
                view[tuple(np.moveaxis(where, -1, 0))] = granules[:, :, :, column.c]


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
