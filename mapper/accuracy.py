"""docs/accuracy.md: accuracy against compression, from model cards, as tables and a plot."""

import json
from pathlib import Path

from rtl.spec.params import ConfigError

from . import plot
from .atomic import write_text

#: Steps of a card that are shown, in order: name in the card, heading.
STEPS = (
    ("plain projection", "plain"),
    ("calibrated projection", "calibrated"),
    ("fine-tuning", "fine-tuned"),
    ("W8A8", "W8A8"),
    ("W4A8", "W4A8"),
)
#: The number of a score that is shown, and how to read it.
SCORES = {
    "spearman": "Spearman correlation of all pairwise similarities with the dense model (1: the same order)",
    "ratio": "perplexity / perplexity of the dense model (1: as good)",
}

_HEAD = """\
# Accuracy against compression

Generated from model cards by

    python -m mapper accuracy {cards} -o {output}

Each card names the command that made it; `python -m mapper d2s --help` has the options. Compression counts the
weights of the linear layers.
Columns: *plain* is the nearest Monarch matrix to each weight; *calibrated* fits each matrix to what it will see,
one after the other, without training; *fine-tuned* is distilled from the dense model; *W8A8* and *W4A8* are the
integer models that the hardware computes. All on held-out text. A step that was not run is a dash.

![accuracy against compression]({picture})
"""


def read(path: Path) -> dict:
    """A model card. Raises `ConfigError` for a file that is none."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return {**card, "steps": {s["name"]: s for s in card["steps"]}, "path": path}
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise ConfigError(f"{path}: not a model card") from None


def write(paths: list[Path], output: Path) -> None:
    """The page, and its picture (.svg) beside it. Raises `ConfigError` for files that are no model cards."""
    cards = [read(path) for path in paths]
    if not any(card["steps"] for card in cards):
        raise ConfigError("accuracy: none of the cards has been evaluated")
    by_base: dict[str, list[dict]] = {}
    for card in sorted(cards, key=lambda c: c["compression"]):
        by_base.setdefault(card["base"], []).append(card)
    picture = output.with_suffix(".svg")
    names = " ".join(str(path) for path in paths)
    text = _HEAD.format(cards=names, output=output, picture=picture.name)
    for base, group in by_base.items():
        text += "\n" + _section(base, group)
    _plot(by_base, picture)
    write_text(output, text)


def score_of(card: dict) -> str:
    """The name of the card's number of `SCORES`."""
    scores = next(iter(card["steps"].values()))["scores"]
    return next(name for name in SCORES if name in scores)


def _section(base: str, cards: list[dict]) -> str:
    score = score_of(cards[0])
    conditions = cards[0]["conditions"]
    lines = [
        f"## {base}",
        "",
        f"{SCORES[score]}. "
        + ", ".join(f"{k.replace('_', ' ')} {_short(v)}" for k, v in conditions.items()),
        "",
        "| card | compression | "
        + " | ".join(head for _, head in STEPS)
        + " | training | command |",
        "|---|---|" + "---|" * (len(STEPS) + 2),
    ]
    for card in cards:
        values = (_value(card, name, score) for name, _ in STEPS)
        lines.append(
            f"| {card['path'].stem} | {card['compression']:.2f}x | {' | '.join(values)} | {_training(card)} | "
            f"`{card['command']}` |"
        )
    return "\n".join([*lines, *_curves(cards, score)]) + "\n"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _value(card: dict, step: str, score: str) -> str:
    found = card["steps"].get(step)
    return f"{found['scores'][score]:.3f}" if found else "-"


def _training(card: dict) -> str:
    tuned = card.get("finetuning") or {}
    if not tuned.get("steps"):
        return "-"
    return f"{tuned['seconds'] / 60:.0f} min, {tuned['steps']:,} steps, {card['threads']} threads"


def _curves(cards: list[dict], score: str) -> list[str]:
    lines = []
    for card in cards:
        if card.get("history"):
            points = ", ".join(
                f"{h['seconds'] / 60:.0f} min {h['value']:.3f}" for h in card["history"]
            )
            tokens = card["conditions"].get("tokens_on_the_way")
            text = f" (on {tokens:,} of the tokens)" if tokens else ""
            lines += ["", f"{card['path'].stem}, {score} against training time{text}: {points}."]
    return lines


def _plot(by_base: dict[str, list[dict]], path: Path) -> None:
    figure, axes = plot.pyplot().subplots(
        1, len(by_base), figsize=(5.2 * len(by_base), 3.8), squeeze=False
    )
    for axis, (base, cards) in zip(axes[0], by_base.items(), strict=True):
        score = score_of(cards[0])
        for step, head in STEPS:
            points = [
                (c["compression"], c["steps"][step]["scores"][score])
                for c in cards
                if step in c["steps"]
            ]
            if points:
                axis.plot(*zip(*points, strict=True), marker="o", label=head)
        axis.set(title=base, xlabel="compression of linear weights", ylabel=score, xscale="log")
        ticks = sorted({round(c["compression"], 1) for c in cards})
        axis.set_xticks(ticks, [f"{t:g}x" for t in ticks], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        if score == "ratio":
            axis.set_yscale("log")
        axis.legend()
    plot.save(figure, path)
