"""The cycle model: when each instruction can issue and when each unit is done, equal to the RTL cycle for cycle.

The model knows no data, only time. The scheduler drives it to order instructions; the ISS drives it
in program order. It is stepped: within one cycle, ask `can_issue`, `issue` at most one instruction, `tick`.

The timing contract, for an instruction that issues in cycle i (rtl/ implements the same):

    PASS     computes in cycles i+1 .. i+N, N = steps * planes (tree = full: planes);
             readout = adc: N = planes * weight_planes * the sum of `Params.plane_cycles` over `pass_reads`
    DRAIN    reads accumulators in i+s, i+2s .. i+ns (n steps of s = `step_cycles` cycles; tile p of a chain p cycles
             later), writes its result `chain` + 3 + s - 1 cycles after each step
    LOAD     requests its first word in i+1; a word is cut into slots 2 cycles after its request, and is in
             the row registers 2 cycles after that
    SEND     requests its first word in i+1; a word reaches the stream 2 cycles after its request
    RECV     takes a word a cycle from i+1 on, unless drain port 0 writes the buffer in that cycle

With `issue_cycles` = N > 1 an instruction issues one cycle after its hazards were found clear, and the hazards of the
next one are looked at N cycles after those of this one. A program then also ends a cycle after what ends it was found.

A read request waits while a running writer still owes that word (chaining word by word); LOAD goes
before SEND. State that one cycle changes is seen by the next.
"""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from rtl.spec.isa import Instr, Op
from rtl.spec.params import Params

#: Cycles from a drain step whose tile sums are complete to its result at the buffer or row registers.
DRAIN_LATENCY = 3
#: Words that wait between the buffer and the output stream at most.
SEND_FIFO = 4
#: Drains that one port tracks at a time, from issue to their last write.
DRAIN_ENTRIES = 2


def tile_range(first: int, count: int, tiles: int) -> int:
    """Bit mask of `count` tiles from `first` on, modulo `tiles`."""
    ones = ((1 << count) - 1) << first
    return (ones | ones >> tiles) & ((1 << tiles) - 1)


def fields(instr: Instr) -> dict:
    """All fields of an instruction by name; those that were left out are 0."""
    return _Zeros(instr.fields)


class _Zeros(dict):
    def __missing__(self, key):
        return 0


def pass_cycles(f: Mapping, params: Params) -> int:
    """Cycles of a PASS with fields `f`."""
    if not params.analog:
        return params.planes * (f["steps"] if params.tree == "shared" else 1)
    pairs = params.planes * params.weight_planes
    return pairs * sum(params.plane_cycles(n * params.granule) for n in pass_reads(f, params))


def pass_reads(f: Mapping, params: Params) -> tuple[int, ...]:
    """Column groups that are converted in each read of a PASS (readout = adc).

    tree = full: one read, all rows on. shared: one row group is on in a read; each step has a read for every row group
    that an enabled column group selects.
    """
    nothing = (0,) * params.col_groups
    mask, sel = f.get("mask") or nothing, f.get("sel") or nothing
    return _pass_reads(mask, sel, f["steps"], f.get("stride", 0), params)


@lru_cache(maxsize=4096)
def _pass_reads(mask: tuple, sel: tuple, steps: int, stride: int, params: Params) -> tuple:
    enabled = [row for on, row in zip(mask, sel, strict=True) if on]
    if params.tree == "full" or not enabled:
        return (len(enabled),) * (1 if params.tree == "full" else steps)
    # A stride moves all row groups alike: the steps differ in their order only.
    return tuple(Counter(enabled).values()) * steps


def load_steps(f: dict, params: Params) -> list[int]:
    """Elements that a LOAD takes from its window in each cycle of emission, the skipped ones first."""
    return _load_steps(params.slots, params.granule, f["skip"], f["elems"], f["parts"], f["tail"])


@lru_cache(maxsize=4096)
def _load_steps(
    slots: int, granule: int, skip: int, elems: int, parts: int, tail: int
) -> list[int]:
    steps = [skip] if skip else []
    part = 0
    while elems:
        need = 0
        for _ in range(slots):
            size = min(tail if part == parts - 1 else granule, elems)
            part = 0 if part >= parts - 1 else part + 1
            need, elems = need + size, elems - size
        steps.append(need)
    return steps


def drain_values(f: dict, params: Params) -> list[list[int]]:
    """Valid elements in each slot of each step of a DRAIN, before `elems` and `words` limit them."""
    return _drain_values(
        params,
        f["count"],
        f["columns"],
        f["slots"],
        f["pieces"],
        f["steps"],
        bool(f["raw"]),
        bool(f["flush"]) and not f["rows"],
    )


