"""Dense linears of a network to Monarch layers, one after the other, each fitted to what it will really see.

Sequential calibration: when a matrix is projected, everything before it is Monarch already. With inputs X of the
compressed network and X0 of the dense one, the factors M minimise ||W X0 - M X||: with C = X X^T and D = X0 X^T that
is the data-aware projection (`mapper.calibrated`) of W D C^-1 in the metric C, so that each matrix also undoes
errors of those before it. Where there is a bias, X and X0 are centred and the bias takes the difference of the means.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import d2s
from .calibrated import fit_outputs, output_error
from .monarch import MonarchLinear
from .pattern import Pattern
from .surgery import Batch, Call, calls, inputs, linears, replace, sharing

#: Added to the diagonal of C, as a share of its mean: text for calibration is never enough.
SHRINKAGE = 1e-3
#: Sweeps of the data-aware projection; later networks are fine-tuned anyway.
SWEEPS = 4

Patterns = dict[str, Pattern]
Progress = Callable[[int], object]


@dataclass
class Moments:
    """Mean and second moments of the inputs of dense and compressed network, float64."""

    cov: Tensor  #: C (n_in, n_in) of the compressed network's inputs
    cross: Tensor  #: D (n_in, n_in)
    mean: Tensor  #: (n_in,) of the compressed network's inputs
    dense_mean: Tensor  #: (n_in,)


def project_all(
    module: nn.Module, patterns: Patterns, progress: Progress = lambda n: None
) -> dict[str, float]:
    """Replace linears by their plain projections; relative errors of the weights by name.

    Raises `ConfigError` on weights that are not finite.
    """
    errors = {}
    for name, shape in patterns.items():
        linear = linears(module)[name]
        monarch = d2s.fit(linear.weight.detach(), shape, name)
        errors[name] = monarch.error(linear.weight.detach())
        replace(module, name, MonarchLinear.of(monarch, linear.bias))
        progress(1)
    return errors


@torch.no_grad()
def calibrate_all(
    dense: nn.Module,
    compressed: nn.Module,
    stacks: list[list[str]],
    batches: list[Batch],
    patterns: Patterns,
    progress: Progress = lambda n: None,
) -> dict[str, float]:
    """Replace linears of `compressed`, a copy of `dense`, by sequentially calibrated Monarch layers.

    `stacks` has the full names of the layers, stack by stack; within one, a layer's output is the next one's input.
    Returns the relative error of each matrix's outputs on the calibration batches.
    """
    errors: dict[str, float] = {}
    masks = [batch["attention_mask"].bool() for batch in batches]
    for stack in stacks:
        first = stack[0]
        there = calls(dense, dense.get_submodule(first), batches)
        here = calls(compressed, compressed.get_submodule(first), batches)
        for name in stack:
            pair = _LayerPair(
                dense.get_submodule(name), compressed.get_submodule(name), there, here, masks
            )
            for group in sharing(pair.dense, lambda p=pair: p.there[0].run(p.dense)):
                wanted = {n: patterns[f"{name}.{n}"] for n in group if f"{name}.{n}" in patterns}
                if wanted:
                    moments = pair.moments(next(iter(wanted)))
                    for inner, shape in wanted.items():
                        errors[f"{name}.{inner}"] = pair.exchange(inner, shape, moments)
                        progress(1)
            there = [call.after(pair.dense) for call in there]
            here = [call.after(pair.compressed) for call in here]
    return errors


@dataclass
class _LayerPair:
    """A dense layer and its compressed copy, with their inputs for every batch."""

    dense: nn.Module
    compressed: nn.Module
    there: list[Call]
    here: list[Call]
    masks: list[Tensor]

    def moments(self, inner: str) -> Moments:
        """Of the inputs of the linear `inner`, over all tokens."""
        total = None
        for there, here, mask in zip(self.there, self.here, self.masks, strict=True):
            x0 = _seen(self.dense, inner, there)[mask].double()
            x = _seen(self.compressed, inner, here)[mask].double()
            parts = torch.tensor(float(len(x))), x.mT @ x, x0.mT @ x, x.sum(0), x0.sum(0)
            total = (
                parts if total is None else tuple(a + b for a, b in zip(total, parts, strict=True))
            )
        assert total is not None
        count, *sums = total
        return Moments(*(part / count for part in sums))

    def exchange(self, inner: str, shape: Pattern, moments: Moments) -> float:
        """Put the Monarch layer in; the relative error of its outputs."""
        linear = self.dense.get_submodule(inner)
        assert isinstance(linear, nn.Linear)
        weight = linear.weight.double()
        cov, cross, bias = moments.cov, moments.cross, None
        if linear.bias is not None:
            cov = cov - torch.outer(moments.mean, moments.mean)
            cross = cross - torch.outer(moments.dense_mean, moments.mean)
        ridge = SHRINKAGE * cov.diagonal().mean() * torch.eye(len(cov), dtype=torch.float64)
        cov, cross = cov + ridge, cross + ridge
        target = torch.linalg.solve(cov, (weight @ cross).mT).mT
        monarch = fit_outputs(target, shape, cov, SWEEPS, inner)
        if linear.bias is not None:
            bias = linear.bias + weight @ moments.dense_mean - monarch.dense() @ moments.mean
        replace(self.compressed, inner, MonarchLinear.of(monarch, bias))
        return output_error(monarch, target, cov)


def _seen(layer: nn.Module, inner: str, call: Call) -> Tensor:
    return inputs(layer.get_submodule(inner), lambda: call.run(layer))
