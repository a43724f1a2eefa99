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


def place(
    strategy: str,
    segments: list[Segment],
    params: Params,
    fixed: frozenset[str] = frozenset(),
    seed: int = 0,
    judge: Judge | None = None,
) -> Placement:
    """Place the segments of a layer. Raises `ConfigError` for an unknown strategy or a misfit."""
    if strategy not in STRATEGIES:
        raise ConfigError(f"strategy: {strategy!r} is not one of {', '.join(STRATEGIES)}")
    return STRATEGIES[strategy](segments, params, fixed, seed, judge)


def monarch_strategy(name: str) -> bool:
    """Whether a strategy stores Monarch factors (`linear` stores dense weights)."""
    return name != "linear"
