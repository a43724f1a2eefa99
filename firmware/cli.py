"""`python -m firmware`: images, builds, and the numbers of the driver."""

import argparse
import dataclasses
import json
from pathlib import Path

from mapper.atomic import write_bytes
from mapper.cli import run_command
from mapper.program import load as load_program
from rtl.spec.commandline import Parser
from rtl.spec.image import SECTIONS
from rtl.spec.soc import Memory

from . import cli_run
from . import image as images

#: Bytes of code that the driver may have on RV32I.
CODE_LIMIT = 4096

_EPILOG = """\
examples:
  python -m firmware pack build/program -o build/image.bin    a program directory of `mapper compile`
  python -m firmware info build/image.bin --json
  python -m firmware build -o build/firmware                  driver and demo; `make firmware`
  python -m firmware build --image build/image.bin --ram 1M   and what the SoC's memory holds
  python -m firmware size                                     code of the driver on RV32I, -Os
  python -m firmware coverage                                 of the driver by its tests
  python -m firmware soc build/program                        the demo on the simulated SoC
  python -m firmware run build/image.bin --port /dev/ttyUSB0  on hardware, over a serial line

RISC-V code is compiled by Zig (pip install ziglang), or by the compiler that CC_RISCV names.
"""


def _size(text: str) -> int:
    """A number of bytes: decimal, 0x..., or with K or M behind it."""
    scale = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:].upper(), 1)
    try:
        return int(text[:-1] if scale > 1 else text, 0) * scale
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size") from None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = Parser(
        prog="python -m firmware",
        description="Images for the C driver, builds of driver and demo, their numbers; runs on SoC and hardware.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    pack = commands.add_parser("pack", help="make an image of a program directory")
    pack.add_argument("directory", metavar="DIR", help="program directory of `mapper compile`")
    pack.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    pack.add_argument("--json", action="store_true", help="print what `info --json` prints")
    pack.set_defaults(run=_pack)
    info = commands.add_parser("info", help="check an image and say what is in it")
    info.add_argument("image", metavar="FILE", help="image of `pack`")
    info.add_argument("--json", action="store_true", help="print JSON")
    info.set_defaults(run=_info)
    _add_build(commands)
    size = commands.add_parser("size", help="code size of the driver on RV32I with -Os")
    size.add_argument("--json", action="store_true", help="print JSON")
    size.set_defaults(run=_code_size)
    coverage = commands.add_parser("coverage", help="coverage of the driver by its tests")
    coverage.add_argument("--json", action="store_true", help="print JSON")
    coverage.set_defaults(run=_coverage)
    cli_run.add_parsers(commands)
    return result


def _add_build(commands) -> None:
    build = commands.add_parser("build", help="compile driver (host, RV32I) and demo")
    build.add_argument("-o", "--output", type=Path, default=Path("build/firmware"), metavar="DIR")
    build.add_argument("--image", metavar="FILE", help="also write rv32i/ram.bin with this image")
    build.add_argument(
        "--ram", type=_size, default=Memory.ram, metavar="BYTES", help="of the SoC (default: 512K)"
    )
    build.add_argument(
        "--image-at",
        type=_size,
        default=Memory.image,
        metavar="BYTES",
        help="where the image lies in RAM (default: 64K)",
    )
    build.add_argument("--json", action="store_true", help="print JSON")
    build.set_defaults(run=_build)


def describe(image: images.Image) -> dict:
    """What an image says about itself, as JSON values; sizes in words."""
    header = {f.name: getattr(image, f.name) for f in dataclasses.fields(image)}
    header = {n: len(v) if n in SECTIONS else v for n, v in header.items()}
    header["config_hash"] = f"0x{image.config_hash:08x}"
    header["instructions"] = len(image.program) // image.instruction
    return header | {"words": len(image.words()), "bytes": 4 * len(image.words())}


def _show(image: images.Image, as_json: bool) -> None:
    values = describe(image)
    if as_json:
        print(json.dumps(values, indent=1))
        return
    sections = ", ".join(f"{name} {values[name]}" for name in SECTIONS)
    print(
        f"configuration {values['config_hash']}, {values['bytes']} bytes, "
        f"{values['instructions']} instructions, {values['cycles']} cycles"
    )
    print(f"words: {sections}")


def _pack(args) -> None:
    image = images.pack(load_program(args.directory))
    write_bytes(args.output, image.to_bytes())
    _show(image, args.json)


def _info(args) -> None:
    _show(images.load(args.image), args.json)


def _build(args) -> None:
    from .toolchain import build

    memory = Memory(args.ram, args.image_at)
    image = images.load(args.image).to_bytes() if args.image else None
    made = build(args.output, memory, image)
    if args.json:
        print(json.dumps({str(args.output / name): size for name, size in made.items()}, indent=1))
    else:
        for name, size in made.items():
            print(f"{args.output / name}: {size} bytes")


def _code_size(args) -> int:
    from .toolchain import driver_sizes

    sizes = driver_sizes()
    if args.json:
        print(json.dumps(dataclasses.asdict(sizes) | {"limit": CODE_LIMIT}))
    else:
        print(
            f"driver, rv32i -Os: {sizes.text} bytes of code (limit {CODE_LIMIT}), "
            f"{sizes.rodata} of constants, {sizes.data} of data"
        )
    return 0 if sizes.text + sizes.rodata <= CODE_LIMIT else 1


def _coverage(args) -> int:
    from .coverage import LIMIT, measure

    found = measure()
    if args.json:
        rates = {"line_rate": found.line_rate, "branch_rate": found.branch_rate, "limit": LIMIT}
        print(json.dumps(dataclasses.asdict(found) | rates))
    else:
        print(
            f"driver: {found.line_rate:.1f} % of {found.lines} lines, "
            f"{found.branch_rate:.1f} % of {found.branches} branches (limit {LIMIT} %)"
        )
        if found.short:
            print(f"short of it: lines {', '.join(map(str, sorted(set(found.short))))}")
    return 0 if found.holds else 1


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status."""
    return run_command("firmware", parser(), arguments)
