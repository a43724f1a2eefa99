"""Runs a chip directory on the ISS or on RTL, compares every output with the golden model, extends the report."""

import tempfile
import time
from pathlib import Path

import numpy as np

from mapper import chip as chip_files
from mapper import program as program_files
from mapper.atomic import write_text
from mapper.chip import Chip, replay_chip, routes
from mapper.chipcycles import ChainCore, ChipTiming
from mapper.cost import Table, cost
from mapper.cycles import CycleModel
from mapper.events import Events
from rtl.spec.isa import Error, Instr, Op, make
from rtl.spec.params import ConfigError
from rtl.spec.regmap import MAGIC

from .counters import busy_counts, busy_registers
from .execute import Outcome, boot_program, compare, extended
from .iss import Iss
from .timeline import ChainRecorder, Span, chrome_trace


class _Untimed(CycleModel):
    """A core without time: everything can issue. What it computes does not depend on when."""

    def can_issue(self, instr: Instr) -> bool:
        return True

    def issue(self, instr: Instr) -> None:
        self.registers(instr)

    def tick(self) -> None:
        pass

    settle = tick


def run_cores(made: Chip) -> tuple[list[np.ndarray], Events]:
    """Output words of every core, int8 (words, lanes), from the encoded programs on the ISS; events of all together.

    Cycles are not among them.
    """
    result, events = [], Events()
    for number, core in enumerate(made.cores):
        iss = Iss(core.params, core.weights, core.constants)
        found = iss.run(core.instructions, core.inputs, timing=_Untimed)
        if found.error:
            raise ConfigError(f"core {number}: stops with {found.error.name} at pc {found.pc}")
        result.append(found.outputs)
        events += found.events
    events.cycles = 0
    return result, events


def spans_by_core(made: Chip, timing: ChipTiming) -> dict[str, list[Span]]:
    """What the units of each core did in a run with `ChainRecorder`, by the core's name."""
    return {
        f"core {n}, layer {core.workload.layer_text}": model.spans
        for n, (core, model) in enumerate(zip(made.cores, timing.models, strict=False))
        if isinstance(model, ChainRecorder)
    }


def execute(
    directory: str | Path,
    simulator: str = "verilator",
    *,
    stalls: np.ndarray | None = None,
    dump: Path | None = None,
    trace: Path | None = None,
    prices: Table | None = None,
) -> Outcome:
    """Run a chip directory and compare; the report in the directory is extended.

    Parameters as for `sim.execute.execute`. Raises `ConfigError` if the directory is damaged, the simulator is missing,
    or the run fails.
    """
    made = chip_files.load(directory)
    if prices is not None:
        prices.check(made.params)
    pattern = np.zeros(0, np.uint8) if stalls is None else stalls
    start = time.perf_counter()
    model = ChainRecorder if trace else ChainCore
    timing = replay_chip(made, pattern & 1, pattern >> 1 & 1, model)
    (outputs, events), cycles = run_cores(made), timing.cycles
    events.cycles = cycles
    wall, busy = time.perf_counter() - start, timing.busy
    differing = ""
    if simulator != "iss":
        outputs, cycles, busy, wall, differing = _on_rtl(made, timing, simulator, stalls, dump)
    checked = wrong = 0
    for number, (core, words) in enumerate(zip(made.cores, outputs, strict=True)):
        count, bad, first = compare(core, words)
        checked, wrong = checked + count, wrong + bad
        if first and not differing:
            differing = f"core {number}, layer {core.workload.layer_text}: {first}"
    total = {name: sum(core[name] for core in busy) for name in busy[0]}
    outcome = Outcome(
        simulator, cycles, timing.cycles, checked, wrong, differing, wall, total, events
    )
    outcome.differs = bool(differing)
    if trace is not None:
        write_text(trace, chrome_trace(spans_by_core(made, timing)))
    if prices is not None:
        outcome.cost = cost(events, prices, made.params)
    if stalls is None:
        report = extended(made.report, made.report["tokens"], outcome)
        program_files.write_report(report, directory)
    return outcome


def _on_rtl(made: Chip, timing: ChipTiming, simulator: str, stalls, dump):
    """Outputs of every core, cycles, counters, seconds, and the first thing that differs from the cycle model."""
    from . import runner  # cocotb and Amaranth are needed for RTL only

    params, limit = made.params, 2 * timing.cycles + 10_000
    with tempfile.TemporaryDirectory(prefix="blockcim-") as scratch:
        work = Path(scratch)
        boots = [boot_program(core, front_door=False) for core in made.cores]
        halt = [[make(Op.HALT)]] * (params.cores - len(made.cores))
        files = {
            "program": [*(core.instructions for core in made.cores), *halt],
            "boot": [*(code for code, _ in boots), *halt],
        }
        for name, programs in files.items():
            data = [program_files.program_bytes(code, params) for code in programs]
            (work / name).write_bytes(b"".join(data))
        with (work / "weights").open("wb") as file:
            for core in made.cores:
                file.write(core.weights.tobytes())
            spare = params.tiles * params.rows * params.cols * len(halt)
            file.truncate(file.tell() + spare)
        result = runner.run(
            params,
            simulator,
            work / "program",
            inputs=made.inputs,
            after=made.after,
            route=made.route,
            stalls=stalls,
            weights=work / "weights",
            boot=work / "boot",
            boot_inputs=np.concatenate([words for _, words in boots]),
            boot_route=routes((k, len(words)) for k, (_, words) in enumerate(boots)),
            timeout=limit,
            dump=dump,
        )
    for number, registers in enumerate(result.cores):
        if registers["ID"] != MAGIC or registers["CONFIG_HASH"] != params.config_hash:
            raise ConfigError(f"hardware: core {number} is not of the chip's configuration")
        if registers["STATUS"] & 1:
            raise ConfigError(f"{simulator}: core {number} did not end in {limit} cycles")
        if registers["ERROR"]:
            name = Error(registers["ERROR"]).name
            raise ConfigError(f"{simulator}: core {number}: {name} at pc {registers['ERROR_PC']}")
    busy = [busy_counts(registers) for registers in result.cores]
    assert result.route is not None
    outputs = _by_core(made, result.outputs, result.route)
    return outputs, result.busy, busy, result.wall_s, _difference(params, timing, result, busy)


def _by_core(made: Chip, outputs: np.ndarray, route: np.ndarray) -> list[np.ndarray]:
    source = route & np.uint32(chip_files.LAST - 1)
    return [outputs[source == number] for number in range(len(made.cores))]


def _difference(params, timing: ChipTiming, result, busy) -> str:
    """The first cycle count or counter that differs between RTL and the cycle model."""
    for number, registers in enumerate(result.cores):
        if registers["CYCLES"] != timing.cores[number]:
            return (
                f"core {number}: {registers['CYCLES']} cycles, the ISS says {timing.cores[number]}"
            )
        wanted = busy_counts(busy_registers(timing.busy[number], params))
        if busy[number] != wanted:
            return f"core {number}: counters {busy[number]}, the ISS says {wanted}"
    source = [int(r & (chip_files.LAST - 1)) for r in result.route if r & chip_files.LAST]
    if source != [core for core, _ in timing.sent]:
        return "packets leave in another order than the ISS says"
    return ""
