"""`densemap`: blocks of several factors fill an array (capacity first).

A factor is spread: groups of D blocks, one tile per group and part, so that its granules take one
diagonal of D cells on each tile of a range; column granules stand side by side (copies of the slices) or
share tiles (layers). With that every factor is a rectangle on a ring of tiles, and the smallest ring
that holds all of them is searched for.

Factors wider than the ring: R is cut into windows of blocks that are loaded one after the other; the
parts of L come one after the other on the same tiles.
"""

import dataclasses
import enum
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rtl.spec.params import ConfigError, Params

from ..graph import Segment
from ..layout import LEFT, RIGHT, Column, Panel, Placement, ceil_div, input_map
from ..lower import feasible
from .common import MAX_TILES, Judge, chunk_limit, require_monarch, with_chunk, with_tiles
from .packing import Shape, pack

#: Empty block positions that a larger D may cost, as a share of the blocks: as a rule, and where that leaves a factor
#: so many groups, each with slices of its own, that only more arrays have room for them.
TOLERATED_WASTE = (1 / 8, 1 / 2, 1)
#: The number of tiles grows by this part of itself (at least by 1) from one attempt to the next.
STRIDE = 64
#: Ways to shape the factors that are tried for one number of tiles.
MAX_COMBINATIONS = 32
#: Search steps of one packing; those that are found at all take few.
NODES = 60
#: Search steps of all packings on one number of tiles.
ALL_NODES = 2000
#: Placements on one number of tiles whose order is searched for.
MAX_CHECKS = 24
#: Exchanges of equal rectangles that are tried when a packing cannot be ordered.
MAX_SHUFFLES = 8
#: Placements that are judged to find the one that streams best.
MAX_JUDGED = 120
#: Random exchanges that lead out of a local optimum.
KICKS = 3


class _Form(enum.Enum):
    """How the granules of a block lie."""

    FOLDED = enum.auto()  #: all in one tile, summed and drained from there (fewest results)
    SPREAD = enum.auto()  #: parts in neighbouring tiles, every column granule a result
    TIMED = enum.auto()  #: parts in one tile, filled and summed one after the other


