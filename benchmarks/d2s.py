"""Projection and the trainable layer: how long they take."""

import math
import sys
import time
from collections.abc import Iterator

import torch

from mapper import compress, network
from mapper.d2s import project
from mapper.models import MODELS, packaged_checkpoint
from mapper.monarch import MonarchLinear
from mapper.pattern import Pattern, pattern
from mapper.surgery import linears
from rtl.spec.params import ConfigError

from .measure import Row, median_seconds

#: Blocks of a whole model's matrices, at most.
BLOCKS = 16


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
    yield from _whole_model()


def _whole_model() -> Iterator[Row]:
    """Plain projection of every matrix in the layers of SmolLM2 to about half its weights; its package is optional."""
    try:
        path = packaged_checkpoint(MODELS["smollm2"])
    except ConfigError as error:
        print(f"skipped: projection of all linears ({error})", file=sys.stderr)
        return
    assert path is not None
    net = network.load(path)
    found = linears(net.module)
    patterns = {name: _half(found[name]) for name in net.linear_names()}
    dense = sum(p.n_in * p.n_out for p in patterns.values())
    kept = sum(p.weights for p in patterns.values())
    start = time.perf_counter()
    compress.project_all(net.module, patterns)
    seconds = time.perf_counter() - start
    note = f"{len(patterns)} matrices, {dense:,} weights, {kept / dense:.1%} kept"
    yield Row(
        "projection of all linears of SmolLM2, rank from 2x, seconds", seconds, "<=", 60, note
    )


def _half(linear: torch.nn.Linear) -> Pattern:
    """The pattern of the largest rank with at most half of the weights."""
    n_in, n_out = linear.in_features, linear.out_features
    common = math.gcd(n_in, n_out)
    blocks = max(n for n in range(1, BLOCKS + 1) if common % n == 0)
    rank = n_in * n_out // (2 * blocks * (n_in + n_out))
    return pattern(n_in, n_out, "blocks", blocks, blocks, max(1, rank))
