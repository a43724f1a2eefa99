"""Adders of the structural macro."""

from collections.abc import Iterator

from gen.cells import cell_counts
from rtl.spec.params import Params

from .measure import Row


def rows() -> Iterator[Row]:
    """Adders (yosys `$add` cells) of a 256x256 array with granule 32, both trees."""
    counts = {tree: cell_counts(Params(tree=tree))["$add"] for tree in ("shared", "full")}
    for tree, count in counts.items():
        yield Row(f"adders, 256x256, granule 32, tree = {tree}", count)
    yield Row("adders, tree = full / tree = shared", counts["full"] / counts["shared"], ">=", 6)
