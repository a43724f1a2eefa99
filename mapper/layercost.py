"""What a layer costs: compiled, executed by a simulator, its events priced.

The mapper knows programs and no simulators: it writes a program directory and calls `python -m sim run` for it, as
anybody would. So outputs are compared with the golden model, and cycles with the ISS where RTL runs.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtl.spec.params import ConfigError, Params

from . import program as program_files
from . import workload as workloads
from .compile import Compiler
from .cost import Cost, Table, cost
from .events import Events
from .program import Program


@dataclass(frozen=True)
class Layer:
    """Equal layers of a model: the first of them, how many there are, (inputs, outputs) of matrices by segment."""

    model: str
    index: int
    count: int
    shape: tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True)
class Mapping:
    """How weights become blocks (`mapper.pattern`) and where these go (`mapper.placement`)."""

    strategy: str
    policy: str


@dataclass(frozen=True)
class Run:
    """A layer that was executed: on how many arrays, how many tokens, and what happened."""

    arrays: int
    tokens: int
    params: Params
    events: Events

    def cost(self, table: Table) -> Cost:
        """By the prices of a table."""
        return cost(self.events, table, self.params)


def layers(model: str) -> list[Layer]:
    """The distinct layers of a model of `mapper.models`, in order."""
    found: dict[tuple, list[int]] = {}
    for work in workloads.shapes(model):
        shape = tuple(tuple((m.n_in, m.n_out) for m in s.matrices) for s in work.segments)
        found.setdefault(shape, []).append(work.layer)
    return [Layer(model, own[0], len(own), shape) for shape, own in found.items()]


class Layers:
    """Executes layers; equal shapes, mappings, tokens and parameters are executed once.

    Parameters
    ----------
    simulator : str
        Of `python -m sim run`.
    """

    def __init__(self, simulator: str = "iss"):
        self.simulator = simulator
        self._runs: dict[tuple, Run] = {}

    def run(self, layer: Layer, mapping: Mapping, params: Params, tokens: int) -> Run:
        """One layer, from params on with as many arrays as it takes. Raises `ConfigError` if it fails."""
        key = (layer.shape, mapping, params, tokens)
        if key not in self._runs:
            self._runs[key] = self._run(layer, mapping, params, tokens)
        return self._runs[key]

    def _run(self, layer: Layer, mapping: Mapping, params: Params, tokens: int) -> Run:
        (work,) = workloads.build(
            layer.model, [layer.index], params=params, policy=mapping.policy, tokens=tokens
        )
        program = Compiler(mapping.strategy, params).compile(work)
        report = simulate(program, self.simulator)
        return Run(report["arrays"], tokens, program.params, Events.from_dict(report["events"]))


def simulate(program: Program, simulator: str) -> dict:
    """The report of a run of `python -m sim run`. Raises `ConfigError` if it fails or anything differs."""
    root = str(Path(__file__).parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryDirectory(prefix="blockcim-") as scratch:
        where = Path(scratch) / "program"
        program_files.write(program, where)
        command = [sys.executable, "-m", "sim", "run", str(where), "--simulator", simulator]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        if done.returncode == 0:
            return json.loads((where / "report.json").read_text())
    told = done.stderr.strip().splitlines() or [done.stdout.strip()]
    name = f"{program.report['model']} layer {program.report['layer']} on {simulator}"
    raise ConfigError(f"{name}: {told[-1].removeprefix('sim: error: ')}")


def mean(runs: Sequence[tuple[Layer, Run]], what: Callable[[Run], float]) -> float:
    """A value a token, averaged over all layers."""
    total = sum(layer.count * what(run) / run.tokens for layer, run in runs)
    return total / sum(layer.count for layer, _ in runs)
