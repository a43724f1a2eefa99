"""Projection and the trainable layer: how long they take."""

from collections.abc import Iterator

import torch

from mapper.d2s import project
from mapper.monarch import MonarchLinear
from mapper.pattern import pattern

from .measure import Row, median_seconds


def rows() -> Iterator[Row]:
    """All rows of this group."""
    torch.manual_seed(0)
    weight = torch.randn(4096, 1024)
    seconds = median_seconds(lambda: project(weight, "rect", 32), 3)
    yield Row("projection of 1024 x 4096, rank 1, 32 blocks, seconds", seconds, "<=", 1)
    x, dense = torch.randn(64, 1024), torch.nn.Linear(1024, 1024)
    layer = MonarchLinear(pattern(1024, 1024, "rect", 32))
    with torch.inference_mode():
        ratio = median_seconds(lambda: layer(x), 200) / median_seconds(lambda: dense(x), 200)
    note = "n = 1024, batch 64, 32 blocks"
    yield Row("forward of MonarchLinear / dense Linear, time", ratio, "<=", 1, note)
