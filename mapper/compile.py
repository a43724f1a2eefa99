"""From a workload to a program: place, validate, lower, schedule, encode, fill the images, report.

What depends on shapes alone (`Plan`) is made once and reused by layers of equal shapes.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from rtl.spec.isa import Instr, Op, make
from rtl.spec.params import ConfigError, Params

from . import picture, report
from .bounds import STREAMING_TOKENS
from .graph import Matrix, Segment, Workload
from .image import const_image, weight_image
from .layout import Placement
from .lower import Constants, Lowered, lower
from .placement import place
from .placement.common import Judge
from .program import Program, StreamPacket
from .schedule import POLICIES, Packet, Regions, Schedule, Scheduler, regions, replay, schedule
from .validate import validate

#: Tokens that are unrolled; longer runs loop over a body of that many.
UNROLL_TOKENS = 32
#: Tokens in flight that have their own buffer regions.
RING = 4
#: Tasks that are scheduled at most to choose between placements: ten seconds or so.
JUDGED_TASKS = 150_000
#: Largest depth that each parameter can grow to, see `Params`.
DEPTH_LIMITS = {"act_depth": 1 << 16, "const_depth": 1 << 16, "prog_depth": 1 << 20}

Progress = Callable[[int], object]


@dataclass(frozen=True)
class Plan:
    """Everything about a program that does not depend on weights and inputs."""

    placement: Placement
    params: Params
    lowered: list[Lowered]
    constants: list[Constants]
    program: list[Instr]
    inputs: list[Packet]
    outputs: list[Packet]
    after: np.ndarray
    cycles: int  #: as the ISS and the RTL count: up to and including the issue of HALT
    picture: str


class Compiler:
    """Compiles workloads for one strategy and configuration.

    Parameters
    ----------
    strategy : str
        Name in `mapper.placement.STRATEGIES`.
    params : Params
        Starting point: tiles, chunk and depths are derived unless they are in `fixed`.
    fixed : set of str
        Parameters that are limits.
    seed : int
        Seed of the placement search.
    progress : callable
        Called with the number of scheduled items, for a progress bar.
    """

    def __init__(
        self,
        strategy: str,
        params: Params,
        fixed: Iterable[str] = (),
        seed: int = 0,
        progress: Progress = lambda items: None,
    ):
        self.strategy, self.params, self.seed = strategy, params, seed
        self.fixed, self.progress = frozenset(fixed), progress
        self._plans: dict[tuple, Plan] = {}

    def plan(self, workload: Workload) -> Plan:
        """The plan for the shapes of a workload, from the cache if they were seen before.

        Raises `ConfigError` if the workload does not fit the fixed parameters.
        """
        key = _shape_key(workload)
        if key not in self._plans:
            self._plans[key] = self._make(workload)
        return self._plans[key]

    def compile(self, workload: Workload) -> Program:
        """The program of a workload. Raises `ConfigError`, see `plan`."""
        start = time.perf_counter()
        plan = self.plan(workload)
        segments = workload.segments
        return Program(
            params=plan.params,
            instructions=plan.program,
            weights=weight_image(segments, plan.placement),
            constants=const_image(segments, plan.constants, plan.params),
            inputs=_input_words(workload, plan),
            after=plan.after,
            input_packets=[_named(p, segments, plan.params) for p in plan.inputs],
            output_packets=[_named(p, segments, plan.params) for p in plan.outputs],
            workload=workload,
            placement=plan.placement,
            picture=plan.picture,
            report=report.build(
                workload,
                plan.placement,
                plan.lowered,
                plan.params,
                tokens=workload.tokens,
                instructions=len(plan.program),
                cycles=plan.cycles,
                seed=self.seed,
                wall_s=time.perf_counter() - start,
            ),
        )

    def restart(self, values: dict[str, int]) -> None:
        """Go on with parameters that are at least these, unless they are limits."""
        kept = {n: v for n, v in values.items() if n not in self.fixed}
        self.params = self.params.replace(**kept)
        self.fixed |= {"tiles"}
        self._plans = {k: p for k, p in self._plans.items() if p.params == self.params}

    # -- steps -------------------------------------------------------------------------------------

    def _make(self, workload: Workload) -> Plan:
        segments, tokens = workload.segments, workload.tokens
        barrier = [bool(workload.barrier.get(s.name, False)) for s in segments]
        judge = self._judge(segments, barrier) if tokens >= STREAMING_TOKENS else None
        placement = place(self.strategy, segments, self.params, self.fixed, self.seed, judge)
        validate(segments, placement)
        lowered, constants = lower(segments, placement)
        words = constants[-1].first + constants[-1].words
        params = self._grow(placement.params, "const_depth", words)
        buffer, params = self._regions(lowered, tokens, params)
        made, params = self._schedule(lowered, buffer, tokens, barrier, params)
        placement = dataclasses.replace(placement, params=params)
        return Plan(
            placement,
            params,
            lowered,
            constants,
            made.program,
            made.inputs,
            made.outputs,
            np.array(made.after, dtype=np.uint32),
            made.cycles,
            picture.draw(segments, placement),
        )

    def _judge(self, segments: list[Segment], barrier: list[bool]) -> Judge:
        """Cycles of a streaming run with a placement, under one policy; no more than `JUDGED_TASKS` in all."""
        scheduled = 0

        def judge(placement: Placement) -> float:
            nonlocal scheduled
            if scheduled > JUDGED_TASKS:
                return math.inf
            lowered, _ = lower(segments, placement)
            scheduled += STREAMING_TOKENS * sum(len(s.tasks) for s in lowered)
            buffer, params = self._regions(lowered, STREAMING_TOKENS, placement.params)
            scheduler = Scheduler(
                params,
                lowered,
                buffer,
                STREAMING_TOKENS,
                barrier,
                POLICIES[1],
                progress=self.progress,
            )
            try:
                return scheduler.run().cycles
            except ConfigError:
                return math.inf

        return judge

    def _grow(self, params: Params, name: str, need: int) -> Params:
        """Parameters with a depth of at least `need`. Raises `ConfigError` naming the need."""
        have = getattr(params, name)
        if need <= have:
            return params
        if name in self.fixed or need > DEPTH_LIMITS[name]:
            limit = have if name in self.fixed else DEPTH_LIMITS[name]
            raise ConfigError(f"{name}: {limit} words are too few, the program needs {need}")
        return params.replace(**{name: 1 << (need - 1).bit_length()})

    def _regions(
        self, lowered: list[Lowered], tokens: int, params: Params
    ) -> tuple[Regions, Params]:
        """Buffer regions for as many tokens in flight as fit."""
        limit = params.act_depth if "act_depth" in self.fixed else DEPTH_LIMITS["act_depth"]
        for ring in range(min(RING, tokens), 0, -1):
            buffer = regions(lowered, ring)
            if buffer.total <= limit or ring == 1:
                break
        return buffer, self._grow(params, "act_depth", buffer.total)

    def _schedule(
        self,
        lowered: list[Lowered],
        buffer: Regions,
        tokens: int,
        barrier: list[bool],
        params: Params,
    ) -> tuple[Schedule, Params]:
        """The whole program, unrolled or as a loop, with HALT; in-order replay gives its cycles."""
        limit = params.prog_depth if "prog_depth" in self.fixed else DEPTH_LIMITS["prog_depth"]
        each = sum(len(s.tasks) for s in lowered)
        body = tokens if any(barrier) else min(tokens, UNROLL_TOKENS)
        while not any(barrier) and body > 1 and _size(tokens, body, each) > limit:
            body //= 2
        params = self._grow(params, "prog_depth", _size(tokens, body, each))

        def part(count: int) -> Schedule:
            return schedule(params, lowered, buffer, count, barrier, self.progress)

        times, rest = divmod(tokens, body)
        made = _looped(part(body), times, body)
        if rest:
            made = _joined(made, part(rest), times * body)
        # In order, a RECV may issue before the scheduler would have chosen it.
        cycles = replay(params, made.program, made.after)
        program = [*made.program, make(Op.HALT)]
        return dataclasses.replace(made, program=program, cycles=cycles), params


def _size(tokens: int, body: int, each: int) -> int:
    """Instructions of a program that loops over `body` tokens, HALT included."""
    times, rest = divmod(tokens, body)
    return (body + rest) * each + (times > 1) + 1


def _looped(body: Schedule, times: int, tokens: int) -> Schedule:
    """The body `times` times, in a zero-overhead loop."""
    if times == 1:
        return body
    made = Schedule([make(Op.LOOP, body=len(body.program), times=times), *body.program])
    for n in range(times):
        _append_streams(made, body, n * tokens)
    return made


def _joined(first: Schedule, second: Schedule, tokens: int) -> Schedule:
    """One schedule after the other; the second continues with token `tokens`."""
    made = dataclasses.replace(first, program=[*first.program, *second.program])
    _append_streams(made, second, tokens)
    return made


def _append_streams(made: Schedule, part: Schedule, tokens: int) -> None:
    """Append packets and `after` of a part whose first token is `tokens`."""
    into, out = len(made.after), sum(p.words for p in made.outputs)
    for mine, theirs, at in ((made.inputs, part.inputs, into), (made.outputs, part.outputs, out)):
        mine += [dataclasses.replace(p, token=p.token + tokens, first=p.first + at) for p in theirs]
    # 0: offered from the start, in every part.
    made.after += [n + out if n else 0 for n in part.after]


def _shape_key(workload: Workload) -> tuple:
    """What a plan depends on."""
    return (
        workload.tokens,
        tuple(
            (s.name, bool(workload.barrier.get(s.name, False)), *map(_matrix_key, s.matrices))
            for s in workload.segments
        ),
    )


def _matrix_key(matrix: Matrix) -> tuple:
    shapes = tuple(factor.shape for factor in matrix.factors)
    return (matrix.name, matrix.n_in, matrix.n_out, matrix.rank, shapes)


def _named(packet: Packet, segments: list[Segment], params: Params) -> StreamPacket:
    segment = segments[packet.segment]
    is_input = packet.matrix < 0
    matrix = None if is_input else segment.matrices[packet.matrix]
    return StreamPacket(
        segment.name,
        segment.layer,
        matrix.name if matrix else "",
        packet.token,
        packet.first,
        packet.words,
        matrix.n_out if matrix else segment.n_in,
    )


def _input_words(workload: Workload, plan: Plan) -> np.ndarray:
    """The input stream: int8 (words, lanes), zeros behind each vector."""
    words = np.zeros((len(plan.after), plan.params.lanes), dtype=np.int8)
    for packet in plan.inputs:
        x = workload.inputs[workload.segments[packet.segment].name][packet.token]
        words[packet.first : packet.first + packet.words].reshape(-1)[: len(x)] = x
    return words
