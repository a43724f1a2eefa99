"""Pack rectangles on a ring of arrays: the combinatorial core of `densemap`.

An array is cut into bands of row groups; in each band H diagonals can be taken. A `Shape` covers
consecutive tiles of the ring (modulo its size), `height` bands, and takes `profile[i]` diagonals on its
i-th tile. Search is depth first: the next shape starts where the free depth steps up, as it must in a
packing without gaps; gaps are allowed while slack is left.
"""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Diagonals taken on each tile, and bands covered."""

    profile: tuple[int, ...]
    height: int

    @property
    def area(self) -> int:
        """Diagonals x bands, over all tiles."""
        return sum(self.profile) * self.height


class _Search:
    def __init__(self, shapes: list[Shape], tiles: int, bands: int, depth: int, nodes: int):
        self.tiles, self.bands, self.nodes = tiles, bands, nodes
        self.free = [[depth] * tiles for _ in range(bands)]
        self.left = Counter(shapes)
        self.order = sorted(self.left, key=lambda s: (-s.area, s.profile))
        self.slack = tiles * bands * depth - sum(s.area for s in shapes)
        self.placed: list[tuple[Shape, int, int]] = []

    def run(self) -> bool:
        """Whether all shapes were placed; `placed` holds (shape, tile, band)."""
        if not self.left:
            return True
        self.nodes -= 1
        if self.nodes < 0:
            return False
        band, tile, step = self._step_up()
        for shape in [s for s in self.order if s in self.left]:
            first = band // shape.height * shape.height
            if self._fits(shape, tile, first):
                self._take(shape, tile, first, 1)
                if self.run():
                    return True
                self._take(shape, tile, first, -1)
        gap = min(step, self.free[band][tile])
        if 0 < gap <= self.slack:
            self.slack -= gap
            self.free[band][tile] -= gap
            if self.run():
                return True
            self.free[band][tile] += gap
            self.slack += gap
        return False

    def _step_up(self) -> tuple[int, int, int]:
        """Band, tile and height of the largest step up of the free depth."""
        best = (-1, 0, 0)
        for band, free in enumerate(self.free):
            steps = [
                here - before for here, before in zip(free, free[-1:] + free[:-1], strict=True)
            ]
            step = max(steps)
            if step > best[0]:
                best = (step, band, steps.index(step))
        step, band, tile = best
        if step <= 0:  # level everywhere: any place in the emptiest band is as good
            band = max(range(self.bands), key=lambda b: self.free[b][0])
            return band, 0, self.free[band][0]
        return band, tile, step

    def _fits(self, shape: Shape, tile: int, band: int) -> bool:
        if len(shape.profile) > self.tiles or band + shape.height > self.bands:
            return False
        return all(
            free[(tile + i) % self.tiles] >= need
            for free in self.free[band : band + shape.height]
            for i, need in enumerate(shape.profile)
        )

    def _take(self, shape: Shape, tile: int, band: int, sign: int) -> None:
        for free in self.free[band : band + shape.height]:
            for i, need in enumerate(shape.profile):
                free[(tile + i) % self.tiles] -= sign * need
        if sign > 0:
            self.left -= Counter([shape])
            self.placed.append((shape, tile, band))
        else:
            self.left[shape] += 1
            self.placed.pop()


def pack(
    shapes: list[Shape], tiles: int, bands: int, depth: int, nodes: int
) -> tuple[list[tuple[int, int]] | None, int]:
    """Tile and first band of each shape, or None if none was found within `nodes` search steps.

    Returns that and the number of steps taken.
    """
    search = _Search(shapes, tiles, bands, depth, nodes)
    if search.slack < 0 or not search.run():
        return None, nodes - max(search.nodes, 0)
    found: dict[Shape, list[tuple[int, int]]] = {}
    for shape, tile, band in search.placed:
        found.setdefault(shape, []).append((tile, band))
    return [found[shape].pop(0) for shape in shapes], nodes - search.nodes
