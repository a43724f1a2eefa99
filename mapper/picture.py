"""occupancy.svg: every array with its granules, coloured by matrix, first and second factors shaded."""

import colorsys
from collections.abc import Iterator
from xml.sax.saxutils import escape

import numpy as np

from .graph import Segment
from .layout import RIGHT, DensePanel, Placement, ceil_div

#: Pixels of a granule cell (at most), of the side of an array, and between arrays.
CELL, SIDE, GAP = 12, 96, 18
MARGIN, LEGEND, TITLE = 16, 22, 30


def draw(segments: list[Segment], placement: Placement) -> str:
    """SVG text: one square per array, empty cells visible, a legend of matrices."""
    p = placement.params
    cell = max(2, min(CELL, SIDE // max(p.row_groups, p.col_groups)))
    wide, high = cell * p.col_groups, cell * p.row_groups
    across = min(p.tiles, max(4, ceil_div(1100, wide + GAP)))
    names = [(s, m) for s, segment in enumerate(segments) for m in range(len(segment.matrices))]
    colours = {key: i / len(names) for i, key in enumerate(names)}
    legend_columns = max(1, (across * (wide + GAP)) // 210)
    legend = ceil_div(len(names), legend_columns) * LEGEND
    top = TITLE + legend + MARGIN
    width = max(2 * MARGIN + across * (wide + GAP), 420)
    height = top + ceil_div(p.tiles, across) * (high + GAP + 8) + MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="20" font-size="14">{_title(placement)}</text>',
    ]
    out += _legend(segments, names, colours, legend_columns)
    for tile in range(p.tiles):
        x = MARGIN + tile % across * (wide + GAP)
        y = top + tile // across * (high + GAP + 8)
        out.append(f'<text x="{x}" y="{y - 3}" font-size="9" fill="#555">{tile}</text>')
        out.append(
            f'<rect x="{x - 0.5}" y="{y - 0.5}" width="{wide + 1}" height="{high + 1}" '
            'fill="#f2f2f2" stroke="#999" stroke-width="1"/>'
        )
    for key, role, where in _cells(placement):
        steps = []
        for tile, row, col in where.reshape(-1, 3):
            x = MARGIN + tile % across * (wide + GAP) + col * cell
            y = top + tile // across * (high + GAP + 8) + row * cell
            steps.append(f"M{x} {y}h{cell - 1}v{cell - 1}h-{cell - 1}z")
        out.append(f'<path d="{"".join(steps)}" fill="{_colour(colours[key], role)}"/>')
    return "\n".join([*out, "</svg>", ""])


def _title(placement: Placement) -> str:
    p = placement.params
    used = placement.used_tiles
    return (
        f"{placement.strategy}: {used} arrays of {p.rows} x {p.cols}, "
        f"granules of {p.granule} x {p.granule}, {_fill(placement):.1%} of the granules in use"
    )


def _fill(placement: Placement) -> float:
    p = placement.params
    cells = placement.used_tiles * p.row_groups * p.col_groups
    return sum(where.size // 3 for _, _, where in _cells(placement)) / cells


def _cells(placement: Placement) -> Iterator[tuple[tuple[int, int], str, np.ndarray]]:
    """(segment, matrix), role and granule positions of everything that is placed."""
    for panel in placement.panels:
        if isinstance(panel, DensePanel):
            yield (panel.segment, panel.matrix), panel.role, panel.granules(placement.params)
        else:
            for column in panel.columns:
                where = panel.granules(column, placement.params)
                yield (panel.segment, column.matrix), panel.role, where


def _colour(hue: float, role: str) -> str:
    """Saturated and dark for first factors, light for second ones."""
    light, strong = (0.42, 0.75) if role == RIGHT else (0.66, 0.7)
    rgb = colorsys.hls_to_rgb(hue, light, strong)
    return "#" + "".join(f"{round(255 * v):02x}" for v in rgb)


def _legend(segments, names, colours, columns) -> Iterator[str]:
    for i, (s, m) in enumerate(names):
        matrix = segments[s].matrices[m]
        x, y = MARGIN + i % columns * 210, TITLE + i // columns * LEGEND
        roles = ("R", "L") if matrix.monarch else ("W",)
        for j, role in enumerate(roles):
            yield (
                f'<rect x="{x + 16 * j}" y="{y}" width="13" height="13" '
                f'fill="{_colour(colours[s, m], role)}"/>'
            )
        yield (
            f'<text x="{x + 16 * len(roles) + 4}" y="{y + 11}">{escape(matrix.name)} '
            f"{' '.join(roles)} ({matrix.n_in} to {matrix.n_out})</text>"
        )
