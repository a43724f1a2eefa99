"""report.html of a chip: one self-contained page - numbers, cores, timeline of all cores, cost, occupancy."""

from html import escape
from pathlib import Path

from mapper import chip as chip_files
from mapper import cost as costs
from mapper import program as program_files
from mapper.atomic import write_text
from mapper.chip import Chip, replay_chip

from .chip import run_cores, spans_by_core
from .page import (
    COLOURS,
    ROW,
    WIDTH,
    axis,
    document,
    energy_part,
    numbers_part,
    open_timeline,
    prices_for,
    rows_table,
    share_bar,
    strip,
)
from .timeline import UNITS, ChainRecorder, Span, kind_of

#: Pixels of the strip of each kind of unit in a core's row.
STRIP = 3


def write(directory: str | Path, output: Path, prices: str | None = None) -> None:
    """Write the page of a chip directory; events and cost go to its report too. As `sim.page.write`."""
    made = chip_files.load(directory)
    table = prices_for(made.report, prices, made.params)
    timing = replay_chip(made, model=ChainRecorder)
    _, events = run_cores(made)
    events.cycles = timing.cycles
    cost = costs.cost(events, table, made.params)
    made.report |= {"events": events.as_dict(), "cost": cost.as_dict()}
    report, tokens = made.report, made.report["tokens"]
    title = f"{report['model']}, {report['cores']} cores, {report['policy']}, {report['strategy']}"
    parts = [
        "<h2>Numbers</h2>",
        numbers_part(report),
        f"<p>{escape(report['host'])}.</p>",
        "<h2>Cores</h2>",
        _cores(made, timing.busy, timing.cycles),
        "<h2>Timeline</h2>",
        f"<p>{_legend()}</p>",
        f'<div class="wide">{timeline(spans_by_core(made, timing), timing.cycles)}</div>',
        "<h2>Energy</h2>",
        energy_part(cost, events, table, made.params, tokens),
        "<h2>Occupancy of the arrays</h2>",
        *_pictures(made),
        "<h2>Hardware of a core</h2>",
        rows_table(list(report["params"].items())),
    ]
    write_text(output, document(title, report, parts))
    program_files.write_report(report, directory)


def timeline(spans: dict[str, list[Span]], cycles: int) -> str:
    """SVG: one row a core, a strip in it for each kind of unit; cycles from left to right."""
    scale = WIDTH / max(cycles, 1)
    height = STRIP * len(UNITS) + 3
    out = [open_timeline(height * len(spans))]
    for n, (core, own) in enumerate(spans.items()):
        y = n * height
        out.append(f'<text x="0" y="{y + ROW - 3}">{escape(core)}</text>')
        for k, kind in enumerate(UNITS):
            units = sorted((s for s in own if kind_of(s.unit) == kind), key=lambda s: s.start)
            out.append(strip(_union(units), kind, scale, y + k * STRIP, STRIP - 1))
    return "".join([*out, *axis(cycles, height * len(spans)), "</svg>"])


def _union(spans: list[Span]) -> list[Span]:
    """Cycles in which any of the spans, in order of their start, runs."""
    found: list[Span] = []
    for span in spans:
        if found and span.start <= found[-1].end:
            last = found.pop()
            span = Span(last.unit, last.name, last.start, max(last.end, span.end), last.number)
        found.append(span)
    return found


def _legend() -> str:
    return " ".join(
        f'<span class="key" style="background:{colour}"></span>{kind}'
        for kind, colour in COLOURS.items()
    )


def _cores(made: Chip, busy: list[dict[str, int]], cycles: int) -> str:
    """A row for each core: what it holds, and how long its arrays compute."""
    heads = ("core", "layer", "arrays", "utilisation", "throughput bound", "arrays computing")
    rows = []
    for n, (core, counted) in enumerate(zip(made.cores, busy, strict=False)):
        r, share = core.report, counted["pass"] / cycles
        cells = (
            n,
            core.workload.layer_text,
            r["arrays"],
            f"{r['utilization']:.1%}",
            f"{r['throughput_bound']:,}",
        )
        numbers = "".join(f'<td class="n">{cell}</td>' for cell in (*cells, f"{share:.1%}"))
        rows.append(f"<tr>{numbers}<td>{share_bar(share)}</td></tr>")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _pictures(made: Chip) -> list[str]:
    """The arrays of the cores; those that look the same are drawn once."""
    alike: dict[str, list[int]] = {}
    for n, core in enumerate(made.cores):
        alike.setdefault(core.picture, []).append(n)
    return [
        f'<p>Cores {", ".join(map(str, cores))}</p><div class="wide">{picture}</div>'
        for picture, cores in alike.items()
    ]
