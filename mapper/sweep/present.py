"""Results of a sweep as table, CSV, Markdown, JSON and plot."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from .. import plot
from ..atomic import write_text
from ..hardware import NAMES
from .run import Result

#: What of a configuration is shown in any case.
ALWAYS = ("model", "strategy")
#: Figures of a table: column, key, format.
FIGURES = (
    ("arrays", "arrays", ",.0f"),
    ("256x256", "area", ",.1f"),
    ("utilisation", "utilization", ".1%"),
    ("weights kept", "kept", ".1%"),
    ("cycles/token", "cycles_per_token", ",.0f"),
    ("array-cycles", "area_cycles", ",.0f"),
)
#: Column of the points of a Pareto front, and their mark.
FRONT, MARK = "Pareto", "*"

_NOTES = """\
`arrays`: of all layers, each on a core of its own. `256x256`: the same in arrays of that size. `cycles/token`: of a
token through all layers, one after the other. `array-cycles`: arrays (of 256x256) x cycles a token, summed over the
layers. `*`: no configuration with the same model has both less area and fewer cycles. Area counts weights only, not
lanes, drain ports or bits; accuracy, which depends on policy, blocks and bits, is not part of it.
"""


def ranked(results: Iterable[Result]) -> list[Result]:
    """What could be placed: model by model, the fewest array-cycles first."""
    placed = [r for r in results if r.error is None]
    order = {name: n for n, name in enumerate(dict.fromkeys(_model(r) for r in placed))}
    return sorted(placed, key=lambda r: (order[_model(r)], r.cost["area_cycles"]))


def failed(results: Iterable[Result]) -> list[str]:
    """A line for each configuration that has no cost: what it is, and why."""
    shown = list(results)
    axes = varying(shown)
    return [f"{_label(r, axes)}: {r.error}" for r in shown if r.error is not None]


def varying(results: Sequence[Result]) -> list[str]:
    """Keys of configurations that differ among the results of a model, those that are always shown included."""
    rows: dict[str, list[dict]] = {}
    for result in results:
        rows.setdefault(_model(result), []).append(result.configuration.row())

    def differs(key: str) -> bool:
        return any(len({row[key] for row in mine}) > 1 for mine in rows.values())

    keys = next(iter(rows.values()))[0] if rows else {}
    return [key for key in keys if key in ALWAYS or differs(key)]


def table(results: Sequence[Result], top: int | None = None) -> list[tuple[str, ...]]:
    """Head and lines of `ranked` results; with `top`, only that many of a model and the points of its front."""
    axes = varying(results)
    # The second column of areas only where arrays differ in size.
    sized = {"rows", "cols"} & set(axes)
    figures = [f for f in FIGURES if f[1] != "area" or sized]
    lines = [(*axes, *(f[0] for f in figures), FRONT)]
    shown: dict[str, int] = {}
    for result in ranked(results):
        shown[_model(result)] = shown.get(_model(result), 0) + 1
        if top is not None and shown[_model(result)] > top and not result.pareto:
            continue
        row = result.row()
        row["kept"] = row["weights"] / row["dense_weights"]
        lines.append(
            (
                *(str(row[k]) for k in axes),
                *(f"{row[k]:{form}}" for _, k, form in figures),
                MARK if result.pareto else "",
            )
        )
    return lines


def text(lines: Sequence[tuple[str, ...]], axes: int) -> str:
    """A table for the terminal; the first `axes` columns are names, numbers are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    made = (
        "  ".join(
            f"{cell:{'<' if i < axes else '>'}{width}}"
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
    return "\n".join(line.rstrip() for line in made)


def to_json(results: Iterable[Result]) -> str:
    """All results, in the order of the grid."""
    return json.dumps([r.row() for r in results], indent=1)


def write(results: Sequence[Result], folder: Path) -> None:
    """`results.json`, `results.csv`, `summary.md` and `pareto.svg`. Raises `ConfigError` if that fails."""
    write_text(folder / "results.json", to_json(results) + "\n")
    write_text(folder / "results.csv", _csv(results))
    write_text(folder / "summary.md", _markdown(results))
    if any(r.error is None for r in results):
        _plot(results, folder / "pareto.svg")


def _csv(results: Iterable[Result]) -> str:
    rows = [r.row() for r in results]
    out = io.StringIO()
    # A configuration that cannot be placed has fewer keys.
    keys = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(out, keys, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _markdown(results: Sequence[Result]) -> str:
    lines = table(results)
    parts = [
        "# Sweep",
        "",
        f"Generated by `python -m mapper sweep`: {len(results)} configurations.",
        "",
        _NOTES,
        *(f"| {' | '.join(line)} |" for line in (lines[0], ("---",) * len(lines[0]), *lines[1:])),
    ]
    errors = failed(results)
    if errors:
        parts += ["", f"## {len(errors)} without a result", "", *(f"- {e}" for e in errors)]
    return "\n".join(parts) + "\n"


def _model(result: Result) -> str:
    return result.configuration.model.name


def _label(result: Result, axes: Sequence[str]) -> str:
    """`gpt2-medium densemap pad rows=128`: values that say what they are have no name before them."""
    row = result.configuration.row()
    return " ".join(f"{k}={row[k]}" if k in (*NAMES, "rank", "tokens") else row[k] for k in axes)


# -- plot ----------------------------------------------------------------------------------------


def _plot(results: Sequence[Result], path: Path) -> None:
    """A panel for each model: area against cycles a token, the front, lines of equal array-cycles."""
    placed = ranked(results)
    models = list(dict.fromkeys(map(_model, placed)))
    strategies = list(dict.fromkeys(r.configuration.strategy for r in results))
    figure, axes = plot.pyplot().subplots(
        1, len(models), figsize=(1 + 4.8 * len(models), 4.4), squeeze=False
    )
    for panel, model in zip(axes[0], models, strict=True):
        mine = [r for r in placed if _model(r) == model]
        for number, strategy in enumerate(strategies):
            some = [r for r in mine if r.configuration.strategy == strategy]
            panel.scatter(*_points(some), s=14, color=f"C{number}", label=strategy)
        best = sorted((r for r in mine if r.pareto), key=lambda r: r.cost["area"])
        panel.step(*_points(best), where="post", color="black", lw=0.8, zorder=0)
        panel.scatter(
            *_points(best), s=60, facecolors="none", edgecolors="black", label="Pareto front"
        )
        _equal(panel, mine)
        panel.set(xscale="log", yscale="log", title=model)
        panel.set(xlabel="arrays (of 256x256)", ylabel="cycles a token, all layers")
        panel.legend(fontsize=7)
    plot.save(figure, path)


def _points(results: Sequence[Result]) -> tuple[list[float], list[float]]:
    return [r.cost["area"] for r in results], [r.cost["cycles_per_token"] for r in results]


def _equal(panel, results: Sequence[Result]) -> None:
    """Lines on which arrays x cycles is the same, a factor of 4 apart, across the panel."""
    x, y = _points(results)
    low, high, level = min(x) / 1.3, max(x) * 1.3, min(x) * min(y)
    panel.set_xlim(low, high)
    panel.set_ylim(min(y) / 1.3, max(y) * 1.3)
    label = "equal array-cycles, 4x apart"
    while level < max(x) * max(y):
        ends = [level / low, level / high]
        panel.plot([low, high], ends, color="0.85", lw=0.7, zorder=-1, label=label)
        level, label = level * 4, ""
