"""Quantisation-aware training: Monarch layers compute with rounded values, gradients pass as if they were not.

Weights are rounded per output channel and follow the parameters; ranges of activations are observed on entry and stay
(straight-through estimator, arXiv 1308.3432; what is clipped gets no gradient). Parameters keep their names, so that
`finetune` runs inside the context as it does outside.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from rtl.spec.numeric import signed_range
from rtl.spec.params import Params

from . import quantise
from .integer import Scheme, observe
from .monarch import MonarchLinear, left_product, right_product
from .quantise import Ranges
from .ranges import weight_ranges
from .surgery import Batch


def through(x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    """x rounded to multiples of `step`, low..high of them; the gradient is 1 inside, 0 where clipped."""
    scaled = (x / step).clamp(low, high)
    return (scaled + (scaled.round() - scaled).detach()) * step


class FakeMonarch:
    """The forward pass of a Monarch layer with the roundings of `quantise.monarch`.

    `ranges` as for `quantise.monarch`. What the range of a weight channel is of its largest weight is kept from the
    weights that the layer has now. `by_size` as in `Matrix`.
    """

    def __init__(
        self,
        layer: MonarchLinear,
        ranges: Ranges,
        params: Params,
        method: str,
        by_size: bool = False,
    ):
        shape, bits = layer.pattern, params.act_bits
        self.layer, self.bits, self.limits = layer, params.weight_bits, signed_range(bits)
        self.input = _tensor(quantise.steps(ranges.input, shape.n_in, bits))
        mid = np.broadcast_to(ranges.mid, (shape.k, shape.q)).reshape(-1)
        mid = _tensor(quantise.steps(mid, mid.size, bits)).view(shape.r, shape.l).mT[:, None]
        self.output = _tensor(quantise.steps(ranges.output, shape.n_out, bits))
        self.by_size = by_size
        padding = shape.k * shape.p - shape.n_in
        rows = nn.functional.pad(self.input, (0, padding), value=float(self.input.max()))
        # Steps of a factor's inputs are part of its weights when these are rounded: (blocks, 1, fan_in).
        self.folds = rows.view(shape.k, 1, shape.p), mid
        self.shares = [
            _share(factor * fold, self.bits, method)
            for factor, fold in zip((layer.R, layer.L), self.folds, strict=True)
        ]

    def _weights(self, number: int) -> Tensor:
        """The rounded factor R (0) or L (1), in the layer's order."""
        fold, top = self.folds[number], signed_range(self.bits)[1]
        factor = (self.layer.R, self.layer.L)[number] * fold
        largest = factor.detach().abs().amax(-1, keepdim=True) * self.shares[number]
        step = torch.where(largest > 0, largest / top, 1.0)
        return through(factor, step, -top, top) / fold

    def __call__(self, x: Tensor) -> Tensor:
        """y (.., n_out) of x (.., n_in)."""
        p = self.layer.pattern
        flat = x.reshape(-1, p.n_in)
        size = torch.ones(())
        if self.by_size:
            size = torch.from_numpy(quantise.sizes(flat.detach().numpy()))
        flat = through(flat / size, self.input, *self.limits)
        flat = nn.functional.pad(flat, (0, p.k * p.p - p.n_in))
        v = through(right_product(flat, self._weights(0), p), self.folds[1], *self.limits)
        y = left_product(v, self._weights(1), p)[:, : p.n_out]
        bias = torch.zeros(()) if self.layer.bias is None else self.layer.bias
        if self.by_size:
            y = through(y, self.output, *self.limits) * size + bias
        else:
            y = through(y + bias, self.output, *self.limits)
        return y.reshape(*x.shape[:-1], p.n_out)


def _share(factor: Tensor, bits: int, method: str) -> Tensor:
    """Ranges of a factor (K, fan_out, fan_in) as shares of its largest weights, (K, fan_out, 1)."""
    blocks = factor.detach().mT.double().numpy()
    largest = np.abs(blocks).max(axis=1)
    reach = weight_ranges(blocks, bits, method)
    return _tensor(reach / np.where(largest > 0, largest, 1.0))[..., None]


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()


@contextmanager
def fake_quantised(
    module: nn.Module, batches: Iterable[Batch], params: Params, method: str = "mse"
) -> Iterator[nn.Module]:
    """Inside the context every Monarch layer of `module` computes with rounded values, bits as `params` has them.

    Ranges are those of the float module on `batches`. Raises `ConfigError` as `integer.observe` does.
    """
    # Compensated rounding would have to be done again in every step.
    observers = observe(module, batches, Scheme(method, compensate=False))
    layers = {name: module.get_submodule(name) for name in observers}
    for name, layer in layers.items():
        assert isinstance(layer, MonarchLinear)
        seen = observers[name]
        ranges = seen.ranges(params.act_bits)
        layer.forward = FakeMonarch(layer, ranges, params, method, seen.by_size)
    try:
        yield module
    finally:
        for layer in layers.values():
            del layer.forward
