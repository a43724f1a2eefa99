"""What patterns cost on the hardware: arrays and cycles of a layer, from the real placement and the real schedule.

A layer is a tuple of `Site`, in the order of its segments; its core holds it alone, so arrays are whole arrays of a
layer. Everything is cached by shapes: layers alike cost once.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rtl.spec.params import ConfigError, Params

from .bounds import STREAMING_TOKENS
from .compile import Compiler
from .graph import Segment, Workload
from .network import Network, linear_of
from .pattern import Pattern
from .placement import densemap, monarch_strategy, place
from .synthetic import zero_inputs, zero_matrix

#: Tokens of a run that streams but does not make the compiler search for a placement that streams best (seconds).
SHORT_STREAM = STREAMING_TOKENS // 2


@dataclass(frozen=True)
class Site:
    """A matrix to replace: its name and where it is in the network."""

    name: str  #: full name, as of curves and patterns
    layer: int  #: the matrices of a layer share a core
    segment: str  #: matrices of a segment read one input
    short: str  #: unique in the layer
    n_in: int
    n_out: int
    barrier: bool = False  #: of the segment, as in `mapper.graph.Workload`


Layer = tuple[Site, ...]
Patterns = tuple[Pattern, ...]


def sites_of(network: Network, names: Iterable[str] | None = None) -> list[Site]:
    """The matrices of a linearised network, in order; only those of these full names, if given."""
    wanted = None if names is None else set(names)
    found = []
    for number in range(network.model.layers):
        for one in network.matrices(number):
            name, sizes = linear_of(network, one), (one.matrix.n_in, one.matrix.n_out)
            n_in, n_out = (getattr(network.model, size) for size in sizes)
            if wanted is None or name in wanted:
                part = one.segment
                found.append(
                    Site(name, number, part.name, one.matrix.name, n_in, n_out, part.barrier)
                )
    return found


def by_layer(sites: Iterable[Site]) -> dict[int, Layer]:
    """The sites of each layer, layers in order."""
    found: dict[int, list[Site]] = {}
    for site in sites:
        found.setdefault(site.layer, []).append(site)
    return {number: tuple(found[number]) for number in sorted(found)}


class Oracle:
    """Costs of patterns under one strategy and configuration.

    Parameters
    ----------
    params : Params
        Hardware. The number of arrays is a result: `tiles` is not used.
    strategy : str
        `densemap` or `sparsemap`.
    fixed : set of str
        Parameters that are limits, as of `mapper.compile.Compiler`.
    tokens : int
        Length of the run that `cycles` reports: 1 is latency, 16 or more is steady state.
    seed : int
        Of the placement.

    Raises `ConfigError` on a strategy that stores no factors and on tokens below 1.
    """

    def __init__(
        self,
        params: Params,
        strategy: str = "densemap",
        fixed: Iterable[str] = (),
        tokens: int = 1,
        seed: int = 0,
    ):
        if not monarch_strategy(strategy):
            raise ConfigError(f"strategy: {strategy!r} stores dense matrices, not factors")
        if tokens < 1:
            raise ConfigError(f"tokens: {tokens} must be at least 1")
        self.params, self.strategy, self.tokens, self.seed = params, strategy, tokens, seed
        self.fixed = frozenset(fixed) - {"tiles"}
        self.cells = params.row_groups * params.col_groups  #: granules of an array
        self._arrays: dict[tuple, float] = {}
        self._cycles: dict[tuple, int] = {}
        self._alone: dict[Pattern, tuple[float, float]] = {}
        self._weights: dict[Pattern, float] = {}

    def workload(self, layer: Layer, patterns: Patterns, tokens: int) -> Workload:
        """The layer with these patterns, all zero, without memory behind."""
        parts: dict[str, list] = {}
        for site, form in zip(layer, patterns, strict=True):
            matrix = zero_matrix(site.short, site.layer, site.n_in, site.n_out, form)
            parts.setdefault(site.segment, []).append(matrix)
        segments = [Segment(name, layer[0].layer, tuple(m)) for name, m in parts.items()]
        return Workload(
            model="shapes",
            layer=layer[0].layer,
            policy="blocks",
            segments=segments,
            inputs={s.name: zero_inputs(tokens, s.n_in) for s in segments},
            barrier={site.segment: site.barrier for site in layer},
            synthetic=True,
        )

    def arrays(self, layer: Layer, patterns: Patterns) -> float:
        """Arrays that the layer takes; infinite if it cannot be placed."""
        key = _key(layer, patterns)
        if key not in self._arrays:
            segments = self.workload(layer, patterns, 1).segments
            self._arrays[key] = self._placed(segments)
        return self._arrays[key]

    def alone(self, pattern: Pattern) -> tuple[float, float]:
        """Granules that a matrix takes, and arrays at least that its layer needs; cheap, never too much.

        Infinite for what cannot be placed. Granules of several matrices add up (for `sparsemap`, where matrices share
        no array, they are those of whole arrays).
        """
        if pattern not in self._alone:
            segments = self.workload(*_single(pattern), 1).segments
            if self.strategy == "densemap":
                self._alone[pattern] = densemap.demand(segments, self.params, self.fixed)
            else:
                arrays = self._placed(segments)
                self._alone[pattern] = (arrays * self.cells, arrays)
        return self._alone[pattern]

    def weight(self, pattern: Pattern) -> float:
        """Cycles of a token through the matrix alone: roughly its share of a layer. Infinite: does not compile."""
        if pattern not in self._weights:
            try:
                self._weights[pattern] = self._run(*_single(pattern), 1)
            except ConfigError:
                self._weights[pattern] = math.inf
        return self._weights[pattern]

    def cycles(self, layer: Layer, patterns: Patterns) -> int:
        """Cycles of the layer for `tokens` tokens, as compiled. Raises `ConfigError` if it does not compile."""
        return self._run(layer, patterns, self.tokens)

    def short_cycles(self, layer: Layer, patterns: Patterns) -> int:
        """As `cycles`, of a run that is short enough to compile in a moment: for comparing."""
        return self._run(layer, patterns, min(self.tokens, SHORT_STREAM))

    def _run(self, layer: Layer, patterns: Patterns, tokens: int) -> int:
        key = (*_key(layer, patterns), tokens)
        if key not in self._cycles:
            # A compiler of its own: it would keep the whole program of everything that is tried.
            compiler = Compiler(self.strategy, self.params, self.fixed, self.seed)
            self._cycles[key] = compiler.plan(self.workload(layer, patterns, tokens)).cycles
        return self._cycles[key]

    def _placed(self, segments: list[Segment]) -> float:
        try:
            return place(self.strategy, segments, self.params, self.fixed, self.seed).params.tiles
        except ConfigError:
            return math.inf


def _key(layer: Layer, patterns: Patterns) -> tuple:
    """What placement and schedule depend on."""
    return tuple((s.segment, s.barrier) for s in layer), patterns


def _single(pattern: Pattern) -> tuple[Layer, Patterns]:
    """A layer of nothing else."""
    return (Site("m", 0, "s", "m", pattern.n_in, pattern.n_out),), (pattern,)
