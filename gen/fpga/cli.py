"""`python -m gen.fpga`: a board in, a bitstream and a report out."""

import argparse
import json
import sys
from pathlib import Path

from gen.fpga.boards import BOARDS, find
from rtl.spec.commandline import Parser
from rtl.spec.params import ConfigError, Params

_EPILOG = """\
boards:
{boards}

examples:
  python -m gen.fpga ulx3s                           bitstream and report in build/fpga/ulx3s
  python -m gen.fpga ulx3s --device 85f --clock 50
  python -m gen.fpga icebreaker --config my.toml -o build/mine --json

Needs pip install 'blockcim[fpga]'; variables YOSYS, NEXTPNR_ECP5, NEXTPNR_ICE40, NEXTPNR_GOWIN, ECPPACK, ICEPACK and
GOWIN_PACK name other tools. Exit status: 0, 1 when a tool fails or the clock is not reached, 2 for a wrong argument.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    boards = "\n".join(
        f"  {name:<12}{b.title}; devices {', '.join(b.platforms)}; {b.mhz:g} MHz"
        for name, b in BOARDS.items()
    )
    result = Parser(
        prog="python -m gen.fpga",
        description="Build a bitstream: one core behind a serial line, with a self-test at power-up.",
        epilog=_EPILOG.format(boards=boards),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    result.add_argument("board", metavar="BOARD", help=", ".join(BOARDS))
    result.add_argument("--config", metavar="PRESET|FILE", help="default: the board's preset")
    result.add_argument("--device", default="", help="of the board; default: its first")
    result.add_argument(
        "--clock", type=float, default=0.0, metavar="MHZ", help="of the core; default: the board's"
    )
    result.add_argument("--seed", type=int, default=1, help="of place and route (default: 1)")
    result.add_argument("-o", "--output", metavar="DIR", help="default: build/fpga/BOARD")
    result.add_argument("--json", action="store_true", help="print the report as JSON")
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    # Not at the top: they load Amaranth, which --help need not wait for.
    from gen.fpga import flow, report

    try:
        arguments = parser().parse_args(argv)
        spec = find(arguments.board)
        preset = arguments.config or spec.preset
        result = flow.run(
            arguments.board,
            Params.load(preset),
            Path(arguments.output or f"build/fpga/{arguments.board}"),
            preset=preset,
            device=arguments.device,
            mhz=arguments.clock,
            seed=arguments.seed,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except ConfigError as error:
        print(f"fpga: error: {error}", file=sys.stderr)
        return 2
    except flow.BuildError as error:
        print(f"fpga: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result, indent=1) if arguments.json else report.table(result))
    return 0
