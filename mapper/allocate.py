"""Which rank each matrix gets: measured sensitivity against a budget.

A matrix m at rank r is expected to cost the network s_m e_m(r)^2: e_m(r) is the relative error of its outputs, from
the singular values of its slices in the metric of their inputs, for all ranks at once; the sensitivity s_m is measured
by projecting that matrix alone and comparing the network's outputs with the dense ones. A budget (weights, or granules
of an array) is spent greedily where it saves most; the curves are convex, so that is close to the best.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rtl.spec.params import ConfigError

from .calibrated import fit_outputs, rank_errors
from .compress import SHRINKAGE, Patterns
from .monarch import MonarchLinear
from .objective import Language, Similarity
from .pattern import Pattern
from .surgery import Batch, forward, linear, observed, replace, rows

Progress = Callable[[int], object]
#: What a pattern costs; the budget is in the same unit.
Cost = Callable[[Pattern], float]


@dataclass(frozen=True)
class Curve:
    """Patterns that a matrix may have, cheapest first, with what each is expected to cost the network."""

    name: str
    patterns: tuple[Pattern, ...]
    losses: tuple[float, ...]


def rank_step(k: int, l: int, granule: int) -> int:  # noqa: E741 - as in the definition
    """The smallest rank whose factors fill granules of `granule`: rank * l and rank * k are multiples of it."""
    return math.lcm(granule // math.gcd(granule, k), granule // math.gcd(granule, l))


def candidates(n_in: int, n_out: int, k: int, l: int, step: int, name: str) -> tuple[Pattern, ...]:  # noqa: E741
    """All ranks in steps that need fewer weights than the dense matrix. Raises `ConfigError` if there is none."""
    for blocks, side, size in ((k, "inputs", n_in), (l, "outputs", n_out)):
        if size % blocks:
            raise ConfigError(f"{name}: {blocks} blocks do not divide {size} {side}")
    p, s = n_in // k, n_out // l
    found = []
    for rank in range(step, min(p, s) + 1, step):
        pattern = Pattern(n_in, n_out, k, l, p, s, rank)
        if pattern.weights >= n_in * n_out:
            break
        found.append(pattern)
    if not found:
        raise ConfigError(
            f"{name}: {k} and {l} blocks of rank {step} do not make {n_out} x {n_in} smaller"
        )
    return tuple(found)


@torch.no_grad()
def measure(
    dense: nn.Module,
    batches: list[Batch],
    objective: Similarity | Language,
    options: dict[str, tuple[Pattern, ...]],
    progress: Progress = lambda n: None,
) -> list[Curve]:
    """A curve for each matrix in `options`, measured on `batches`; `dense` is as before afterwards."""
    covariances = _covariances(dense, options, batches)
    wanted = [objective.output(dense, batch) for batch in batches]
    curves = []
    for name, patterns in options.items():
        old, cov = linear(dense, name), covariances.pop(name)
        squares = rank_errors(old.weight, patterns[-1], cov).square()
        errors = [float(squares[p.rank - 1]) for p in patterns]
        reference = len(patterns) // 2
        monarch = fit_outputs(old.weight, patterns[reference], cov, sweeps=0, name=name)
        replace(dense, name, MonarchLinear.of(monarch, old.bias, dtype=old.weight.dtype))
        try:
            losses = [
                objective.loss(objective.output(dense, b), w)
                for b, w in zip(batches, wanted, strict=True)
            ]
        finally:
            replace(dense, name, old)
        sensitivity = float(torch.stack(losses).mean()) / max(errors[reference], 1e-12)
        curves.append(Curve(name, patterns, tuple(sensitivity * e for e in errors)))
        progress(1)
    return curves


def _covariances(
    module: nn.Module, names: Iterable[str], batches: list[Batch]
) -> dict[str, Tensor]:
    """X^T X of the inputs of linears, with shrinkage, float64; those that read the same tensor share it."""
    sums: dict[str, Tensor] = {}
    last: tuple[Tensor | None, Tensor | None] = (None, None)
    batch: Batch = {}

    def see(name: str, x: Tensor, _: Tensor) -> None:
        nonlocal last
        if last[0] is not x:
            own = rows(x, batch).double()
            last = (x, own.mT @ own)
        sums[name] = sums[name] + last[1] if name in sums else last[1]  # type: ignore[operator]

    with observed({name: linear(module, name) for name in names}, see):
        for batch in batches:
            last = (None, None)
            forward(module, batch)
    for name, cov in sums.items():
        sums[name] = cov + SHRINKAGE * cov.diagonal().mean() * torch.eye(len(cov)).double()
    return sums


def allocate(curves: list[Curve], budget: float, cost: Cost) -> Patterns:
    """A pattern for each curve's matrix, of total cost at most `budget` and small expected loss.

    Raises `ConfigError` if even the cheapest patterns cost more.
    """
    costs = {c.name: [cost(p) for p in c.patterns] for c in curves}
    chosen = {c.name: 0 for c in curves}
    spent = sum(each[0] for each in costs.values())
    if spent > budget:
        raise ConfigError(
            f"budget: {budget:,.0f} is below {spent:,.0f}, the least that these blocks can do"
        )

    def more(curve: Curve) -> float:
        at, own = chosen[curve.name], costs[curve.name]
        return own[at + 1] - own[at] if at + 1 < len(own) else math.inf

    def saving(curve: Curve) -> float:
        at = chosen[curve.name]
        return (curve.losses[at] - curve.losses[at + 1]) / max(more(curve), 1e-9)

    while affordable := [c for c in curves if more(c) < math.inf and spent + more(c) <= budget]:
        best = max(affordable, key=saving)
        spent += more(best)
        chosen[best.name] += 1
    return {c.name: c.patterns[chosen[c.name]] for c in curves}
