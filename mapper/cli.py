"""`python -m mapper`: the command line of the mapper."""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

from tqdm import tqdm

from rtl.spec.commandline import Parser
from rtl.spec.params import ConfigError, Params

from . import chip, fill, hardware
from . import program as program_files
from . import workload as workloads
from .cli_d2s import add_accuracy_parser, block_pair, layer_list
from .cli_d2s import add_parser as add_d2s
from .cli_study import add_parser as add_study
from .cli_sweep import add_parser as add_sweep
from .compile import Compiler
from .pattern import POLICIES
from .placement import STRATEGIES, monarch_strategy, suited
from .program import Program

#: Seconds after which a progress bar is shown.
LONG_RUN = 1

_EPILOG = """\
examples:
  python -m mapper compile gpt2-medium --strategy densemap -o build/dense
  python -m mapper compile gpt2-medium --strategy linear --tokens 16 -o build/linear
  python -m mapper compile minilm --strategy densemap --policy blocks --blocks 12,12 --rank 2 \\
      --layers 0,3-5 -o build/minilm
  python -m mapper compile gpt2-medium --strategy densemap --config my.toml --json -o build/p
  python -m mapper compile gpt2-medium --strategy densemap --config chip-gpt2-medium -o build/chip
  python -m mapper compile minilm-4x --strategy densemap --cores 6 -o build/whole
  python -m mapper compile minilm --strategy densemap --matrices q,k --rows 64 --cols 64 -o build/slice
  python -m mapper compile bert-large --strategy sparsemap --readout adc --adc-bits 5 --adcs 8 \\
      -o build/analog
  python -m mapper compile minilm-4x --strategy densemap --layers 0-2 --pack 3 -o build/three

Without options the model's preset is used and arrays and depths are as many as needed; what is given
on the command line (or in a TOML file) is a limit. The directory is written completely or not at all.
Several layers go to DIR/layer_00, DIR/layer_01, ... With several cores they go to one chip, a core each. --pack N
puts N layers into a core, whose arrays they share.
"""


