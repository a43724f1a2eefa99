"""Projection and the trainable layer: how long they take."""

import statistics
import time
from collections.abc import Callable, Iterator

import torch

from mapper.d2s import project
from mapper.monarch import MonarchLinear
from mapper.pattern import pattern

from .measure import Row


def rows() -> Iterator[Row]:
    """All rows of this group."""
    torch.manual_seed(0)
    weight = torch.randn(4096, 1024)
    seconds = _seconds(lambda: project(weight, "rect", 32), 3)
    yield Row("projection of 1024 x 4096, rank 1, 32 blocks, seconds", seconds, "<=", 1)
    x, dense = torch.randn(64, 1024), torch.nn.Linear(1024, 1024)
    layer = MonarchLinear(pattern(1024, 1024, "rect", 32))
    with torch.inference_mode():
        ratio = _seconds(lambda: layer(x)) / _seconds(lambda: dense(x))
    note = "n = 1024, batch 64, 32 blocks"
    yield Row("forward of MonarchLinear / dense Linear, time", ratio, "<=", 1, note)


def _seconds(run: Callable[[], object], runs: int = 200) -> float:
    """Median seconds of a call, the first ones left out."""
    times = []
    for _ in range(runs + 3):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:])
