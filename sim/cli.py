"""`python -m sim`: run programs, verify hardware, fuzz, the main job."""

import argparse
import json
import sys
from pathlib import Path

from mapper import cost as costs
from mapper.chip import is_chip
from mapper.cli import run_command
from mapper.cycles import random_stalls
from rtl.spec.commandline import Parser
from rtl.spec.params import ConfigError

from .execute import SIMULATORS, execute

_EPILOG = """\
examples:
  python -m sim run build/program --simulator iss
  python -m sim run build/program --simulator verilator --stalls 0.3 --json
  python -m sim run build/program --simulator icarus --front-door --dump waves.fst
  python -m sim run build/program --simulator iss --trace timeline.json
  python -m sim run build/program --simulator iss --cost digital-sram
  python -m sim netlist build/program --family ice40
  python -m sim report build/program
  python -m sim verify build/gen
  python -m sim fuzz -n 20
  python -m sim fuzz -n 20 --readout adc
  python -m sim main --simulator icarus --strategy densemap --tokens 2
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = Parser(
        prog="python -m sim",
        description="Run programs on the ISS and on RTL, and check them against the golden model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_netlist(commands)
    _add_report(commands)
    _add_verify(commands)
    _add_fuzz(commands)
    _add_main(commands)
    return result


def _add_run(commands) -> None:
    run = commands.add_parser("run", help="run a program directory, compare, extend its report")
    run.add_argument("directory", metavar="DIR", help="program directory of `mapper compile`")
    run.add_argument("--simulator", default="verilator", help=", ".join(SIMULATORS))
    run.add_argument("--stalls", type=float, metavar="RATE", help="stall both streams at random")
    run.add_argument("--seed", type=int, default=0, help="seed of the stalls (default: 0)")
    run.add_argument("--front-door", action="store_true", help="weights through the stream")
    run.add_argument("--view", default="behavioural", choices=("behavioural", "structural"))
    run.add_argument(
        "--dump",
        type=Path,
        metavar="FILE",
        help="write waves (.fst or .vcd), and a list of signals for GTKWave",
    )
    run.add_argument(
        "--trace", type=Path, metavar="FILE", help="write the timeline (JSON, for ui.perfetto.dev)"
    )
    _add_cost(run, "energy and time by the prices of a table")
    run.add_argument("--json", action="store_true", help="print the extended report")
    run.set_defaults(run=_run)


def _add_netlist(commands) -> None:
    netlist = commands.add_parser(
        "netlist", help="run a program directory on the post-synthesis netlist of its core"
    )
    netlist.add_argument("directory", metavar="DIR", help="program directory of `mapper compile`")
    netlist.add_argument(
        "--family", default="generic", help="generic (default), ice40, ecp5, gowin"
    )
    netlist.add_argument("--simulator", default="icarus", choices=SIMULATORS[1:])
    netlist.add_argument("--json", action="store_true", help="print the extended report")
    netlist.set_defaults(run=_netlist)


def _add_report(commands) -> None:
    report = commands.add_parser(
        "report",
        help="one HTML page about a program or a chip: numbers, bounds, timeline, cost, occupancy",
    )
    report.add_argument(
        "directory", metavar="DIR", help="program or chip directory of `mapper compile`"
    )
    report.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: DIR/report.html"
    )
    _add_cost(report, "prices; default: those of the last run, or of its kind of readout")
    report.set_defaults(run=_report)


def _add_cost(command, text: str) -> None:
    names = ", ".join(path.stem for path in sorted(costs.FOLDER.glob("*.toml")))
    command.add_argument("--cost", metavar="NAME|FILE", help=f"{text} ({names}, or a TOML file)")


def _add_verify(commands) -> None:
    verify = commands.add_parser("verify", help="check an emitted hardware bundle")
    verify.add_argument("directory", metavar="DIR", help="bundle of `python -m gen`")
    verify.add_argument("--programs", type=int, default=2, help="random programs (default: 2)")
    verify.add_argument("--json", action="store_true", help="print the checks as JSON")
    verify.set_defaults(run=_verify)


def _add_fuzz(commands) -> None:
    fuzz = commands.add_parser(
        "fuzz", help="random configurations, shapes, strategies: golden = ISS, every tenth = RTL"
    )
    fuzz.add_argument("-n", type=int, default=200, help="cases (default: 200)")
    fuzz.add_argument("--seed", type=int, default=0, help="first seed (default: 0)")
    fuzz.add_argument("--rtl-every", type=int, default=10, help="0: never (default: 10)")
    fuzz.add_argument(
        "--simulator", choices=SIMULATORS[1:], default="verilator", help="default: verilator"
    )
    fuzz.add_argument(
        "--readout", choices=("digital", "adc"), default="digital", help="default: digital"
    )
    fuzz.add_argument("--json", action="store_true", help="print the result as JSON")
    fuzz.set_defaults(run=_fuzz)


def _add_main(commands) -> None:
    main = commands.add_parser("main", help="the main job: a layer with every strategy on RTL")
    main.add_argument(
        "--model", default="minilm-4x", help="a name or a checkpoint (default: minilm-4x)"
    )
    main.add_argument("--layer", type=int, default=0, help="default: 0")
    main.add_argument("--strategy", action="append", help="default: all; may be repeated")
    main.add_argument("--policy", help="how weights become Monarch; default: the model's")
    main.add_argument("--tokens", type=int, help="default: the model's")
    main.add_argument("--simulator", default="verilator", help=", ".join(SIMULATORS))
    main.add_argument("--json", action="store_true", help="print the reports instead of the table")
    main.add_argument("-o", "--output", type=Path, default=Path("build/sim"), metavar="DIR")
    main.set_defaults(run=_main)


def _run(args) -> int:
    stalls = None
    if args.stalls is not None:
        if not 0 <= args.stalls < 1:
            raise ConfigError(f"stalls: {args.stalls} is outside 0..1 (1 never moves)")
        stalls = random_stalls(args.seed, rate=args.stalls)
        stalls = stalls | random_stalls(args.seed + 1, rate=args.stalls) << 1
    prices = costs.load(args.cost) if args.cost else None
    if is_chip(args.directory):
        outcome = _run_chip(args, stalls, prices)
    else:
        outcome = execute(
            args.directory,
            args.simulator,
            stalls=stalls,
            front_door=args.front_door,
            view=args.view,
            dump=args.dump,
            trace=args.trace,
            prices=prices,
        )
    return _outcome(args, outcome)


def _netlist(args) -> int:
    from mapper.program import load

    from .netlist import netlist

    texts = netlist(load(args.directory).params, args.family)
    return _outcome(args, execute(args.directory, args.simulator, texts=texts))


def _outcome(args, outcome) -> int:
    """Print a run; the exit status."""
    if args.json:
        print((Path(args.directory) / "report.json").read_text(), end="")
    else:
        print(
            f"{outcome.simulator}: {outcome.cycles} cycles (ISS {outcome.cycles_iss}), "
            f"{outcome.outputs_checked} outputs checked, {outcome.mismatches} mismatches, "
            f"{outcome.cycles_per_second / 1000:,.0f} kcycles/s"
        )
        if outcome.cost is not None:
            print("\n".join(cost_lines(outcome.cost)))
    if outcome.first:
        print(f"first difference: {outcome.first}", file=sys.stderr)
    return 0 if outcome.good else 1


def cost_lines(cost: costs.Cost) -> list[str]:
    """Time, energy, and the energy of each item from the largest down."""
    total = cost.energy.to("nJ")
    lines = [f"{cost.table}: {cost.time.to('ns'):,.0f} ns, {total:,.1f} nJ"]
    for name, energy in sorted(cost.breakdown.items(), key=lambda item: -item[1].value):
        if energy.value:
            share = energy.to("nJ") / total
            lines.append(f"  {name:16} {energy.to('nJ'):12,.2f} nJ {share:7.1%}")
    if cost.unpriced:
        lines.append(f"  without a price: {', '.join(cost.unpriced)}")
    return lines


def _run_chip(args, stalls, prices):
    from . import chip

    if args.front_door or args.view == "structural":
        raise ConfigError("chip: weights come through the back door of the behavioural view only")
    return chip.execute(
        args.directory,
        args.simulator,
        stalls=stalls,
        dump=args.dump,
        trace=args.trace,
        prices=prices,
    )


def _report(args) -> None:
    if is_chip(args.directory):
        from .chippage import write
    else:
        from .page import write
    output = args.output or Path(args.directory) / "report.html"
    write(args.directory, output, args.cost)
    print(f"-> {output}")


def _verify(args) -> int:
    from .verify import as_dicts, verify

    checks = verify(args.directory, args.programs)
    if args.json:
        print(json.dumps(as_dicts(checks), indent=1))
    else:
        for check in checks:
            print(f"{'ok  ' if check.good else 'FAIL'} {check.name}: {check.detail}")
    return 0 if all(check.good for check in checks) else 1


def _fuzz(args) -> int:
    from .fuzz import fuzz

    result = fuzz(args.n, args.seed, args.rtl_every, args.simulator, args.readout)
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print(
            f"{result['cases']} cases, {result['skipped']} did not fit, {result['rtl']} on RTL: "
            f"{result['mismatches']} mismatches, {result['cycle_differences']} cycle differences"
        )
        for line in result["failures"]:
            print(line, file=sys.stderr)
    return 0 if not result["failures"] else 1


def _main(args) -> int:
    from .main_job import run

    strategies = args.strategy or ["linear", "sparsemap", "densemap"]
    show = (lambda line: None) if args.json else print
    reports = run(
        args.model,
        args.layer,
        strategies,
        args.simulator,
        args.tokens,
        args.policy,
        args.output,
        show,
    )
    if args.json:
        print(json.dumps(reports, indent=1))
    good = all(r["mismatches"] == 0 and r["cycles"] == r["cycles_predicted"] for r in reports)
    return 0 if good else 1


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status."""
    return run_command("sim", parser(), arguments)
