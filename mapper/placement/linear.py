"""`linear`: dense weights, n_in x n_out on a grid of arrays; row partial sums are added in the drain."""

from rtl.spec.params import ConfigError, Params

from ..graph import Segment
from ..layout import DensePanel, Placement, ceil_div
from .common import Judge, with_tiles


def place(
    segments: list[Segment],
    params: Params,
    fixed: frozenset[str],
    seed: int,
    judge: Judge | None = None,
) -> Placement:
    """Place every matrix on its own arrays, one after the other.

    Raises `ConfigError` for a Monarch matrix, or when the arrays are too few.
    """
    panels: list[DensePanel] = []
    base = 0
    for index, segment in enumerate(segments):
        for number, matrix in enumerate(segment.matrices):
            if matrix.monarch:
                raise ConfigError(f"{matrix.name}: linear needs a dense matrix, it has factors")
            down = ceil_div(matrix.n_in, params.rows)
            across = ceil_div(matrix.n_out, params.cols)
            groups = min(across * params.col_groups, matrix.n_out)
            rows = ceil_div(matrix.n_in, params.granule)
            panels.append(DensePanel(index, number, base, down, across, groups, rows))
            base += down * across
    if "chunk" not in fixed:
        params = params.replace(chunk=0)
    return Placement("linear", with_tiles(params, base, "linear", fixed), tuple(panels))
