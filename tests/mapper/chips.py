"""Random small chips."""

import dataclasses
import json

import numpy as np

from mapper import chip
from mapper.compile import Compiler
from rtl.spec.params import Params

from . import programs


def random_work(rng, params, layer, tokens, dense=False):
    """A layer of two segments, Monarch or dense, the second with a barrier or not."""
    if dense:
        parts = {
            "a": [programs.dense(rng, params, m, 16, 12) for m in ("m", "n")],
            "b": [programs.dense(rng, params, "o", 12, 40)],
        }
    else:
        parts = {
            "a": [programs.monarch(rng, params, m, 4, 4, 4, 4) for m in ("m", "n")],
            "b": [programs.monarch(rng, params, "o", 4, 2, 4, 8)],
        }
    work = programs.workload(rng, params, parts, tokens, ("b",) if rng.random() < 0.5 else ())
    work.layer = layer
    work.segments = [dataclasses.replace(s, layer=layer) for s in work.segments]
    return work


def random_chip(seed: int, cores: int, tokens: int):
    """A compiled chip; configuration and shapes are drawn by `seed`."""
    rng = np.random.default_rng(seed)
    params = Params(
        rows=16,
        cols=16,
        granule=4,
        lanes=8,
        cores=cores,
        stream_width=int(rng.choice([0, 32])),
        drain_ports=int(rng.choice([1, 2])),
    )
    strategy = ("densemap", "sparsemap", "linear")[seed % 3]
    works = [
        random_work(rng, params, n, tokens, strategy == "linear") for n in range(cores - seed % 2)
    ]
    return chip.compile_chip(Compiler(strategy, params), works)


def edit(path, key, value):
    """Change a key of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
