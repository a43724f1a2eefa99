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
from .surgery import Batch, linears, observed, replace

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
        linear, cov = linears(dense)[name], covariances.pop(name)
        squares = rank_errors(linear.weight, patterns[-1], cov).square()
        errors = [float(squares[p.rank - 1]) for p in patterns]
        reference = len(patterns) // 2
        monarch = fit_outputs(linear.weight, patterns[reference], cov, sweeps=0, name=name)
        replace(dense, name, MonarchLinear.of(monarch, linear.bias))
        try:
            losses = [
                objective.loss(objective.output(dense, b), w)
                for b, w in zip(batches, wanted, strict=True)
            ]
        finally:
            replace(dense, name, linear)
        sensitivity = float(torch.stack(losses).mean()) / max(errors[reference], 1e-12)
        curves.append(Curve(name, patterns, tuple(sensitivity * e for e in errors)))
        progress(1)
    return curves


def _covariances(
    module: nn.Module, names: Iterable[str], batches: list[Batch]
) -> dict[str, Tensor]:
    """X^T X / T of the inputs of linears, with shrinkage, float64; those that read the same tensor share it."""
    sums: dict[str, Tensor] = {}
    last: tuple[Tensor | None, Tensor | None] = (None, None)
    mask = torch.empty(0)
    tokens = 0

    def see(name: str, x: Tensor, _: Tensor) -> None:
        nonlocal last
        if last[0] is not x:
            rows = x[mask].double()
            last = (x, rows.mT @ rows)
        sums[name] = sums[name] + last[1] if name in sums else last[1]  # type: ignore[operator]

    with observed({name: module.get_submodule(name) for name in names}, see):
        for batch in batches:
            mask = batch["attention_mask"].bool()
            tokens += int(mask.sum())
            last = (None, None)
            module(**batch)
    for name, total in sums.items():
        cov = total / tokens
        sums[name] = cov + SHRINKAGE * cov.diagonal().mean() * torch.eye(len(cov)).double()
    return sums


def allocate(curves: list[Curve], budget: float, cost: Cost) -> Patterns:
    """A pattern for each curve's matrix, of total cost at most `budget` and small expected loss.

    Raises `ConfigError` if even the cheapest patterns cost more.
    """
    chosen = [0] * len(curves)
    spent = sum(cost(curve.patterns[0]) for curve in curves)
    if spent > budget:
        raise ConfigError(
            f"budget: {budget:,.0f} is below {spent:,.0f}, the least that these blocks can do"
        )
    open_curves = set(range(len(curves)))
    while open_curves:
        best, gain = -1, -1.0
        for n in list(open_curves):
            curve, at = curves[n], chosen[n]
            if at + 1 == len(curve.patterns):
                open_curves.discard(n)
                continue
            more = cost(curve.patterns[at + 1]) - cost(curve.patterns[at])
            if spent + more > budget:
                open_curves.discard(n)
                continue
            each = (curve.losses[at] - curve.losses[at + 1]) / max(more, 1e-9)
            if each > gain:
                best, gain = n, each
        if best >= 0:
            spent += cost(curves[best].patterns[chosen[best] + 1]) - cost(
                curves[best].patterns[chosen[best]]
            )
            chosen[best] += 1
    return {curve.name: curve.patterns[at] for curve, at in zip(curves, chosen, strict=True)}
