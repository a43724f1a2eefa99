"""report.json: what a program needs and costs. Keys of runs are filled in later by `sim run`."""

import platform

import numpy as np

from rtl.spec.params import ISA_VERSION, Params

from . import fill
from .bounds import efficiency, latency_bound, resources
from .graph import Matrix, Workload
from .layout import Placement
from .lower import Lowered

#: Keys that only a run on a simulator can fill.
RUN_KEYS = ("cycles", "outputs_checked", "mismatches", "simulator", "events", "cost")


def build(
    workload: Workload,
    placement: Placement,
    lowered: list[Lowered],
    params: Params,
    *,
    tokens: int,
    instructions: int,
    cycles: int,
    seed: int,
    wall_s: float,
) -> dict:
    """The report of a compiled program.

    `macs` and `weights` count stored factors, padding of the policy included, per token;
    `utilization` is those weights over the cells of the arrays in use, `utilization_useful` counts
    only weights that are not padding of the policy; `fill` says where the other cells are lost, see `mapper.fill`.
    `array_cycles` is arrays x cycles a token.
    """
    matrices = [m for s in workload.segments for m in s.matrices]
    weights = sum(m.weights for m in matrices)
    dense = sum(m.n_in * m.n_out for m in matrices)
    arrays = placement.used_tiles
    cells = arrays * params.rows * params.cols
    load = resources(lowered, params)
    bound = tokens * load.busiest
    return {
        "model": workload.model,
        "layer": workload.layer,
        "layers": workload.layers,
        "policy": workload.policy,
        "strategy": placement.strategy,
        "synthetic": workload.synthetic,
        "params": params.as_dict(),
        "config_hash": f"0x{params.config_hash:08x}",
        "arrays": arrays,
        "utilization": weights / cells,
        "utilization_useful": sum(_useful(m) for m in matrices) / cells,
        "fill": fill.of(workload.segments, placement).as_dict(),
        "weights": weights,
        "dense_weights": dense,
        "macs": weights,
        "dense_macs": dense,
        "tokens": tokens,
        "instructions": instructions,
        "lanes": params.lanes,
        "drain_ports": params.drain_ports,
        "cycles_predicted": cycles,
        "throughput_bound": bound,
        "latency_bound": latency_bound(workload.segments, lowered, params),
        "efficiency": efficiency(bound, cycles, tokens),
        "array_cycles": arrays * cycles / tokens,
        "resources": {
            name: getattr(load, name)
            for name in ("array", "read", "write", "drain", "stream_in", "stream_out")
        },
        **dict.fromkeys(RUN_KEYS),
        "seed": seed,
        "versions": {
            "isa": ISA_VERSION,
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        "wall_s": wall_s,
        "notes": workload.notes,
    }


def _useful(matrix: Matrix) -> int:
    return matrix.useful_weights or matrix.weights
