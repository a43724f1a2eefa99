"""Checks a hardware configuration as its user would: lint, random programs on RTL against ISS, cell counts."""

import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mapper.program import words_bytes
from rtl.spec.isa import Error
from rtl.spec.params import ConfigError, Params

from .counters import busy_registers
from .iss import Iss
from .random_program import random_program
from .tools import find_icarus, find_verilator

#: Tops of a bundle, outer ones first.
TOPS = ("soc", "serial", "axi", "wishbone", "chip", "core")


@dataclass
class Check:
    """One check: what, whether it holds, in words."""

    name: str
    good: bool
    detail: str


def bundle_params(directory: str | Path) -> Params:
    """Parameters of an emitted bundle. Raises `ConfigError` if the directory is none."""
    path = Path(directory) / "params.toml"
    if not path.exists():
        raise ConfigError(f"{directory}: is not an emitted bundle (no params.toml)")
    return Params.from_toml(path)


def lint(directory: Path, view: str) -> Check:
    """Verilator lint with all warnings and the bundle's waivers, on one view of the macro."""
    tool = find_verilator()
    sources = [
        p
        for p in sorted(directory.glob("blockcim_*.v"))
        if "_macro_" not in p.name or view in p.name
        if p.name != "blockcim_sim.v"
    ]
    top = next(f"blockcim_{n}" for n in TOPS if (directory / f"blockcim_{n}.v").exists())
    command = [str(tool.path), "--lint-only", "-Wall", "--top-module", top]
    command += [str(directory / "lint.vlt"), *map(str, sources)]
    result = subprocess.run(command, capture_output=True, text=True, env=tool.environ())
    lines = (result.stderr + result.stdout).strip().splitlines()
    first = next((line for line in lines if line.startswith("%")), "")
    return Check(f"lint {view}", result.returncode == 0 and not first, first or "clean")


def icarus_compiles(directory: Path) -> Check:
    """Icarus compiles the bundle with the behavioural macro and the simulation top."""
    tool = find_icarus()
    sources = [p for p in sorted(directory.glob("blockcim_*.v")) if "structural" not in p.name]
    command = [str(tool.path), "-g2012", "-o", "/dev/null", *map(str, sources)]
    result = subprocess.run(command, capture_output=True, text=True, env=tool.environ())
    return Check("icarus compiles", result.returncode == 0, result.stderr.strip()[:200] or "clean")


def run_random(
    params: Params,
    simulator: str,
    seed: int,
    *,
    stalls: bool,
    illegal: bool = False,
    size: int = 120,
    texts: dict[str, str] | None = None,
) -> Check:
    """A random program on RTL against the ISS: outputs, cycles, error, pc and every counter."""
    from . import runner  # cocotb and Amaranth are needed for RTL only

    code = random_program(params, seed, size=size, stalls=stalls, illegal=illegal)
    want = Iss(params).run(
        code.words,
        code.inputs,
        code.after,
        stall_in=code.stall_in,
        stall_out=code.stall_out,
        length=code.length,
    )
    with tempfile.TemporaryDirectory(prefix="blockcim-") as scratch:
        path = Path(scratch) / "program.bin"
        path.write_bytes(words_bytes(code.words, params))
        got = runner.run(
            params,
            simulator,
            path,
            inputs=code.inputs,
            after=code.after,
            stalls=code.stalls,
            length=code.length,
            timeout=2 * want.cycles + 10_000,
            texts=texts,
        )
    counters = {
        "CYCLES": want.cycles,
        "ERROR": int(want.error),
        "ERROR_PC": want.pc if want.error else 0,
        "ISSUED": want.issued,
        **busy_registers(want.busy, params),
    }
    problems = [
        f"{name} {got.registers[name]}, ISS says {value}"
        for name, value in counters.items()
        if got.registers[name] != value
    ]
    if want.error == Error.NONE and not np.array_equal(got.outputs, want.outputs):
        problems.append(_first_difference(got.outputs, want.outputs))
    name = f"{simulator} seed {seed}{' stalls' if stalls else ''}{' illegal' if illegal else ''}"
    detail = problems[0] if problems else f"{want.cycles} cycles, {want.error.name}"
    return Check(name, not problems, detail)


def _first_difference(got: np.ndarray, want: np.ndarray) -> str:
    if got.shape != want.shape:
        return f"{len(got)} output words, ISS says {len(want)}"
    word, lane = (int(i) for i in np.argwhere(got != want)[0])
    return f"output word {word} lane {lane}: {got[word, lane]}, ISS says {want[word, lane]}"


def _texts(directory: Path, view: str) -> dict[str, str]:
    """Verilog of the bundle with one view of the macro, as the runner wants it."""
    other = "structural" if view == "behavioural" else "behavioural"
    paths = sorted(directory.glob("blockcim_*.v"))
    return {path.name: path.read_text() for path in paths if other not in path.name}


def verify(directory: str | Path, programs: int = 3) -> list[Check]:
    """All checks of a bundle. Raises `ConfigError` if it is not one, or no simulator is there."""
    from gen.cells import cell_counts  # Amaranth is needed here only

    where, params = Path(directory), bundle_params(directory)
    start = time.perf_counter()
    checks = [lint(where, view) for view in ("structural", "behavioural") if _has(where, view)]
    checks.append(icarus_compiles(where))
    texts = _texts(where, "behavioural" if _has(where, "behavioural") else "structural")
    if params.cores > 1:
        # Random programs run on one of the cores; `sim run` checks whole chips.
        from gen.emit import simulation

        params = params.replace(cores=1)
        texts["blockcim_sim.v"] = simulation(params)
    for seed in range(programs):
        for stalls in (False, True):
            checks.append(run_random(params, "verilator", seed, stalls=stalls, texts=texts))
    checks.append(run_random(params, "verilator", programs, stalls=True, illegal=True, texts=texts))
    checks.append(run_random(params, "icarus", 0, stalls=True, texts=texts))
    adders, total = cell_counts(params)["$add"], cell_counts(params).total()
    checks.append(Check("cells", adders > 0, f"{adders} adders of {total} cells in an array"))
    took = time.perf_counter() - start
    checks.append(Check("time", True, f"{took:.1f} s"))
    return checks


def _has(directory: Path, view: str) -> bool:
    return (directory / f"blockcim_macro_{view}.v").exists()


def as_dicts(checks: list[Check]) -> list[dict]:
    """The checks for JSON."""
    return [asdict(check) for check in checks]
