"""List scheduling: the order of instructions, found by simulating the machine cycle by cycle.

An item is one token in one segment. In every cycle the best task that program order allows and that
the hardware could issue is issued; the order found is the program. Replayed in order it has the same
timing, or a slightly better one.

A task that takes a row bank or a result queue slot is issued only if all items that have started can
still be completed from there (`TileState`), so no order that was begun ends in a deadlock.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rtl.spec.isa import Instr, Op
from rtl.spec.params import ConfigError, Params

from .cycles import CycleModel, fields
from .lower import INPUT, Lowered, Task
from .tilestate import TileState

#: Output words that may be missing when a RECV is issued; more would block the stream for others.
EARLY_WORDS = 4
#: Cycles without progress after which the scheduler gives up (an error in a model or a strategy).
PATIENCE = 1_000_000


@dataclass(frozen=True)
class Policy:
    """What the scheduler prefers.

    Items are ordered by token + skew * segment (`skew` None: segment by segment); the first
    `window` of the unfinished ones are considered. Lower ranks are issued first.
    """

    skew: int | None = None
    window: int = 6
    ranks: tuple[Op, ...] = (Op.DRAIN, Op.PASS, Op.RECV, Op.SEND, Op.LOAD)
    rows_first: bool = True  #: drains to row registers before drains to the buffer


@dataclass(frozen=True)
class Packet:
    """A run of stream words: the input of a segment, or the output of matrix `matrix`."""

    segment: int
    matrix: int  #: -1: input
    token: int
    first: int  #: first stream word
    words: int


@dataclass
class Schedule:
    """The order found: instructions without HALT, packets in stream order, cycles until idle."""

    program: list[Instr] = field(default_factory=list)
    inputs: list[Packet] = field(default_factory=list)
    outputs: list[Packet] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    cycles: int = 0


@dataclass(frozen=True)
class Regions:
    """Where the regions of every segment are in the buffer: `ring` slots of each, used in turn."""

    ring: int
    bases: tuple[tuple[int, ...], ...]  #: by segment and region, first word of slot 0
    words: tuple[tuple[int, ...], ...]

    def address(self, segment: int, region: int, token: int) -> int:
        """First word of a token's region."""
        slot = token % self.ring
        return self.bases[segment][region] + slot * self.words[segment][region]

    @property
    def total(self) -> int:
        """Words in use."""
        return self.ring * sum(map(sum, self.words))


def regions(lowered: list[Lowered], ring: int) -> Regions:
    """Regions one after the other, `ring` slots of each."""
    bases, at = [], 0
    for segment in lowered:
        mine = []
        for words in segment.regions:
            mine.append(at)
            at += ring * words
        bases.append(tuple(mine))
    return Regions(ring, tuple(bases), tuple(s.regions for s in lowered))


class _Item:
    """One token in one segment, while it is scheduled."""

    __slots__ = ("done", "instrs", "last_out", "number", "ready", "segment", "sends", "token")

    def __init__(self, number: int, token: int, segment: int, instrs: list[Instr], sends: int):
        self.number, self.token, self.segment = number, token, segment
        self.instrs = instrs
        self.done = 0
        self.ready = [0]
        self.sends = sends  #: SENDs that are left
        self.last_out = 0  #: output words up to its last SEND


