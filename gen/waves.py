"""Timing diagrams: values of signals, cycle by cycle, as an SVG picture.

A column is a clock cycle; it shows what the hardware sees at the rising edge that ends it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

#: Pixels: a cycle, a row, a wave in it, the names, the margin; slope of an edge.
CYCLE, ROW, WAVE, NAMES, MARGIN, SLOPE = 56, 30, 18, 120, 8, 4
_STYLE = "font-family:monospace;font-size:11px"


@dataclass(frozen=True)
class Wave:
    """A signal: its bits, and its value in each cycle; None: not defined, or of no meaning."""

    bits: int
    values: Sequence[int | None]


def picture(waves: Mapping[str, Wave], title: str) -> str:
    """The SVG text; all waves are equally long. The clock is drawn above them."""
    cycles = len(next(iter(waves.values())).values)
    width, height = NAMES + cycles * CYCLE + MARGIN, (len(waves) + 1) * ROW + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" style="{_STYLE}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for cycle in range(cycles + 1):
        x = NAMES + cycle * CYCLE
        parts.append(f'<path d="M{x} 0V{height}" stroke="#ddd"/>')
    parts += _row(0, "clk", _clock(cycles))
    for row, (name, wave) in enumerate(waves.items(), 1):
        draw = _line if wave.bits == 1 else _boxes
        parts += _row(row, name, draw(wave.values))
    return "\n".join([*parts, "</svg>", ""])


def _row(row: int, name: str, shapes: list[str]) -> list[str]:
    y = MARGIN + row * ROW + (ROW - WAVE) // 2
    label = f'<text x="{NAMES - 10}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
    return [label, f'<g transform="translate({NAMES} {y})">', *shapes, "</g>"]


def _path(points: str, fill: str = "none") -> str:
    return f'<path d="{points}" fill="{fill}" stroke="black"/>'


def _clock(cycles: int) -> list[str]:
    """Rises at the start of each cycle."""
    half = CYCLE // 2
    return [_path(f"M0 {WAVE}" + f"v{-WAVE}h{half}v{WAVE}h{CYCLE - half}" * cycles)]


def _runs(values: Sequence[int | None]) -> list[tuple[int, int, int | None]]:
    """First cycle, cycles and value of each run of equal values."""
    runs: list[tuple[int, int, int | None]] = []
    for cycle, value in enumerate(values):
        if runs and runs[-1][2] == value:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1, value)
        else:
            runs.append((cycle, 1, value))
    return runs


def _line(values: Sequence[int | None]) -> list[str]:
    """A wave of one bit."""
    points = ""
    for cycle, value in enumerate(values):
        y = {None: WAVE // 2, 0: WAVE, 1: 0}[value]
        x = cycle * CYCLE
        points += f"L{x + SLOPE} {y}L{x + CYCLE} {y}" if points else f"M{x} {y}H{x + CYCLE}"
    return [_path(points)]


def _boxes(values: Sequence[int | None]) -> list[str]:
    """A wave of several bits: a box a value, in hexadecimal, shortened to what fits."""
    shapes = []
    for first, count, value in _runs(values):
        left, right, middle = first * CYCLE, (first + count) * CYCLE, WAVE // 2
        if value is None:
            shapes.append(_path(f"M{left} {middle}H{right}"))
            continue
        shapes.append(
            _path(
                f"M{left} {middle}L{left + SLOPE} 0H{right}L{right + SLOPE} {middle}"
                f"L{right} {WAVE}H{left + SLOPE}Z",
                "#f4f4f4",
            )
        )
        text, room = f"{value:x}", count * 7
        if len(text) > room:
            text = f"{text[: room - 1]}…"
        shapes.append(
            f'<text x="{(left + right + SLOPE) // 2}" y="13" text-anchor="middle">{text}</text>'
        )
    return shapes