def parser() -> argparse.ArgumentParser:
    """The command line; every field of `Params` is an option."""
    result = Parser(
        prog="python -m mapper",
        description="Map block-diagonal models onto compute-in-memory arrays.",
        allow_abbrev=False,
    )
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = commands.add_parser(
        "compile",
        help="model -> program directory",
        description="Compile layers of a model to program directories.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add.add_argument("model", metavar="MODEL", help="a model name, or the path of a checkpoint")
    add.add_argument("--strategy", required=True, help=f"one of {', '.join(STRATEGIES)}")
    add.add_argument("--policy", help=f"{', '.join(POLICIES)}; default: the model's")
    add.add_argument("--blocks", metavar="K,L", type=block_pair, help="block counts of R and L")
    add.add_argument("--rank", type=int, default=1, help="rank of the slices (default: 1)")
    add.add_argument(
        "--layers", metavar="0,3-5", type=layer_list, help="default: 0; with several cores: all"
    )
    add.add_argument(
        "--matrices", metavar="NAME,..", help="only these of a layer (q, k, v, o, ffn1, ffn2 ...)"
    )
    add.add_argument("--pack", type=int, default=1, metavar="N", help="layers a core (default: 1)")
    add.add_argument("--tokens", type=int, help="tokens of the run; default: the model's")
    add.add_argument(
        "--config", metavar="PRESET|FILE", help="hardware; default: the model's preset"
    )
    add.add_argument("--seed", type=int, default=0, help="seed of inputs and searches (default: 0)")
    add.add_argument("--json", action="store_true", help="print the report as JSON")
    add.add_argument("-o", "--output", metavar="DIR", required=True, help="program directory")
    group = add.add_argument_group("hardware parameters")
    for field in dataclasses.fields(Params):
        option = "--" + field.name.replace("_", "-")
        group.add_argument(option, type=field.type, metavar="N", dest=f"hw_{field.name}")
    add.set_defaults(run=_compile)
    add_d2s(commands)
    add_accuracy_parser(commands)
    add_study(commands)
    add_sweep(commands)
    return result


def _hardware(args: argparse.Namespace) -> tuple[Params, frozenset[str]]:
    """Parameters to start from, and the names of those that are limits."""
    values = {name: getattr(args, f"hw_{name}") for name in hardware.NAMES}
    given = {name: value for name, value in values.items() if value is not None}
    config = args.config or workloads.resolve(args.model).preset
    return Params.load(config).replace(**given), hardware.limits(config, given)


def _compile(args: argparse.Namespace) -> None:
    start = time.perf_counter()
    params, fixed = _hardware(args)
    params = suited(args.strategy, params, frozenset(fixed))
    policy = args.policy
    if not monarch_strategy(args.strategy):
        if policy not in (None, "dense"):
            raise ConfigError(f"policy: {args.strategy} stores dense weights, not {policy!r}")
        policy = "dense"
    k, l_blocks = args.blocks or (None, None)
    if args.layers is None and params.cores == 1:
        args.layers = [0]
    made = workloads.build(
        args.model,
        args.layers,
        params=params,
        policy=policy,
        k=k,
        l=l_blocks,
        rank=args.rank,
        tokens=args.tokens,
        seed=args.seed,
    )
    if args.matrices is not None:
        made = [workloads.only(work, args.matrices.split(",")) for work in made]
    made = workloads.packed(made, args.pack)
    quiet = not sys.stderr.isatty()
    with tqdm(desc="schedule", unit="item", delay=LONG_RUN, disable=quiet, leave=False) as bar:
        compiler = Compiler(args.strategy, params, fixed, args.seed, bar.update)
        if params.cores > 1:
            whole = chip.compile_chip(compiler, made)
        else:
            programs = [compiler.compile(w) for w in made]
    if params.cores > 1:
        whole.report["wall_s"] = time.perf_counter() - start
        chip.write(whole, args.output)
        _show_chip(args, whole.report)
        return
    for program in programs:
        program.report["wall_s"] = time.perf_counter() - start
    where = _directories(args, programs)
    for program, directory in zip(programs, where, strict=True):
        program_files.write(program, directory)
    _show(args, programs, where)


def _directories(args: argparse.Namespace, programs: list[Program]) -> list[Path]:
    where = Path(args.output)
    if len(programs) == 1:
        return [where]
    return [where / f"layer_{program.workload.layer:02}" for program in programs]


def _show(args: argparse.Namespace, programs: list[Program], where: list[Path]) -> None:
    reports = [p.report for p in programs]
    if args.json:
        print(json.dumps(reports[0] if len(reports) == 1 else reports, indent=1))
        return
    for program, directory in zip(programs, where, strict=True):
        r = program.report
        print(
            f"{r['model']} layer {program.workload.layer_text} {r['policy']} {r['strategy']}: {r['arrays']} arrays, "
            f"{r['utilization']:.1%} full, {r['instructions']} instructions, "
            f"{r['cycles_predicted']} cycles for {r['tokens']} tokens -> {directory}"
        )
        found = fill.of(program.workload.segments, program.placement)
        if found.arrays > found.arrays_bound:
            print(f"  its granules fill {found.arrays_bound} arrays; {found.why()}")


def _show_chip(args: argparse.Namespace, r: dict) -> None:
    if args.json:
        print(json.dumps(r, indent=1))
        return
    print(
        f"{r['model']}, {len(r['layers'])} layers on {r['cores']} cores, {r['policy']} {r['strategy']}: "
        f"{r['arrays']} arrays, {r['utilization']:.1%} full, {r['cycles_predicted']} cycles for {r['tokens']} tokens "
        f"-> {args.output}"
    )


def run_command(program: str, parser: argparse.ArgumentParser, arguments: list[str] | None) -> int:
    """Run the command `run` of the parsed arguments; the exit status. Errors are one line on stderr, status 2."""
    try:
        args = parser.parse_args(arguments)
        return args.run(args) or 0
    except ConfigError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status."""
    return run_command("mapper", parser(), arguments)
