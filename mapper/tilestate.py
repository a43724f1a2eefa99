"""What program order must respect on the tiles, without time: row banks, result queues, kept words.

The hardware waits for busy units, but it does not know whose data a row bank holds. This state machine
does: a prefix of a program that it accepts is correct, and one that it can complete does not deadlock.
"""

from dataclasses import dataclass, field

#: Steps a task of the search for an order.
SEARCH = 10


@dataclass(frozen=True)
class Effects:
    """What an instruction does to the tiles; all tile sets are bit masks."""

    claims: int = 0  #: tiles whose fill bank it starts to fill (and keeps until the swap)
    swaps: int = 0  #: tiles whose banks it swaps (PASS fresh)
    holds: int = 0  #: of those, tiles on which later passes need the same rows
    drops: int = 0  #: tiles on which it is the last pass that needs the rows
    opens: int = 0  #: tiles on which it opens result `result`
    locks: int = 0  #: tiles whose newest result is incomplete after it
    unlocks: int = 0  #: tiles whose newest result it completes
    reads: int = 0  #: tiles whose oldest result it drains, which must be `result`
    frees: bool = False  #: it releases that result
    result: int = -1  #: number of the result within its item
    buffer: bool = False  #: a drain to the buffer
    keeps: int = -1  #: task that must be the next drain to the buffer; -1: any

    @property
    def risky(self) -> bool:
        """Whether it takes something that others may wait for."""
        return bool(self.claims or self.opens or self.keeps >= 0)


@dataclass
class TileState:
    """Owners of row banks and the result queues. Items are numbers, tasks numbers within an item."""

    banks: int = 0
    held: int = 0
    one: int = 0  #: tiles with a result
    two: int = 0  #: tiles with two
    locked: int = 0
    kept: tuple[int, int] | None = None
    #: (item, result) -> [tiles where it is the oldest, tiles where it waits behind another]
    results: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)

    def copy(self) -> "TileState":
        """An independent copy."""
        return TileState(
            self.banks, self.held, self.one, self.two, self.locked, self.kept, dict(self.results)
        )

    def can(self, item: int, task: int, e: Effects) -> bool:
        """Whether the task could be next."""
        if e.claims & self.banks or e.swaps & self.held or e.opens & (self.two | self.locked):
            return False
        if e.buffer and self.kept is not None and self.kept != (item, task):
            return False
        if e.reads:
            head, _ = self.results.get((item, e.result), (0, 0))
            return e.reads & ~head == 0
        return True

    def do(self, item: int, task: int, e: Effects) -> None:
        """Apply a task that `can` be next."""
        if e.claims:
            self.banks |= e.claims
        if e.swaps:
            self.banks &= ~e.swaps
            self.held |= e.holds
        self.held &= ~e.drops
        if e.opens:
            head, tail = self.results.get((item, e.result), (0, 0))
            second = e.opens & self.one
            self.results[item, e.result] = head | e.opens & ~second, tail | second
            self.two |= second
            self.one |= e.opens
        self.locked = (self.locked | e.locks) & ~e.unlocks
        if e.frees:
            self._release(item, e)
        if e.buffer:
            self.kept = (item, e.keeps) if e.keeps >= 0 else None

    def _release(self, item: int, e: Effects) -> None:
        key = (item, e.result)
        head, tail = self.results[key]
        head &= ~e.reads
        if head or tail:
            self.results[key] = head, tail
        else:
            del self.results[key]
        next_up = e.reads & self.two
        self.one &= ~(e.reads & ~next_up)
        self.two &= ~next_up
        if next_up:
            for other, (head, tail) in self.results.items():
                if tail & next_up:
                    self.results[other] = head | tail & next_up, tail & ~next_up


def find_order(needs: list[int], effects: list[Effects]) -> list[int] | None:
    """An order of the tasks of one item that can be executed alone; None if none is found.

    `needs[i]`: bit mask of the tasks that must come before task i. Prefers low numbers, and gives up
    after `SEARCH` steps a task: an order that exists is found in few.
    """
    nodes = SEARCH * len(needs)
    everything = (1 << len(needs)) - 1
    dead: set[int] = set()
    order: list[int] = []
    stack = [(0, TileState(), iter(range(len(needs))))]
    while stack and nodes > 0:
        done, state, choices = stack[-1]
        if done == everything:
            return order
        for i in choices:
            if done >> i & 1 or needs[i] & ~done or done | 1 << i in dead:
                continue
            if state.can(0, i, effects[i]):
                nodes -= 1
                after = state.copy()
                after.do(0, i, effects[i])
                order.append(i)
                stack.append((done | 1 << i, after, iter(range(len(needs)))))
                break
        else:
            dead.add(done)
            stack.pop()
            if order:
                order.pop()
    return None
