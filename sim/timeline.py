"""What every unit does in which cycles, from the cycle model: for the Perfetto and Chrome trace viewers.

Cycles of the ISS are those of the RTL, so this is the timeline of a run on RTL too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mapper.chipcycles import ChainCore
from mapper.cycles import CycleModel, drain_cycles, fields, pass_cycles
from rtl.spec.isa import Instr, Op

#: Kinds of units in the order of a word's way; arrays and several drains have a number each.
UNITS = ("stream in", "load", "array", "drain", "stream out")
_IN, _LOAD, _ARRAY, _DRAIN, _OUT = UNITS


@dataclass(frozen=True)
class Span:
    """One instruction on one unit: cycles start .. end - 1."""

    unit: str
    name: str  #: of the operation
    start: int
    end: int
    number: int  #: of the instruction, in order of issue


class Recorder(CycleModel):
    """The cycle model, noting `spans` as they end; see `CycleModel` for the parameters."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.spans: list[Span] = []
        self._issued = 0
        self._open: dict[str, tuple[str, int, int]] = {}

    def tick(self) -> None:
        """As `CycleModel.tick`; units that have finished end their span with this cycle."""
        super().tick()
        running = {
            _IN: self.sin is not None,
            _LOAD: self._load is not None,
            _OUT: self.send_left > 0,
        }
        for unit in [unit for unit in self._open if not running[unit]]:
            name, start, number = self._open.pop(unit)
            self.spans.append(Span(unit, name, start, self.cycle, number))

    def _start(self, instr: Instr) -> None:
        f, first, number = fields(instr), self.cycle + 1, self._issued
        self._issued += 1
        if instr.op == Op.PASS:
            cycles = pass_cycles(f, self.p)
            for i in range(f["span"]):
                unit = f"{_ARRAY} {(f['tile'] + i) % self.p.tiles}"
                self.spans.append(Span(unit, instr.op.name, first, first + cycles, number))
        elif instr.op == Op.DRAIN:
            unit = _DRAIN if self.p.drain_ports == 1 else f"{_DRAIN} {self._pending_port}"
            end = first + drain_cycles(f, self.p)
            name = f"{instr.op.name} to {'rows' if f['rows'] else 'buffer'}"
            self.spans.append(Span(unit, name, first, end, number))
        super()._start(instr)
        for unit, ops in (
            (_IN, (Op.RECV, Op.LDW, Op.LDC)),
            (_LOAD, (Op.LOAD,)),
            (_OUT, (Op.SEND,)),
        ):
            if instr.op in ops:
                self._open[unit] = instr.op.name, first, number


class ChainRecorder(Recorder, ChainCore):
    """A recorder of a core on a chip's chain of links."""


def chrome_trace(processes: Mapping[str, Sequence[Span]]) -> str:
    """JSON for ui.perfetto.dev and chrome://tracing: spans by the title of their core; a microsecond is a cycle."""
    events: list[dict] = []
    for pid, (title, spans) in enumerate(processes.items()):
        name = f"{title}, 1 us = 1 cycle"
        events.append({"ph": "M", "pid": pid, "name": "process_name", "args": {"name": name}})
        events += _events(pid, spans)
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}) + "\n"


def _events(pid: int, spans: Sequence[Span]) -> list[dict]:
    """Events of one process: a thread for each unit."""
    thread = {unit: n for n, unit in enumerate(by_unit(spans))}
    events: list[dict] = []
    for unit, n in thread.items():
        where = {"ph": "M", "pid": pid, "tid": n}
        events.append({**where, "name": "thread_name", "args": {"name": unit}})
        events.append({**where, "name": "thread_sort_index", "args": {"sort_index": n}})
    events += [
        {
            "ph": "X",
            "pid": pid,
            "tid": thread[span.unit],
            "name": span.name,
            "ts": span.start,
            "dur": span.end - span.start,
            "args": {"instruction": span.number},
        }
        for span in sorted(spans, key=lambda s: (s.start, thread[s.unit]))
    ]
    return events


def by_unit(spans: Sequence[Span]) -> dict[str, list[Span]]:
    """Spans of each unit in order of time; units in the order of a word's way."""
    found: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda s: (_order(s.unit), s.start)):
        found.setdefault(span.unit, []).append(span)
    return found


def kind_of(unit: str) -> str:
    """The kind of a unit: its name without a number."""
    return unit.rstrip("0123456789 ")


def _order(unit: str) -> tuple[int, int]:
    kind = kind_of(unit)
    return UNITS.index(kind), int(unit[len(kind) :] or 0)