class Scheduler:
    """Orders the tasks of `tokens` tokens in all segments.

    Parameters
    ----------
    params, lowered, buffer
        Parameters, the tasks of a token in each segment and the buffer regions.
    barrier : list of bool
        By segment: whether it waits for all tokens of the segment before.
    make_model : callable
        `CycleModel` or a stand-in with its interface.
    """

    def __init__(
        self,
        params: Params,
        lowered: list[Lowered],
        buffer: Regions,
        tokens: int,
        barrier: list[bool],
        policy: Policy | None = None,
        make_model: Callable[[Params, list[int]], CycleModel] = CycleModel,
        progress: Callable[[int], object] = lambda items: None,
    ):
        self.params, self.lowered, self.buffer = params, lowered, buffer
        self.tokens, self.barrier = tokens, barrier
        self.policy = policy or Policy()
        self.model = make_model(params, [])
        self.progress = progress
        self.out = Schedule()
        self.state = TileState()
        self.sent = 0
        self.full = [(1 << len(s.tasks)) - 1 for s in lowered]
        self.after_task = [_successors(s.tasks) for s in lowered]
        ranks = {op: 2 * i for i, op in enumerate(self.policy.ranks)}
        self.rank = [[self._rank(t, ranks) for t in s.tasks] for s in lowered]
        order = self._order()
        self.items = {
            (t, s): _Item(
                n, t, s, self._instrs(t, s), sum(x.op == Op.SEND for x in lowered[s].tasks)
            )
            for n, (s, t) in enumerate(order)
        }
        self.queue = [self.items[t, s] for s, t in order]
        self.verdicts: dict[tuple[int, int], bool] = {}
        self.plan: list[tuple[_Item, int]] = []

    def _order(self) -> list[tuple[int, int]]:
        """(segment, token) by preference; segments behind a barrier come after all before it."""
        skew = self.tokens if self.policy.skew is None else self.policy.skew
        keys, phase, first = [], 0, 0
        for segment in range(len(self.lowered)):
            if self.barrier[segment]:
                phase, first = phase + 1, segment
            keys += [
                (phase, token + skew * (segment - first), segment, token)
                for token in range(self.tokens)
            ]
        return [(segment, token) for _, _, segment, token in sorted(keys)]

    def _rank(self, task: Task, ranks: dict[Op, int]) -> int:
        rank = ranks[task.op]
        if task.op == Op.DRAIN and self.policy.rows_first:
            rank += not task.fields.get("rows")
        return rank

    def _instrs(self, token: int, segment: int) -> list[Instr]:
        made = []
        for task in self.lowered[segment].tasks:
            f = dict(task.fields)
            if task.region >= 0:
                f["addr"] = f["addr"] + self.buffer.address(segment, task.region, token)
            made.append(Instr(task.op, fields(Instr(task.op, f))))
        return made

    # -- the loop --------------------------------------------------------------------------------

    def run(self) -> Schedule:
        """Schedule everything. Raises `ConfigError` if nothing can issue any more."""
        model, queue, idle = self.model, self.queue, 0
        while queue:
            if self._issue_one():
                idle = 0
                model.tick()
                while queue and queue[0].done == self.full[queue[0].segment]:
                    queue.pop(0)
                    self.progress(1)
            else:
                idle += 1
                if model.idle or idle > PATIENCE:
                    self._unblock()
                    model.tick()
                else:
                    model.wait()
        while not model.idle:
            model.wait()
        self.out.cycles = model.cycle
        return self.out

    def _issue_one(self) -> bool:
        choices = []
        for item in self.queue[: self.policy.window]:
            rank = self.rank[item.segment]
            choices += [(rank[i], item.number, i, item) for i in item.ready]
        choices.sort(key=lambda c: c[:3])
        for _, _, task, item in choices:
            if self._allowed(item, task) and self.model.can_issue(item.instrs[task]):
                effects = self.lowered[item.segment].tasks[task].effects
                if effects.risky and not self._safe(item, task):
                    continue
                self._issue(item, task)
                return True
        return False

    def _unblock(self) -> None:
        """Follow the last known way to complete everything, when the look-ahead finds none."""
        for item, task in self.plan:
            if not item.done >> task & 1:
                instr = item.instrs[task]
                if self._allowed(item, task) and self.model.can_issue(instr):
                    self._issue(item, task)
                    return
                break
        waiting = [self.lowered[i.segment].name for i in self.queue[: self.policy.window]]
        raise ConfigError(f"schedule: nothing can issue, waiting: {', '.join(waiting)}")

    def _issue(self, item: _Item, number: int) -> None:
        task = self.lowered[item.segment].tasks[number]
        if task.op == Op.RECV:
            self._receive(item, task)
        elif task.op == Op.SEND:
            self._send(item, task)
        self.model.issue(item.instrs[number])
        self.out.program.append(item.instrs[number])
        if task.op in (Op.LOAD, Op.PASS, Op.DRAIN):
            self.state.do(item.number, number, task.effects)
            self.verdicts.clear()
        item.done |= 1 << number
        item.ready.remove(number)
        needs = self.lowered[item.segment].tasks
        for other in self.after_task[item.segment][number]:
            if not needs[other].needs & ~item.done:
                item.ready.append(other)

    # -- streams ---------------------------------------------------------------------------------

    def _receive(self, item: _Item, task: Task) -> None:
        words = task.fields["words"]
        first = len(self.out.after)
        self.out.inputs.append(Packet(item.segment, -1, item.token, first, words))
        self.out.after += [self._wanted(item)] * words
        self.model.after += [self._wanted(item)] * words

    def _send(self, item: _Item, task: Task) -> None:
        words = task.fields["words"]
        matrix = task.region - INPUT - 1
        self.out.outputs.append(Packet(item.segment, matrix, item.token, self.sent, words))
        self.sent += words
        item.sends -= 1
        item.last_out = self.sent

    def _before(self, item: _Item) -> list[_Item]:
        """Items whose outputs must have left before the input of this one is offered."""
        if item.segment == 0:
            return []
        tokens = range(self.tokens) if self.barrier[item.segment] else (item.token,)
        return [self.items[t, item.segment - 1] for t in tokens]

    def _wanted(self, item: _Item) -> int:
        return max((b.last_out for b in self._before(item)), default=0)

    def _allowed(self, item: _Item, number: int) -> bool:
        """Whether program order allows a task whose needs within the item are met."""
        task = self.lowered[item.segment].tasks[number]
        if task.op != Op.RECV:
            return self.state.can(item.number, number, task.effects)
        earlier = self.items.get((item.token - self.buffer.ring, item.segment))
        if earlier is not None and earlier.done != self.full[item.segment]:
            return False
        if any(before.sends for before in self._before(item)):
            return False
        return self._wanted(item) <= self.model.out_words + EARLY_WORDS

    # -- look-ahead ------------------------------------------------------------------------------

    def _safe(self, item: _Item, number: int) -> bool:
        """Whether all started items can be completed after this task; remembers how."""
        key = (item.number, number)
        if key not in self.verdicts:
            self.verdicts[key] = self._completes(item, number)
        return self.verdicts[key]

    def _completes(self, first: _Item, number: int) -> bool:
        state = self.state.copy()
        tasks = self.lowered[first.segment].tasks
        state.do(first.number, number, tasks[number].effects)
        done = {
            i.number: i.done | (1 << number if i is first else 0)
            for i in self.queue[: self.policy.window]
            if i is first or i.done & self._started(i)
        }
        left = [i for i in self.queue[: self.policy.window] if i.number in done]
        plan = [(first, number)]
        while left:
            moved = False
            for item in list(left):
                tasks, mine = self.lowered[item.segment].tasks, done[item.number]
                for i, task in enumerate(tasks):
                    if mine >> i & 1 or task.needs & ~mine:
                        continue
                    if state.can(item.number, i, task.effects):
                        state.do(item.number, i, task.effects)
                        mine |= 1 << i
                        plan.append((item, i))
                        moved = True
                done[item.number] = mine
                if mine == self.full[item.segment]:
                    left.remove(item)
            if not moved:
                return False
        self.plan = plan
        return True

    def _started(self, item: _Item) -> int:
        """Tasks that mark an item as started: all but the RECV."""
        return self.full[item.segment] & ~1