def drain_cycles(f: dict, params: Params) -> int:
    """Cycles that a DRAIN occupies its port: `step_cycles` a step."""
    return len(drain_values(f, params)) * params.step_cycles


@lru_cache(maxsize=4096)
def _drain_values(params, count, columns, slots, pieces, steps, raw, flush) -> list[list[int]]:
    b, s_count = params.granule, params.slots
    repeat = params.raw_elements if raw else 1
    share = params.lanes // repeat
    result = []
    for column in range(0, columns, pieces):
        for step in range(steps):
            lens = [0] * s_count
            for piece in range(min(pieces, columns - column)):
                for slot in range(slots):
                    lens[piece * slots + slot] = min(max(count - (step * s_count + slot) * b, 0), b)
            if not raw:
                result.append(lens)
                continue
            values = sum(lens)
            for r in range(repeat):
                elements = min(max(values - r * share, 0), share) * repeat
                result.append([min(max(elements - s * b, 0), b) for s in range(s_count)])
    if flush:
        result.append([0] * s_count)
    return result


@lru_cache(maxsize=4096)
def _drain_writes(
    params, count, columns, slots, pieces, steps, raw, flush, elems, words, keep, held
):
    """Per step: whether a buffer word is written; and the elements left for the next drain (keep)."""
    writes, values = [], _drain_values(params, count, columns, slots, pieces, steps, raw, flush)
    for i, lens in enumerate(values):
        new = min(sum(lens), elems)
        elems -= new
        held += new
        last = i == len(values) - 1
        full = held >= params.lanes
        write = full or (last and not keep and held > 0)
        held = held - params.lanes if full else held
        writes.append(write and words > 0)
        words -= write and words > 0
    return writes, held if keep else 0


class _Drain:
    """One drain in flight: what is left to write, for hazards."""

    __slots__ = ("addr", "end", "entry_done", "issued", "writes")

    def __init__(self, addr: int, end: int, writes: set[int], done: int):
        self.addr, self.end, self.writes, self.entry_done = addr, end, writes, done


