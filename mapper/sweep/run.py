"""A sweep from configurations to rows: what is in the cache, the rest computed here or on a cluster."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from rtl.spec.params import ConfigError

from . import cluster, pool
from .cache import Cache
from .cost import cost
from .grid import Configuration, version
from .pareto import front


@dataclass(frozen=True)
class Result:
    """A configuration and its cost, see `mapper.sweep.cost`."""

    configuration: Configuration
    cost: dict
    pareto: bool = False  #: nothing with the same model, layers and tokens is smaller and faster

    @property
    def error(self) -> str | None:
        """Why there is no cost; None: there is."""
        return self.cost["error"]

    def row(self) -> dict:
        """A flat record."""
        known = {k: v for k, v in self.cost.items() if k not in ("final", "stale")}
        return {**self.configuration.row(), "pareto": self.pareto, **known}


class Sweep:
    """Configurations whose costs are found in a cache or computed and kept there.

    Parameters
    ----------
    configurations : sequence of Configuration
        Different ones.
    cache : Cache
        Written after every configuration: a sweep that is cut short, however, goes on from there.
    """

    def __init__(self, configurations: Sequence[Configuration], cache: Cache):
        self.configurations, self.cache = list(configurations), cache
        self.keys = [c.key(version()) for c in self.configurations]
        self.costs: dict[int, dict] = {}
        for index, key in enumerate(self.keys):
            found = cache.get(key)
            if found is not None:
                self.costs[index] = found

    @property
    def missing(self) -> list[int]:
        """Configurations without a cost."""
        return [i for i in range(len(self.configurations)) if i not in self.costs]

    def run(
        self,
        workers: int = 1,
        scheduler: str | None = None,
        progress: Callable[[int], object] = lambda n: None,
    ) -> list[Result]:
        """All results in the order of the configurations; `progress` is called with 1 for each that is computed.

        Raises `ConfigError` if the cluster or the cache does not work.
        """
        missing = self.missing
        if missing:
            computed = self._computed(missing, workers, scheduler)
            for index, found in computed:
                if isinstance(found, pool.Died):
                    found = {"error": found.why, "final": False, "stale": False}
                if found["stale"]:
                    raise ConfigError(f"scheduler: {scheduler}: {found['error']} of blockcim")
                self.costs[index] = found
                if found["final"]:
                    self.cache.put(self.keys[index], found)
                progress(1)
        return self._results()

    def _computed(
        self, missing: list[int], workers: int, scheduler: str | None
    ) -> Iterator[tuple[int, dict | pool.Died]]:
        task = partial(cost, wanted=version())
        jobs = [self.configurations[i] for i in missing]
        if scheduler is None:
            done = pool.run(task, jobs, workers)
        else:
            done = cluster.run(task, jobs, scheduler)
        for number, found in done:
            yield missing[number], found

    def _results(self) -> list[Result]:
        placed = [i for i, found in sorted(self.costs.items()) if found["error"] is None]
        points = [
            (
                (c.model.name, c.layers, c.tokens),
                self.costs[i]["area"],
                self.costs[i]["cycles_per_token"],
            )
            for i in placed
            for c in [self.configurations[i]]
        ]
        best = {placed[number] for number in front(points)}
        return [
            Result(c, self.costs[i], i in best)
            for i, c in enumerate(self.configurations)
            if i in self.costs
        ]
