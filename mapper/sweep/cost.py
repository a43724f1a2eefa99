"""What one configuration costs: placed and scheduled from its shapes, no weights drawn."""

import time

from rtl.spec.params import ConfigError, Params

from .. import report
from ..compile import Compiler
from ..graph import Workload
from ..models import MODELS, check_layers, stack_of
from ..synthetic import zero_workload
from ..workload import pattern_of
from .grid import Configuration, version

#: Elements of the array that areas are counted in.
UNIT = 256 * 256


def cost(configuration: Configuration, wanted: str) -> dict:
    """The cost of a configuration; see `_total` for the keys. Never raises, so that a sweep goes on.

    `wanted` is the version of the sources that asks. `error` is None or one line; `final` is False for an error that
    another attempt may not have (a lack of memory, a mistake in this package), and `stale` True if the sources here
    are not those that ask.
    """
    start = time.perf_counter(), time.process_time()
    found: dict = {"error": None, "final": True, "stale": version() != wanted}
    if found["stale"]:
        return found | {"error": "the worker runs another version", "final": False}
    try:
        found |= _total(configuration)
    except ConfigError as error:
        found["error"] = str(error)
    except Exception as error:
        # One line that says where to look; the sweep is worth more than a traceback.
        text = str(error).partition("\n")[0]
        found |= {"error": f"{type(error).__name__}: {text}", "final": False}
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    return found | {"wall_s": round(wall, 4), "cpu_s": round(cpu, 4)}


def _total(c: Configuration) -> dict:
    """Sums over the layers, which have a core each and run one after the other for a token.

    arrays, weights, dense_weights; cycles_per_token and latency_bound (cycles of a token through all layers);
    array_cycles (of each layer arrays x cycles a token, summed: what the arrays are occupied for); area and
    area_cycles, the same in arrays of 256x256 elements; utilization (elements stored / cells).
    """
    params = Params.from_dict(dict(c.hardware))
    compiler = Compiler(c.strategy, params, c.fixed, c.seed)
    total: dict[str, float] = dict.fromkeys(
        ("arrays", "weights", "dense_weights", "cycles_predicted", "latency_bound", "array_cycles"),
        0,
    )
    for workload, times in _layers(c):
        plan = compiler.plan(workload)
        one = report.build(
            workload,
            plan.placement,
            plan.lowered,
            plan.params,
            tokens=c.tokens,
            instructions=len(plan.program),
            cycles=plan.cycles,
            seed=c.seed,
            wall_s=0,
        )
        for key in total:
            total[key] += times * one[key]
    area = total["arrays"] * params.rows * params.cols / UNIT
    return total | {
        "cycles_per_token": total.pop("cycles_predicted") / c.tokens,
        "area": area,
        "area_cycles": total["array_cycles"] * params.rows * params.cols / UNIT,
        "utilization": total["weights"] / (area * UNIT),
    }


def _layers(c: Configuration) -> list[tuple[Workload, int]]:
    """A workload for each kind of layer, and the number of layers of the kind."""
    if c.model.base:
        raise ConfigError(f"{c.model.name}: factors have patterns of their own; use the base")
    if c.tokens < 1:
        raise ConfigError(f"tokens: {c.tokens} must be at least 1")
    patterns = pattern_of(c.policy, c.k, c.l, c.rank)
    numbers = check_layers(c.model, None if c.layers is None else list(c.layers))
    kinds: dict[tuple, list[int]] = {}
    for number in numbers:
        kinds.setdefault(stack_of(c.model, number)[0].segments, []).append(number)
    # As `compile`: real weights come with real attention, which waits for all tokens.
    real = bool(c.model.package) or MODELS.get(c.model.name) != c.model
    found = []
    for segments, same in kinds.items():
        workload = zero_workload(c.model, same[0], c.policy, patterns, c.tokens)
        workload.barrier = {s.name: s.barrier and real for s in segments}
        found.append((workload, len(same)))
    return found
