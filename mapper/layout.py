"""Where factors lie on the arrays: the geometry that strategies produce and the lowering reads.

A factor is cut into granules (block k, part i of its inputs, column granule c of its outputs) of B x B
weights. A `Panel` places the granules of a window of blocks; the slices (inputs) of its blocks are
filled into row registers once and feed every column granule of the panel. A `DensePanel` places a
dense matrix. Tiles are numbered modulo `Params.tiles`.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from rtl.spec.params import Params

#: Roles of a panel: first factor, second factor, dense weights.
RIGHT, LEFT, DENSE = "R", "L", "W"


def ceil_div(a: int, b: int) -> int:
    """The quotient rounded up."""
    return -(-a // b)


@dataclass(frozen=True)
class InputMap:
    """Where the inputs of a block lie in granule rows: input index -> (part, row offset).

    A block of L with rank > 1 reads `pieces` vectors of `piece` elements (one element of every block of
    R). Short pieces share a granule, long ones start on a new part, so that a drain step never
    straddles two granules.
    """

    piece: int  #: elements that are contiguous: fan-in of R, or the number of blocks of R for L
    pieces: int  #: rank for L, else 1
    granule: int  #: B

    @property
    def per_granule(self) -> int:
        """Whole pieces that share one granule; 0 if a piece is longer than a granule."""
        return self.granule // self.piece

    @property
    def parts(self) -> int:
        """a: granules that a slice takes."""
        if self.per_granule:
            return ceil_div(self.pieces, self.per_granule)
        return self.pieces * ceil_div(self.piece, self.granule)

    def at(self, piece: int, element: int) -> tuple[int, int]:
        """(part, row offset) of an element of a piece."""
        if self.per_granule:
            part, slot = divmod(piece, self.per_granule)
            return part, slot * self.piece + element
        part, offset = divmod(element, self.granule)
        return piece * ceil_div(self.piece, self.granule) + part, offset

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Parts and row offsets of all inputs in stored order, int (pieces * piece,)."""
        pairs = [self.at(n, e) for n in range(self.pieces) for e in range(self.piece)]
        table = np.array(pairs, dtype=np.intp).reshape(-1, 2)
        return table[:, 0], table[:, 1]


@dataclass(frozen=True)
class Column:
    """One column granule of a panel: granule column c of matrix `matrix` (index in the segment).

    Block m of a group sits in column group (rot + col + m) mod H, with a `rot` per tile of the copy.
    Columns of one layer and copy share a result, hence their `rot`; layers are computed in order.
    """

    matrix: int
    c: int
    copy: int
    layer: int
    rots: tuple[int, ...]
    col: int = 0


@dataclass(frozen=True)
class Panel:
    """Blocks k0 .. k0 + count - 1 of one factor, or of several that read the same slices.

    Local block k is in group k // blocks at position m = k % blocks: tile base + copy * span +
    (k // blocks) * tstride + part * tpart, row group row + m + part * rpart. With `shifts` (parts one
    after the other in time) part i uses row group (shifts[i] + m) mod G instead.
    """

    segment: int
    role: str
    k0: int
    count: int
    parts: int
    base: int
    blocks: int
    tstride: int
    tpart: int
    row: int
    rpart: int
    span: int
    copies: int
    columns: tuple[Column, ...]
    steps: int = 1  #: row groups that a pass sums, `rpart` apart
    shifts: tuple[int, ...] = ()

    @property
    def groups(self) -> int:
        """Groups of `blocks` blocks."""
        return ceil_div(self.count, self.blocks)

    @property
    def layers(self) -> int:
        """Results that the busiest tile computes from one fill."""
        return max(column.layer for column in self.columns) + 1

    @property
    def epochs(self) -> int:
        """Fills, one after the other, that make one result: 1, or one for each part."""
        return len(self.shifts) or 1

    @property
    def chain(self) -> int:
        """Neighbouring tiles whose partial sums a drain adds."""
        return self.parts if self.tpart else 1

    def row_group(self, position: int, part: int, params: Params) -> int:
        """Row group of part `part` of the block at `position` in its group."""
        if self.shifts:
            return (self.shifts[part] + position) % params.row_groups
        return self.row + position + part * self.rpart

    def tile_offset(self, group: int, part: int) -> int:
        """Tile of a group's part, counted from the first tile of its copy."""
        return group * self.tstride + part * self.tpart

    def tiles(self, params: Params) -> list[int]:
        """Tiles of all copies, in order."""
        return [(self.base + i) % params.tiles for i in range(self.span * self.copies)]

    def granules(self, column: Column, params: Params) -> np.ndarray:
        """Tile, row group and column group of every granule of a column: int (count, parts, 3)."""
        where = np.empty((self.count, self.parts, 3), dtype=np.intp)
        for k in range(self.count):
            group, position = divmod(k, self.blocks)
            for part in range(self.parts):
                offset = self.tile_offset(group, part)
                tile = (self.base + column.copy * self.span + offset) % params.tiles
                col = (column.rots[offset] + column.col + position) % params.col_groups
                where[k, part] = tile, self.row_group(position, part, params), col
        return where

    def passes(
        self, layer: int, epoch: int, params: Params, tiles: int = -1
    ) -> Iterator[tuple[dict, int]]:
        """PASS fields (without fresh and first) of a layer and the number of tiles of each.

        Neighbouring tiles with the same selects share one instruction; `tiles` is a bit mask of
        those that take part.
        """
        runs: list[list] = []
        by_copy: dict[int, list[Column]] = {}
        for column in self.columns:
            if column.layer == layer:
                by_copy.setdefault(column.copy, []).append(column)
        for offset in range(self.span * self.copies):
            copy, within = divmod(offset, self.span)
            mine = by_copy.get(copy)
            if not mine or not tiles >> (self.base + offset) % params.tiles & 1:
                continue
            key = (mine[0].rots[within], tuple(c.col for c in mine))
            if runs and runs[-1][0] == key and runs[-1][1] + runs[-1][2] == offset:
                runs[-1][2] += 1
            else:
                runs.append([key, offset, 1])
        for (rot, cols), first, span in runs:
            yield self._pass(rot, cols, first, span, epoch, params), span

    def _pass(self, rot, cols, first: int, span: int, epoch: int, params: Params) -> dict:
        sel, mask = [0] * params.col_groups, [0] * params.col_groups
        for col in cols:
            for position in range(self.blocks):
                h = (rot + col + position) % params.col_groups
                sel[h], mask[h] = self.row_group(position, epoch, params), 1
        return {
            "rot": rot,
            "tile": (self.base + first) % params.tiles,
            "span": span,
            "steps": self.steps,
            "stride": self.rpart if self.steps > 1 else 0,
            "mask": tuple(mask),
            "sel": tuple(sel),
        }

    def drain(self, column: Column, params: Params) -> dict:
        """Source fields of a DRAIN of all blocks of a column granule."""
        return {
            "tile": (self.base + column.copy * self.span) % params.tiles,
            "groups": self.groups,
            "chain": self.chain,
            "blocks": self.blocks // params.drain_chunk,
            "col": column.col,
            "count": self.count,
        }


