"""Choose one option for each of several things under a budget, exactly: dynamic programs on integer costs."""

from dataclasses import dataclass

import numpy as np

#: Of a sum of floats that is compared with a limit: sums in another order may differ by this part.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Option:
    """Something to choose: whole `cost`, and `value` to keep small."""

    cost: int
    value: float


class Knapsack:
    """The best choice of one option for each thing, for every budget up to `limit`.

    Time and memory grow with things x limit (time also with options).
    """

    def __init__(self, things: list[list[Option]], limit: int):
        self._things = things
        best = np.zeros(limit + 1)
        self._picks: list[np.ndarray] = []
        for options in things:
            following = np.full(limit + 1, np.inf)
            picks = np.full(limit + 1, -1, dtype=np.int32)
            for number, option in enumerate(options):
                if option.cost > limit:
                    continue
                value = best[: limit + 1 - option.cost] + option.value
                better = value < following[option.cost :]
                following[option.cost :][better] = value[better]
                picks[option.cost :][better] = number
            best = following
            self._picks.append(picks)
        self.values = best  #: by budget, float (limit + 1,); infinite: nothing fits

    def picks(self, budget: int) -> list[int]:
        """The option of each thing, where `values[budget]` is finite."""
        found = []
        for options, picks in zip(reversed(self._things), reversed(self._picks), strict=True):
            number = int(picks[budget])
            found.append(number)
            budget -= options[number].cost
        return found[::-1]


def share(columns: list[np.ndarray], limit: int) -> tuple[float, list[int]]:
    """How much each of several things gets of `limit`, so that the sum of values is least.

    `columns` has the value of each thing by what it gets, 0 to `limit`. Of equal sums the one that takes least in all
    is found. Returns the sum (infinite: nothing fits) and the shares.
    """
    best = np.zeros(1)
    tables = []
    for column in columns:
        following = np.full(limit + 1, np.inf)
        taken = np.zeros(limit + 1, dtype=np.intp)
        for amount in np.flatnonzero(np.isfinite(column)):
            value = best[: limit + 1 - amount] + column[amount]
            place = slice(amount, amount + len(value))
            better = value < following[place]
            following[place][better] = value[better]
            taken[place][better] = amount
        best = following
        tables.append(taken)
    total = int(best.argmin())  # the first of equals
    value, shares = float(best[total]), []
    for taken in reversed(tables):
        shares.append(int(taken[total]))
        total -= shares[-1]
    return value, shares[::-1]


def cheapest(things: list[list[Option]], bound: float) -> list[int]:
    """One option for each thing: least cost with a sum of values up to `bound`; of equals the least value.

    The first option of each thing has its least value; together they are within the bound.
    """
    rest = np.cumsum([0.0, *(options[0].value for options in reversed(things))])[::-1]
    front: list[tuple[int, float, list[int]]] = [(0, 0.0, [])]
    slack = ROUNDING * abs(bound)
    for options, least in zip(things, rest[1:], strict=True):
        more = [
            (cost + option.cost, value + option.value, [*picks, number])
            for cost, value, picks in front
            for number, option in enumerate(options)
            if value + option.value + least <= bound + slack
        ]
        front = []
        for entry in sorted(more):
            if not front or entry[1] < front[-1][1]:
                front.append(entry)
    return next(picks for _, value, picks in front if value <= bound)
