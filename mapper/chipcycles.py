"""The cycle model of a chip: cores on a chain of links, and a host that offers a packet when what it needs has left.

Every core is a `CycleModel` whose stream ends at its link. All of them advance together, cycle by cycle, and those
that only wait cost nothing. The timing contract of a link (rtl/link.py): a beat is offered to the core or the next
station in the cycle after it came; packets are not interrupted; one that comes by goes before one of the core.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rtl.spec.isa import Instr, Op
from rtl.spec.params import ConfigError, Params

from .cycles import CycleModel, fields

#: Beats that wait at a station at most.
LINK_FIFO = 2
#: Where a beat goes that leaves the chip.
HOST = -1

#: Core that a beat goes to, or HOST; core that it comes from, or HOST; whether it is the last of its packet.
_Beat = tuple[int, int, bool]


@dataclass(frozen=True)
class ChipPacket:
    """An input packet of a core; it may be offered when the output packets `needs` have left the chip."""

    words: int
    needs: tuple[tuple[int, int], ...] = ()  #: (core, number among the packets that it sends)


@dataclass
class ChipTiming:
    """What a run of a chip takes.

    `cores` are cycles of each core, up to and including the issue of HALT; `cycles` those in which the chip is busy.
    `order` has the input packets, (core, number), as the host offered them, `after` the output words that had left
    before each, and `sent` the output packets, (core, number), as they left.
    """

    cores: list[int] = field(default_factory=list)
    cycles: int = 0
    order: list[tuple[int, int]] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    sent: list[tuple[int, int]] = field(default_factory=list)
    busy: list[dict[str, int]] = field(default_factory=list)
    models: list["ChainCore"] = field(default_factory=list, repr=False, compare=False)


class ChainCore(CycleModel):
    """A core whose streams end at a link, which says each cycle what is there and whether there is room."""

    def __init__(self, params: Params):
        super().__init__(params)
        self.offered = self.room = self.took = False
        self._sizes: deque[int] = deque()

    def _offered(self) -> bool:
        return self.offered

    def _ready(self) -> bool:
        return self.room

    def _tick_in(self, port_taken: bool) -> None:
        before = (self.in_word, self.in_beat)
        super()._tick_in(port_taken)
        self.took = before != (self.in_word, self.in_beat)

    def _start(self, instr: Instr) -> None:
        if instr.op == Op.SEND:
            self._sizes.append(fields(instr)["words"])
        super()._start(instr)

    @property
    def sends(self) -> bool:
        """Whether a beat waits to leave."""
        return self._send_fifo > 0

    @property
    def last(self) -> bool:
        """Whether that beat is the last of its packet."""
        return self._sizes[0] == 1 and self._out_beat == self.p.beats_per_word - 1

    def beat_leaves(self) -> None:
        """Take note of the packet's end; to be called before the cycle in which a beat leaves."""
        if self._out_beat == self.p.beats_per_word - 1:
            self._sizes[0] -= 1
            if not self._sizes[0]:
                self._sizes.popleft()

    @property
    def quiet(self) -> bool:
        """Whether nothing can happen before a beat comes: only the stream-in unit is active."""
        return (
            self.cycle >= self._decides
            and self.sin is not None
            and self._load is None
            and not any(self._drains)
            and not self._events
            and self.cycle > self._pass_until
            and self.send_left == 0
            and not self._send_inflight
            and self._send_fifo == 0
        )


def _stepping(model: CycleModel, program: Iterable[Instr]) -> Iterator[bool]:
    """Issue a program in order; yields, before each tick, whether something was issued. Ends behind HALT."""
    for instr in program:
        while not model.can_issue(instr):
            if model.idle:
                raise ConfigError(f"chip: deadlock at {instr.op.name}")
            yield False
        model.issue(instr)
        yield True
    while not model.idle:
        yield False
    yield from [True] * model.ending  # HALT


class _Station:
    """A core and its link."""

    def __init__(self, number: int, model: ChainCore, program: Iterable[Instr]):
        self.number, self.model = number, model
        self.steps = _stepping(self.model, program)
        self.queue: list[_Beat] = []
        self.inside = ""  #: `past` or `own` while such a packet is on its way out
        self.halted = self.asleep = False

    def exchange(self, room: bool) -> _Beat | None:
        """The beat that goes to the next station in this cycle, which has `room`; tells the core what it sees."""
        model = self.model
        if not self.queue and not model.sends:
            model.offered, model.room = False, room and self.inside != "past"
            return None
        head = self.queue[0] if self.queue else None
        past = head is not None and head[0] != self.number and self.inside != "own"
        own = not past and self.inside != "past"
        model.offered = head is not None and head[0] == self.number
        model.room = own and room
        beat = None
        if past and room:
            beat = self.queue.pop(0)
        elif own and room and model.sends:
            beat = (HOST, self.number, model.last)
            model.beat_leaves()
        if beat is not None:
            self.inside = "" if beat[2] else "past" if past else "own"
        return beat

    def tick(self) -> None:
        """One cycle of the core."""
        model = self.model
        if self.halted:
            return
        if self.asleep and not model.offered:
            model.cycle += 1
            model.busy["in"] += 1
            return
        quiet = model.quiet
        issued = next(self.steps, None)
        if issued is None:
            self.halted = True
            return
        model.tick()
        if model.took:
            self.queue.pop(0)
        # Quiet before as well: what a unit that has just finished lets issue, issues in the next cycle.
        self.asleep = quiet and not issued and model.quiet


