"""The timeline adds up to the busy counters, which RTL has too, and is a trace that viewers read."""

import json
from collections import defaultdict

import pytest

from mapper.compile import Compiler
from mapper.cycles import random_stalls
from rtl.spec.params import ConfigError
from sim.execute import run_iss
from sim.fuzz import random_case
from sim.timeline import Recorder, Span, chrome_trace


def cases(count, first=3000):
    """Compiled random layers with random stalls, every other one without."""
    made, seed = [], first
    while len(made) < count:
        try:
            strategy, params, work = random_case(seed)
            program = Compiler(strategy, params).compile(work)
        except ConfigError:
            pass
        else:
            stalls = random_stalls(seed) | random_stalls(seed + 1) << 1
            made.append((program, stalls if len(made) % 2 else None))
        seed += 1
    return made


@pytest.mark.parametrize("case", cases(8), ids=lambda c: c[0].report["strategy"])
def test_spans_add_up_to_the_busy_counters(case):
    program, stalls = case
    plain, seen = run_iss(program, stalls), run_iss(program, stalls, Recorder)
    assert (seen.cycles, seen.busy) == (plain.cycles, plain.busy)
    busy, ends = defaultdict(int), defaultdict(int)
    for span in sorted(seen.spans, key=lambda s: s.start):
        assert ends[span.unit] <= span.start < span.end <= seen.cycles
        ends[span.unit] = span.end
        busy[span.unit.rstrip("0123456789 ")] += span.end - span.start
    counters = {"stream in": "in", "load": "load", "array": "pass_tiles", "drain": "drain"}
    for unit, counter in (counters | {"stream out": "out"}).items():
        assert busy[unit] == seen.busy[counter], unit
    assert not plain.spans


def test_trace_has_a_row_for_each_unit_in_order():
    spans = [
        Span("stream out", "SEND", 9, 12, 3),
        Span("array 10", "PASS", 3, 7, 1),
        Span("array 2", "PASS", 3, 7, 1),
        Span("drain 1", "DRAIN to rows", 8, 9, 2),
        Span("load", "LOAD", 1, 3, 0),
    ]
    events = json.loads(chrome_trace({"title": spans}))["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert list(names.values()) == ["load", "array 2", "array 10", "drain 1", "stream out"]
    drawn = [(names[e["tid"]], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
    assert drawn[0] == ("load", 1, 2) and ("array 10", 3, 4) in drawn and len(drawn) == 5
