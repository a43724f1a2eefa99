"""A measured number and its bar."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

_TEST = {"<=": lambda v, b: v <= b, ">=": lambda v, b: v >= b, "=": lambda v, b: v == b}


@dataclass(frozen=True)
class Row:
    """One number: `sense` is <=, >= or = against `bar`; no sense: reported only."""

    name: str
    value: float
    sense: str = ""
    bar: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the bar holds; True where there is none."""
        return self.bar is None or _TEST[self.sense](self.value, self.bar)

    def line(self) -> str:
        """One line of the table."""
        value = f"{self.value:,}" if isinstance(self.value, int) else f"{self.value:,.3f}"
        bar = "" if self.bar is None else f"{self.sense} {self.bar:g}"
        mark = "" if self.bar is None else ("holds" if self.holds else "MISSED")
        return f"{self.name:<66} {value:>14}  {bar:<10} {mark:<6} {self.note}".rstrip()

    def as_dict(self) -> dict:
        """Name, value, bar, holds."""
        bar = None if self.bar is None else f"{self.sense} {self.bar:g}"
        return {"name": self.name, "value": self.value, "bar": bar, "holds": self.holds} | (
            {"note": self.note} if self.note else {}
        )


def median_seconds(run: Callable[[], object], runs: int) -> float:
    """Median seconds of a call, after a few that do not count."""
    for _ in range(3):
        run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
