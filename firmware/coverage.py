"""The driver's tests in a process of their own: line and branch coverage (gcc and gcov), sanitizers."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from firmware.toolchain import DRIVER
from rtl.spec.params import ConfigError

#: Percent of lines and of branches that the tests must reach.
LIMIT = 95
TESTS = Path("tests/firmware/test_driver.py")


@dataclass
class Coverage:
    """Lines and branches, of which so many were executed and taken; numbers of lines that are short of it."""

    lines: int = 0
    lines_hit: int = 0
    branches: int = 0
    branches_hit: int = 0
    short: list[int] = field(default_factory=list)

    @property
    def line_rate(self) -> float:
        """Executed lines over all lines, in percent."""
        return 100 * self.lines_hit / self.lines

    @property
    def branch_rate(self) -> float:
        """Taken branches over all branches, in percent."""
        return 100 * self.branches_hit / self.branches

    @property
    def holds(self) -> bool:
        """Whether both are within the limit."""
        return min(self.line_rate, self.branch_rate) >= LIMIT


def run_tests(flags: str, environment: dict[str, str] | None = None, folder: Path = Path()) -> None:
    """Run the driver's tests in a process of their own, the driver compiled with `flags`, gcov's data in `folder`.

    Raises `ConfigError` with the last line that they print if they fail.
    """
    # A test that runs this is itself run by pytest, which leaves its marks in the environment.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "GCOV_"))}
    env |= {"BLOCKCIM_DRIVER_FLAGS": flags, "PYTHONPATH": os.getcwd()} | (environment or {})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)]
    command += [f"--basetemp={folder.absolute() / 'tests'}"]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = (result.stdout + result.stderr).strip().splitlines()
        raise ConfigError(f"{TESTS}: {lines[-1] if lines else f'status {result.returncode}'}")


def sanitize() -> None:
    """Run the tests with address and undefined behaviour checked. Raises `ConfigError` if one fails."""
    library = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    # Its library must be loaded before Python, which leaks at its end.
    environment = {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0"}
    flags = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
    with tempfile.TemporaryDirectory(prefix="blockcim-") as scratch:
        run_tests(flags, environment, Path(scratch))


def measure() -> Coverage:
    """Run the tests and count. Raises `ConfigError` if gcc or gcov is missing, or a test fails."""
    for tool in ("gcc", "gcov"):
        if shutil.which(tool) is None:
            raise ConfigError(f"{tool}: is not here: apt-get install gcc")
    if not TESTS.exists():
        raise ConfigError(f"{TESTS}: is not here: run in the source tree")
    with tempfile.TemporaryDirectory(prefix="blockcim-") as scratch:
        run_tests("-O0 -g --coverage", folder=Path(scratch))
        total = Coverage()
        for notes in Path(scratch).rglob(f"*{DRIVER.stem}.gcda"):
            _add(total, notes)
    if not total.lines:
        raise ConfigError("gcov: no data of the driver was written")
    return total


def _add(total: Coverage, notes: Path) -> None:
    """Add the counts of one build of the driver."""
    command = ["gcov", "--json-format", "--stdout", "--branch-probabilities", notes.name]
    result = subprocess.run(command, cwd=notes.parent, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ConfigError(f"gcov: {result.stderr.strip().splitlines()[-1]}")
    for file in json.loads(result.stdout)["files"]:
        if Path(file["file"]).name != DRIVER.name:
            continue
        for line in file["lines"]:
            taken = [branch["count"] > 0 for branch in line["branches"]]
            total.lines += 1
            total.lines_hit += line["count"] > 0
            total.branches += len(taken)
            total.branches_hit += sum(taken)
            if not line["count"] or not all(taken):
                total.short.append(line["line_number"])