class Host:
    """Offers packets to the first station, each when what it needs has left; of several the one of the first core.

    Parameters
    ----------
    params : Params
    packets : for each core, in the order in which its program receives them
    stall_in : as for `CycleModel`
    """

    def __init__(
        self,
        params: Params,
        packets: Sequence[Sequence[ChipPacket]],
        stall_in: Sequence[int] = (),
    ):
        self.p, self.packets, self.stall = params, packets, [bool(x) for x in stall_in]
        self.next = [0] * params.cores
        self.left: set[tuple[int, int]] = set()
        self.counts = [0] * params.cores
        self.words = self._beats = 0
        self._core, self._rest = 0, 0
        self._held = False
        self._look = True
        self.timing = ChipTiming()

    def offer(self, cycle: int, room: bool) -> _Beat | None:
        """The beat that enters the chip in this cycle."""
        if not self._rest and self._look:
            self._look = False
            core, words = self.choose()
            if words:
                self.timing.order.append((core, self.next[core]))
                self.timing.after.append(self.words)
                self.next[core] += 1
                self._core, self._rest = core, words * self.p.beats_per_word
        stalled = bool(self.stall) and self.stall[cycle % len(self.stall)]
        offered = self._rest > 0 and (self._held or not stalled)
        self._held = offered and not room
        if not offered or not room:
            return None
        self._rest -= 1
        self._look |= not self._rest
        return (self._core, HOST, not self._rest)

    def choose(self) -> tuple[int, int]:
        """Core and words of the next packet; 0 words if none may be offered now."""
        for core, packets in enumerate(self.packets):
            number = self.next[core]
            if number < len(packets) and all(n in self.left for n in packets[number].needs):
                return core, packets[number].words
        return 0, 0

    def take(self, beat: _Beat) -> None:
        """A beat leaves the chip; what that allows, it allows from the next cycle on."""
        _, core, last = beat
        self._beats += 1
        if self._beats == self.p.beats_per_word:
            self._beats, self.words, self._look = 0, self.words + 1, True
        if last:
            sent = (core, self.counts[core])
            self.counts[core] += 1
            self.left.add(sent)
            self.timing.sent.append(sent)


class Script(Host):
    """Offers packets in a given order: (core, words, output words that must have left before)."""

    def __init__(
        self, params: Params, script: Sequence[tuple[int, int, int]], stall_in: Sequence[int] = ()
    ):
        super().__init__(params, (), stall_in)
        self.script = script

    def choose(self) -> tuple[int, int]:
        """The next packet of the script, if it is time."""
        number = len(self.timing.order)
        if number < len(self.script) and self.words >= self.script[number][2]:
            return self.script[number][:2]
        return 0, 0


def run_chip(
    params: Params,
    programs: Sequence[Iterable[Instr]],
    host: Host,
    stall_out: Sequence[int] = (),
    limit: int = 100_000_000,
    model: type[ChainCore] = ChainCore,
) -> ChipTiming:
    """The cycles of a chip whose cores run `programs` (in order of issue, without HALT) on what a host offers.

    `stall_out` as for `CycleModel`; `model` is that of a core, one that notes what happens for example. Raises
    `ConfigError` when a core waits for something that never comes.
    """
    stations = [_Station(k, model(params), program) for k, program in enumerate(programs)]
    stalls = [bool(x) for x in stall_out]
    cycle = still = 0
    while True:
        sink = not (stalls and stalls[cycle % len(stalls)])
        waiting = any(s.queue for s in stations)
        moves = _exchange(stations, host, cycle, sink)
        for station in stations:
            station.tick()
        for to, beat in moves:
            if to == len(stations):
                host.take(beat)
            else:
                stations[to].queue.append(beat)
        running = [s for s in stations if not s.halted]
        if not running and not waiting:
            break
        cycle += 1
        # As long as nothing moves, only the end of a stall can change that.
        still = 0 if moves or not all(s.asleep for s in running) else still + 1
        if still > len(stalls) + len(host.stall) + 1 or cycle > limit:
            raise ConfigError(f"chip: {_waiting(host, running)} after {cycle} cycles")
    timing = host.timing
    timing.cores = [s.model.cycle for s in stations]
    timing.busy = [s.model.busy for s in stations]
    timing.models = [s.model for s in stations]
    timing.cycles = cycle
    return timing


def _exchange(
    stations: list[_Station], host: Host, cycle: int, sink: bool
) -> list[tuple[int, _Beat]]:
    """The beats that move in a cycle, each with the station that it comes to; all cores learn what they see."""
    free = [len(s.queue) < LINK_FIFO for s in stations] + [sink]
    beats = [host.offer(cycle, free[0])]
    beats += [s.exchange(room) for s, room in zip(stations, free[1:], strict=True)]
    return [(to, beat) for to, beat in enumerate(beats) if beat is not None]


def _waiting(host: Host, running: list[_Station]) -> str:
    """What a chip that stands still waits for."""
    if not running:
        return "a packet for a core that has halted is stuck"
    cores = ", ".join(str(s.number) for s in running[:3])
    return f"core {cores} waits for packet {host.next[running[0].number]}, which never comes,"
