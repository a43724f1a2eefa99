"""The main job (`make sim`): a real layer, compiled with every strategy, run on RTL, in one table."""

import json
import sys
from pathlib import Path

from mapper import program as program_files
from mapper import workload as workloads
from mapper.compile import Compiler
from mapper.models import locate
from mapper.placement import STRATEGIES, monarch_strategy
from rtl.spec.params import ConfigError, Params

from .execute import Outcome, execute

#: Table columns: heading, key or function of (report, outcome), format.
COLUMNS = (
    ("strategy", "strategy", "{}"),
    ("arrays", "arrays", "{}"),
    ("utilisation", "utilization", "{:.1%}"),
    ("weights kept", lambda r, o: r["weights"] / r["dense_weights"], "{:.1%}"),
    ("MACs/token", "macs", "{:,}"),
    ("cycles RTL", lambda r, o: o.cycles, "{:,}"),
    ("predicted", lambda r, o: o.cycles_iss, "{:,}"),
    ("latency bound", "latency_bound", "{:,}"),
    ("efficiency", "efficiency", "{:.2f}"),
    ("array-cycles", "array_cycles", "{:,.0f}"),
    ("mismatches", lambda r, o: o.mismatches, "{}"),
    ("kcycles/s", lambda r, o: o.cycles_per_second / 1000, "{:,.0f}"),
)


def run(
    model: str,
    layer: int,
    strategies: list[str],
    simulator: str,
    tokens: int | None,
    policy: str | None,
    where: Path,
    show=print,
) -> list[dict]:
    """Compile and run one layer with each strategy; prints the table; returns the reports.

    Raises `ConfigError` on any bad input. Writes the program directories and summary.json under `where`.
    """
    for strategy in strategies:
        if strategy not in STRATEGIES:
            raise ConfigError(f"strategy: {strategy!r} is not one of {', '.join(STRATEGIES)}")
    shape = workloads.resolve(model)
    params = Params.load(shape.preset)
    rows: list[tuple[dict, Outcome]] = []
    for strategy in strategies:
        _say(f"{strategy}: compile ...")
        sparse = monarch_strategy(strategy)
        source, chosen = (model, policy) if sparse else (shape.base or model, "dense")
        (work,) = workloads.build(source, [layer], params=params, policy=chosen, tokens=tokens)
        program = Compiler(strategy, params).compile(work)
        directory = where / strategy
        program_files.write(program, directory)
        _say(f"{strategy}: {program.report['arrays']} arrays, run on {simulator} ...")
        outcome = execute(directory, simulator)
        rows.append((json.loads((directory / "report.json").read_text()), outcome))
    reports = [report for report, _ in rows]
    (where / "summary.json").write_text(json.dumps(reports, indent=1) + "\n")
    _show(rows, simulator, show)
    _show_card(model, show)
    return reports


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def _cell(column, report: dict, outcome: Outcome) -> str:
    _, what, form = column
    value = report[what] if isinstance(what, str) else what(report, outcome)
    return "-" if value is None else form.format(value)


def _show(rows, simulator: str, show) -> None:
    first = rows[0][0]
    kind = "synthetic weights" if first["synthetic"] else "real weights and activations"
    show(
        f"{first['model']} layer {first['layer']}, {first['tokens']} tokens, {kind}, "
        f"{first['params']['rows']}x{first['params']['cols']} arrays, {first['lanes']} lanes, {simulator}"
    )
    heads = [column[0] for column in COLUMNS]
    table = [heads] + [[_cell(c, r, o) for c in COLUMNS] for r, o in rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(heads))]
    for row in table:
        show("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)))
    for report, outcome in rows:
        if outcome.first:
            show(f"{report['strategy']}: first mismatch: {outcome.first}")
        if outcome.cycles != outcome.cycles_iss:
            show(f"{report['strategy']}: RTL and ISS differ in cycles")
        notes = report.get("notes") or {}
        if "relative_error" in notes:
            show(
                f"{report['strategy']} ({report['policy']}): output of the layer against the dense float layer: "
                f"relative error {notes['relative_error']:.2f}, cosine {notes['cosine']:.3f}"
            )


def _show_card(model: str, show) -> None:
    """What the model card beside Monarch factors says about the accuracy of the whole model."""
    if not workloads.resolve(model).base:
        return
    path = locate(model)
    assert path is not None
    path = path.with_suffix(".json")
    if not path.is_file():
        return
    card = json.loads(path.read_text(encoding="utf-8"))
    scores = {
        "spearman": ("spearman_heldout", "spearman_w8a8"),
        "perplexity ratio": ("perplexity_ratio", "perplexity_ratio_w8a8"),
    }
    for name, (float_key, integer_key) in scores.items():
        if float_key in card:
            integer = card.get(integer_key)
            show(
                f"{model}, all layers, held-out text: {card['compression']:.2f}x fewer linear weights, {name} to the "
                f"dense model {card[float_key]:.3f}"
                + (f", as integers {integer:.3f}" if integer else "")
            )
