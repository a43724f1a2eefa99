"""Block counts and ranks of all matrices for a number of arrays: pattern, mapping and schedule chosen together.

Each layer has a core of its own, hence whole arrays. The expected loss of a network is the sum of what its matrices
are expected to cost (`mapper.allocate.Curve`). `mapper.layersearch` finds the least loss of one layer on each number of
arrays; here the arrays are shared among the layers by these losses. What loses hardly more (`TIE`) and is scheduled in
fewer cycles is preferred.

More arrays never give a larger expected loss, and the best pattern with one block count and one rank for all matrices
(`uniform`) is always among what is compared.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rtl.spec.params import ConfigError

from .allocate import candidates, rank_step
from .knapsack import Option, cheapest, share
from .layersearch import Curves, Entry, LayerSearch, Progress
from .oracle import Oracle, Site, by_layer
from .pattern import Pattern

#: Part of the loss that may be given for fewer cycles.
TIE = 0.02


@dataclass(frozen=True)
class Alternative:
    """Patterns for all matrices and what they cost; cycles of the run that the oracle was asked for."""

    label: str
    patterns: dict[str, Pattern]
    arrays_per_layer: dict[int, int]
    cycles_per_token: float  #: summed over the layers
    expected_loss: float

    @property
    def arrays(self) -> int:
        """Of all layers."""
        return sum(self.arrays_per_layer.values())


@dataclass(frozen=True)
class Choice:
    """What to build, and what it was compared with."""

    patterns: dict[str, Pattern]
    arrays: int
    arrays_per_layer: dict[int, int]
    cycles_per_token: float  #: summed over the layers
    expected_loss: float
    uniform: Alternative | None  #: the best with one block count and rank; None: none fits
    considered: tuple[Alternative, ...]  #: rows of a table


def options(
    sites: Iterable[Site], blocks: Iterable[int], granule: int
) -> dict[int, dict[str, tuple[Pattern, ...]]]:
    """For each block count the patterns to measure (`mapper.allocate.measure`), by full name of the matrix.

    A matrix that a block count does not divide is left out there. Raises `ConfigError` for a block count that suits no
    matrix and for a matrix that no block count suits.
    """
    sites, found = list(sites), {}
    errors: dict[str, ConfigError] = {}
    for count in blocks:
        if count < 1:
            raise ConfigError(f"blocks: {count} must be at least 1")
        mine, error = {}, None
        for site in sites:
            try:
                step = rank_step(count, count, granule)
                mine[site.name] = candidates(site.n_in, site.n_out, count, count, step, site.name)
            except ConfigError as problem:
                error = errors[site.name] = problem
        if not mine:
            raise ConfigError(f"blocks: {count} suits no matrix: {error}")
        found[count] = mine
    for site in sites:
        if not any(site.name in mine for mine in found.values()):
            raise errors.get(site.name) or ConfigError("blocks: no block count is given")
    return found


def choose(
    curves: Curves,
    sites: Iterable[Site],
    oracle: Oracle,
    arrays: int,
    progress: Progress = lambda n: None,
) -> Choice:
    """The patterns of least expected loss on at most `arrays` arrays; near-ties by cycles.

    `curves` by block count, each with any of the matrices in `sites`. Deterministic. `progress` is called with 1 for
    each number of arrays of a layer that was searched, and for each layer that was scheduled. Raises `ConfigError` on
    a number of arrays that is too small, saying how many are needed, and on matrices without a curve.
    """
    if arrays < 1:
        raise ConfigError(f"arrays: {arrays} must be at least 1")
    parts = by_layer(_checked(curves, sites)).values()
    layers = [LayerSearch(layer, curves, oracle, arrays, progress) for layer in parts]
    loss, shares = _settle(layers, arrays)
    if not math.isfinite(loss):
        need = sum(layer.fewest() for layer in layers)
        raise ConfigError(f"arrays: {arrays} are too few, the cheapest patterns need {need}")
    # What fewer arrays achieve is not given away for cycles: more arrays never give a larger loss.
    before, _ = _settle(layers, sum(shares) - 1)
    uniforms = _uniforms(layers, arrays)
    uniform = min(uniforms, key=_order, default=None)
    bound = min(loss * (1 + TIE), before, uniform.expected_loss if uniform else math.inf)
    bound = max(bound, loss)  # sums in another order may differ in the last place
    pairs = list(zip(layers, shares, strict=True))
    timed = [layer.faster(at, bound - loss) for layer, at in pairs]
    picks = cheapest([[Option(t.cycles, t.entry.loss) for t in found] for found in timed], bound)
    chosen = [found[pick].entry for found, pick in zip(timed, picks, strict=True)]
    least = _alternative("least loss", layers, [found[0].entry for found in timed])
    fast = _alternative(f"fewest cycles within {TIE:.0%}", layers, chosen)
    # Uniform patterns only win a draw: they are among what was searched.
    answer = min((a for a in (fast, uniform) if a), key=_order)
    return Choice(
        answer.patterns,
        answer.arrays,
        answer.arrays_per_layer,
        answer.cycles_per_token,
        answer.expected_loss,
        uniform,
        (*uniforms, least, fast),
    )


def _order(found: Alternative) -> tuple[float, float, int]:
    return found.expected_loss, found.cycles_per_token, found.arrays


def _checked(curves: Curves, sites: Iterable[Site]) -> list[Site]:
    """The sites. Raises `ConfigError` unless every one has a curve, of its own sizes, and every curve a site."""
    found = {site.name: site for site in sites}
    if not found:
        raise ConfigError("matrices: none to choose patterns for")
    measured = set()
    for mine in curves.values():
        for curve in mine:
            site = found.get(curve.name)
            if site is None:
                raise ConfigError(f"{curve.name}: has a curve and is no matrix of a layer")
            for form in curve.patterns:
                if (form.n_in, form.n_out) != (site.n_in, site.n_out):
                    raise ConfigError(
                        f"{curve.name}: a pattern of {form.n_out} x {form.n_in} for a matrix of "
                        f"{site.n_out} x {site.n_in}"
                    )
            measured.add(curve.name)
    for name in found:
        if name not in measured:
            raise ConfigError(f"{name}: no block count has a curve for it")
    return list(found.values())


def _settle(layers: list[LayerSearch], limit: int) -> tuple[float, list[int]]:
    """The least loss on `limit` arrays and the share of each layer; infinite: they do not suffice.

    Area alone says too little about some shares; those that matter are searched until all are known.
    """
    while True:
        if limit < len(layers):
            return math.inf, []
        loss, shares = share([layer.losses(limit) for layer in layers], limit)
        if not math.isfinite(loss):
            return math.inf, []
        open_shares = [(la, at) for la, at in zip(layers, shares, strict=True) if not la.known(at)]
        if not open_shares:
            return loss, shares
        for layer, at in open_shares:
            layer.step(at)


def _uniforms(layers: list[LayerSearch], arrays: int) -> list[Alternative]:
    """The best with one block count and rank for all matrices, for each block count of which one fits."""
    found: dict[int, list[tuple[float, int, list[Entry]]]] = {}
    for block_count, rank in layers[0].uniform:
        key = block_count, rank
        if any(key not in layer.uniform for layer in layers):
            continue
        if sum(layer.at_least(layer.uniform[key]) for layer in layers) > arrays:
            continue
        entries = [layer.entry(layer.uniform[key]) for layer in layers]
        total = sum(entry.arrays for entry in entries)
        if total <= arrays:
            row = (sum(entry.loss for entry in entries), rank, entries)
            found.setdefault(block_count, []).append(row)
    rows = []
    for block_count, options_of in sorted(found.items()):
        for _, rank, entries in sorted(options_of, key=lambda row: row[:2]):
            try:
                rows.append(
                    _alternative(f"uniform, {block_count} blocks of rank {rank}", layers, entries)
                )
                break
            except ConfigError:  # does not compile: the next one may
                continue
    return rows


def _alternative(label: str, layers: list[LayerSearch], entries: list["Entry"]) -> Alternative:
    patterns, arrays, cycles, loss = {}, {}, 0, 0.0
    for layer, entry in zip(layers, entries, strict=True):
        names = [site.name for site in layer.layer]
        patterns |= dict(zip(names, entry.patterns, strict=True))
        arrays[layer.layer[0].layer] = int(entry.arrays)
        cycles += layer.oracle.cycles(layer.layer, entry.patterns)
        loss += entry.loss
        layer.progress(1)
    return Alternative(label, patterns, arrays, cycles / layers[0].oracle.tokens, loss)
