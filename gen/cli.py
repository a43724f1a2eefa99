"""`python -m gen`: one configuration in, a bundle of Verilog, C header and documents out."""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import NoReturn

from gen import bundle
from gen.describe import hash_text, member_docs
from gen.version import VERSION
from rtl.spec.params import PRESETS, ConfigError, Params

VIEWS = ("structural", "behavioural", "both")

_EPILOG = """\
presets:
{presets}

examples:
  python -m gen                                   the default configuration, into build/gen
  python -m gen --rows 64 --cols 64 --tiles 4 -o build/small
  python -m gen --config gpt2-medium --tiles 24   a preset, one parameter changed
  python -m gen --config my.toml --view behavioural --json

The directory is written completely or not at all, and is byte-identical when repeated. It holds the
Verilog, blockcim.h, blockcim_regs.h, ISA.md, REGISTERS.md, DATASHEET.md, params.toml and
manifest.json.
"""


class _Parser(argparse.ArgumentParser):
    """Errors in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def parser() -> argparse.ArgumentParser:
    """The command line; every field of `Params` is an option, so that none can be forgotten."""
    presets = "\n".join(
        f"  {name:<13}{', '.join(f'{k}={v}' for k, v in changes.items()) or 'the defaults'}"
        for name, changes in PRESETS.items()
    )
    result = _Parser(
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


def generate(params: Params, view: str, target: Path) -> dict[str, str]:
    """Emit, document and write one bundle; returns its files. Raises `ConfigError`."""
    bundle.check_target(target)
    # Not at the top: it loads Amaranth, which --help and errors need not wait for.
    from gen import emit

    files = bundle.contents(params, view, emit.emit(params, view))
    bundle.write(target, files)
    return files


def _summary(params: Params, view: str, target: Path, files: dict[str, str], wall: float) -> dict:
    return {
        "dir": str(target),
        "config_hash": hash_text(params),
        "view": view,
        "params": params.as_dict(),
        "files": {name: len(text.encode()) for name, text in files.items()},
        "wall_s": round(wall, 3),
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 2 after one line on stderr."""
    try:
        arguments = parser().parse_args(argv)
        params = configuration(arguments)
        target = Path(arguments.output)
        start = time.perf_counter()
        files = generate(params, arguments.view, target)
        wall = time.perf_counter() - start
    except ConfigError as error:
        print(f"gen: error: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(_summary(params, arguments.view, target, files, wall), indent=2))
    else:
        size = sum(len(text.encode()) for text in files.values())
        print(f"{target}: {len(files)} files, {size} bytes, configuration {hash_text(params)}")
    return 0
