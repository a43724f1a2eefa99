"""report.html: one self-contained page about a compiled program - numbers, bounds, timeline, cost, occupancy."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from mapper import cost as costs
from mapper import program as program_files
from mapper.atomic import write_text
from mapper.cost import Cost, Table
from mapper.events import MEANINGS, Events
from mapper.program import Program
from rtl.spec.params import Params

from .execute import run_iss
from .iss import Result
from .timeline import Recorder, Span, by_unit, kind_of

#: Pixels: width of the timeline, height of a unit's row, room for its name.
WIDTH, ROW, NAME = 1000, 14, 90
#: Spans closer than this, in pixels, are drawn as one: nobody sees the gap, and the page stays small.
MERGED = 0.4

COLOURS = {
    "stream in": "#4c78a8",
    "load": "#72b7b2",
    "array": "#f58518",
    "drain": "#54a24b",
    "stream out": "#b279a2",
}
#: Rows of the table: key of report.json, name, format.
NUMBERS = (
    ("arrays", "arrays", ",d"),
    ("utilization", "utilisation", ".1%"),
    ("weights", "weights stored", ",d"),
    ("dense_weights", "weights of the dense layer", ",d"),
    ("tokens", "tokens", ",d"),
    ("instructions", "instructions", ",d"),
    ("cycles_predicted", "cycles, ISS", ",d"),
    ("cycles", "cycles, last run", ",d"),
    ("simulator", "simulator of the last run", "s"),
    ("mismatches", "mismatches with the golden model", ",d"),
    ("latency_bound", "latency bound of a token", ",d"),
    ("throughput_bound", "throughput bound", ",d"),
    ("efficiency", "efficiency (throughput bound / cycles)", ".2f"),
    ("array_cycles", "arrays x cycles a token", ",.0f"),
)
#: What a token asks of each resource: key in report.json, name.
RESOURCES = (
    ("array", "passes of the busiest array"),
    ("read", "buffer reads"),
    ("write", "buffer writes"),
    ("drain", "steps of the busiest drain"),
    ("stream_in", "stream in"),
    ("stream_out", "stream out"),
)

#: Colours of the items of a cost, the largest first; small ones share the last.
ITEM_COLOURS = (
    "#f58518",
    "#4c78a8",
    "#54a24b",
    "#b279a2",
    "#72b7b2",
    "#e45756",
    "#eeca3b",
    "#9d755d",
)

_STYLE = """\
body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1120px;padding:0 1em;color:#222}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}
table{border-collapse:collapse}td,th{padding:.15em .8em;border-bottom:1px solid #ddd;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.key{display:inline-block;width:.8em;height:.8em;margin-right:.5em}
.bar{background:#4c78a8;height:.8em;display:inline-block}.most{background:#e45756}
svg{max-width:100%;height:auto}.wide{overflow-x:auto}
"""


def write(directory: str | Path, output: Path, prices: str | None = None) -> None:
    """Write the page of a program directory; events and cost go to its report too.

    `prices` names a table of mapper/cost.py; default: that of the report, or the one for its readout. Raises
    `ConfigError` if the directory is damaged or the prices are.
    """
    program = program_files.load(directory)
    p = program.params
    prices_of = prices_for(program.report, prices, p)
    result = run_iss(program, timing=Recorder)
    cost = costs.cost(result.events, prices_of, p)
    program.report |= {"events": result.events.as_dict(), "cost": cost.as_dict()}
    write_text(output, page(program, result, cost, prices_of))
    program_files.write_report(program.report, directory)


def prices_for(report: dict, name: str | None, params: Params) -> Table:
    """The table called `name`, or else that of the report's last run, or else the one for the readout."""
    last = (report.get("cost") or {}).get("table")
    found = costs.load(name or last or costs.DEFAULTS[params.readout])
    found.check(params)
    return found


def page(program: Program, result: Result, cost: Cost, table: Table) -> str:
    """HTML that needs nothing else, about a run with `Recorder` and its cost by a table."""
    report = program.report
    spans, tokens = result.spans, report["tokens"]
    layers = program.workload.layer_text
    title = f"{report['model']} layer {layers}, {report['policy']}, {report['strategy']}"
    parts = [
        "<h2>Numbers</h2>",
        numbers_part(report),
        "<h2>What a token asks of each resource</h2>",
        _resources(report),
        "<h2>How busy each unit is</h2>",
        _busy(spans, report["cycles_predicted"]),
        "<h2>Timeline</h2>",
        f'<div class="wide">{timeline(spans, report["cycles_predicted"])}</div>',
        "<h2>Energy</h2>",
        energy_part(cost, result.events, table, program.params, tokens),
        "<h2>Occupancy of the arrays</h2>",
        f'<div class="wide">{program.picture}</div>',
        "<h2>Hardware</h2>",
        rows_table([(name, value) for name, value in report["params"].items()]),
    ]
    return document(title, report, parts)


def document(title: str, report: dict, parts: Sequence[str]) -> str:
    """HTML of a page about a report: its title, which says where weights are synthetic, and these parts of a body."""
    if report.get("synthetic"):
        title += " (synthetic weights)"
    parts = [f"<h1>{escape(title)}</h1>", *parts]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'
    )


def timeline(spans: Sequence[Span], cycles: int) -> str:
    """SVG: one row a unit, cycles from left to right."""
    rows = by_unit(spans)
    scale = WIDTH / max(cycles, 1)
    out = [open_timeline(ROW * len(rows))]
    for n, (unit, own) in enumerate(rows.items()):
        y = n * ROW
        out.append(f'<text x="0" y="{y + ROW - 4}">{escape(unit)}</text>')
        out.append(strip(own, kind_of(unit), scale, y + 2, ROW - 4))
    return "".join([*out, *axis(cycles, len(rows) * ROW), "</svg>"])


def open_timeline(height: int) -> str:
    """The opening tag of a timeline whose rows have that height together."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{NAME + WIDTH + 20}" height="{height + 24}" '
        f'viewBox="0 0 {NAME + WIDTH + 20} {height + 24}" font-family="sans-serif" font-size="10">'
    )


def strip(spans: Sequence[Span], kind: str, scale: float, y: int, height: int) -> str:
    """SVG: spans in order of time, of units of a kind."""
    path = "".join(
        f"M{NAME + a:.1f} {y}h{max(b - a, MERGED):.1f}v{height}h-{max(b - a, MERGED):.1f}z"
        for a, b in _merged(spans, scale)
    )
    return f'<path d="{path}" fill="{COLOURS[kind]}"/>'


def axis(cycles: int, base: int) -> list[str]:
    """SVG: lines and numbers of cycles, below rows that end at `base`."""
    out = []
    for n in range(6):
        x = NAME + n * WIDTH / 5
        out.append(f'<path d="M{x:.0f} 0V{base + 4}" stroke="#0002"/>')
        out.append(
            f'<text x="{x:.0f}" y="{base + 16}" text-anchor="middle">{round(cycles * n / 5):,}</text>'
        )
    return out


def _merged(spans: Sequence[Span], scale: float) -> list[tuple[float, float]]:
    """Start and end in pixels; neighbours are one."""
    found: list[tuple[float, float]] = []
    for span in spans:
        start, end = span.start * scale, span.end * scale
        if found and start - found[-1][1] < MERGED:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return found


def numbers_part(report: dict) -> str:
    """What the report says, as far as it says it."""
    rows = []
    for key, name, form in NUMBERS:
        value = report.get(key)
        if value is not None:
            rows.append((name, format(value, form)))
    return rows_table(rows)


def _resources(report: dict) -> str:
    load, each = report["resources"], report["cycles_predicted"] / report["tokens"]
    most = max(load.values())
    rows = [
        f'<tr><td>{name}</td><td class="n">{load[key]:,}</td>'
        f"<td>{share_bar(load[key] / each, load[key] == most)}</td></tr>"
        for key, name in RESOURCES
    ]
    note = f"Cycles a token; the run takes {each:,.0f}. Red: what bounds the throughput."
    return f"<p>{note}</p><table>{''.join(rows)}</table>"


def _busy(spans: Sequence[Span], cycles: int) -> str:
    shares: dict[str, list[float]] = {}
    for unit, own in by_unit(spans).items():
        share = sum(span.end - span.start for span in own) / cycles
        shares.setdefault(kind_of(unit), []).append(share)
    rows = []
    for kind, own in shares.items():
        mean = sum(own) / len(own)
        name = kind if len(own) == 1 else f"{kind}s, mean of {len(own)}"
        rows.append(
            f'<tr><td>{name}</td><td class="n">{mean:.1%}</td><td>{share_bar(mean)}</td></tr>'
        )
    return f"<table>{''.join(rows)}</table>"


def energy_part(cost: Cost, events: Events, table: Table, params: Params, tokens: int) -> str:
    """What a token costs, item by item, with the source of each price."""
    total = cost.energy.to("nJ")
    each = f"{total / tokens:,.1f} nJ and {cost.time.to('ns') / tokens:,.0f} ns a token"
    note = f"{each}, by the prices of {cost.table}."
    if cost.unpriced:
        note += f" Without a price: {', '.join(cost.unpriced)}."
    items = sorted(cost.breakdown.items(), key=lambda item: -item[1].value)
    shares = [(name, energy.to("nJ") / total) for name, energy in items if energy.value]
    counts = events.as_dict()
    rows = []
    for n, (name, share) in enumerate(shares):
        price = table.price(name, params) or table.power[name.removeprefix("leakage_")]
        count = f"{counts[name] / tokens:,.0f}" if name in counts else ""
        rows.append(
            f'<tr><td><span class="key" style="background:{_item_colour(n)}"></span>'
            f'{name.replace("_", " ")}</td><td class="n">{count}</td>'
            f'<td class="n">{share * total / tokens:,.2f}</td><td class="n">{share:.1%}</td>'
            f"<td>{escape(MEANINGS.get(name, 'power x time'))}</td><td>{escape(price.source)}</td></tr>"
        )
    heads = ("item", "events a token", "nJ a token", "share", "what", "source of the price")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<p>{escape(note)}</p>{shares_bar(shares)}<table><tr>{head}</tr>{''.join(rows)}</table>"


def shares_bar(shares: Sequence[tuple[str, float]]) -> str:
    """SVG: one bar of coloured parts in the order given; `shares` of names add up to 1."""
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 24" width="{WIDTH}">']
    x = 0.0
    for n, (name, share) in enumerate(shares):
        out.append(
            f'<rect x="{x:.1f}" y="0" width="{WIDTH * share:.1f}" height="24" '
            f'fill="{_item_colour(n)}"><title>{escape(name)}: {share:.1%}</title></rect>'
        )
        x += WIDTH * share
    return "".join([*out, "</svg>"])


def _item_colour(n: int) -> str:
    return ITEM_COLOURS[min(n, len(ITEM_COLOURS) - 1)]


def share_bar(share: float, most: bool = False) -> str:
    """HTML: a bar as long as `share`, 0..1; red for the one that is `most`."""
    return f'<span class="bar{" most" if most else ""}" style="width:{300 * min(share, 1):.0f}px"></span>'


def rows_table(rows: Sequence[tuple[str, object]]) -> str:
    """HTML: a table of names and values."""
    cells = (
        f'<tr><td>{escape(name)}</td><td class="n">{escape(str(value))}</td></tr>'
        for name, value in rows
    )
    return f"<table>{''.join(cells)}</table>"