class CycleModel:
    """Time of one core.

    Parameters
    ----------
    params : Params
    after : sequence of int
        Per input stream word, output words that must have left before it is offered; the stream ends behind it.
    stall_in, stall_out : sequence of bool
        Per cycle (repeating), 1 where the source does not start to offer a beat / the sink is not ready.
    """

    def __init__(self, params: Params, after=(), stall_in=(), stall_out=()):
        self.p = params
        self.after = list(after)
        self.stall_in = [bool(x) for x in stall_in]
        self.stall_out = [bool(x) for x in stall_out]
        self.cycle = 0
        self.areg = [0] * 8
        self._areg_init = [0] * 8
        self._areg_wrap = [0] * 8
        # tiles, as bit masks
        self.filling = self.draining = self.full1 = self.full2 = 0
        self.pass_end = [-1] * params.tiles
        self._pass_until = -1
        # stream in
        self.sin = None
        self.sin_addr = self.sin_left = self._sin_slot = 0
        self.in_word = self.in_beat = 0
        self._held = False
        # load
        self._load = None
        # send
        self.send_addr = self.send_left = 0
        self._send_inflight = False
        self._send_fifo = 0
        self._out_beat = 0
        self.out_words = 0
        # drains
        n = params.drain_ports
        self._front_end = [-1] * n  # cycle of the last step
        self._emerge = [-1] * n  # cycle in which the last step's sums are complete
        self._drains: list[list[_Drain]] = [[] for _ in range(n)]
        self._keep_port = -1
        self._keep_held = 0
        self._events: dict[int, list] = {}
        self._pending: Instr | None = None
        self._pending_port = -1
        self._lag = int(params.issue_cycles > 1)  #: cycles from a decision to what it does
        self._starts = 0  #: cycle in which the pending instruction issues
        #: Cycle in which the next one may be decided on.
        self._decides = params.issue_cycles - 1 - self._lag
        counters = ("in", "load", "pass", "drain", "out", "pass_tiles")
        self.busy: dict[str, int] = dict.fromkeys(counters, 0)

    # -- hazards ---------------------------------------------------------------------------------

    def address(self, f: dict) -> int:
        """Buffer address of an instruction with the address registers as they are."""
        return f["addr"] + self.areg[f["areg"]]

    def _owed(self, addr: int) -> bool:
        """Whether a running writer still has to write this word."""
        if self.sin == Op.RECV and self.sin_addr <= addr < self.sin_addr + self.sin_left:
            return True
        return any(d.addr <= addr < d.end for port in self._drains for d in port)

    def _overlaps(self, first: int, end: int) -> bool:
        """Whether a running reader or writer still touches a word of [first, end)."""
        if self.sin == Op.RECV and self.sin_addr < end and first < self.sin_addr + self.sin_left:
            return True
        load = self._load
        if load and load["left"] and load["addr"] < end and first < load["addr"] + load["left"]:
            return True
        if self.send_left and self.send_addr < end and first < self.send_addr + self.send_left:
            return True
        return any(d.addr < end and first < d.end for port in self._drains for d in port)

    def drain_port(self, f: dict) -> int:
        """The port that a DRAIN would take now, -1 if none can."""
        now = self.cycle
        for port in range(self.p.drain_ports):
            if not f["rows"] and self._keep_port >= 0 and port != self._keep_port:
                continue
            if now < self._front_end[port] or len(self._drains[port]) >= DRAIN_ENTRIES:
                continue
            if now + 1 + f["chain"] > self._emerge[port]:
                return port
        return -1

    def can_issue(self, instr: Instr) -> bool:
        """Whether this cycle could decide to issue `instr`: unit free, hazards clear."""
        op, p = instr.op, self.p
        if self.cycle < self._decides:
            return False
        f = instr.fields if isinstance(instr.fields, _Zeros) else fields(instr)
        if op == Op.PASS:
            mask = tile_range(f["tile"], f["span"], p.tiles)
            if self.sin == Op.LDW:
                return False
            if (f["fresh"] and self.filling & mask) or (
                self.full2 if f["first"] else self.draining
            ) & mask:
                return False
            if self.cycle >= self._pass_until:
                return True
            end, now = self.pass_end, self.cycle
            return all(end[(f["tile"] + i) % p.tiles] <= now for i in range(f["span"]))
        if op == Op.DRAIN:
            mask = tile_range(f["tile"], f["groups"] * f["chain"], p.tiles)
            if self.draining & mask or self.sin == Op.LDC or mask & ~self.full1:
                return False
            one = mask & ~self.full2
            if one and self.cycle <= self._pass_until:
                end, now = self.pass_end, self.cycle
                if any(one >> t & 1 and end[t] >= now for t in range(p.tiles)):
                    return False
            if self.drain_port(f) < 0:
                return False
            if f["rows"]:
                return not self.filling & tile_range(
                    f["d_tile"], f["d_span"] * f["d_copies"], p.tiles
                )
            first = self.address(f)
            return not self._overlaps(first, first + f["words"])
        if op == Op.LOAD:
            if self._load:
                return False
            return not self.filling & tile_range(f["d_tile"], f["d_span"] * f["d_copies"], p.tiles)
        if op == Op.RECV:
            first = self.address(f)
            return self.sin is None and not self._overlaps(first, first + f["words"])
        if op == Op.SEND:
            return self.send_left == 0
        if op == Op.LDW:
            return self.sin is None and self.pass_end[f["tile"]] < self.cycle
        if op == Op.LDC:
            return self.sin is None and not any(self._drains)
        if op == Op.HALT:
            return self.idle
        return True

    @property
    def idle(self) -> bool:
        """Whether no unit runs; an instruction that cannot issue now never will (deadlock)."""
        return (
            self.cycle >= self._decides
            and self.sin is None
            and self._load is None
            and not any(self._drains)
            and self.cycle > self._pass_until
            and self.send_left == 0
            and not self._send_inflight
            and self._send_fifo == 0
        )

    # -- one cycle -------------------------------------------------------------------------------

    def issue(self, instr: Instr) -> None:
        """Decide in this cycle to issue `instr`; `can_issue` must hold."""
        self._pending = instr
        self._starts, self._decides = self.cycle + self._lag, self.cycle + self.p.issue_cycles
        if (
            instr.op == Op.DRAIN
        ):  # now: units that finish in this cycle are free from the next one on
            self._pending_port = self.drain_port(fields(instr))

    def tick(self) -> None:
        """Run every unit for this cycle, then let the issued instruction start."""
        now, busy = self.cycle, self.busy
        writing = [False] * self.p.drain_ports
        for port, drains in enumerate(self._drains):
            writing[port] = any(now in d.writes for d in drains)
        if now <= self._pass_until:
            running = sum(end >= now for end in self.pass_end)
            busy["pass"] += running > 0
            busy["pass_tiles"] += running
        busy["drain"] += sum(now <= end for end in self._front_end)
        owed_requests = self._tick_load()
        self._tick_send(owed_requests)
        self._tick_in(writing[0])
        for drains in self._drains:
            for d in drains:
                d.addr += now in d.writes
            if drains and drains[0].entry_done == now:
                drains.pop(0)
        for kind, mask in self._events.pop(now, ()):
            if kind == "fill":
                self.filling &= ~mask
            elif kind == "drained":
                self.draining &= ~mask
            else:  # released
                both = mask & self.full2
                self.full2 &= ~both
                self.full1 &= ~(mask & ~both)
        if self._pending is not None and self.cycle == self._starts:
            self._start(self._pending)
            self._pending = None
        self.cycle += 1

    def settle(self) -> None:
        """Let time pass until the next instruction may be decided on; address registers are then what it sees."""
        while self.cycle < self._decides:
            self.tick()

    @property
    def ending(self) -> int:
        """Cycles from the one that decides that a program ends to its last, both counted."""
        return 1 + self._lag

    def end(self) -> None:
        """Let these cycles pass."""
        for _ in range(self.ending):
            self.tick()

    def wait(self) -> None:
        """Let time pass in which nothing issues: a cycle, or as many as only passes go on (they can be long)."""
        cycles = self._uneventful()
        if not cycles:
            self.tick()
            return
        running = sum(end >= self.cycle for end in self.pass_end)
        self.busy["pass"] += cycles
        self.busy["pass_tiles"] += cycles * running
        self.busy["in"] += cycles * (self.sin is not None)
        self.cycle += cycles

    def _uneventful(self) -> int:
        """Cycles from now on that change nothing but how far passes are: up to the end of the first, or 0."""
        now = self.cycle
        if (
            now < self._decides
            or now >= self._pass_until
            or self._load
            or self._events
            or any(self._drains)
        ):
            return 0
        if self.send_left or self._send_inflight or self._send_fifo:
            return 0
        if self.stall_in or self.stall_out:
            return 0
        taken = self.sin is not None or self.in_beat < self.p.beats_per_word - 1
        if taken and self._offered():
            return 0
        return min(end for end in self.pass_end if end >= now) - now

    def _tick_load(self) -> bool:
        """One cycle of the load unit; True if it used the read port."""
        load = self._load
        if load is None:
            return False
        self.busy["load"] += 1
        lanes, used, steps = self.p.lanes, False, load["steps"]
        have = load["have"]
        need = steps[load["step"]]
        emit = have >= need
        rest = have - need if emit else have
        if load["left"] and rest + (lanes if load["inflight"] else 0) <= lanes:
            used = not self._owed(load["addr"])
        load["have"] = rest + (lanes if load["inflight"] else 0)
        load["inflight"] = used
        if used:
            load["addr"] += 1
            load["left"] -= 1
        if emit:
            load["step"] += 1
            if load["step"] == len(steps):
                self.filling &= ~load["mask"]
                self._load = None
        return used

    def _tick_send(self, port_taken: bool) -> None:
        """One cycle of the stream-out unit and of the sink."""
        self.busy["out"] += self.send_left > 0
        request = (
            self.send_left > 0
            and not port_taken
            and self._send_fifo + self._send_inflight < SEND_FIFO
            and not self._owed(self.send_addr)
        )
        left = 0
        if self._send_fifo and self._ready():
            self._out_beat += 1
            if self._out_beat == self.p.beats_per_word:
                self._out_beat, left = 0, 1
        self._send_fifo += self._send_inflight - left
        self._out_left = left
        self._send_inflight = request
        if request:
            self.send_addr += 1
            self.send_left -= 1

    def _ready(self) -> bool:
        """Whether the sink takes a beat in this cycle."""
        return not (self.stall_out and self.stall_out[self.cycle % len(self.stall_out)])

    def _offered(self) -> bool:
        """Whether the source offers a beat in this cycle."""
        if self.in_word >= len(self.after) or self.out_words < self.after[self.in_word]:
            return False
        stall = self.stall_in and self.stall_in[self.cycle % len(self.stall_in)]
        return self._held or not stall

    def _tick_in(self, port_taken: bool) -> None:
        """One cycle of the source and of the stream-in unit."""
        offered = self._offered()
        if self.sin is not None:
            self.busy["in"] += 1
        final = self.in_beat == self.p.beats_per_word - 1
        take = offered and (not final or self._take_word(port_taken))
        self._held = offered and not take
        if take:
            self.in_beat = 0 if final else self.in_beat + 1
            self.in_word += final
        self.out_words += self._out_left

    def _take_word(self, port_taken: bool) -> bool:
        """Let the stream-in unit act on the offered word; True if it takes it in this cycle."""
        if self.sin == Op.RECV:
            if port_taken:
                return False
            self.sin_addr += 1
            self.sin_left -= 1
            done = self.sin_left == 0
            take = True
        elif self.sin == Op.LDW:
            self._sin_slot += 1
            self.sin_left -= 1
            done = self.sin_left == 0
            take = done or self._sin_slot == self.p.slots
            self._sin_slot = 0 if take else self._sin_slot
        elif self.sin == Op.LDC:
            self.sin_left -= 1
            done = self.sin_left == 0
            take = True
        else:
            return False
        if done:
            self.sin = None
        return take

    def _start(self, instr: Instr) -> None:
        """Let an issued instruction change the state that the next cycle sees."""
        op, p = instr.op, self.p
        f = fields(instr)
        now = self.cycle
        if op == Op.PASS:
            cycles = pass_cycles(f, p)
            for i in range(f["span"]):
                self.pass_end[(f["tile"] + i) % p.tiles] = now + cycles
            self._pass_until = max(self._pass_until, now + cycles)
            if f["first"]:
                mask = tile_range(f["tile"], f["span"], p.tiles)
                self.full2 |= self.full1 & mask
                self.full1 |= mask
        elif op == Op.DRAIN:
            self._start_drain(f)
        elif op == Op.LOAD:
            mask = tile_range(f["d_tile"], f["d_span"] * f["d_copies"], p.tiles)
            self.filling |= mask
            self._load = {
                "addr": self.address(f),
                "left": f["words"],
                "inflight": False,
                "have": 0,
                "steps": load_steps(f, p),
                "step": 0,
                "mask": mask,
            }
        elif op == Op.RECV:
            self.sin, self.sin_addr, self.sin_left = op, self.address(f), f["words"]
        elif op == Op.SEND:
            self.send_addr, self.send_left = self.address(f), f["words"]
        elif op == Op.LDW:
            self.sin, self._sin_slot = op, 0
            self.sin_left = f["rows"] * p.col_groups * p.weight_slots
        elif op == Op.LDC:
            self.sin, self.sin_left = op, f["words"] * p.const_words
        self.registers(instr)

    def registers(self, instr: Instr) -> None:
        """Let an instruction set or advance its address register."""
        f = fields(instr)
        if instr.op == Op.SETA and f["areg"]:
            self.areg[f["areg"]] = self._areg_init[f["areg"]] = f["value"]
            self._areg_wrap[f["areg"]] = f["wrap"]
        if f["inc"] and f["areg"]:
            self._advance(f["areg"], f["inc"])

    def _advance(self, r: int, inc: int) -> None:
        value = self.areg[r] + inc
        wrap = self._areg_wrap[r]
        self.areg[r] = self._areg_init[r] if wrap and value >= wrap else value

    def _start_drain(self, f: dict) -> None:
        p, now, chain, port = self.p, self.cycle, f["chain"], self._pending_port
        each = p.step_cycles
        latency = chain + DRAIN_LATENCY + each - 1
        first, end, writes = 0, 0, set()
        if not f["rows"]:
            first = self.address(f)
            end = first + f["words"]
            flags, held = _drain_writes(
                p,
                f["count"],
                f["columns"],
                f["slots"],
                f["pieces"],
                f["steps"],
                bool(f["raw"]),
                bool(f["flush"]),
                f["elems"],
                f["words"],
                bool(f["keep"]),
                self._keep_held if self._keep_port >= 0 else 0,
            )
            writes = {now + (k + 1) * each + latency for k, flag in enumerate(flags) if flag}
            self._keep_port = port if f["keep"] else -1
            self._keep_held = held
        last = now + drain_cycles(f, p)
        done = last + latency
        self._front_end[port] = last
        self._emerge[port] = last + chain
        self._drains[port].append(_Drain(first, end, writes, done))
        tiles = f["groups"] * chain
        self.draining |= tile_range(f["tile"], tiles, p.tiles)
        for part in range(chain):
            mask = 0
            for group in range(f["groups"]):
                mask |= 1 << (f["tile"] + group * chain + part) % p.tiles
            events = self._events.setdefault(last + part, [])
            events.append(("drained", mask))
            if f["release"]:
                events.append(("released", mask))
        if f["rows"]:
            mask = tile_range(f["d_tile"], f["d_span"] * f["d_copies"], p.tiles)
            self.filling |= mask
            self._events.setdefault(done - 1, []).append(("fill", mask))


def random_stalls(seed: int, cycles: int = 1024, rate: float = 0.3) -> np.ndarray:
    """A repeating stall pattern: uint8 (cycles,), 1 with probability `rate`."""
    return (np.random.default_rng(seed).random(cycles) < rate).astype(np.uint8)
