"""Runs a program directory on the ISS or on RTL, compares every output with the golden model, extends the report."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mapper import program as program_files
from mapper.atomic import write_text
from mapper.bounds import efficiency
from mapper.cost import Cost, Table, cost
from mapper.cycles import CycleModel
from mapper.events import Events
from mapper.program import Program, StreamPacket
from rtl.spec.isa import Error, Op, make
from rtl.spec.params import ConfigError, Params
from rtl.spec.regmap import MAGIC

from . import golden
from .counters import busy_counts
from .iss import Iss, Result
from .timeline import Recorder, chrome_trace

SIMULATORS = ("iss", "verilator", "icarus")


@dataclass
class Outcome:
    """A run: its cycles and those of the ISS, mismatches, the first of them in words, speed, events, cost."""

    simulator: str
    cycles: int
    cycles_iss: int
    outputs_checked: int
    mismatches: int
    first: str
    wall_s: float
    busy: dict[str, int]
    events: Events  #: as the ISS counts them, in cycles equal to those of RTL
    cost: Cost | None = None
    differs: bool = False  #: in something else than outputs and total cycles

    @property
    def cycles_per_second(self) -> float:
        """Simulated cycles a second, builds excluded."""
        return self.cycles / self.wall_s if self.wall_s else 0.0

    @property
    def good(self) -> bool:
        """No mismatch, and the cycles that the ISS says."""
        return self.mismatches == 0 and self.cycles == self.cycles_iss and not self.differs


def weight_stream(program: Program) -> np.ndarray:
    """Stream words (n, lanes) that LDW takes for the weights of every tile, in order."""
    p = program.params
    rows = program.weights.reshape(-1, p.granule)
    if p.weight_slots > 1:
        low = program_files.unpack_elements(rows.view(np.uint8), _elements(p, 8)) & 15
        low = ((low ^ 8) - 8).astype(np.int8)
        rows = np.stack([low.reshape(rows.shape), rows >> 4], axis=1)
    tiles = rows.reshape(p.tiles, -1)
    # Each LDW begins with a new word: what the last one has left is dropped.
    return np.pad(tiles, ((0, 0), (0, -tiles.shape[1] % p.lanes))).reshape(-1, p.lanes)


def _elements(p: Params, bits: int) -> Params:
    return p.replace(act_bits=bits, dac_bits=1, stream_width=0, weight_bits=p.weight_bits)


def boot_program(program: Program, front_door: bool) -> tuple[list, np.ndarray]:
    """Instructions and input that load the constants and, with `front_door`, the weights."""
    p = program.params
    data = program.constants.astype("<u8").view(np.uint8).reshape(-1, p.word_bits // 8)
    stream = [program_files.unpack_elements(data, p)]
    code = [make(Op.LDC, const=0, words=len(program.constants))]
    if front_door:
        stream.append(weight_stream(program))
        code += [make(Op.LDW, tile=t, row=0, rows=p.rows) for t in range(p.tiles)]
    return [*code, make(Op.HALT)], np.concatenate(stream)


def run_iss(
    program: Program, stalls: np.ndarray | None = None, timing: type[CycleModel] = CycleModel
) -> Result:
    """The program on the ISS, weights and constants in place; `timing` as for `Iss.run`."""
    iss = Iss(program.params, program.weights, program.constants)
    pattern = np.zeros(0, np.uint8) if stalls is None else stalls
    return iss.run(
        program.instructions,
        program.inputs,
        program.after,
        stall_in=pattern & 1,
        stall_out=pattern >> 1 & 1,
        timing=timing,
    )


def execute(
    directory: str | Path,
    simulator: str = "verilator",
    *,
    stalls: np.ndarray | None = None,
    front_door: bool = False,
    view: str = "behavioural",
    dump: Path | None = None,
    trace: Path | None = None,
    prices: Table | None = None,
    texts: dict[str, str] | None = None,
) -> Outcome:
    """Run a program directory and compare; the report in the directory is extended.

    Parameters
    ----------
    simulator : iss, verilator or icarus
    stalls : stall pattern of the streams, see sim/runner.py; the ISS gets the same
    front_door : load the weights through the stream instead of the back door
    view : structural or behavioural macro
    dump : file for the waves (.fst or .vcd), see sim/waves.py
    trace : file for the timeline of all units (JSON, see sim/timeline.py)
    prices : what events cost, see mapper/cost.py
    texts : Verilog to simulate in the place of the generated one (sim/netlist.py); weights come through the stream

    Raises `ConfigError` if the directory is damaged, the simulator is missing, the prices are of other hardware, or
    the run fails.
    """
    if simulator not in SIMULATORS:
        raise ConfigError(f"simulator: {simulator!r} is not one of {', '.join(SIMULATORS)}")
    if dump is not None and simulator == "iss":
        raise ConfigError("dump: the ISS has no waves; use verilator or icarus")
    program = program_files.load(directory)
    if program.params.cores > 1 and simulator != "iss":
        raise ConfigError(f"{directory}: is one core of a chip; on RTL run the chip's directory")
    if prices is not None:
        prices.check(program.params)
    start = time.perf_counter()
    reference = run_iss(program, stalls, Recorder if trace else CycleModel)
    wall = time.perf_counter() - start
    if reference.error:
        raise ConfigError(f"program: stops with {reference.error.name} at pc {reference.pc}")
    outputs, cycles, busy = reference.outputs, reference.cycles, reference.busy
    if simulator != "iss":
        front_door = front_door or view == "structural" or texts is not None
        outputs, cycles, busy, wall = _on_rtl(
            program, simulator, reference, stalls, front_door, view, dump, texts
        )
    checked, wrong, first = compare(program, outputs)
    if trace is not None:
        title = f"{program.report['model']} layer {program.report['layer']}, {program.report['strategy']}"
        write_text(trace, chrome_trace({title: reference.spans}))
    events = reference.events
    outcome = Outcome(
        simulator, cycles, reference.cycles, checked, wrong, first, wall, busy, events
    )
    if prices is not None:
        outcome.cost = cost(events, prices, program.params)
    if stalls is None:
        report = extended(program.report, program.workload.tokens, outcome)
        program_files.write_report(report, directory)
    return outcome


def _on_rtl(program, simulator, reference, stalls, front_door, view, dump, texts):
    from . import runner  # cocotb and Amaranth are needed for RTL only

    with _files(program, front_door) as (code, boot, boot_inputs, weights):
        result = runner.run(
            program.params,
            simulator,
            code,
            inputs=program.inputs,
            after=program.after,
            stalls=stalls,
            weights=weights,
            boot=boot,
            boot_inputs=boot_inputs,
            timeout=2 * reference.cycles + 10_000,
            view=view,
            dump=dump,
            texts=texts,
        )
    p, registers = program.params, result.registers
    if registers["ID"] != MAGIC or registers["CONFIG_HASH"] != p.config_hash:
        raise ConfigError(
            f"hardware: config hash 0x{registers['CONFIG_HASH']:08x} is not the program's 0x{p.config_hash:08x}"
        )
    if not result.finished:
        raise ConfigError(
            f"{simulator}: the program did not end in {2 * reference.cycles + 10_000} cycles"
        )
    if result.error != Error.NONE:
        raise ConfigError(f"{simulator}: {result.error.name} at pc {registers['ERROR_PC']}")
    return result.outputs, result.cycles, busy_counts(registers), result.wall_s


@contextlib.contextmanager
def _files(program: Program, front_door: bool) -> Iterator[tuple]:
    """Program, boot program and weights as files; boot inputs."""
    with tempfile.TemporaryDirectory(prefix="blockcim-") as scratch:
        work = Path(scratch)
        code, boot = work / "program.bin", work / "boot.bin"
        code.write_bytes(program_files.program_bytes(program.instructions, program.params))
        instructions, inputs = boot_program(program, front_door)
        boot.write_bytes(program_files.program_bytes(instructions, program.params))
        weights = None
        if not front_door:
            weights = work / "weights.bin"
            weights.write_bytes(program.weights.tobytes())
        yield code, boot, inputs, weights


def compare(program: Program, outputs: np.ndarray) -> tuple[int, int, str]:
    """Outputs checked, mismatches, and the first mismatch in words, against the torch golden model."""
    words = sum(packet.words for packet in program.output_packets)
    checked, wrong, first = 0, 0, ""
    if len(outputs) != words:
        first, wrong = f"{len(outputs)} output words, expected {words}", abs(words - len(outputs))
    expected = _expected(program)
    for packet in program.output_packets:
        want = expected[packet.segment, packet.matrix][packet.token]
        got = outputs[packet.first : packet.first + packet.words].reshape(-1)[: packet.elements]
        if len(got) < len(want):
            wrong += len(want) - len(got)
            continue
        checked += len(want)
        bad = int((got != want).sum())
        if bad and not first:
            first = _first(program, packet, want, got)
        wrong += bad
    return checked, wrong, first


def _expected(program: Program) -> dict[tuple[str, str], np.ndarray]:
    """Golden outputs (tokens, n_out) by segment and matrix."""
    work = program.workload
    return {
        (segment.name, matrix.name): golden.run_matrix(
            matrix, work.inputs[segment.name], program.params
        )
        for segment in work.segments
        for matrix in segment.matrices
    }


def _first(program: Program, packet: StreamPacket, want: np.ndarray, got: np.ndarray) -> str:
    """The first mismatch: layer, matrix, token, block, channel."""
    matrix = next(
        m
        for s in program.workload.segments
        if s.name == packet.segment
        for m in s.matrices
        if m.name == packet.matrix
    )
    found = golden.first_output_mismatch(matrix, want[None], got[None])
    return f"token {packet.token} stream word {packet.first}: {found}"


def extended(report: dict, tokens: int, outcome: Outcome) -> dict:
    """A report, of a program or a chip, with the keys of this run."""
    bound = report.get("throughput_bound")
    report = report | {
        "cycles": outcome.cycles,
        "cycles_predicted": outcome.cycles_iss,
        "efficiency": efficiency(bound, outcome.cycles, tokens) if bound else None,
        "array_cycles": report["arrays"] * outcome.cycles / tokens,
        "outputs_checked": outcome.outputs_checked,
        "mismatches": outcome.mismatches,
        "simulator": outcome.simulator,
        "busy": outcome.busy,
        "events": outcome.events.as_dict(),
        "cycles_per_second": outcome.cycles_per_second,
        "wall_s": outcome.wall_s,
    }
    if outcome.cost is not None:
        report["cost"] = outcome.cost.as_dict()
    return report
