"""`python -m gen`: one configuration in, a bundle of Verilog, C header and documents out."""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

from gen import bundle, registers
from gen.describe import hash_text, member_docs
from gen.version import VERSION
from rtl.spec.commandline import Parser
from rtl.spec.params import PRESETS, ConfigError, Params
from rtl.spec.soc import CORE_BASE, Memory

VIEWS = ("structural", "behavioural", "both")
#: What goes around the core: nothing, or one of gen/emit.py `TOPS`, which is not imported here: it loads Amaranth.
TOPS = ("core", "axi", "wishbone", "serial", "soc")

_EPILOG = """\
presets:
{presets}

examples:
  python -m gen                                   the default configuration, into build/gen
  python -m gen --rows 64 --cols 64 --tiles 4 -o build/small
  python -m gen --config gpt2-medium --tiles 24   a preset, one parameter changed
  python -m gen --config my.toml --view behavioural --json
  python -m gen --config tiny --top axi -o build/axi      with blockcim_axi.v, the core on AXI
  python -m gen --config small --top soc --ram-kib 256 -o build/soc    with a RISC-V CPU, memory and a UART
  python -m gen --config tiny --registers                 with the register map as HTML and IP-XACT, by PeakRDL

The directory is written completely or not at all, and is byte-identical when repeated. It holds the
Verilog, C headers, ISA.md, REGISTERS.md, DATASHEET.md, the register map in SystemRDL (blockcim.rdl),
a FuseSoC core (blockcim.core) with a self-test, params.toml and manifest.json.
"""


def parser() -> argparse.ArgumentParser:
    """The command line; every field of `Params` is an option, so that none can be forgotten."""
    presets = "\n".join(
        f"  {name:<13}{', '.join(f'{k}={v}' for k, v in changes.items()) or 'the defaults'}"
        for name, changes in PRESETS.items()
    )
    result = Parser(
        prog="python -m gen",
        description="Generate the hardware of one configuration.",
        epilog=_EPILOG.format(presets=presets),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    result.add_argument("--config", metavar="PRESET|FILE", help="a preset, or a TOML file")
    result.add_argument(
        "-o", "--output", metavar="DIR", default="build/gen", help="directory (default: build/gen)"
    )
    result.add_argument(
        "--view",
        choices=VIEWS,
        default="both",
        help="of the macro: synthesizable, fast to simulate, or both (default)",
    )
    result.add_argument(
        "--top",
        choices=TOPS,
        default="core",
        help="core: registers and streams as they are (default); axi: AXI4-Lite, AXI4-Stream and a Wishbone master "
        "for DMA around it; wishbone: the same with Wishbone registers; serial: behind a serial line; soc: in a system "
        "with CPU, memory, UART and timer",
    )
    result.add_argument(
        "--ram-kib", type=int, metavar="N", help="memory of --top soc, in KiB (default: 512)"
    )
    result.add_argument(
        "--registers",
        action="store_true",
        help="also write the register map as HTML, IP-XACT and PeakRDL's C header, into registers/",
    )
    result.add_argument("--json", action="store_true", help="print a summary as JSON")
    result.add_argument("--version", action="version", version=f"blockcim {VERSION}")
    group = result.add_argument_group("parameters (each overrides --config)")
    docs = member_docs(Params)
    for field in dataclasses.fields(Params):
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            *([f"--{field.name}"] if "_" in field.name else []),
            dest=f"param_{field.name}",
            metavar="TEXT" if field.type is str else "N",
            type=str if field.type is str else int,
            help=f"{docs[field.name].replace('%', '%%')} (default: {field.default})",
        )
    return result


def configuration(arguments: argparse.Namespace) -> Params:
    """The configuration that the command line names. Raises `ConfigError`."""
    base = Params.load(arguments.config) if arguments.config else Params()
    given = {f.name: getattr(arguments, f"param_{f.name}") for f in dataclasses.fields(Params)}
    return base.replace(**{name: value for name, value in given.items() if value is not None})


def top_options(arguments: argparse.Namespace) -> dict:
    """Arguments of the top beside the parameters. Raises `ConfigError`."""
    if arguments.ram_kib is None:
        return {}
    if arguments.top != "soc":
        raise ConfigError(f"ram-kib: {arguments.top} has no memory, --top soc has")
    if not 1 <= arguments.ram_kib <= CORE_BASE >> 10:
        raise ConfigError(f"ram-kib: {arguments.ram_kib} is outside 1..{CORE_BASE >> 10}")
    ram = arguments.ram_kib << 10
    return {"memory": Memory(ram, min(Memory.image, ram // 2))}


def generate(
    params: Params,
    view: str,
    target: Path,
    top: str = "core",
    *,
    with_registers: bool = False,
    **options,
) -> dict[str, str | bytes]:
    """Emit, document and write one bundle; returns its files; `options` are those of the top.

    Raises `ConfigError`.
    """
    bundle.check_target(target)
    if with_registers:
        registers.require()
    # Not at the top: it loads Amaranth, which --help and errors need not wait for.
    from gen import emit

    verilog = emit.emit(params, view, top, **options)
    files = bundle.contents(params, view, verilog, top, with_registers=with_registers)
    bundle.write(target, files)
    return files


def _summary(params: Params, arguments, files: dict[str, str | bytes], wall: float) -> dict:
    return {
        "dir": arguments.output,
        "config_hash": hash_text(params),
        "view": arguments.view,
        "top": arguments.top,
        "params": params.as_dict(),
        "files": {name: len(bundle.encoded(content)) for name, content in files.items()},
        "wall_s": round(wall, 3),
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 2 after one line on stderr."""
    try:
        arguments = parser().parse_args(argv)
        params = configuration(arguments)
        target = Path(arguments.output)
        start = time.perf_counter()
        files = generate(
            params,
            arguments.view,
            target,
            arguments.top,
            with_registers=arguments.registers,
            **top_options(arguments),
        )
        wall = time.perf_counter() - start
    except ConfigError as error:
        print(f"gen: error: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(_summary(params, arguments, files, wall), indent=2))
    else:
        size = sum(len(bundle.encoded(content)) for content in files.values())
        print(f"{target}: {len(files)} files, {size} bytes, configuration {hash_text(params)}")
    return 0
