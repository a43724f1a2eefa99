"""The model card of compressed factors: what was done and what it cost, as JSON and as Markdown."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .atomic import write_text

#: Libraries whose versions may move a number.
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what it computes with."""
    found = {"python": platform.python_version()}
    for name in ("blockcim", *LIBRARIES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def write(card: dict, path: Path) -> None:
    """`path` (.json), and the same as Markdown beside it."""
    write_text(path, json.dumps(card, indent=1) + "\n")
    write_text(path.with_suffix(".md"), markdown(card))


def markdown(card: dict) -> str:
    """The card for people."""
    name, kept = card["name"], card["weights_kept"]
    lines = [
        f"# {name}",
        "",
        f"{card['base']} with Monarch (block-diagonal) factors: linear weights {card['compression']:.2f}x smaller "
        f"({kept:,} of {card['weights_dense']:,}).",
        "",
        f"    {card['command']}",
        "",
        *_steps(card),
        *_history(card),
        *_codesign(card),
        *_memory(card),
        "## Matrices",
        "",
        "| matrix | shape | blocks k, l | rank | weights kept | error of weights | error of outputs |",
        "|---|---|---|---|---|---|---|",
        *(_matrix(row) for row in card["matrices"]),
        "",
        "Relative errors (Frobenius) before fine-tuning: of the weights in the plain projection, of the outputs on the "
        "calibration text in the calibrated one.",
        "",
        f"Seed {card['seed']}; "
        + ", ".join(f"{k} {v}" for k, v in card["versions"].items())
        + f"; {card['threads']} threads.",
        "",
    ]
    return "\n".join(lines)


def _steps(card: dict) -> list[str]:
    steps = card["steps"]
    if not steps:
        return ["Not evaluated: there is no text for this model.", ""]
    keys = list(steps[0]["scores"])
    lines = [
        "## Accuracy, held-out text",
        "",
        "| after | " + " | ".join(keys) + " | seconds |",
        "|---|" + "---|" * (len(keys) + 1),
    ]
    for step in steps:
        values = " | ".join(f"{step['scores'][key]:.4f}" for key in keys)
        lines.append(f"| {step['name']} | {values} | {step['seconds']:.0f} |")
    conditions = ", ".join(f"{key.replace('_', ' ')} {v}" for key, v in card["conditions"].items())
    return [*lines, "", f"Against the dense float network. {conditions}.", ""]


def _history(card: dict) -> list[str]:
    if not card.get("history"):
        return []
    points = ", ".join(f"{h['seconds'] / 60:.0f} min {h['value']:.4f}" for h in card["history"])
    return [f"On the way of fine-tuning: {points}.", ""]


def _codesign(card: dict) -> list[str]:
    found = card.get("codesign")
    if not found:
        return []
    rows = [("chosen", found)]
    if found["uniform"]:
        rows.append((f"best uniform: {found['uniform']['label']}", found["uniform"]))
    return [
        "## Under a number of arrays",
        "",
        "| patterns | arrays | cycles a token | expected loss |",
        "|---|---|---|---|",
        *(
            f"| {name} | {r['arrays']} | {r['cycles_per_token']:.0f} | {r['expected_loss']:.4f} |"
            for name, r in rows
        ),
        "",
    ]


def _memory(card: dict) -> list[str]:
    lines = [
        "## Memory",
        "",
        "| part | parameters | kept | form | bytes | arrays dense | arrays |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in card["memory"]:
        arrays = (f"{row[key]:,}" if row[key] else "-" for key in ("arrays_dense", "arrays"))
        lines.append(
            f"| {row['part']} | {row['parameters']:,} | {row['kept']:,} | {row['form']} | "
            f"{row['bytes']:,} | {' | '.join(arrays)} |"
        )
    note = "Bytes: int8 on arrays, float16 elsewhere. Arrays: `linear` and `densemap`, one core per layer."
    return [*lines, "", note, ""]


def _matrix(row: dict) -> str:
    plain, outputs = (
        "-" if row.get(key) is None else f"{row[key]:.3f}"
        for key in ("error_weights", "error_outputs")
    )
    return (
        f"| {row['name']} | {row['n_out']} x {row['n_in']} | {row['k']}, {row['l']} | {row['rank']} | "
        f"{row['weights'] / (row['n_out'] * row['n_in']):.1%} | {plain} | {outputs} |"
    )
