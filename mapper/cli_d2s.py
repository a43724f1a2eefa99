"""`python -m mapper d2s`: the options, and the summary that people see."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from rtl.spec.params import ConfigError, Params

from . import corpus
from .architectures import ARCHITECTURES
from .pattern import POLICIES
from .workload import resolve

EPILOG = """\
examples:
  python -m mapper d2s minilm --compression 4 -o build/minilm-4x.safetensors
  python -m mapper d2s minilm --compression 4 --finetune --minutes 45 -o build/minilm-4x.safetensors
  python -m mapper d2s smollm2 --compression 2 --finetune --minutes 110 -o build/smollm2-2x.safetensors
  python -m mapper d2s build/minilm-4x.safetensors --finetune --minutes 20 --rate 1e-3 -o build/minilm-4x.safetensors
  python -m mapper d2s minilm --arrays 48 --rows 256 --cols 256 -o build/minilm-48.safetensors
  python -m mapper d2s path/to/model.safetensors --blocks 16,16 --rank 4 -o build/mine.safetensors
  python -m mapper compile build/minilm-4x.safetensors --strategy densemap -o build/layer0

Steps: project, calibrate matrix after matrix on what it will see, fine-tune (--finetune: distillation
from the dense network), quantise; each is judged on held-out text. An interrupted fine-tuning goes on
from OUTPUT.state.safetensors when the same command is given again. Written: the factors, and the model
card beside them (.json and .md).
"""


def add_parser(commands) -> None:
    """Add the command to a parser's commands."""
    add = commands.add_parser(
        "d2s",
        help="checkpoint -> Monarch factors and model card",
        description="Compress a dense checkpoint to block-diagonal (Monarch) factors.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add.add_argument("model", metavar="MODEL", help="a model name, or the path of a checkpoint")
    add.add_argument("-o", "--output", metavar="FILE", required=True, help="FILE.safetensors")
    how = add.add_argument_group("patterns (one of the first three; default: --compression 4)")
    how.add_argument(
        "--compression", type=float, metavar="X", help="X times fewer weights, ranks by sensitivity"
    )
    how.add_argument(
        "--arrays", type=int, metavar="N", help="what fits N arrays, blocks and ranks chosen"
    )
    how.add_argument("--rank", type=int, metavar="R", help="one rank for all matrices")
    how.add_argument(
        "--blocks",
        metavar="K,L",
        type=block_pair,
        help="block counts of R and L; more lose less after fine-tuning and take fewer cycles (default: 16)",
    )
    how.add_argument(
        "--policy", help=f"{', '.join(POLICIES[:-1])}: one pattern for all (no --rank)"
    )
    how.add_argument(
        "--fill", type=int, metavar="G", help="ranks fill granules of G; default: the hardware's"
    )
    how.add_argument("--layers", metavar="0,3-5", type=layer_list, help="default: all")
    how.add_argument("--lm-head", action="store_true", help="the LM head too")
    tune = add.add_argument_group("fine-tuning")
    tune.add_argument("--finetune", action="store_true", help="distil from the dense network")
    tune.add_argument("--minutes", type=float, default=50, help="time to train (default: 50)")
    tune.add_argument(
        "--steps", type=int, default=0, help="train so many steps instead, which repeats bit by bit"
    )
    tune.add_argument(
        "--rate", type=float, help="learning rate (default: 0.0015, language models 0.0005)"
    )
    tune.add_argument(
        "--qat", action="store_true", help="train the last quarter through the 8-bit quantisation"
    )
    add.add_argument(
        "--corpus",
        metavar="NAME|FILE",
        help=f"text: a file, or {', '.join(corpus.SOURCES)} joined by +; default: as the model needs",
    )
    add.add_argument("--no-quantise", action="store_true", help="leave out the integer model")
    add.add_argument("--threads", type=int, help="threads of torch (default: all cores)")
    add.add_argument("--seed", type=int, default=0, help="seed of text and training (default: 0)")
    add.add_argument(
        "--config", metavar="PRESET|FILE", help="hardware; default: the model's preset"
    )
    for name in ("rows", "cols", "granule"):
        add.add_argument(f"--{name}", type=int, metavar="N", help=f"{name} of an array")
    add.add_argument("--json", action="store_true", help="print the card as JSON")
    add.set_defaults(run=run)


def add_accuracy_parser(commands) -> None:
    """Add the command `accuracy`."""
    add = commands.add_parser(
        "accuracy",
        help="model cards -> accuracy.md with a plot",
        description="Accuracy against compression, from the model cards that d2s writes.",
        epilog="example:\n  python -m mapper accuracy build/minilm-*x.json -o docs/accuracy.md\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add.add_argument("cards", metavar="CARD", nargs="+", type=Path, help="a card, .json")
    add.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="FILE.md")
    add.set_defaults(run=_accuracy)


def _accuracy(args: argparse.Namespace) -> None:
    from . import accuracy

    accuracy.write(args.cards, args.output)
    print(f"{len(args.cards)} cards -> {args.output}, {args.output.with_suffix('.svg')}")


def block_pair(text: str) -> tuple[int, int]:
    """`8,16` -> (8, 16); `8` -> (8, 8)."""
    k, _, l_blocks = text.partition(",")
    try:
        return int(k), int(l_blocks or k)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not K,L") from None


def layer_list(text: str) -> list[int]:
    """`0,3-5` -> [0, 3, 4, 5]."""
    result = []
    for item in text.split(","):
        first, _, last = item.partition("-")
        try:
            result += range(int(first), int(last or first) + 1)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a list like 0,3-5") from None
    return result


def run(args: argparse.Namespace) -> None:
    """The command."""
    # torch takes a second to import, which shapes alone need not wait for.
    import torch

    from .finetune import RATES, Recipe
    from .pipeline import Job, Pipeline

    given = {n: getattr(args, n) for n in ("compression", "arrays", "rank", "policy")}
    chosen = [f"--{name}" for name, value in given.items() if value is not None]
    if len(chosen) > 1:
        raise ConfigError(f"{' and '.join(chosen)}: give one of them")
    shape = resolve(args.model)
    if shape.base and (chosen or args.blocks or args.layers or args.lm_head):
        raise ConfigError(f"{args.model}: these are factors, their patterns cannot be chosen again")
    output = Path(args.output)
    if output.suffix != ".safetensors":
        raise ConfigError(f"output: {output} does not end with .safetensors")
    recipe = None
    if args.finetune:
        kind = ARCHITECTURES[shape.architecture].objective
        rate = RATES[kind] if args.rate is None else args.rate
        recipe = Recipe(args.minutes, args.steps, rate, seed=args.seed)
    elif args.qat:
        raise ConfigError("--qat: needs --finetune")
    if args.threads is not None:
        if args.threads < 1:
            raise ConfigError(f"threads: {args.threads} must be at least 1")
        torch.set_num_threads(args.threads)
    sizes = {
        n: getattr(args, n) for n in ("rows", "cols", "granule") if getattr(args, n) is not None
    }
    job = Job(
        model=args.model,
        output=output,
        command=_command(args),
        compression=_compression(args, bool(chosen or args.blocks or shape.base)),
        arrays=args.arrays,
        policy=args.policy or "blocks",
        blocks=args.blocks,
        rank=args.rank,
        granule=args.fill,
        layers=args.layers,
        lm_head=args.lm_head,
        corpus=args.corpus,
        recipe=recipe,
        qat=args.qat,
        params=Params.load(args.config or shape.preset).replace(**sizes),
        quantise=not args.no_quantise,
        seed=args.seed,
        show=True,
    )
    made = Pipeline(job).run()
    print(json.dumps(made, indent=1) if args.json else _summary(made, output))


def _compression(args: argparse.Namespace, otherwise: bool) -> float | None:
    """What was asked for; 4 when nothing else says how much to keep."""
    return 4.0 if args.compression is None and not otherwise else args.compression


def _command(args: argparse.Namespace) -> str:
    """The command as typed, with the number of threads, which moves the numbers of a timed run."""
    typed = [a for a in sys.argv[1:] if a != "--json"] if sys.argv[1:2] == ["d2s"] else ["d2s"]
    words = ["python", "-m", "mapper", *typed]
    return " ".join(map(shlex.quote, words))


def _summary(made: dict, output: Path) -> str:
    lines = [
        f"{made['base']}: {made['compression']:.2f}x fewer linear weights "
        f"({made['weights_kept']:,} of {made['weights_dense']:,})"
    ]
    width = max((len(step["name"]) for step in made["steps"]), default=0)
    for step in made["steps"]:
        scores = ", ".join(f"{k} {v:.4f}" for k, v in step["scores"].items())
        lines.append(f"  {step['name']:{width}}  {scores}  ({step['seconds']:.0f} s)")
    return "\n".join([*lines, f"-> {output}, {output.with_suffix('.md')}"])