def _successors(tasks: tuple[Task, ...]) -> list[list[int]]:
    """By task, the tasks that need it."""
    return [[j for j, t in enumerate(tasks) if t.needs >> i & 1] for i in range(len(tasks))]


#: Policies to try for a run of several tokens; the fastest wins.
POLICIES = (
    Policy(skew=None, window=6),
    Policy(skew=2, window=8),
    Policy(skew=3, window=16),
    Policy(skew=4, window=12, rows_first=False),
)


def schedule(
    params: Params,
    lowered: list[Lowered],
    buffer: Regions,
    tokens: int,
    barrier: list[bool],
    progress: Callable[[int], object] = lambda items: None,
) -> Schedule:
    """The fastest order that the policies find for `tokens` tokens. Raises `ConfigError`."""
    policies = POLICIES if tokens > 1 else POLICIES[:1]
    found = [
        Scheduler(params, lowered, buffer, tokens, barrier, policy, progress=progress).run()
        for policy in policies
    ]
    return min(found, key=lambda s: s.cycles)


def replay(params: Params, program: list[Instr], after: list[int], length: int = 0) -> int:
    """Cycles of a program without HALT, issued in order, up to and including the issue of HALT.

    `length` is register LEN. Raises `ConfigError` if the program deadlocks.
    """
    model = CycleModel(params, after)
    for instr in unrolled(program, length):
        while not model.can_issue(instr):
            if model.idle:
                raise ConfigError(f"schedule: deadlock at {instr.op.name}")
            model.wait()
        model.issue(instr)
        model.tick()
    while not model.idle:
        model.wait()
    model.end()
    return model.cycle


def unrolled(program: list[Instr], length: int = 0) -> Iterator[Instr]:
    """Instructions in the order of issue."""
    pc = 0
    while pc < len(program):
        instr = program[pc]
        pc += 1
        yield instr
        if instr.op == Op.LOOP:
            f = fields(instr)
            body = program[pc : pc + f["body"]]
            for _ in range(length if f["use_len"] else f["times"]):
                yield from body
            pc += f["body"]
