"""Block counts and ranks of one layer for each number of arrays: area guides, the real placement decides.

A knapsack over all measured patterns, with granules for its cost, has the least loss that area allows. What it
picks is placed; as long as that takes too many arrays, the knapsack gets smaller.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rtl.spec.params import ConfigError

from .allocate import Curve
from .knapsack import ROUNDING, Knapsack, Option
from .oracle import Layer, Oracle, Patterns, Site
from .pattern import Pattern

#: What a cycle may cost in loss, while fast patterns are looked for: these multiples of the allowed loss a cycle.
PRICES = (1 / 16, 1 / 4, 1, 4)
#: Placements that are tried for one knapsack: giving up granules, then taking some back.
TRIES = 8
BACK = 3

Progress = Callable[[int], object]
#: Curves by block count.
Curves = dict[int, list[Curve]]


@dataclass(frozen=True)
class Measured:
    """A pattern that a matrix may have."""

    form: Pattern
    loss: float
    granules: int
    least: int  #: arrays that its layer has at least


@dataclass(frozen=True)
class Entry:
    """Patterns of a layer, placed."""

    patterns: Patterns
    arrays: float  #: infinite: cannot be placed
    loss: float


@dataclass(frozen=True)
class Timed:
    """An entry with the cycles of its short run."""

    entry: Entry
    cycles: int


#: Patterns of a layer before they are placed.
Picked = tuple[Measured, ...]


class LayerSearch:
    """What one layer can do with each number of arrays."""

    def __init__(
        self, layer: Layer, curves: Curves, oracle: Oracle, limit: int, progress: Progress
    ):
        self.layer, self.oracle, self.progress = layer, oracle, progress
        by_name = {
            site.name: {b: self._measured(site, mine) for b, mine in sorted(curves.items())}
            for site in layer
        }
        self.things = [[m for mine in by_name[s.name].values() for m in mine] for s in layer]
        for site, thing in zip(layer, self.things, strict=True):
            thing.sort(key=lambda m: (m.granules, m.loss))
            if not thing:
                raise ConfigError(f"{site.name}: no pattern can be placed on these arrays")
        self.uniform = _same_ranks([by_name[site.name] for site in layer])
        self.unit = math.gcd(*(m.granules for thing in self.things for m in thing))
        most = sum(max(m.granules for m in thing) for thing in self.things)
        self.most = min(most, limit * oracle.cells) // self.unit
        self._knapsacks: dict[tuple, Knapsack] = {}
        self._steps: dict[int, Entry | None] = {}

    def _measured(self, site: Site, mine: list[Curve]) -> list[Measured]:
        found = []
        for curve in mine:
            if curve.name != site.name:
                continue
            for form, loss in zip(curve.patterns, curve.losses, strict=True):
                granules, least = self.oracle.alone(form)
                if math.isfinite(least):
                    found.append(Measured(form, float(loss), int(granules), int(least)))
        return found

    def losses(self, limit: int) -> np.ndarray:
        """By number of arrays, 0 to `limit`: the least loss, or what it cannot be below where not yet known."""
        found = np.full(limit + 1, np.inf)
        for at in range(1, limit + 1):
            if at in self._steps:
                entry = self._steps[at]
                found[at] = entry.loss if entry else math.inf
            else:
                made = self._knapsack(at)
                found[at] = made.values[self._budget(at)] if made else math.inf
        return found

    def known(self, arrays: int) -> bool:
        """Whether `step` was called."""
        return arrays in self._steps

    def step(self, arrays: int) -> Entry | None:
        """The least loss found on that many arrays; None: nothing fits. Independent of what was asked before."""
        if arrays not in self._steps:
            self.progress(1)
            made = self._knapsack(arrays)
            found = [self._fitted(made, arrays)] if made else []
            found += [entry for entry in self._uniform_on(arrays) if entry.arrays == arrays]
            fitting = [entry for entry in found if entry]
            self._steps[arrays] = min(fitting, key=lambda entry: entry.loss, default=None)
        return self._steps[arrays]

    def fewest(self) -> int:
        """The least arrays on which something fits. Raises `ConfigError` if nothing can be placed."""
        cheapest_entry = self.entry(self._smallest())
        if not math.isfinite(cheapest_entry.arrays):
            raise ConfigError(
                f"{self.layer[0].name}: its layer cannot be placed, whatever the rank"
            )
        at = self.at_least(self._smallest())
        while at < cheapest_entry.arrays and self.step(at) is None:
            at += 1
        return int(at)

    def faster(self, arrays: int, allowed: float) -> list[Timed]:
        """The entry of `step` and others on no more arrays that lose up to `allowed` more, with their cycles."""
        base = self.step(arrays)
        assert base is not None
        found = [base, *self._uniform_on(arrays), *self._priced(base, arrays, allowed)]
        fitting = {
            entry.patterns: entry
            for entry in found
            if entry.arrays <= arrays and base.loss <= entry.loss <= base.loss + allowed
        }
        timed = [Timed(base, self.oracle.short_cycles(self.layer, base.patterns))]
        for entry in fitting.values():
            try:
                cycles = self.oracle.short_cycles(self.layer, entry.patterns)
                timed.append(Timed(entry, cycles))
            except ConfigError:  # does not compile: no alternative
                continue
        return timed

    def entry(self, picked: Picked) -> Entry:
        """Patterns with the arrays that they really take."""
        patterns = tuple(m.form for m in picked)
        loss = math.fsum(m.loss for m in picked)
        return Entry(patterns, self.oracle.arrays(self.layer, patterns), loss)

    def at_least(self, picked: Picked) -> int:
        """Arrays that no placement of these patterns goes below."""
        area = -(-sum(m.granules for m in picked) // self.oracle.cells)
        return max(area, *(m.least for m in picked))

    # -- knapsacks ---------------------------------------------------------------------------------

    def _budget(self, arrays: int) -> int:
        return min(arrays * self.oracle.cells // self.unit, self.most)

    def _allowed(self, arrays: int) -> list[list[Measured]]:
        return [[m for m in thing if m.least <= arrays] for thing in self.things]

    def _knapsack(self, arrays: int) -> Knapsack | None:
        """Of the patterns that so many arrays can hold; None: a matrix has none."""
        allowed = self._allowed(arrays)
        key = tuple(map(len, allowed))
        if 0 in key:
            return None
        if key not in self._knapsacks:
            self._knapsacks[key] = self._filled(allowed, lambda m: m.loss, self.most)
        return self._knapsacks[key]

    def _filled(
        self, allowed: list[list[Measured]], value: Callable[[Measured], float], limit: int
    ) -> Knapsack:
        things = [[Option(m.granules // self.unit, value(m)) for m in thing] for thing in allowed]
        return Knapsack(things, limit)

    def _picked(self, made: Knapsack, arrays: int, budget: int) -> Picked | None:
        """The patterns of a knapsack at a budget; None: nothing fits."""
        if budget < 0 or not math.isfinite(made.values[budget]):
            return None
        picks = made.picks(budget)
        return tuple(t[n] for t, n in zip(self._allowed(arrays), picks, strict=True))

    def _smallest(self) -> Picked:
        return tuple(thing[0] for thing in self.things)

    def _fitted(self, made: Knapsack, arrays: int) -> Entry | None:
        """The best of a knapsack that really fits: granules are given up until it does, then some taken back."""
        budget, wide, best = self._budget(arrays), -1, None
        for attempt in range(TRIES):
            picked = self._picked(made, arrays, budget)
            if picked is None:
                break
            entry = self.entry(picked)
            if entry.arrays <= arrays:
                best = entry
                break
            wide = sum(m.granules for m in picked) // self.unit
            budget = wide - 2**attempt
        if best is None:
            entry = self.entry(self._smallest())
            return entry if entry.arrays <= arrays else None
        return self._widened(made, arrays, best, budget, wide - 1)

    def _widened(self, made: Knapsack, arrays: int, best: Entry, low: int, high: int) -> Entry:
        """Bisect between a budget that fits and one that may not."""
        for _ in range(BACK):
            if low >= high:
                break
            middle = (low + high + 1) // 2
            picked = self._picked(made, arrays, middle)
            assert picked is not None
            entry = self.entry(picked)
            if entry.arrays <= arrays:
                best, low = min(best, entry, key=lambda e: e.loss), middle
            else:
                high = min(middle, sum(m.granules for m in picked) // self.unit) - 1
        return best

    def _priced(self, base: Entry, arrays: int, allowed: float) -> list[Entry]:
        """What is best when cycles, roughly, have a price."""
        weight = sum(map(self.oracle.weight, base.patterns))
        scale = max(allowed, ROUNDING * base.loss) / weight
        found = []
        for price in PRICES:
            made = self._filled(
                self._allowed(arrays),
                lambda m, p=price * scale: m.loss + p * self.oracle.weight(m.form),
                self._budget(arrays),
            )
            entry = self._fitted(made, arrays)
            if entry:
                found.append(entry)
        return found

    def _uniform_on(self, arrays: int) -> list[Entry]:
        """Uniform patterns of the layer that may fit."""
        return [
            self.entry(picked)
            for picked in self.uniform.values()
            if self.at_least(picked) <= arrays
        ]


def _same_ranks(of_sites: list[dict[int, list[Measured]]]) -> dict[tuple[int, int], Picked]:
    """By (block count, rank): the patterns of all matrices, where all have that."""
    found = {}
    for block_count in of_sites[0]:
        by_rank = [{m.form.rank: m for m in mine[block_count]} for mine in of_sites]
        for rank in by_rank[0]:
            if all(rank in mine for mine in by_rank):
                found[block_count, rank] = tuple(mine[rank] for mine in by_rank)
    return found
