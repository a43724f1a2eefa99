"""Check a placement against the definition of the macro, independently of how it was made.

Works on explicit sets of cells: a granule is where fills, passes and drains of the instruction set say it
is (rtl/spec/isa.py), not where a strategy says. `ConfigError` names the first block that is wrong.
"""

from collections import Counter

import numpy as np

from rtl.spec.params import ConfigError, Params

from .graph import Segment
from .layout import DENSE, LEFT, RIGHT, DensePanel, Panel, Placement


def validate(segments: list[Segment], placement: Placement) -> None:
    """Raise `ConfigError` unless every granule lies in the arrays once, alone, and can be computed.

    Checked: every granule of every factor is placed exactly once; no two share a cell; every block
    of a group sits where its slice is filled; a pass reads one row group per column group; blocks
    are where the drain looks for them, partial sums in neighbouring tiles; with readout = adc, the
    blocks of a pass have distinct rows: a column holds nothing else in rows that are on with its own.
    """
    p = placement.params
    owner = np.full((p.tiles, p.row_groups, p.col_groups), -1, dtype=np.int64)
    labels: list[str] = []
    placed: Counter = Counter()
    for panel in placement.panels:
        if not 0 <= panel.segment < len(segments):
            raise ConfigError(f"placement: segment {panel.segment} does not exist")
        segment = segments[panel.segment]
        if isinstance(panel, DensePanel):
            cells = _dense_cells(panel, segment, p)
        else:
            cells = _panel_cells(panel, segment, p)
        for label, key, cell in cells:
            _claim(owner, labels, label, cell, p)
            placed[key] += 1
    for key, label in _expected(segments, p, placement):
        if placed[key] != 1:
            raise ConfigError(f"{label} is placed {placed[key]} times")
        del placed[key]
    if placed:
        raise ConfigError(f"placement: granule {next(iter(placed))} does not exist")
    if p.analog and p.tree == "full":
        for panel in placement.panels:
            _check_rows_on(panel, owner, labels, p)


def _claim(owner: np.ndarray, labels: list[str], label: str, cell: tuple, p: Params) -> None:
    tile, row, col = cell
    if not (0 <= tile < p.tiles and 0 <= row < p.row_groups and 0 <= col < p.col_groups):
        raise ConfigError(f"{label}: tile {tile}, row group {row}, column group {col} is outside")
    if owner[cell] >= 0:
        raise ConfigError(f"{label} overlaps {labels[owner[cell]]} in tile {tile}")
    owner[cell] = len(labels)
    labels.append(label)


