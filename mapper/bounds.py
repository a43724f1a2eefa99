"""Timing terms of DESIGN section 5, written once: latency and throughput bounds, efficiency."""

from collections import Counter
from dataclasses import dataclass

from rtl.spec.isa import Instr, Op
from rtl.spec.params import Params

from .cycles import drain_cycles, fields, pass_cycles
from .graph import Matrix, Segment
from .layout import ceil_div
from .lower import INPUT, Lowered, Task, live_blocks

#: Tokens from which on a run counts as streaming.
STREAMING_TOKENS = 16


@dataclass(frozen=True)
class Load:
    """What one token asks of each resource, in cycles."""

    array: int  #: pass cycles of the busiest array
    read: int  #: words through the buffer read port (LOAD and SEND)
    write: int  #: words through the busiest buffer write port (drains, and RECV on port 0)
    drain: int  #: cycles of the busiest drain
    stream_in: int
    stream_out: int

    @property
    def busiest(self) -> int:
        """Cycles a token at least."""
        return max(self.array, self.read, self.write, self.drain, self.stream_in, self.stream_out)


def resources(lowered: list[Lowered], params: Params) -> Load:
    """The load of one token, from the tasks of all segments."""
    tasks = [task for segment in lowered for task in segment.tasks]
    words = {
        op: sum(t.fields["words"] for t in tasks if t.op == op)
        for op in (Op.LOAD, Op.SEND, Op.RECV)
    }
    drains = [fields(Instr(t.op, t.fields)) for t in tasks if t.op == Op.DRAIN]
    draining = sum(drain_cycles(f, params) for f in drains)
    written = sum(f["words"] for f in drains if not f["rows"])
    ports, received = params.drain_ports, words[Op.RECV]
    return Load(
        array=max(_busy_arrays(tasks, params).values()),
        read=words[Op.LOAD] + words[Op.SEND],
        write=max(ceil_div(written + received, ports), received),
        drain=ceil_div(draining, ports),
        stream_in=received * params.beats_per_word,
        stream_out=words[Op.SEND] * params.beats_per_word,
    )


def latency_bound(segments: list[Segment], lowered: list[Lowered], params: Params) -> int:
    """Cycles of one token through all segments, nothing overlapping within a segment.

    Per segment: stream in, one multicast load, passes of the first factors, their drain, passes of
    the second factors, their drain, stream out.
    """
    rate, each = params.lanes * params.drain_ports, params.step_cycles
    total = 0
    for segment, low in zip(segments, lowered, strict=True):
        middle = sum(_middle(m) for m in segment.matrices)
        outputs = sum(m.n_out for m in segment.matrices)
        total += low.regions[INPUT] * params.beats_per_word
        total += ceil_div(segment.n_in, params.lanes)
        total += sum(_stage_cycles(low, params))
        total += (ceil_div(middle, rate) + ceil_div(outputs, rate)) * each
        total += sum(low.regions[INPUT + 1 :]) * params.beats_per_word
    return total


def throughput_bound(lowered: list[Lowered], params: Params, tokens: int) -> int:
    """Cycles of `tokens` tokens when the busiest resource never waits."""
    return tokens * resources(lowered, params).busiest


def efficiency(bound: int, cycles: int | None, tokens: int) -> float | None:
    """throughput_bound / cycles; None for a run that is too short to stream."""
    return bound / cycles if cycles and tokens >= STREAMING_TOKENS else None


def _middle(matrix: Matrix) -> int:
    """Elements between the factors, without those of blocks that see only padding."""
    return live_blocks(matrix) * matrix.factors[0].shape[2] if matrix.monarch else 0


def _busy_arrays(tasks: list[Task], params: Params) -> Counter:
    """Pass cycles of every array."""
    busy: Counter = Counter()
    for task in tasks:
        if task.op == Op.PASS:
            cycles = pass_cycles(task.fields, params)
            for i in range(task.fields["span"]):
                busy[(task.fields["tile"] + i) % params.tiles] += cycles
    return busy


def _stage_cycles(low: Lowered, params: Params) -> list[int]:
    """Pass cycles of the busiest array in each stage: first factors (or dense), second factors."""
    second = _second_stage(low, params)
    stages = ([], [])
    for i, task in enumerate(low.tasks):
        if task.op == Op.PASS:
            stages[second >> i & 1].append(task)
    return [max(_busy_arrays(s, params).values()) if s else 0 for s in stages]


def _second_stage(low: Lowered, params: Params) -> int:
    """Bit mask of the PASSes that read what a DRAIN filled."""
    fills = sum(1 << i for i, t in enumerate(low.tasks) if t.fields.get("rows"))
    found = 0
    for i, task in enumerate(low.tasks):
        if task.op == Op.PASS and task.needs & (fills | found):
            found |= 1 << i
    return found
