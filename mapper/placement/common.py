"""What strategies share: limits on tiles and the gather granularity of the drains."""

import math
from collections.abc import Callable

from rtl.spec.params import ConfigError, Params

from ..layout import Panel, Placement

#: Cost of a placement: cycles of a short streaming run; infinite where none is possible.
Judge = Callable[[Placement], float]

#: Most arrays that a core can have, see `Params.tiles`.
MAX_TILES = 1024


def with_tiles(params: Params, need: int, strategy: str, fixed: frozenset[str]) -> Params:
    """Parameters with as many tiles as needed. Raises `ConfigError` naming the missing arrays."""
    limit = params.tiles if "tiles" in fixed else MAX_TILES
    if need > limit:
        raise ConfigError(
            f"tiles: {limit} arrays are too few, {strategy} needs {need} ({need - limit} missing)"
        )
    return params if "tiles" in fixed else params.replace(tiles=need)


def chunk_limit(params: Params, fixed: frozenset[str]) -> int:
    """What the number of blocks in a group must be a multiple of: the chunk if fixed, else 1."""
    return params.drain_chunk if "chunk" in fixed else 1


def with_chunk(params: Params, panels: list[Panel], fixed: frozenset[str]) -> Params:
    """Parameters with the coarsest gather granularity that divides all groups and column offsets."""
    if "chunk" in fixed:
        return params
    widest = math.gcd(params.row_groups, params.col_groups, params.granule)
    sizes = [n for p in panels for n in (p.blocks, *(c.col for c in p.columns))]
    chunk = math.gcd(widest, *sizes)
    return params.replace(chunk=0 if chunk == widest else chunk)


def require_monarch(matrix, strategy: str) -> None:
    """Raise `ConfigError` if the matrix is dense."""
    if not matrix.monarch:
        raise ConfigError(f"{matrix.name}: {strategy} needs Monarch factors, the matrix is dense")