@dataclass(frozen=True)
class _Item:
    """A rectangle to place: one window of a factor, or of a family that shares its slices."""

    segment: int
    role: str
    form: _Form
    #: What is computed together, side by side or layer by layer: (matrix, column granule) each.
    units: tuple[tuple[tuple[int, int], ...], ...]
    k0: int
    count: int
    parts: int
    blocks: int
    copies: int = 1

    @property
    def span(self) -> int:
        """Tiles of one copy."""
        return ceil_div(self.count, self.blocks) * (self.parts if self.form is _Form.SPREAD else 1)

    @property
    def height(self) -> int:
        """Row groups that a unit covers."""
        return self.blocks * (self.parts if self.form is _Form.FOLDED else 1)

    def pattern(self, row: int, params: Params) -> list[tuple[int, int, int]]:
        """Cells of a unit on a tile: (first row group, row groups, diagonal) relative to its rot."""
        d = self.blocks
        if self.form is _Form.TIMED:
            return [(row, d, -shift) for shift in self.shifts(params)]
        if self.form is _Form.SPREAD:
            return [(row, d, 0)]
        wide = max(map(len, self.units))
        return [(row + d * i, d, d * (c - i)) for i in range(self.parts) for c in range(wide)]

    def shifts(self, params: Params) -> tuple[int, ...]:
        """Row groups by which each part in time is moved."""
        if self.form is not _Form.TIMED:
            return ()
        return tuple(i * (params.row_groups // self.parts) for i in range(self.parts))

    def shape(self, band: int) -> Shape:
        """The rectangle."""
        each = {
            _Form.FOLDED: max(map(len, self.units)),
            _Form.SPREAD: 1,
            _Form.TIMED: self.parts,
        }[self.form]
        depths = [len(self.units[i :: self.copies]) * each for i in range(self.copies)]
        profile = tuple(depth for depth in depths for _ in range(self.span))
        return Shape(profile, self.height // band)


@dataclass(frozen=True)
class _Family:
    """Factors that are placed together, before the decision how."""

    segment: int
    role: str
    columns: tuple[tuple[tuple[int, int], ...], ...]  #: by matrix: (matrix, column granule)
    count: int
    parts: int
    blocks: int  #: D of a spread
    folded: int  #: D with all granules of a block in one tile; 0: not possible
    feeds: tuple["_Family", ...] = ()  #: L families behind an R family

    def narrowest(self, params: Params) -> int:
        """Tiles that the family covers at least."""
        if self.role == RIGHT:  # windows can be as narrow as one group
            return 1
        timed = self.parts if params.row_groups == params.col_groups == self.blocks else 1
        widths = [ceil_div(self.count, self.blocks) * self.parts // timed]
        if self.folded:
            widths.append(ceil_div(self.count, self.folded))
        return min(widths)

    def items(self, form: _Form, tiles: int, k0: int = 0, count: int = 0) -> Iterator[_Item]:
        """Rectangles of a window (all blocks by default), the most parallel first."""
        if form is _Form.FOLDED:
            units, blocks = self.columns, self.folded
        else:
            units, blocks = tuple((c,) for mine in self.columns for c in mine), self.blocks
        item = _Item(
            self.segment, self.role, form, units, k0, count or self.count, self.parts, blocks
        )
        seen = set()
        for copies in range(len(units), 0, -1):
            depth = ceil_div(len(units), copies)
            if copies * item.span <= tiles and depth not in seen:
                seen.add(depth)
                yield dataclasses.replace(item, copies=copies)


def place(
    segments: list[Segment],
    params: Params,
    fixed: frozenset[str],
    seed: int,
    judge: Judge | None = None,
) -> Placement:
    """Place all factors on as few arrays as found, or on `params.tiles` if that is fixed.

    With `judge`, equal rectangles are exchanged while that lowers the cost: who shares a tile with whom decides
    which tokens wait for each other's row registers.

    Raises `ConfigError` if a fixed number of tiles is too small, naming the missing arrays.
    """
    ways = _ways(segments, params, chunk_limit(params, fixed))
    least = [_demand(families, params)[1] for families in ways]
    limit = params.tiles if "tiles" in fixed else MAX_TILES
    tiles = limit if "tiles" in fixed else min(least)
    while tiles <= limit:
        for families, need in zip(ways, least, strict=True):
            placement = tiles >= need and _try(
                families, segments, params.replace(tiles=tiles), fixed, seed, judge
            )
            if placement:
                return placement
        tiles += max(1, tiles // STRIDE)
    if "tiles" in fixed:  # say how many would do
        free = place(segments, params, fixed - {"tiles"}, seed)
        with_tiles(params, max(free.params.tiles, limit + 1), "densemap", fixed)
    raise ConfigError(f"tiles: densemap needs more than the limit of {limit} arrays")


def _sizes(params: Params, multiple: int) -> list[list[int]]:
    """Lists of what the blocks of a factor on a tile (D) may number, each largest first, the preferred list first.

    An analog array reads the blocks of a pass one after the other, so few on each of more arrays are faster. A digital
    one takes as long for one as for all.
    """
    sizes = [
        d
        for d in range(min(params.row_groups, params.col_groups), 0, -1)
        if d % multiple == 0 and params.row_groups % d == 0 and params.col_groups % d == 0
    ]
    return [sizes[i:] for i in reversed(range(len(sizes)))] if params.analog else [sizes]


def _ways(segments: list[Segment], params: Params, multiple: int) -> list[list[_Family]]:
    """Ways to see the factors as families, the preferred one first."""
    ways = []
    for sizes, waste, shared in itertools.product(
        _sizes(params, multiple), TOLERATED_WASTE, (True, False)
    ):
        way = [
            f for i, s in enumerate(segments) for f in _families(i, s, params, sizes, shared, waste)
        ]
        if way not in ways:
            ways.append(way)
    return ways


def demand(
    segments: list[Segment], params: Params, fixed: frozenset[str] = frozenset()
) -> tuple[int, int]:
    """Granules that the factors take, and arrays that no placement goes below; cheap.

    The granules of several matrices add up.
    """
    ways = _ways(segments, params, chunk_limit(params, fixed))
    found = [_demand(way, params) for way in ways]
    cells, arrays = zip(*found, strict=True)
    return min(cells), min(arrays)


def _demand(families: list[_Family], params: Params) -> tuple[int, int]:
    cells = sum(_cells(f) for f in families)
    least = ceil_div(cells, params.row_groups * params.col_groups)
    return cells, max(least, *(f.narrowest(params) for f in families))


def _families(
    index: int,
    segment: Segment,
    params: Params,
    sizes: list[int],
    shared: bool = True,
    waste: float = TOLERATED_WASTE[0],
) -> Iterator[_Family]:
    """Families of a segment; R factors that read the same slices form one, unless not `shared`.

    Shared slices are loaded once, but stay until the last of the R factors has read them, and its results wait for L
    factors that need the same tiles. Where that leaves no order, the factors load their slices one after the other.
    """
    lefts, groups = {}, {}
    for number, matrix in enumerate(segment.matrices):
        require_monarch(matrix, "densemap")
        lefts[number] = _family(index, segment, LEFT, (number,), params, sizes, waste)
        key = matrix.factors[0].shape[:2] if shared else number
        groups.setdefault(key, []).append(number)
    for numbers in groups.values():
        feeds = tuple(lefts[n] for n in numbers)
        yield _family(index, segment, RIGHT, tuple(numbers), params, sizes, waste, feeds)
        yield from feeds


def _cells(family: _Family) -> int:
    """Granules that a family takes at least."""
    positions = min(ceil_div(family.count, d) * d for d in (family.blocks, family.folded) if d)
    return sum(map(len, family.columns)) * family.parts * positions


def _family(
    index: int,
    segment: Segment,
    role: str,
    numbers: tuple[int, ...],
    params: Params,
    sizes: list[int],
    waste: float,
    feeds: tuple[_Family, ...] = (),
) -> _Family:
    matrix = segment.matrices[numbers[0]]
    fan_outs = [segment.matrices[n].factors[role == LEFT].shape[2] for n in numbers]
    widths = [ceil_div(fan_out, params.granule) for fan_out in fan_outs]
    columns = tuple(
        tuple((n, c) for c in range(width)) for n, width in zip(numbers, widths, strict=True)
    )
    count = matrix.factors[role == LEFT].shape[0]
    parts = input_map(role, matrix, params.granule).parts
    blocks = _blocks(count, sizes, waste)
    wide = max(widths)
    fitting = [
        d for d in sizes if params.row_groups % (d * parts) == 0 and d * wide <= params.col_groups
    ]
    folded = _blocks(count, fitting, waste) if fitting and parts * wide > 1 else 0
    if folded and set(widths) != {wide}:
        folded = 0  # columns that are missing in some matrices would leave cells empty
    return _Family(index, role, columns, count, parts, blocks, folded, feeds)


def _blocks(count: int, sizes: list[int], tolerated: float) -> int:
    """D: the largest that wastes no more than is tolerated, else the one that wastes least."""
    waste = {d: ceil_div(count, d) * d - count for d in sizes}
    good = [d for d in sizes if waste[d] <= count * tolerated]
    return good[0] if good else min(sizes, key=lambda d: (waste[d], -d))


def _try(
    families: list[_Family],
    segments: list[Segment],
    params: Params,
    fixed: frozenset[str],
    seed: int,
    judge: Judge | None,
) -> Placement | None:
    """A placement on exactly `params.tiles` tiles that can be ordered, or None."""
    choices = []
    for family in families:
        if family.role == RIGHT:
            options = list(_options(family, params))
            if not options:
                return None
            choices.append(options)
    rng = np.random.default_rng(seed)
    hopeless: set = set()  # sets of rectangles that could not be packed
    steps, checks = ALL_NODES, MAX_CHECKS
    for combination in _combinations(choices):
        items = [item for option in combination for item in option]
        band = math.gcd(*(item.blocks for item in items))
        shapes = [item.shape(band) for item in items]
        kind = (band, frozenset(Counter(shapes).items()))
        if kind in hopeless or steps <= 0:
            continue
        found, taken = pack(
            shapes, params.tiles, params.row_groups // band, params.col_groups, min(NODES, steps)
        )
        steps -= taken
        if found is None:
            hopeless.add(kind)
            continue

        def build(
            spots: list[tuple[int, int]], items: list[_Item] = items, band: int = band
        ) -> Placement | None:
            """The placement with these spots, if the diagonals can be shared out and the order exists."""
            panels = _panels(items, spots, band, params)
            if panels is None:
                return None
            placement = Placement("densemap", with_chunk(params, panels, fixed), tuple(panels))
            return placement if feasible(segments, placement) else None

        spots = _spread(items, shapes, found, params)
        for _ in range(min(MAX_SHUFFLES, checks)):
            checks -= 1
            placement = build(spots)
            if placement:
                return (
                    _improved(placement, spots, shapes, build, judge, rng) if judge else placement
                )
            spots = _shuffle(shapes, spots, rng)
    return None


def _improved(
    placement: Placement,
    spots: list[tuple[int, int]],
    shapes: list[Shape],
    build: Callable[[list[tuple[int, int]]], Placement | None],
    judge: Judge,
    rng: np.random.Generator,
) -> Placement:
    """Iterated local search over exchanges of equal rectangles; the placement that `judge` likes best."""
    pairs = [
        (a, b) for a, b in itertools.combinations(range(len(shapes)), 2) if shapes[a] == shapes[b]
    ]
    costs = {tuple(spots): judge(placement)}
    best = here = (costs[tuple(spots)], spots, placement)

    def exchanged(spots: list[tuple[int, int]], pair: tuple[int, int]) -> list[tuple[int, int]]:
        a, b = pair
        result = list(spots)
        result[a], result[b] = spots[b], spots[a]
        return result

    tries = 0
    while pairs and tries < MAX_JUDGED:
        stuck = True
        for i in rng.permutation(len(pairs)):
            trial = exchanged(here[1], pairs[i])
            if tuple(trial) in costs:
                continue
            tries += 1
            made = build(trial)
            costs[tuple(trial)] = judge(made) if made else math.inf
            if made and costs[tuple(trial)] < here[0]:
                here, stuck = (costs[tuple(trial)], trial, made), False
                best = min(best, here, key=lambda found: found[0])
            if tries == MAX_JUDGED:
                break
        if stuck:
            # Leave the local optimum, from the best one so far.
            trial = best[1]
            for i in rng.integers(len(pairs), size=KICKS):
                trial = exchanged(trial, pairs[i])
            tries += 1
            here = (math.inf, trial, placement)
    return best[2]


def _combinations(choices: list[list]) -> Iterator[tuple]:
    """Choices of one option each, those near the front of all lists first; a limited number."""
    last = [len(options) - 1 for options in choices]
    ranks = itertools.chain.from_iterable(_ranks(last, total) for total in range(sum(last) + 1))
    for rank in itertools.islice(ranks, MAX_COMBINATIONS):
        yield tuple(options[i] for options, i in zip(choices, rank, strict=True))


def _ranks(last: list[int], total: int) -> Iterator[tuple[int, ...]]:
    """Tuples of numbers from 0 to those of `last` that add up to `total`, in lexicographic order.

    One by one: all of them would be millions for small granules.
    """
    if not last:
        yield ()
        return
    rest = sum(last[1:])
    for first in range(max(0, total - rest), min(last[0], total) + 1):
        for others in _ranks(last[1:], total - first):
            yield (first, *others)


# -- shapes -------------------------------------------------------------------------------------


def _options(family: _Family, params: Params) -> Iterator[list[_Item]]:
    """Ways to cut an R family and the L families that it feeds into rectangles, best first."""
    lefts = [list(_left_options(left, params)) for left in family.feeds]
    for chosen in itertools.product(*lefts):
        cut = any(item.form is _Form.TIMED for item in chosen)
        for right in _right_options(family, cut, params):
            yield [*right, *chosen]


def _left_options(family: _Family, params: Params) -> Iterator[_Item]:
    folded = list(family.items(_Form.FOLDED, params.tiles)) if family.folded else []
    spread = list(family.items(_Form.SPREAD, params.tiles))
    yield from _preferred(family, folded, spread, params)
    # One part after the other: the parts of a block share its column group, and a full diagonal
    # leaves rows for that only where the array is square and D takes all row groups. A second layer
    # would need all fills again.
    square = params.row_groups == params.col_groups == family.blocks
    if not spread and square and family.parts <= params.row_groups:
        for item in family.items(_Form.TIMED, params.tiles):
            if item.copies == len(item.units):
                yield item


def _right_options(family: _Family, cut: bool, params: Params) -> Iterator[list[_Item]]:
    folded = []
    if family.folded and not cut:
        folded = [[item] for item in family.items(_Form.FOLDED, params.tiles)]
    spread: list[list[_Item]] = []
    for size in _window_sizes(family.count, cut, params.granule):
        spread += [
            [
                dataclasses.replace(first, k0=k0, count=min(size, family.count - k0))
                for k0 in range(0, family.count, size)
            ]
            for first in family.items(_Form.SPREAD, params.tiles, 0, size)
        ]
        if spread and not cut:
            break
    yield from _preferred(family, folded, spread, params)


def _preferred(family: _Family, folded: list, spread: list, params: Params) -> list:
    """Folded first where it takes whole diagonals, else last: broken ones fit badly together."""
    wide = max(map(len, family.columns))
    whole = params.row_groups == params.col_groups == family.folded * family.parts
    return folded + spread if whole and wide == family.parts else spread + folded


def _window_sizes(count: int, cut: bool, granule: int) -> Iterator[int]:
    """Blocks of a window, largest first: multiples of a granule, or what divides a granule.

    That keeps every drain step of a window inside one part of the slices of L, as `cut` demands.
    """
    if not cut or count <= granule:
        yield count
    size = (count - 1) // granule * granule
    while size > granule and not cut:
        yield size
        size -= granule
    size = granule
    while size:
        if size < count:
            yield size
        size = size // 2 if size % 2 == 0 else 0


# -- places -------------------------------------------------------------------------------------


def _spread(
    items: list[_Item], shapes: list[Shape], spots: list[tuple[int, int]], params: Params
) -> list[tuple[int, int]]:
    """Exchange equal rectangles until factors that could run in parallel share the fewest tiles."""
    spots = list(spots)
    ring = params.tiles
    tiles = [
        {(spot[0] + i) % ring for i in range(len(s.profile))}
        for s, spot in zip(shapes, spots, strict=True)
    ]

    def related(a: int, b: int) -> int:
        one, two = items[a], items[b]
        if one.segment == two.segment:
            return 4
        return 1 if abs(one.segment - two.segment) == 1 else 0

    def cost(*which: int) -> int:
        pairs = {(min(a, b), max(a, b)) for a in which for b in range(len(items)) if a != b}
        return sum(related(a, b) * len(tiles[a] & tiles[b]) for a, b in pairs)

    improved = True
    while improved:
        improved = False
        for a, b in itertools.combinations(range(len(items)), 2):
            if shapes[a] != shapes[b]:
                continue
            before = cost(a, b)
            spots[a], spots[b], tiles[a], tiles[b] = spots[b], spots[a], tiles[b], tiles[a]
            if cost(a, b) < before:
                improved = True
            else:
                spots[a], spots[b], tiles[a], tiles[b] = spots[b], spots[a], tiles[b], tiles[a]
    return spots


def _shuffle(
    shapes: list[Shape], spots: list[tuple[int, int]], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Exchange places at random among equal rectangles."""
    result = list(spots)
    for shape in dict.fromkeys(shapes):
        same = [i for i, s in enumerate(shapes) if s == shape]
        for i, j in zip(same, rng.permutation(same), strict=True):
            result[i] = spots[j]
    return result


def _panels(
    items: list[_Item], spots: list[tuple[int, int]], band: int, params: Params
) -> list[Panel] | None:
    """Panels with rotations, in the order of processing; None if diagonals cannot be shared out."""
    g, h = params.row_groups, params.col_groups
    taken = np.zeros((params.tiles, h, g), dtype=bool)
    panels: dict[int, Panel] = {}
    # What needs several diagonals at once goes first, then by size: small ones fill what is left.
    order = sorted(
        range(len(items)),
        key=lambda i: (
            -len(items[i].pattern(0, params)),
            -items[i].blocks,
            -items[i].span * items[i].copies,
        ),
    )
    for i in order:
        panel = _panel(items[i], spots[i], band, taken, params)
        if panel is None:
            return None
        panels[i] = panel
    return [panels[i] for i in range(len(items))]


def _panel(
    item: _Item, spot: tuple[int, int], band: int, taken: np.ndarray, params: Params
) -> Panel | None:
    base, row = spot[0], spot[1] * band
    ring = [(base + i) % params.tiles for i in range(item.span * item.copies)]
    pattern = item.pattern(row, params)
    columns: list[Column] = []
    for layer in range(ceil_div(len(item.units), item.copies)):
        mine = item.units[layer * item.copies : (layer + 1) * item.copies]
        rots = _rotations(ring[: len(mine) * item.span], row, pattern, taken)
        if rots is None:
            return None
        for copy, unit in enumerate(mine):
            part = tuple(rots[copy * item.span : (copy + 1) * item.span])
            for i, (matrix, c) in enumerate(unit):
                columns.append(Column(matrix, c, copy, layer, part, i * item.blocks))
    spread, folded = item.form is _Form.SPREAD, item.form is _Form.FOLDED and item.parts > 1
    return Panel(
        segment=item.segment,
        role=item.role,
        k0=item.k0,
        count=item.count,
        parts=item.parts,
        base=base,
        blocks=item.blocks,
        tstride=item.parts if spread else 1,
        tpart=1 if spread else 0,
        row=row,
        rpart=item.blocks if folded else 0,
        span=item.span,
        copies=item.copies,
        columns=tuple(sorted(columns, key=lambda c: (c.matrix, c.c))),
        steps=item.parts if folded else 1,
        shifts=item.shifts(params),
    )


def _rotations(
    ring: list[int], row: int, pattern: list[tuple[int, int, int]], taken: np.ndarray
) -> list[int] | None:
    """A rotation for every tile, the same for as long runs as possible; marks the cells as taken."""
    h = taken.shape[1]
    usable = np.ones((len(ring), h), dtype=bool)  # [tile, diagonal of block 0, part 0]
    for first, rows, diagonal in pattern:
        free = np.logical_not(taken[ring][:, :, first : first + rows].any(axis=2))
        usable &= free[:, (np.arange(h) + diagonal) % h]
    untouched = np.logical_not(taken[ring].any(axis=2))
    result: list[int] = []
    at = 0
    while at < len(ring):
        run = np.cumprod(usable[at:], axis=0, dtype=int).sum(axis=0)
        length = int(run.max())
        if not length:
            return None
        # Of equal runs, the one that breaks into the fewest untouched diagonals.
        broken = untouched[at : at + length].sum(axis=0)
        offsets = np.array(sorted({d % h for _, _, d in pattern}))
        cost = broken[(np.arange(h)[:, None] + offsets) % h].sum(axis=1)
        best = int(np.where(run == length, cost, cost.max() + 1).argmin())
        result += [(best + row) % h] * length
        for first, rows, diagonal in pattern:
            for tile in ring[at : at + length]:
                taken[tile, (best + diagonal) % h, first : first + rows] = True
        at += length
    return result
