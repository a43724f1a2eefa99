"""Placement -> instructions: what one token of one segment does, as tasks with their dependencies.

Buffer addresses are relative to regions (the input vector, one output vector per matrix); the scheduler
decides where the regions of a token are and when a task issues.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rtl.spec.isa import Op
from rtl.spec.numeric import needed_acc_bits
from rtl.spec.params import ConfigError, Params

from .graph import Matrix, Segment
from .layout import (
    DENSE,
    LEFT,
    RIGHT,
    Column,
    DensePanel,
    InputMap,
    Panel,
    Placement,
    ceil_div,
    input_map,
    tile_mask,
)
from .tilestate import Effects, find_order

#: Region of the input vector; matrix m writes region m + 1.
INPUT = 0
NO_EFFECTS = Effects()
#: Words from which on a LOAD is cut in pieces.
LOAD_PIECE = 8


@dataclass(frozen=True)
class Task:
    """An instruction without its buffer address, and what it must wait for in program order."""

    op: Op
    fields: Mapping[str, Any]  #: int, or tuple of int for a field with a count
    needs: int = 0  #: bit mask of tasks of the same segment that must issue before
    region: int = -1  #: region that `addr` is relative to, -1: none
    effects: Effects = NO_EFFECTS


@dataclass(frozen=True)
class Constants:
    """Constants of one drain: the words from `first` on, in the order of its steps."""

    first: int
    segment: int
    matrix: int
    factor: int  #: index in `Matrix.factors`
    k0: int  #: first block (dense: 0)
    count: int  #: blocks drained, K
    column: int  #: first output of a block (dense: first column)
    columns: int
    slots: int
    pieces: int
    steps: int

    @property
    def words(self) -> int:
        """Constant words: one a step."""
        return ceil_div(self.columns, self.pieces) * self.steps


@dataclass(frozen=True)
class Lowered:
    """The tasks of one token in one segment, numbered in an order that can be executed."""

    name: str
    tasks: tuple[Task, ...]
    regions: tuple[int, ...]  #: words of each region


def drain_shape(count: int, params: Params) -> dict[str, int]:
    """Slots, pieces and steps of a drain of `count` blocks."""
    slots = min(params.slots, ceil_div(count, params.granule))
    steps = ceil_div(count, params.lanes)
    return {
        "slots": slots,
        "pieces": 1 if steps > 1 else params.slots // slots,
        "steps": steps,
    }


def step_elements(count: int, columns: int, params: Params) -> list[int]:
    """Elements that each step of a drain emits."""
    shape = drain_shape(count, params)
    if shape["steps"] > 1:
        full = [params.lanes] * (shape["steps"] - 1)
        return [*full, count - params.lanes * len(full)] * columns
    whole, rest = divmod(columns, shape["pieces"])
    return [shape["pieces"] * count] * whole + ([rest * count] if rest else [])


def needs_flush(pending: int, elems: int, steps: list[int], lanes: int) -> bool:
    """Whether the last step would have to write two words, `pending` elements being there before."""
    held = pending
    for i, new in enumerate(steps):
        new = min(new, elems)
        elems -= new
        held += new
        if i == len(steps) - 1:
            return held > lanes
        held -= lanes if held >= lanes else 0
    return False


@dataclass(frozen=True)
class _Fill:
    """A drain of R into row registers of L, before it is issued."""

    panel: Panel
    column: Column
    results: dict[int, list]
    run: dict[str, int]  #: destination fields and columns
    epoch: int
    tiles: int  #: mask of the tiles it reaches
    frees: bool


class _Segment:
    """Collects the tasks of one segment."""

    def __init__(self, segment: Segment, index: int, placement: Placement, const: list[Constants]):
        self.segment, self.index, self.placement = segment, index, placement
        self.params: Params = placement.params
        self.const = const
        self.tasks: list[Task] = []
        self.results = 0
        words = [ceil_div(segment.n_in, self.params.lanes)]
        words += [ceil_div(m.n_out, self.params.lanes) for m in segment.matrices]
        self.regions = tuple(words)

    def add(self, op: Op, fields: dict, needs: int = 0, region: int = -1, **effects) -> int:
        """Append a task; the bit of its number."""
        self.tasks.append(Task(op, fields, needs, region, Effects(**effects)))
        return 1 << len(self.tasks) - 1

    def build(self) -> Lowered:
        """All tasks in an order that can be executed. Raises `ConfigError` if there is none."""
        self.received = self.add(Op.RECV, {"addr": 0, "words": self.regions[INPUT]}, region=INPUT)
        if self.placement.of(self.index, DENSE):
            self._dense()
        else:
            self._monarch()
        order = find_order([t.needs for t in self.tasks], [t.effects for t in self.tasks])
        if order is None:
            raise ConfigError(
                f"{self.segment.name}: this placement on {self.params.tiles} arrays cannot be "
                "scheduled: its factors block each other"
            )
        return Lowered(self.segment.name, _renumber(self.tasks, order), self.regions)

    # -- pieces ----------------------------------------------------------------------------------

    def load(self, first: int, elems: int, fields: dict, tiles: int) -> int:
        """LOAD of `elems` elements of the input from element `first` on."""
        lanes = self.params.lanes
        skip = first % lanes
        fields = {
            "addr": first // lanes,
            "words": ceil_div(skip + elems, lanes),
            "skip": skip,
            "elems": elems,
            **fields,
        }
        return self.add(Op.LOAD, fields, self.received, INPUT, claims=tiles)

    def constants(self, **where) -> int:
        """First constant word of a drain."""
        first = self.const[-1].first + self.const[-1].words if self.const else 0
        self.const.append(Constants(first, self.index, **where))
        return first

    def to_buffer(
        self,
        source: dict,
        matrix: int,
        first: int,
        count: int,
        columns: int,
        last: bool,
        const: int,
        needs: int,
        **effects,
    ) -> int:
        """DRAIN of `columns` columns to the output of a matrix, from its element `first` on."""
        params, n_out = self.params, self.segment.matrices[matrix].n_out
        elems = min(columns * count, n_out - first)
        pending = first % params.lanes
        keep = not last and (first + elems) % params.lanes != 0
        total = pending + elems
        words = total // params.lanes if keep else ceil_div(total, params.lanes)
        flush = not keep and needs_flush(
            pending, elems, step_elements(count, columns, params), params.lanes
        )
        fields = {
            **source,
            **drain_shape(count, params),
            "column": 0,
            "columns": columns,
            "const": const,
            "addr": first // params.lanes,
            "words": max(words, 1),
            "elems": elems,
            "flush": int(flush),
            "keep": int(keep),
            "release": int(effects.get("frees", False)),
        }
        keeps = len(self.tasks) + 1 if keep else -1
        return self.add(Op.DRAIN, fields, needs, matrix + 1, buffer=True, keeps=keeps, **effects)

    def send(self, matrix: int, needs: int) -> None:
        """SEND of the output of a matrix."""
        words = self.regions[matrix + 1]
        self.add(Op.SEND, {"addr": 0, "words": words}, needs, matrix + 1)

    # -- dense -----------------------------------------------------------------------------------

    def _dense(self) -> None:
        params, segment = self.params, self.segment
        panels = self.placement.of(self.index, DENSE)
        loaded: dict[int, int] = {}  # base of a panel -> bit of the LOAD that fills it
        for family in _neighbours(panels):
            tiles = tile_mask([t for p in family for t in p.tiles(params)], params)
            bit = self.load(0, segment.n_in, _dense_fill(family, params), tiles)
            loaded |= {panel.base: bit for panel in family}
        for panel in panels:
            matrix = segment.matrices[panel.matrix]
            _check_fan_in(matrix, matrix.n_in, params)
            tiles = tile_mask(panel.tiles(params), params)
            passed = self.add(
                Op.PASS,
                {"fresh": 1, "first": 1, **panel.pass_fields(params)},
                loaded[panel.base],
                swaps=tiles,
                opens=tiles,
                result=self.results,
            )
            columns = ceil_div(matrix.n_out, panel.groups)
            const = self.constants(
                matrix=panel.matrix,
                factor=0,
                k0=0,
                count=panel.groups,
                column=0,
                columns=columns,
                **drain_shape(panel.groups, params),
            )
            drained = self.to_buffer(
                panel.drain(params),
                panel.matrix,
                0,
                panel.groups,
                columns,
                True,
                const,
                passed,
                reads=tiles,
                frees=True,
                result=self.results,
            )
            self.results += 1
            self.send(panel.matrix, drained)

    # -- Monarch ---------------------------------------------------------------------------------

    def _monarch(self) -> None:
        matrices = self.segment.matrices
        rights = [
            _live(p, matrices[p.columns[0].matrix], self.params)
            for p in self.placement.of(self.index, RIGHT)
        ]
        rights = [panel for panel in rights if panel.count > 0]
        passed = [self._loaded(panel) for panel in rights]
        for left in self.placement.of(self.index, LEFT):
            number = left.columns[0].matrix
            matrix = matrices[number]
            left = _live(left, matrix, self.params)
            _check_fan_in(matrix, max(f.shape[1] for f in matrix.factors), self.params)
            fills = self._fills(left, matrix, number, rights, passed)
            self._outputs(left, self._refilled(left, fills), number, matrix)

    def _loaded(self, panel: Panel) -> dict[int, list]:
        """LOADs and PASSes of an R panel: result number and task bits by layer."""
        results: dict[int, list] = {}
        for first, elems, fields, tiles in self._load_pieces(panel):
            self._passes(panel, 0, self.load(first, elems, fields, tiles), tiles, results)
        return results

    def _load_pieces(self, panel: Panel) -> Iterator[tuple[int, int, dict, int]]:
        """LOADs of the slices of an R panel: first element, elements, destination, tiles.

        Long vectors come in pieces of whole groups and words, so that tiles are not kept waiting
        for slices that go elsewhere.
        """
        params = self.params
        matrix = self.segment.matrices[panel.columns[0].matrix]
        fan_in = matrix.factors[0].shape[1]
        start = panel.k0 * fan_in
        total = min(panel.count * fan_in, matrix.n_in - start)
        group = panel.blocks * fan_in
        piece = total
        if panel.copies == 1 and start % params.lanes == 0:
            least = math.lcm(group, params.lanes)
            piece = ceil_div(LOAD_PIECE * params.lanes, least) * least
        for at in range(0, total, piece):
            elems = min(piece, total - at)
            groups = range(at // group, ceil_div(at + elems, group))
            offset = panel.tile_offset(groups.start, 0)
            reach = panel.tile_offset(len(groups) - 1, panel.parts - 1) + 1
            fields = {
                "parts": panel.parts,
                "tail": fan_in - (panel.parts - 1) * params.granule,
                "part_lo": 0,
                "part_n": panel.parts,
                **_fill(panel),
                "d_tile": (panel.base + offset) % params.tiles,
                "d_span": panel.span if panel.copies > 1 else reach,
            }
            tiles = [
                panel.base + copy * panel.span + offset + i
                for copy in range(panel.copies)
                for i in range(reach)
            ]
            yield start + at, elems, fields, tile_mask(tiles, params)

    def _passes(
        self, panel: Panel, epoch: int, filled: int, tiles: int, results: dict[int, list]
    ) -> None:
        """PASSes of what a fill reached: adds result numbers and task bits by layer to `results`.

        `filled`: bits of the fills, 0 if nothing was filled; `tiles`: mask of the tiles reached.
        """
        params = self.params
        plan = [list(panel.passes(layer, epoch, params, tiles)) for layer in range(panel.layers)]
        masks = [
            [tile_mask(range(f["tile"], f["tile"] + span), params) for f, span in layer]
            for layer in plan
        ]
        last = epoch == panel.epochs - 1
        earlier = 0
        before = _union(bits for _, bits in results.values()) if epoch else 0
        for layer, passes in enumerate(plan):
            if layer not in results:
                results[layer] = [self.results, 0]
                self.results += 1
            done = _union(_union(m) for m in masks[:layer])
            later = _union(_union(m) for m in masks[layer + 1 :])
            bits = 0
            for (fields, _), mask in zip(passes, masks[layer], strict=True):
                fresh = mask & ~done if filled else 0
                bits |= self.add(
                    Op.PASS,
                    {"fresh": int(fresh != 0), "first": int(not epoch), **fields},
                    filled | earlier | before,
                    swaps=fresh,
                    holds=fresh & later,
                    drops=mask & ~later if filled else 0,
                    opens=0 if epoch else mask,
                    locks=mask if not last and not epoch else 0,
                    unlocks=mask if last and epoch else 0,
                    result=results[layer][0],
                )
            earlier |= bits
            results[layer][1] |= bits

    def _fills(
        self, left: Panel, matrix: Matrix, number: int, rights: list[Panel], passed: list[dict]
    ) -> list["_Fill"]:
        """All drains of R into the row registers of L, as destinations that are not issued yet."""
        inputs = input_map(LEFT, matrix, self.params.granule)
        fills = []
        for panel, results in zip(rights, passed, strict=True):
            for column in panel.columns:
                if column.matrix == number:
                    runs = list(_row_runs(panel, column, left, matrix, inputs, self.params))
                    for i, (run, epoch, tiles) in enumerate(runs):
                        frees = i == len(runs) - 1 and _last_of_result(panel, column)
                        fills.append(_Fill(panel, column, results, run, epoch, tiles, frees))
        return fills

    def _refilled(self, left: Panel, fills: list["_Fill"]) -> dict[int, list]:
        """Issue the fills of L and the PASSes behind them: result number and task bits by layer.

        Tiles that no common fill reaches are claimed, filled and passed independently.
        """
        results: dict[int, list] = {}
        for epoch in range(left.epochs):
            mine = [f for f in fills if f.epoch == epoch]
            pieces = _components([f.tiles for f in mine])
            done = dict.fromkeys(pieces, 0)
            for fill in mine:
                piece = next(p for p in pieces if p & fill.tiles)
                done[piece] |= self._to_rows(fill, piece, done[piece])
            for piece in pieces:
                self._passes(left, epoch, done[piece], piece, results)
        return results

    def _to_rows(self, fill: "_Fill", claims: int, earlier: int) -> int:
        """DRAIN of one column granule of R (or a run of its columns) to the rows of L."""
        params, panel, column = self.params, fill.panel, fill.column
        shape = drain_shape(panel.count, params)
        result = fill.results[column.layer]
        const = self.constants(
            matrix=column.matrix,
            factor=0,
            k0=panel.k0,
            count=panel.count,
            column=column.c * params.granule + fill.run["column"],
            columns=fill.run["columns"],
            **shape,
        )
        fields = {
            **panel.drain(column, params),
            **shape,
            **fill.run,
            "const": const,
            "rows": 1,
            "release": int(fill.frees),
        }
        # The first drain of a fill claims the row banks for all.
        first = earlier & -earlier
        done = self.add(
            Op.DRAIN,
            fields,
            result[1] | first,
            claims=0 if first else claims,
            reads=_source_tiles(panel, column, params),
            frees=fill.frees,
            result=result[0],
        )
        # Drains of one result stay in order, the last one frees it.
        result[1] |= done
        return done

    def _outputs(self, left: Panel, opened: dict[int, list], number: int, matrix: Matrix) -> None:
        """DRAINs of L to the buffer and the SEND."""
        params = self.params
        blocks = left.count
        needed = ceil_div(matrix.n_out, blocks)
        order = 0
        for i, column in enumerate(left.columns):
            start = column.c * params.granule
            columns = min(params.granule, needed - start)
            const = self.constants(
                matrix=number,
                factor=1,
                k0=0,
                count=blocks,
                column=start,
                columns=columns,
                **drain_shape(blocks, params),
            )
            same = [
                o for o in left.columns[i + 1 :] if (o.layer, o.copy) == (column.layer, column.copy)
            ]
            order = self.to_buffer(
                left.drain(column, params),
                number,
                start * blocks,
                blocks,
                columns,
                i == len(left.columns) - 1,
                const,
                opened[column.layer][1] | order,
                reads=_source_tiles(left, column, params),
                frees=not same,
                result=opened[column.layer][0],
            )
        self.send(number, order)


def lower(segments: list[Segment], placement: Placement) -> tuple[list[Lowered], list[Constants]]:
    """Tasks of every segment, and the constants of all drains.

    Raises `ConfigError` if the factors of a segment block each other on their tiles, or need too
    wide an accumulator.
    """
    const: list[Constants] = []
    return [_Segment(s, i, placement, const).build() for i, s in enumerate(segments)], const


def feasible(segments: list[Segment], placement: Placement) -> bool:
    """Whether every segment has an order in which its factors do not block each other."""
    try:
        lower(segments, placement)
    except ConfigError:
        return False
    return True


# -- helpers --------------------------------------------------------------------------------------


def _union(masks) -> int:
    result = 0
    for mask in masks:
        result |= mask
    return result


def _renumber(tasks: list[Task], order: list[int]) -> tuple[Task, ...]:
    """Tasks in a new order, with their references changed."""
    place = {old: new for new, old in enumerate(order)}

    def move(task: Task) -> Task:
        needs = _union(1 << place[i] for i in range(len(tasks)) if task.needs >> i & 1)
        effects = task.effects
        if effects.keeps >= 0:
            effects = dataclasses.replace(effects, keeps=place[effects.keeps])
        return dataclasses.replace(task, needs=needs, effects=effects)

    return tuple(move(tasks[i]) for i in order)


def _check_fan_in(matrix: Matrix, fan_in: int, params: Params) -> None:
    try:
        needed_acc_bits(fan_in, params)
    except ConfigError as error:
        raise ConfigError(f"{matrix.name}: {error}") from None


def live_blocks(matrix: Matrix) -> int:
    """Blocks of R that see an input; those behind see only padding and give 0 (R has no bias)."""
    blocks, fan_in, _ = matrix.factors[0].shape
    return min(blocks, ceil_div(matrix.n_in, fan_in))


def _live(panel: Panel, matrix: Matrix, params: Params) -> Panel:
    """The panel without what a policy's padding leaves idle.

    Of R, blocks that see no input; of L, column granules that no output reads and, where parts
    share a tile, parts whose inputs come from those blocks.
    """
    if panel.role == RIGHT:
        return dataclasses.replace(panel, count=min(panel.count, live_blocks(matrix) - panel.k0))
    needed = ceil_div(matrix.n_out, panel.count)
    columns = tuple(c for c in panel.columns if c.c * params.granule < needed)
    panel = dataclasses.replace(panel, columns=columns, copies=max(c.copy for c in columns) + 1)
    if matrix.rank > 1 or panel.tpart:
        return panel
    parts = ceil_div(live_blocks(matrix), params.granule)
    return dataclasses.replace(
        panel, parts=parts, steps=min(panel.steps, parts), shifts=panel.shifts[:parts]
    )


def _fill(panel: Panel) -> dict[str, int]:
    """Destination fields of a fill of all slices of a panel."""
    return {
        "d_tile": panel.base,
        "d_span": panel.span,
        "d_copies": panel.copies,
        "d_blocks": panel.blocks,
        "d_m0": 0,
        "d_tstride": panel.tstride,
        "d_tpart": panel.tpart,
        "d_row": panel.row,
        "d_rpart": panel.rpart,
    }


def _neighbours(panels: list[DensePanel]) -> list[list[DensePanel]]:
    """Panels side by side with equal rows of arrays: one LOAD can feed each list."""
    families: list[list[DensePanel]] = []
    for panel in panels:
        last = families[-1][-1] if families else None
        if last and last.down == panel.down and last.base + last.down * last.across == panel.base:
            families[-1].append(panel)
        else:
            families.append([panel])
    return families


def _dense_fill(family: list[DensePanel], params: Params) -> dict[str, int]:
    """Destination fields of the LOAD of a whole input into neighbouring dense panels."""
    return {
        "parts": 1,
        "tail": params.granule,
        "part_lo": 0,
        "part_n": 1,
        "d_tile": family[0].base,
        "d_span": family[0].down,
        "d_copies": sum(panel.across for panel in family),
        "d_blocks": params.row_groups,
        "d_m0": 0,
        "d_tstride": 1,
        "d_tpart": 0,
        "d_row": 0,
        "d_rpart": 0,
    }


def _last_of_result(panel: Panel, column: Column) -> bool:
    """Whether no later column granule shares the result of this one."""
    return not any(
        (o.layer, o.copy) == (column.layer, column.copy)
        and (o.matrix, o.c) > (column.matrix, column.c)
        for o in panel.columns
    )


def _components(masks: list[int]) -> list[int]:
    """Unions of the masks that share tiles, in order of their first mask."""
    found: list[int] = []
    for mask in masks:
        joined = [p for p in found if p & mask]
        merged = mask | _union(joined)
        if joined:
            found[found.index(joined[0])] = merged
            found = [p for p in found if p not in joined[1:]]
        else:
            found.append(merged)
    return found


def _source_tiles(panel: Panel, column: Column, params: Params) -> int:
    first = panel.base + column.copy * panel.span
    return tile_mask(range(first, first + panel.groups * panel.chain), params)


def _row_runs(
    panel: Panel,
    column: Column,
    left: Panel,
    matrix: Matrix,
    inputs: InputMap,
    params: Params,
) -> Iterator[tuple[dict[str, int], int, int]]:
    """Destination fields, fill epoch and tiles of the drains of a column granule of R.

    Column j of R is element (k0 ..) of piece j // l of slice j % l of L; a run is as long as the
    destination formula of one instruction reaches.
    """
    blocks = left.count
    outputs = matrix.factors[0].shape[2]
    start = column.c * params.granule
    end = min(start + params.granule, outputs)
    at = start
    while at < end:
        piece, slice_number = divmod(at, blocks)
        part, offset = inputs.at(piece, panel.k0)
        if offset + panel.count > params.granule and offset:
            raise ConfigError(f"{matrix.name}: a window of {panel.count} blocks straddles granules")
        group, position = divmod(slice_number, left.blocks)
        length = min(end - at, blocks - slice_number)
        fields = {"d_m0": position, "d_row": left.row, "d_rpart": left.rpart, "d_part": part}
        if left.shifts:
            # Rows wrap around inside a tile, which takes one drain before and one behind the wrap.
            shift, rows = left.shifts[part], params.row_groups
            wrap = rows - shift
            inside = left.blocks - position
            if shift == 0:
                fields["d_row"] = 0
            elif position < wrap:
                length = min(length, wrap - position)
                fields["d_row"] = shift
            else:
                length = min(length, inside)
                fields |= {"d_row": 0, "d_m0": position - wrap}
            fields["d_part"] = 0
        first = left.base + left.tile_offset(group, 0)
        reach = left.tile_offset((fields["d_m0"] + length - 1) // left.blocks, 0) + 1
        reach += (left.parts - 1) * left.tpart
        tiles = [first + copy * left.span + i for copy in range(left.copies) for i in range(reach)]
        yield (
            {
                "column": at - start,
                "columns": length,
                "d_tile": first % params.tiles,
                "d_span": reach if left.copies == 1 else left.span,
                "d_copies": left.copies,
                "d_blocks": left.blocks,
                "d_tstride": left.tstride,
                "d_tpart": left.tpart,
                "d_off": offset,
                **fields,
            },
            part if left.shifts else 0,
            tile_mask(tiles, params),
        )
        at += length
