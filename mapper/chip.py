"""Whole models on a chip: one core a layer, or a few layers, on a chain, every core with a program of its own.

A chip directory has a program directory for each core (`core_00` ..), and beside them

| file | holds |
|---|---|
| chip.json | model, layers, and the packets of both streams in the order in which they travel |
| stream/input.bin, after.bin | as in a program directory, for the chip's input |
| stream/route.bin | u32 per input word: the core, bit 31 on the last word of a packet |
| params.toml, report.json | as in a program directory |

What is between matrices (attention, norms, activation functions) happens outside the chip: the input of a matrix is
known beforehand from the golden model, and is offered when the last output that it depends on has left.
"""

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rtl.spec.isa import Instr
from rtl.spec.params import ConfigError, Params

from . import program
from .bounds import efficiency
from .chipcycles import ChainCore, ChipPacket, ChipTiming, Host, Script, run_chip
from .compile import Compiler
from .graph import Workload
from .program import Program, StreamPacket
from .report import RUN_KEYS
from .schedule import unrolled

#: Parameters that grow with a layer; all cores get the largest.
GROWING = ("tiles", "act_depth", "const_depth", "prog_depth")
#: Set in a route on the last word of a packet.
LAST = 1 << 31


@dataclass
class Chip:
    """Programs of the cores, and the streams of the chip."""

    params: Params
    cores: list[Program]
    timing: ChipTiming
    report: dict = field(default_factory=dict)

    def packets(self) -> list[tuple[int, StreamPacket]]:
        """Input packets with their cores, in the order in which they are offered."""
        return [(core, self.cores[core].input_packets[n]) for core, n in self.timing.order]

    def outputs(self) -> list[tuple[int, StreamPacket]]:
        """Output packets with their cores, in the order in which they leave."""
        return [(core, self.cores[core].output_packets[n]) for core, n in self.timing.sent]

    @property
    def inputs(self) -> np.ndarray:
        """int8 (words, lanes): the input stream."""
        parts = [self.cores[k].inputs[p.first : p.first + p.words] for k, p in self.packets()]
        return np.concatenate(parts)

    @property
    def after(self) -> np.ndarray:
        """uint32 (words,): output words that leave before each input word is offered."""
        words = [p.words for _, p in self.packets()]
        return np.repeat(np.array(self.timing.after, np.uint32), words)

    @property
    def route(self) -> np.ndarray:
        """uint32 (words,): the core of each input word, and where packets end."""
        return routes((core, p.words) for core, p in self.packets())


def routes(packets) -> np.ndarray:
    """Routes of packets given as (core, words)."""
    parts = [np.zeros(0, np.uint32)]
    for core, words in packets:
        part = np.full(words, core, np.uint32)
        part[-1] |= np.uint32(LAST)
        parts.append(part)
    return np.concatenate(parts)


def compile_chip(compiler: Compiler, workloads: list[Workload]) -> Chip:
    """A chip with a core for each workload, in the order in which they depend on each other.

    Raises `ConfigError` when there are more layers than cores, or as `Compiler.compile` does.
    """
    start = time.perf_counter()
    cores = compiler.params.cores
    if len(workloads) > cores:
        layers, each = sum(len(w.layers) for w in workloads), len(workloads[0].layers)
        raise ConfigError(
            f"cores: {cores} are too few for {layers} layers, {each} a core; {len(workloads) - cores} missing"
        )
    _unify(compiler, workloads)
    programs = [compiler.compile(work) for work in workloads]
    params = programs[0].params
    encoded = time.perf_counter()
    timing = time_chip(programs)
    made = Chip(params, programs, timing)
    made.report = _report(made, encoded - start, time.perf_counter() - encoded)
    return made


def _unify(compiler: Compiler, workloads: list[Workload]) -> None:
    """Let the compiler's parameters become those that all of the workloads fit."""
    for _ in range(2):  # more arrays can need longer instructions, but not more of anything else
        plans = [compiler.plan(work) for work in workloads]
        largest = {n: max(getattr(p.params, n) for p in plans) for n in GROWING}
        compiler.restart(largest)
        if all(p.params == compiler.params for p in plans):
            break


def time_chip(programs: list[Program]) -> ChipTiming:
    """When packets travel if the host offers each as soon as it may, and how long all takes."""
    params = programs[0].params
    return run_chip(params, _instructions(programs, params), Host(params, _needs(programs)))


def replay_chip(
    made: Chip, stall_in=(), stall_out=(), model: type[ChainCore] = ChainCore
) -> ChipTiming:
    """How long it takes with the packets in their order, streams stalled or not (patterns as for `CycleModel`)."""
    packets = [
        (core, packet.words, after)
        for (core, packet), after in zip(made.packets(), made.timing.after, strict=True)
    ]
    host = Script(made.params, packets, stall_in)
    return run_chip(
        made.params, _instructions(made.cores, made.params), host, stall_out, model=model
    )


def _instructions(programs: list[Program], params: Params) -> list[Iterable[Instr]]:
    """Programs without HALT as they issue; cores without a layer halt at once."""
    idle: list[Iterable[Instr]] = [() for _ in range(params.cores - len(programs))]
    return [*(unrolled(p.instructions[:-1]) for p in programs), *idle]


