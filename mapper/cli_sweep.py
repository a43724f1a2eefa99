"""`python -m mapper sweep`: options, progress and output of a sweep."""

import argparse
import sys
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from rtl.spec.params import ConfigError

from .cli_d2s import layer_list
from .hardware import NAMES
from .progress import pace

#: Exit status after Ctrl-C, as shells have it.
INTERRUPTED = 130
#: Seconds after which a progress bar is shown: not before a cluster has answered.
LONG_RUN = 1

_EPILOG = """\
examples:
  python -m mapper sweep --model gpt2-medium,bert-large --array 128,256 --lanes 32,64,128
  python -m mapper sweep --model gpt2-medium --strategy densemap --policy pad,trim,rect \\
      --granule 16,32 --drain-ports 1,2,4 --act-bits 4,8 -o build/mine
  python -m mapper sweep axes.toml --scheduler tcp://10.0.0.1:8786

Every option of the first two groups is an axis and takes a list: all combinations are placed and scheduled, from
shapes alone. axes.toml has the same names: `model = ["minilm", "smollm2"]`, `act_bits = [4, 8]`; options go first.
Each result is kept in DIR/cache as soon as it is there, so a sweep that was cut short goes on where it was.
What is given of the hardware is a limit, as for `compile`.
"""


def add_parser(commands) -> None:
    """Add `sweep` to the commands of `python -m mapper`."""
    from .sweep.grid import OTHER_AXES

    add = commands.add_parser(
        "sweep",
        help="design-space exploration",
        description="Compare configurations of model, mapping and hardware.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add.add_argument("file", metavar="FILE", nargs="?", help="axes as TOML")
    axes = add.add_argument_group("axes: model and mapping")
    for name, (about, _) in OTHER_AXES.items():
        axes.add_argument(f"--{name}", metavar="LIST", dest=f"axis_{name}", help=about)
    hardware = add.add_argument_group("axes: hardware parameters")
    for name in NAMES:
        hardware.add_argument(f"--{name.replace('_', '-')}", metavar="LIST", dest=f"axis_{name}")
    add.add_argument("--layers", metavar="0,3-5", type=layer_list, help="default: all")
    add.add_argument("--seed", type=int, default=0, help="seed of searches (default: 0)")
    add.add_argument("--workers", type=int, help="processes; default: one a core")
    add.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="compute on a Dask cluster")
    add.add_argument("--cache", metavar="DIR", help="default: `cache` in the output folder")
    add.add_argument("--top", type=int, default=10, help="rows of a model to print (default: 10)")
    add.add_argument("--json", action="store_true", help="print all results as JSON")
    add.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        default="build/sweep",
        help="gets results.json, results.csv, summary.md, pareto.svg (default: build/sweep)",
    )
    add.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The command: 0, 1 if no configuration has a result, 130 after Ctrl-C."""
    from .sweep import grid, pool
    from .sweep.cache import Cache
    from .sweep.run import Sweep

    workers = pool.cores() if args.workers is None else args.workers
    if workers < 1:
        raise ConfigError(f"workers: {workers} must be at least 1")
    folder = Path(args.output)
    configurations = grid.expand(grid.parse(_axes(args)), args.layers, args.seed)
    sweep = Sweep(configurations, Cache(Path(args.cache) if args.cache else folder / "cache"))
    known = len(configurations) - len(sweep.missing)
    bar = tqdm(
        total=len(configurations),
        initial=known,
        desc="sweep",
        unit="configuration",
        mininterval=pace(),
        delay=LONG_RUN,
        disable=not sweep.missing,
    )
    try:
        with closing(bar):
            results = sweep.run(workers, args.scheduler, bar.update)
    except KeyboardInterrupt:
        done = len(sweep.costs)
        print(
            f"mapper: interrupted, {done} of {len(configurations)} are done; "
            "the same command goes on from there",
            file=sys.stderr,
        )
        return INTERRUPTED
    return _show(args, results, known, folder)


def _axes(args: argparse.Namespace) -> dict[str, list]:
    """Axes of the file, if there is one, and of the command line, which count."""
    from .sweep import grid

    axes = grid.read_file(args.file) if args.file else {}
    for name in grid.AXES:
        value = getattr(args, f"axis_{name}")
        if value is not None:
            axes[name] = value.split(",")
    return axes


def _show(args: argparse.Namespace, results: list, known: int, folder: Path) -> int:
    from .sweep import present

    present.write(results, folder)
    errors = present.failed(results)
    for line in errors:
        print(f"mapper: no result: {line}", file=sys.stderr)
    if args.json:
        print(present.to_json(results))
    elif len(errors) < len(results):
        lines = present.table(results, args.top)
        print(present.text(lines, len(present.varying(results))))
        hidden = len(results) - len(errors) - len(lines) + 1
        more = f", {hidden} rows more there" if hidden else ""
        print(
            f"{len(results)} configurations, {known} known before, {len(errors)} without a result "
            f"-> {folder}{more}"
        )
    return 1 if len(errors) == len(results) else 0
