"""How full arrays are, and where the rest is lost: inside granules, in the last array, by placement.

Every factor is cut into granules of B x B cells; an array has room for G x H of them, and no placement puts two into
one. So `ceil(granules / (G * H))` arrays are the least that any placement can do with (the area bound).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rtl.spec.params import Params

from .graph import Matrix, Segment
from .layout import DENSE, LEFT, RIGHT, Placement, ceil_div, input_map
from .models import MODELS
from .placement import densemap, place
from .workload import shapes


@dataclass(frozen=True)
class Fill:
    """Cells of the arrays in use; the shares add up to 1."""

    weights: int  #: stored, padding of the policy included
    granules: int  #: that hold them
    arrays: int
    strategy_bound: (
        int  #: arrays at least with the shapes that the strategy places; the area bound or more
    )
    granule_cells: int  #: B * B
    array_granules: int  #: G * H

    @property
    def arrays_bound(self) -> int:
        """Arrays that any placement needs: the area bound."""
        return ceil_div(self.granules, self.array_granules)

    @property
    def cells_in_granules(self) -> float:
        """Share of the cells of used granules that hold a weight: blocks do not fill their last row and column."""
        return self.weights / (self.granules * self.granule_cells)

    @property
    def fill(self) -> float:
        """Share of all cells that holds a weight: `utilization` of the report."""
        return self.weights / self._cells

    @property
    def lost_in_granules(self) -> float:
        """Share of all cells that is lost inside granules; other block counts or another granule would change it."""
        return self.granules * self.granule_cells / self._cells - self.fill

    @property
    def lost_in_last_array(self) -> float:
        """Share of all cells in granules that stay empty because arrays are whole."""
        empty = self.arrays_bound * self.array_granules - self.granules
        return empty * self.granule_cells / self._cells

    @property
    def lost_by_placement(self) -> float:
        """Share of all cells in arrays beyond the area bound."""
        return 1 - self.arrays_bound / self.arrays

    @property
    def _cells(self) -> int:
        return self.arrays * self.array_granules * self.granule_cells

    def as_dict(self) -> dict:
        """The entry `fill` of report.json."""
        names = ("cells_in_granules", "granules", "arrays", "arrays_bound", "strategy_bound")
        lost = ("lost_in_granules", "lost_in_last_array", "lost_by_placement")
        return {name: getattr(self, name) for name in names + lost}

    def why(self) -> str:
        """Where cells are lost, in words."""
        lost = (
            (self.lost_in_granules, "inside granules"),
            (self.lost_in_last_array, "in the last array"),
            (self.lost_by_placement, "by placement"),
        )
        said = ", ".join(f"{share:.1%} {where}" for share, where in lost if share > 0)
        return f"lost: {said or 'nothing'}"


def granules(matrix: Matrix, granule: int) -> int:
    """Granules that can hold the factors of a matrix, or its dense weights; `linear` spreads these over more."""
    roles = (RIGHT, LEFT) if matrix.monarch else (DENSE,)
    return sum(
        factor.shape[0]
        * input_map(role, matrix, granule).parts
        * ceil_div(factor.shape[2], granule)
        for role, factor in zip(roles, matrix.factors, strict=True)
    )


def of(segments: Sequence[Segment], placement: Placement) -> Fill:
    """The fill of a placement of segments."""
    params, arrays = placement.params, placement.used_tiles
    matrices = [matrix for segment in segments for matrix in segment.matrices]
    # The other strategies have no choice.
    bound = arrays
    if placement.strategy == "densemap":
        bound = densemap.demand(list(segments), params)[1]
    return Fill(
        weights=sum(m.weights for m in matrices),
        granules=sum(granules(m, params.granule) for m in matrices),
        arrays=arrays,
        strategy_bound=bound,
        granule_cells=params.granule**2,
        array_granules=params.row_groups * params.col_groups,
    )


# -- awkward sizes -------------------------------------------------------------------------------

#: Rows, columns and granule of arrays: the usual one, then sizes that fit nothing well.
ARRAYS = ((256, 256, 32), (128, 512, 32), (192, 192, 24), (96, 384, 24), (240, 240, 24))
#: Models with sizes that are no powers of two: 576 and 1536, 384 and 1536.
MODELS_AT = ("smollm2", "minilm")
#: Policies and block counts; None: the policy decides.
PATTERNS = (("pad", None), ("rect", None), ("rect", 6), ("rect", 12), ("rect", 24))


def awkward() -> Iterator[tuple[str, str, Fill]]:
    """Model, what it is placed as and where, and the fill: one layer each with densemap."""
    for model in MODELS_AT:
        for policy, blocks in PATTERNS:
            segments = shapes(model, [0], policy=policy, k=blocks, l=blocks)[0].segments
            for rows, cols, granule in ARRAYS:
                base = Params.load(MODELS[model].preset)
                params = base.replace(rows=rows, cols=cols, granule=granule, lanes=4 * granule)
                what = f"{policy} {blocks or ''}".strip() + f", {rows}x{cols}, granule {granule}"
                yield model, what, of(segments, place("densemap", segments, params))