def _needs(programs: list[Program]) -> list[list[ChipPacket]]:
    """Input packets of every core with what they depend on: the outputs of the segment before, of the same token.

    A barrier depends on all tokens; the first segment of a core on the last one of the core before.
    """
    result, before = [], None
    for core, made in enumerate(programs):
        names = [s.name for s in made.workload.segments]
        sent: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for number, packet in enumerate(made.output_packets):
            sent.setdefault((packet.segment, packet.token), []).append((core, number))
        packets = []
        for packet in made.input_packets:
            at = names.index(packet.segment)
            source, name = (sent, names[at - 1]) if at else (before, None)
            needs: list[tuple[int, int]] = []
            if source is not None:
                name = name or programs[core - 1].workload.segments[-1].name
                barrier = made.workload.barrier.get(packet.segment, False)
                tokens = range(made.workload.tokens) if barrier else (packet.token,)
                needs = [need for token in tokens for need in source[name, token]]
            packets.append(ChipPacket(packet.words, tuple(needs)))
        result.append(packets)
        before = sent
    return result


def _report(made: Chip, wall: float, predicting: float) -> dict:
    """The report of the whole chip: sums over cores, the busiest of them for the bound; times in seconds."""
    reports = [core.report for core in made.cores]

    def total(name: str):
        return sum(r[name] for r in reports)

    first, params = reports[0], made.params
    cells = total("arrays") * params.rows * params.cols
    tokens, bound = first["tokens"], max(r["throughput_bound"] for r in reports)
    same = ("model", "policy", "strategy", "synthetic", "tokens", "lanes", "drain_ports")
    same += ("params", "config_hash", "seed", "versions")
    return {
        **{name: first[name] for name in same},
        "layers": [layer for r in reports for layer in r["layers"]],
        "cores": len(reports),
        "arrays": total("arrays"),
        "utilization": total("weights") / cells,
        **{n: total(n) for n in ("weights", "dense_weights", "macs", "dense_macs", "instructions")},
        "cycles_predicted": made.timing.cycles,
        "cycles_cores": made.timing.cores[: len(reports)],
        "throughput_bound": bound,
        "latency_bound": total("latency_bound"),
        "efficiency": efficiency(bound, made.timing.cycles, tokens),
        "array_cycles": total("arrays") * made.timing.cycles / tokens,
        "host": "what is between matrices comes from the golden model: each input is offered when the last output "
        "that it depends on has left the chip",
        **dict.fromkeys(RUN_KEYS),
        "wall_s": wall,
        "wall_predict_s": predicting,
        "notes": made.cores[-1].workload.notes,
    }


def is_chip(directory: str | Path) -> bool:
    """Whether a directory is one of a chip."""
    return (Path(directory) / "chip.json").is_file()


def write(made: Chip, directory: str | Path) -> None:
    """Write the chip directory: completely, or not at all; see `mapper.program.write`."""

    def files(where: Path) -> None:
        (where / "stream").mkdir(parents=True)
        for number, core in enumerate(made.cores):
            program.write_files(core, where / f"core_{number:02}")
        data = {
            "params.toml": made.params.to_toml().encode(),
            **_streams(made),
            "chip.json": program.json_bytes(_description(made)),
            "report.json": program.json_bytes(made.report),
        }
        for name, content in data.items():
            (where / name).write_bytes(content)

    program.write_directory(directory, "chip.json", files)


def _description(made: Chip) -> dict:
    return {
        "model": made.report["model"],
        "layers": made.report["layers"],
        "cores": len(made.cores),
        "inputs": [
            {"core": core, "after": after, **dataclasses.asdict(packet)}
            for (core, packet), after in zip(made.packets(), made.timing.after, strict=True)
        ],
        "outputs": [
            {"core": core, **dataclasses.asdict(packet)} for core, packet in made.outputs()
        ],
    }


def load(directory: str | Path) -> Chip:
    """Read a chip directory. Raises `ConfigError` naming the file that is missing or damaged."""
    where = Path(directory)
    info = program.load_json(where / "chip.json")
    params = Params.from_toml(where / "params.toml")
    try:
        cores = [program.load(where / f"core_{k:02}") for k in range(info["cores"])]
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{where / 'chip.json'}: {error} is missing or unknown") from None
    for number, core in enumerate(cores):
        if core.params != params:
            raise ConfigError(f"{where / f'core_{number:02}'}: parameters are not the chip's")
    report = program.load_json(where / "report.json")
    try:
        timing = ChipTiming(
            order=_numbers(info["inputs"], [core.input_packets for core in cores]),
            after=[packet["after"] for packet in info["inputs"]],
            sent=_numbers(info["outputs"], [core.output_packets for core in cores]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ConfigError(f"{where / 'chip.json'}: packet {error}: unknown or missing") from None
    made = Chip(params, cores, timing, report)
    for name, data in _streams(made).items():
        if program.read_bytes(where / name) != data:
            raise ConfigError(f"{where / name}: is not what chip.json and the cores say")
    return made


def _streams(made: Chip) -> dict[str, bytes]:
    return {
        "stream/input.bin": program.pack_elements(made.inputs, made.params).tobytes(),
        "stream/after.bin": made.after.astype("<u4").tobytes(),
        "stream/route.bin": made.route.astype("<u4").tobytes(),
    }


def _numbers(packets: list[dict], cores: list[list[StreamPacket]]) -> list[tuple[int, int]]:
    """Packets as (core, number): those of a core are in order."""
    counts = [0] * len(cores)
    result = []
    for packet in packets:
        core = packet["core"]
        if cores[core][counts[core]].first != packet["first"]:
            raise ValueError(f"{len(result)}")
        result.append((core, counts[core]))
        counts[core] += 1
    if counts != [len(packets) for packets in cores]:
        raise ValueError(f"{len(result)}")
    return result
