"""RTL: equality on both simulators, simulation speed under cocotb and in a bare C++ loop, the main job warm."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from gen.emit import emit
from mapper import program as program_files
from mapper import workload as workloads
from mapper.compile import Compiler
from mapper.program import Program
from rtl.spec.isa import width
from rtl.spec.params import Params
from sim.execute import execute, run_iss
from sim.fuzz import fuzz
from sim.runner import CONTROL_FILE, FAST_CODE, VERILATOR_ARGS, after_bytes, beat_bytes
from sim.tools import find_verilator

from .mapping import program
from .measure import Row, median_seconds

#: Runs of a timing; the median counts.
RUNS = 5


def rows() -> Iterator[Row]:
    """All rows of this group."""
    with tempfile.TemporaryDirectory(prefix="blockcim-") as scratch:
        work = Path(scratch)
        yield from _equal(work)
        yield from _speed(work)
    yield Row("warm main job (make sim), seconds", _main_job(), "<=", 90)
    result = fuzz(40, 5000, rtl_every=10)
    note = f"{result['rtl']} cases on Verilator, with and without stalls"
    yield Row("fuzz on RTL: mismatches", result["mismatches"], "=", 0, note)
    yield Row("fuzz on RTL: cycle differences", result["cycle_differences"], "=", 0, note)


def _equal(work: Path) -> Iterator[Row]:
    """Mismatches and cycle differences, MiniLM layer and reference layer, both simulators."""
    for name, made in _layers():
        where = work / name
        program_files.write(made, where)
        for simulator in ("verilator", "icarus"):
            outcome = execute(where, simulator)
            label = f"{name}, {simulator}"
            yield Row(f"mismatches, {label}", outcome.mismatches, "=", 0)
            yield Row(f"RTL - ISS cycles, {label}", outcome.cycles - outcome.cycles_iss, "=", 0)


def _layers() -> Iterator[tuple[str, Program]]:
    params = Params.load("minilm")
    for strategy, policy in (("densemap", None), ("sparsemap", None), ("linear", "dense")):
        (layer,) = workloads.build("minilm", [0], params=params, policy=policy, tokens=4)
        yield f"minilm-{strategy}", Compiler(strategy, params).compile(layer)
    yield "reference-A-densemap", program("densemap", "pad")
    yield "reference-A-sparsemap", program("sparsemap", "pad")
    yield "reference-A-linear", program("linear", "dense")
    yield "reference-B-densemap", program("densemap", "rect")


def _speed(work: Path) -> Iterator[Row]:
    """Cycles a second of the reference layer's densemap core, 64 tokens."""
    made = program("densemap", "pad", 64)
    where = work / "speed"
    program_files.write(made, where)
    execute(where, "verilator")
    rates = [execute(where, "verilator").cycles_per_second for _ in range(RUNS)]
    cocotb = statistics.median(rates)
    yield Row("cycles/s under cocotb and Verilator, A densemap", cocotb, ">=", 300_000)
    bare = _bare_rate(work)
    yield Row("cycles/s in a bare C++ loop", bare)
    yield Row("cocotb / bare loop", cocotb / bare, ">=", 0.5)


def _bare_rate(work: Path) -> float:
    """Cycles a second of the same sources with Verilator's own main, from runs of 64 and of 16 tokens.

    Whole processes are timed, weights and program loading included; the difference of two lengths leaves the steady
    state. Program words, loaded one a cycle, count as cycles.
    """
    long, short = program("densemap", "pad", 64), program("densemap", "pad", 16)
    tool, build = find_verilator(), work / "bare"
    build.mkdir()
    params = long.params
    texts = {n: t for n, t in emit(params, "behavioural").items() if n.endswith(".v")}
    for name, text in texts.items():
        (build / name).write_text(text.replace("finished = 1;", "finished = 1; $finish;"))
    (build / "control.vlt").write_text(CONTROL_FILE)
    command = [str(tool.path), "--cc", "--exe", "--main", *VERILATOR_ARGS]
    command += ["--top-module", "blockcim_sim", "-Mdir", str(build), str(build / "control.vlt")]
    command += sorted(map(str, build.glob("*.v")))
    make = ["make", "-j2", "-C", str(build), "-f", "Vblockcim_sim.mk", *FAST_CODE]
    for step in (command, make):
        subprocess.run(step, check=True, capture_output=True, env=tool.environ())
    times, counts = [], []
    for made in (short, long):
        arguments, cycles = _bare_arguments(made, params, build)
        run = partial(subprocess.run, arguments, check=True, capture_output=True)
        times.append(median_seconds(run, RUNS))
        counts.append(cycles)
    return (counts[1] - counts[0]) / (times[1] - times[0])


def _bare_arguments(made: Program, params: Params, build: Path) -> tuple[list[str], int]:
    """Command line of the bare simulation for a program, and the cycles it takes in all."""
    files = {
        "program": program_files.program_bytes(made.instructions, params),
        "in": beat_bytes(made.inputs, params),
        "after": after_bytes(made.after),
        "weights": made.weights.tobytes(),
    }
    arguments = [str(build / "Vblockcim_sim")]
    for name, data in files.items():
        path = build / f"{name}{made.workload.tokens}"
        path.write_bytes(data)
        arguments.append(f"+{name}={path}")
    loading = len(made.instructions) * width(params) // 32
    return arguments, run_iss(made).cycles + loading


def _main_job() -> float:
    """Seconds of the main job once everything is built."""
    command = [sys.executable, "-m", "sim", "main"]
    subprocess.run(command, check=True, capture_output=True)
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start
