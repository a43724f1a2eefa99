"""`sparsemap`: whole blocks down the main diagonal of arrays that hold nothing else (latency first).

Granule (part i, column granule c) of block m of an array is in row group m + D * i and column group
m + D * c, an interleaving of the diagonal's granules: a pass sums all parts in a steps of stride D.
"""

from rtl.spec.params import ConfigError, Params

from ..graph import Matrix, Segment
from ..layout import LEFT, RIGHT, Column, Panel, Placement, ceil_div, input_map
from .common import Judge, chunk_limit, require_monarch, with_chunk, with_tiles


def place(
    segments: list[Segment],
    params: Params,
    fixed: frozenset[str],
    seed: int,
    judge: Judge | None = None,
) -> Placement:
    """Place every factor on its own arrays.

    Matrices of a segment whose R factors have one shape stand side by side, so that one LOAD feeds
    all. Raises `ConfigError` for a block that exceeds the array, naming matrix, block and array.
    """
    panels: list[Panel] = []
    base = 0
    for index, segment in enumerate(segments):
        for matrix in segment.matrices:
            require_monarch(matrix, "sparsemap")
        families: dict[tuple, list[int]] = {}
        for number, matrix in enumerate(segment.matrices):
            families.setdefault(matrix.factors[0].shape, []).append(number)
        for family in families.values():
            panel = _panel(segment, index, family, RIGHT, base, params, fixed)
            base += panel.span * panel.copies
            panels.append(panel)
        for number in range(len(segment.matrices)):
            panel = _panel(segment, index, [number], LEFT, base, params, fixed)
            base += panel.span
            panels.append(panel)
    params = with_chunk(with_tiles(params, base, "sparsemap", fixed), panels, fixed)
    return Placement("sparsemap", params, tuple(panels))


def _panel(
    segment: Segment,
    index: int,
    numbers: list[int],
    role: str,
    base: int,
    params: Params,
    fixed: frozenset[str],
) -> Panel:
    matrix = segment.matrices[numbers[0]]
    count, _, fan_out = matrix.factors[role == LEFT].shape
    parts = input_map(role, matrix, params.granule).parts
    cols = ceil_div(fan_out, params.granule)
    blocks = _blocks(matrix, role, parts, cols, params, chunk_limit(params, fixed))
    span = ceil_div(count, blocks)
    columns = [
        Column(number, c, copy, 0, (0,) * span, blocks * c)
        for copy, number in enumerate(numbers)
        for c in range(cols)
    ]
    return Panel(
        segment=index,
        role=role,
        k0=0,
        count=count,
        parts=parts,
        base=base,
        blocks=blocks,
        tstride=1,
        tpart=0,
        row=0,
        rpart=blocks if parts > 1 else 0,
        span=span,
        copies=len(numbers),
        columns=tuple(columns),
        steps=parts,
    )


def _blocks(matrix: Matrix, role: str, parts: int, cols: int, params: Params, multiple: int) -> int:
    """Blocks down the diagonal of an array."""
    blocks = min(params.row_groups // parts, params.col_groups // cols)
    if blocks < 1:
        _, fan_in, fan_out = matrix.factors[role == LEFT].shape
        raise ConfigError(
            f"{matrix.name}.{role}: a block of {fan_in} x {fan_out} exceeds the array of "
            f"{params.rows} x {params.cols}"
        )
    if blocks < multiple:
        raise ConfigError(
            f"{matrix.name}.{role}: {blocks} blocks an array are fewer than chunk = {multiple}"
        )
    return blocks // multiple * multiple