def _expected(segments: list[Segment], p: Params, placement: Placement):
    """Keys and labels of all granules: (segment, matrix, role, block, part, column granule)."""
    for s, segment in enumerate(segments):
        for m, matrix in enumerate(segment.matrices):
            for f, factor in enumerate(matrix.factors):
                role = (RIGHT, LEFT)[f] if matrix.monarch else DENSE
                count, fan_in, fan_out = factor.shape
                piece = matrix.factors[0].shape[0] if role == LEFT else fan_in
                parts = _parts(fan_in, piece, p.granule)
                cols = -(-fan_out // p.granule)
                if role == DENSE:
                    cols = next(
                        (
                            q.groups
                            for q in placement.panels
                            if isinstance(q, DensePanel) and (q.segment, q.matrix) == (s, m)
                        ),
                        cols,
                    )
                for k in range(count):
                    for i in range(parts):
                        for c in range(cols):
                            yield (s, m, role, k, i, c), _label(matrix.name, role, k, i, c)


def _label(name: str, role: str, k: int, i: int, c: int) -> str:
    return f"{name}.{role} block {k} part {i} columns {c}"


def _parts(fan_in: int, piece: int, granule: int) -> int:
    """Granules of a slice: short pieces share one, long pieces start a new one."""
    pieces = fan_in // piece
    if piece > granule:
        return pieces * -(-piece // granule)
    return -(-pieces // (granule // piece))


def _dense_cells(panel: DensePanel, segment: Segment, p: Params):
    matrix = segment.matrices[panel.matrix]
    if panel.groups > panel.across * p.col_groups:
        raise ConfigError(
            f"{matrix.name}: {panel.groups} column groups exceed {panel.across} arrays"
        )
    if panel.groups * p.granule < matrix.n_out or panel.row_granules * p.granule < matrix.n_in:
        raise ConfigError(f"{matrix.name}: {matrix.n_in} x {matrix.n_out} is not covered")
    if panel.row_granules > panel.down * p.row_groups:
        raise ConfigError(
            f"{matrix.name}: {panel.row_granules} row groups exceed {panel.down} arrays"
        )
    if panel.down * panel.across > p.tiles or panel.base + panel.down * panel.across > p.tiles:
        raise ConfigError(f"{matrix.name}: its arrays exceed tiles = {p.tiles}")
    for kk in range(panel.groups):
        for i in range(panel.row_granules):
            # DRAIN: block kk is in group kk // H, `down` tiles a group; LOAD: slice i in tile i // G.
            tile = panel.base + kk // p.col_groups * panel.down + i // p.row_groups
            cell = (tile, i % p.row_groups, kk % p.col_groups)
            key = (panel.segment, panel.matrix, DENSE, 0, i, kk)
            yield _label(matrix.name, DENSE, 0, i, kk), key, cell


def _panel_cells(panel: Panel, segment: Segment, p: Params):
    name = segment.matrices[panel.columns[0].matrix].name
    if panel.blocks % p.drain_chunk:
        raise ConfigError(
            f"{name}.{panel.role}: {panel.blocks} blocks a group, chunk {p.drain_chunk}"
        )
    if panel.span * panel.copies > p.tiles:
        raise ConfigError(f"{name}.{panel.role}: {panel.span * panel.copies} tiles of {p.tiles}")
    if panel.tpart and (panel.tpart != 1 or panel.tstride != panel.parts):
        raise ConfigError(f"{name}.{panel.role}: partial sums are not in neighbouring tiles")
    if panel.shifts and (panel.tpart or panel.rpart or panel.tstride != 1):
        raise ConfigError(f"{name}.{panel.role}: parts in time must share a tile")
    slices = _slices(panel, p, f"{name}.{panel.role}")
    for column in panel.columns:
        yield from _column_cells(panel, column, segment, slices, p)
    _check_passes(panel, slices, name, p)


def _slices(panel: Panel, p: Params, name: str) -> dict[tuple[int, int], tuple[int, int]]:
    """(tile offset in a copy, row group) of every (block, part): the fill formula of the ISA."""
    found, taken = {}, {}
    for k in range(panel.count):
        for i in range(panel.parts):
            offset = k // panel.blocks * panel.tstride + i * panel.tpart
            if panel.shifts:
                row = (panel.shifts[i] + k % panel.blocks) % p.row_groups
            else:
                row = panel.row + k % panel.blocks + i * panel.rpart
            if offset >= panel.span or not 0 <= row < p.row_groups:
                raise ConfigError(f"{name} block {k} part {i}: its slice is dropped by the fill")
            slot = (offset, row, i if panel.shifts else 0)
            if slot in taken:
                raise ConfigError(f"{name} block {k} part {i}: its slice overwrites {taken[slot]}")
            taken[slot] = f"block {k} part {i}"
            found[k, i] = offset, row
    return found


def _column_cells(panel: Panel, column, segment: Segment, slices: dict, p: Params):
    """Cells of a column granule: row group from the fill, column group from the drain formula."""
    matrix = segment.matrices[column.matrix]
    if not 0 <= column.copy < panel.copies or len(column.rots) != panel.span:
        raise ConfigError(f"{matrix.name}.{panel.role}: column granule {column.c} is in no copy")
    where = panel.granules(column, p)
    for (k, i), (offset, row) in slices.items():
        tile = (panel.base + column.copy * panel.span + offset) % p.tiles
        col = (column.rots[offset] + column.col + k % panel.blocks) % p.col_groups
        label = _label(matrix.name, panel.role, panel.k0 + k, i, column.c)
        if tuple(where[k, i]) != (tile, row, col):
            raise ConfigError(
                f"{label}: weights in {tuple(where[k, i])}, computed in {(tile, row, col)}"
            )
        key = (panel.segment, column.matrix, panel.role, panel.k0 + k, i, column.c)
        yield label, key, (tile, row, col)


def _check_passes(panel: Panel, slices: dict, name: str, p: Params) -> None:
    """Blocks of one pass have distinct column groups, and the pass selects the slice of each."""
    for layer in range(panel.layers):
        for epoch in range(panel.epochs):
            selects: dict[tuple[int, int], set[int]] = {}
            for fields, span in panel.passes(layer, epoch, p):
                for n in range(span):
                    tile = (fields["tile"] + n) % p.tiles
                    for h in range(p.col_groups):
                        if fields["mask"][h]:
                            rows = {
                                (fields["sel"][h] + s * fields["stride"]) % p.row_groups
                                for s in range(fields["steps"])
                            }
                            if (tile, h) in selects:
                                raise ConfigError(
                                    f"{name}: two passes in column group {h}, tile {tile}"
                                )
                            selects[tile, h] = rows
            _check_selects(panel, layer, epoch, selects, slices, name, p)


def _check_rows_on(panel: Panel | DensePanel, owner: np.ndarray, labels: list, p: Params) -> None:
    """Rows are on for a whole array: a column must hold zeros in those that it does not want.

    With tree = shared one row group is on at a time, and only columns that want it are read.
    """
    for fields, span in _all_passes(panel, p):
        enabled = [h for h in range(p.col_groups) if fields["mask"][h]]
        own = {
            h: {
                (fields["sel"][h] + s * fields["stride"]) % p.row_groups
                for s in range(fields["steps"])
            }
            for h in enabled
        }
        on = set().union(*own.values())
        for n in range(span):
            tile = (fields["tile"] + n) % p.tiles
            for h in enabled:
                for row in on - own[h]:
                    if owner[tile, row, h] >= 0:
                        raise ConfigError(
                            f"{labels[owner[tile, row, h]]}: its row group {row} is on in a pass "
                            f"that reads others of column group {h}, tile {tile}"
                        )


def _all_passes(panel: Panel | DensePanel, p: Params):
    """Fields and number of tiles of all passes of a panel."""
    if isinstance(panel, DensePanel):
        fields = panel.pass_fields(p)
        yield fields, fields["span"]
        return
    for layer in range(panel.layers):
        for epoch in range(panel.epochs):
            yield from panel.passes(layer, epoch, p)


def _check_selects(panel, layer, epoch, selects, slices, name, p: Params) -> None:
    used: dict[tuple[int, int], tuple] = {}
    for column in panel.columns:
        if column.layer != layer:
            continue
        for (k, i), (offset, row) in slices.items():
            if panel.shifts and i != epoch:
                continue
            tile = (panel.base + column.copy * panel.span + offset) % p.tiles
            col = (column.rots[offset] + column.col + k % panel.blocks) % p.col_groups
            label = _label(name, panel.role, panel.k0 + k, i, column.c)
            if row not in selects.get((tile, col), ()):
                raise ConfigError(f"{label}: no pass reads its row group {row}")
            who = used.setdefault((tile, col), (column.matrix, column.c, k))
            if who != (column.matrix, column.c, k):
                raise ConfigError(
                    f"{label}: shares column group {col} of a pass with block {who[2]}"
                )