@dataclass(frozen=True)
class DensePanel:
    """A dense matrix on `down` x `across` tiles; tile (r, c) is base + c * down + r.

    Output o is column o // groups of column group o % groups, so that a drain gives natural order.
    """

    segment: int
    matrix: int
    base: int
    down: int
    across: int
    groups: int  #: column groups in use, Kc
    row_granules: int  #: granules of inputs

    role = DENSE

    def steps(self, params: Params) -> int:
        """Row groups that a pass sums."""
        return min(params.row_groups, self.row_granules)

    def tiles(self, params: Params) -> list[int]:
        """Tiles in use, in order."""
        return [(self.base + i) % params.tiles for i in range(self.down * self.across)]

    def granules(self, params: Params) -> np.ndarray:
        """Tile, row group, column group of every granule: int (groups, row_granules, 3)."""
        kk, i = np.indices((self.groups, self.row_granules))
        tile = self.base + kk // params.col_groups * self.down + i // params.row_groups
        where = (tile % params.tiles, i % params.row_groups, kk % params.col_groups)
        return np.stack(where, axis=-1)

    def pass_fields(self, params: Params) -> dict:
        """PASS fields (without fresh and first)."""
        used = min(params.col_groups, self.groups)
        return {
            "rot": 0,
            "tile": self.base,
            "span": self.down * self.across,
            "steps": self.steps(params),
            "stride": 1 if self.steps(params) > 1 else 0,
            "mask": tuple(int(h < used) for h in range(params.col_groups)),
            "sel": (0,) * params.col_groups,
        }

    def drain(self, params: Params) -> dict:
        """Source fields of a DRAIN of all outputs."""
        return {
            "tile": self.base,
            "groups": self.across,
            "chain": self.down,
            "blocks": params.col_groups // params.drain_chunk,
            "col": 0,
            "count": self.groups,
        }


@dataclass(frozen=True)
class Placement:
    """All panels of a workload in the order of processing, and the parameters they are made for."""

    strategy: str
    params: Params
    panels: tuple[Panel | DensePanel, ...]

    def of(self, segment: int, role: str) -> list:
        """Panels of a segment with a role, in order."""
        return [p for p in self.panels if p.segment == segment and p.role == role]

    @property
    def used_tiles(self) -> int:
        """Arrays that hold weights."""
        return len({tile for panel in self.panels for tile in panel.tiles(self.params)})

    def as_dict(self) -> dict:
        """JSON values; the parameters are kept elsewhere."""
        return {
            "strategy": self.strategy,
            "tiles": self.params.tiles,
            "panels": [{"role": p.role, **asdict(p)} for p in self.panels],
        }

    @classmethod
    def from_dict(cls, values: dict, params: Params) -> "Placement":
        """What `as_dict` gave. Raises `KeyError` or `TypeError` for a name that is missing or unknown."""
        return cls(values["strategy"], params, tuple(_panel(dict(v)) for v in values["panels"]))


def _panel(values: dict) -> Panel | DensePanel:
    if values["role"] == DENSE:
        del values["role"]
        return DensePanel(**values)
    columns = [Column(**{**c, "rots": tuple(c["rots"])}) for c in values.pop("columns")]
    return Panel(**{**values, "columns": tuple(columns), "shifts": tuple(values["shifts"])})


def input_map(role: str, matrix, granule: int) -> InputMap:
    """The input map of a factor of a `graph.Matrix`: role R, L or W."""
    if role == LEFT:
        return InputMap(matrix.factors[0].shape[0], matrix.rank, granule)
    return InputMap(matrix.factors[0].shape[1], 1, granule)


def tile_mask(tiles, params: Params) -> int:
    """Bit mask of tile numbers, modulo tiles."""
    mask = 0
    for tile in tiles:
        mask |= 1 << tile % params.tiles
    return mask
