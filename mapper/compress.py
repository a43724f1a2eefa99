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

from rtl.spec.params import ConfigError

from . import d2s
from .calibrated import fit_outputs, output_error
from .monarch import MonarchLinear
from .pattern import Pattern
from .surgery import (
    Batch,
    Call,
    calls,
    full_name,
    inputs,
    linear,
    replace,
    rows,
    sharing,
)

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
    """Replace linears of any module by their plain projections; relative errors of the weights by name.

    Raises `ConfigError` on a name that is no linear, and weights that are not finite.
    """
    errors = {}
    for name, shape in patterns.items():
        old = linear(module, name)
        monarch = d2s.fit(old.weight.detach(), shape, name)
        errors[name] = monarch.error(old.weight.detach())
        replace(module, name, MonarchLinear.of(monarch, old.bias, dtype=old.weight.dtype))
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

    `stacks` has the full names of the layers, stack by stack, in order of execution; within one, a layer's output is
    the next one's first argument. `[[""]]` takes a module as one layer. Returns, for each matrix, the relative error
    of its outputs on the calibration batches, against the matrix without a pattern that would do best there.
    Raises `ConfigError` on a name that is no linear, or in no layer.
    """
    for name in patterns:
        linear(dense, name)
    errors: dict[str, float] = {}
    for stack in stacks:
        pair = _Pair(
            dense,
            compressed,
            batches,
            *(
                [calls(m, [m.get_submodule(stack[0])], batch)[0] for batch in batches]
                for m in (dense, compressed)
            ),
        )
        for layer in stack:
            errors |= pair.calibrate(layer, patterns, progress)
            if layer != stack[-1]:
                pair.advance(layer)
    missing = [name for name in patterns if name not in errors]
    if missing:
        raise ConfigError(f"{missing[0]}: is in none of the layers that run")
    return errors


@dataclass
class _Pair:
    """A dense network and its compressed copy, with the calls of their present layer for every batch."""

    dense: nn.Module
    compressed: nn.Module
    batches: list[Batch]
    there: list[Call]
    here: list[Call]

    def calibrate(self, layer: str, patterns: Patterns, progress: Progress) -> dict[str, float]:
        """Replace the linears of a layer, in order of execution."""
        errors = {}
        module = self.dense.get_submodule(layer)
        for group in sharing(module, lambda: self.there[0].run(module)):
            names = {inner: full_name(layer, inner) for inner in group}
            wanted = {inner: name for inner, name in names.items() if name in patterns}
            if wanted:
                moments = self.moments(layer, next(iter(wanted)))
                for name in wanted.values():
                    errors[name] = self.exchange(name, patterns[name], moments)
                    progress(1)
        return errors

    def advance(self, layer: str) -> None:
        """To the calls of the layer behind `layer`."""
        dense, compressed = (m.get_submodule(layer) for m in (self.dense, self.compressed))
        self.there = [call.after(dense) for call in self.there]
        self.here = [call.after(compressed) for call in self.here]

    def moments(self, layer: str, inner: str) -> Moments:
        """Of the inputs of a linear of a layer, over all tokens."""
        dense, compressed = (m.get_submodule(layer) for m in (self.dense, self.compressed))
        sums: list[Tensor] = []
        count = 0
        for batch, there, here in zip(self.batches, self.there, self.here, strict=True):
            x0 = rows(_seen(dense, inner, there), batch).double()
            x = rows(_seen(compressed, inner, here), batch).double()
            parts = [x.mT @ x, x0.mT @ x, x.sum(0), x0.sum(0)]
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
            count += len(x)
        return Moments(*(part / count for part in sums))

    def exchange(self, name: str, shape: Pattern, moments: Moments) -> float:
        """Put the Monarch layer in; the relative error of its outputs."""
        old = linear(self.dense, name)
        weight = old.weight.double()
        cov, cross, bias = moments.cov, moments.cross, None
        if old.bias is not None:
            cov = cov - torch.outer(moments.mean, moments.mean)
            cross = cross - torch.outer(moments.dense_mean, moments.mean)
        # The least: inputs that never change leave nothing to solve for.
        mean = cov.diagonal().mean().clamp_min(1e-30)
        ridge = SHRINKAGE * mean * torch.eye(len(cov), dtype=torch.float64)
        cov, cross = cov + ridge, cross + ridge
        target = torch.linalg.solve(cov, (weight @ cross).mT).mT
        monarch = fit_outputs(target, shape, cov, SWEEPS, name)
        if old.bias is not None:
            bias = old.bias + weight @ moments.dense_mean - monarch.dense() @ moments.mean
        replace(self.compressed, name, MonarchLinear.of(monarch, bias, dtype=old.weight.dtype))
        return output_error(monarch, target, cov)


def _seen(layer: nn.Module, inner: str, call: Call) -> Tensor:
    return inputs(layer.get_submodule(inner), lambda: call.run(layer))
