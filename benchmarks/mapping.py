"""Arrays, cycles, bounds, efficiency, mapping time: from the mapper and the cycle-exact ISS, no RTL."""

import dataclasses
import time
from collections.abc import Iterator
from functools import cache

from mapper import workload as workloads
from mapper.compile import Compiler
from mapper.program import Program
from rtl.spec.isa import Instr, Op
from rtl.spec.params import Params
from sim.execute import run_iss
from sim.fuzz import fuzz

from .measure import Row

MODEL = "gpt2-medium"


@cache
def program(
    strategy: str, policy: str, tokens: int = 1, lanes: int = 128, ports: int = 1
) -> Program:
    """A compiled layer of gpt2-medium. Workload A is `pad`, workload B `rect`."""
    params = Params.load(MODEL).replace(lanes=lanes, drain_ports=ports)
    (work,) = workloads.build(MODEL, [0], params=params, policy=policy, tokens=tokens)
    return Compiler(strategy, params).compile(work)


@cache
def cycles(strategy: str, policy: str, tokens: int = 1, lanes: int = 128, ports: int = 1) -> int:
    """Cycles of that layer on the ISS."""
    result = run_iss(program(strategy, policy, tokens, lanes, ports))
    assert result.error == 0
    return result.cycles


def rows() -> Iterator[Row]:
    """All rows of this group."""
    yield from _arrays()
    yield from _cycles()
    yield from _table()
    yield Row("cycles with the middle permutation / without it", _permutation(), "=", 1.0)
    yield Row("mapping 24 layers of gpt2-medium, seconds", _mapping_time(), "<=", 1.0)
    result = fuzz(200, rtl_every=0)
    note = f"{result['cases'] - result['skipped']} of {result['cases']} cases fit"
    yield Row("fuzz, 200 cases, ISS against golden: mismatches", result["mismatches"], "=", 0, note)


def _arrays() -> Iterator[Row]:
    for name, strategy, policy, sense, bar in (
        ("A linear", "linear", "dense", "=", 192),
        ("A sparsemap", "sparsemap", "pad", "=", 96),
        ("A densemap", "densemap", "pad", "=", 20),
        ("A densemap, trim", "densemap", "trim", "<=", 14),
        ("B densemap", "densemap", "rect", "=", 9),
    ):
        yield Row(f"arrays, {name}", program(strategy, policy).report["arrays"], sense, bar)


def _cycles() -> Iterator[Row]:
    for name, policy, least in (("A", "pad", 5), ("B", "rect", 12)):
        dense, sparse = cycles("densemap", policy), cycles("sparsemap", policy)
        yield Row(f"cycles, densemap / sparsemap, {name}, one token", dense / sparse, "<=", 1.05)
        bound = program("densemap", policy).report["latency_bound"]
        yield Row(f"one token / latency bound, densemap, {name}", dense / bound, "<=", 1.1)
        linear = 192 * cycles("linear", "dense")
        arrays = program("densemap", policy).report["arrays"]
        yield Row(
            f"arrays x cycles, linear / densemap, {name}", linear / (arrays * dense), ">=", least
        )
    for strategy, policy, bar in (
        ("sparsemap", "pad", 0.9),
        ("densemap", "pad", 0.9),
        ("linear", "dense", 0.8),
    ):
        bound = program(strategy, policy, 16).report["throughput_bound"]
        value = bound / cycles(strategy, policy, 16)
        yield Row(f"efficiency, 16 tokens, 128 lanes, A {strategy}", value, ">=", bar)
    linear = cycles("linear", "dense", 16) * 192
    for name, policy in (("A", "pad"), ("B", "rect")):
        arrays = program("densemap", policy).report["arrays"]
        ratio = linear / (arrays * cycles("densemap", policy, 16))
        yield Row(f"arrays x cycles, 16 tokens, linear / densemap, {name}", ratio)


def _table() -> Iterator[Row]:
    for lanes in (32, 128, 256):
        for ports in (1, 2, 4):
            for tokens in (1, 16):
                dense = cycles("densemap", "pad", tokens, lanes, ports)
                linear = cycles("linear", "dense", tokens, lanes, ports)
                yield Row(
                    f"cycles, linear / densemap, A, {lanes} lanes, {ports} ports, {tokens} tokens",
                    linear / dense,
                    note=f"{linear} / {dense}; the paper's analog figure is 1.73",
                )


def _permutation() -> float:
    """Cycles as compiled, over those of a program whose direct drains do not permute: one slice takes all."""
    compiled = program("densemap", "pad")

    def plain(instr: Instr) -> Instr:
        if instr.op != Op.DRAIN or not instr.fields.get("rows"):
            return instr
        unpermuted = {"d_blocks": 1, "d_m0": 0, "d_tstride": 0}
        return dataclasses.replace(instr, fields={**instr.fields, **unpermuted})

    without = dataclasses.replace(compiled, instructions=list(map(plain, compiled.instructions)))
    return run_iss(compiled).cycles / run_iss(without).cycles


def _mapping_time() -> float:
    """Placement and schedule of all layers, weights in memory: seconds."""
    params = Params.load(MODEL)
    works = workloads.shapes(MODEL, policy="pad")
    start = time.perf_counter()
    compiler = Compiler("densemap", params)
    for work in works:
        compiler.plan(work)
    return time.perf_counter() - start
