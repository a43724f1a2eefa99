"""Mapping strategies by name. A new one is a file with a `place` function and an entry here."""

from collections.abc import Callable

from rtl.spec.params import ConfigError, Params

from ..graph import Segment
from ..layout import Placement
from . import densemap, linear, sparsemap
from .common import Judge

#: `place(segments, params, fixed, seed, judge)`: `fixed` holds the names of the parameters that are limits
#: (`tiles`, `chunk`); the others may be changed. A strategy that has several good placements may ask `judge`.
#: Raises `ConfigError` when the limits are too small.
Strategy = Callable[[list[Segment], Params, frozenset[str], int, Judge | None], Placement]

STRATEGIES: dict[str, Strategy] = {
    "linear": linear.place,
    "sparsemap": sparsemap.place,
    "densemap": densemap.place,
}

#: Strategies whose columns hold one block each: an analog array can sum all its rows at once.
ALL_ROWS = frozenset({"linear", "sparsemap"})


def place(
    strategy: str,
    segments: list[Segment],
    params: Params,
    fixed: frozenset[str] = frozenset(),
    seed: int = 0,
    judge: Judge | None = None,
) -> Placement:
    """Place the segments of a layer. Raises `ConfigError` for an unknown strategy or a misfit."""
    params = suited(strategy, params, fixed)
    return STRATEGIES[strategy](segments, params, fixed, seed, judge)


def suited(strategy: str, params: Params, fixed: frozenset[str] = frozenset()) -> Params:
    """Parameters with the `tree` that suits a strategy on an analog array, unless it is fixed.

    The array turns on all row groups of a pass at once (full) or one after the other (shared). A column of `linear`
    and `sparsemap` holds nothing but one block, so that all can be on; one of `densemap` also holds others.
    Raises `ConfigError` for an unknown strategy, and for `densemap` with all rows on.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"strategy: {strategy!r} is not one of {', '.join(STRATEGIES)}")
    if not params.analog:
        return params
    if "tree" not in fixed:
        return params.replace(tree="full" if strategy in ALL_ROWS else "shared")
    if params.tree == "full" and strategy not in ALL_ROWS:
        raise ConfigError(
            f"tree: 'full' turns on all rows at once, {strategy} with readout = 'adc' needs 'shared'"
        )
    return params


def monarch_strategy(name: str) -> bool:
    """Whether a strategy stores Monarch factors (`linear` stores dense weights)."""
    return name != "linear"
