"""A network of float linears as the network that the hardware computes: integer matrices, real values between them.

Ranges are observed on batches that the float network runs; then each linear becomes an `Integer`, which computes with
`quantise.apply_matrix` what golden model and hardware do. Everything between matrices stays float.
"""

import copy
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rtl.spec.params import ConfigError, Params

from . import quantise
from .d2s import Monarch
from .graph import Matrix
from .monarch import MonarchLinear
from .pattern import Pattern
from .quantise import Ranges, Rounding
from .ranges import Magnitudes, check_method, weight_ranges
from .surgery import Batch, forward, observed, replace

#: How much of the differences between channels of the intermediate goes to the weights of L (`balanced`).
EXPONENT = 0.75
#: The same for inputs and the weights of R.
INPUTS = 1.0
#: With weights of so many bits there is nothing to gain from compensated rounding.
ENOUGH_BITS = 8
#: Ranges of single channels are widened by this over the root of the number of tokens: extremes of few are too small.
HEADROOM = 8.0
#: Tokens are in units of their sizes where the largest of a call is so many times the median one.
SPREAD = 8.0


@dataclass(frozen=True)
class Scheme:
    """How a network is quantised; the defaults are the best that is known."""

    method: str = "mse"  #: of `mapper.ranges`, for activations and weights
    inputs: float | None = INPUTS  #: exponent of `balanced` for inputs; None: one range for all
    equalise: float | None = EXPONENT  #: the same for the intermediate
    per_channel: bool = True  #: a scale for each output, instead of one for all
    compensate: bool = (
        True  #: round weights of few bits for the errors of outputs (`mapper.rounding`)
    )
    #: tokens in units of their sizes (`quantise.sizes`) where these differ much
    by_size: bool = True

    def __post_init__(self):
        check_method(self.method)
        for name in ("inputs", "equalise"):
            exponent = getattr(self, name)
            if exponent is not None and not 0 <= exponent <= 1:
                raise ConfigError(f"{name}: {exponent} is outside 0..1")


class Observer:
    """What quantisation must know of a linear: magnitudes and mean products of what passes through it.

    Parameters
    ----------
    linear : nn.Linear or MonarchLinear
        Real-valued, on the CPU; its weights do not change while it is observed.
    """

    def __init__(self, linear: nn.Module, scheme: Scheme):
        assert isinstance(linear, nn.Linear | MonarchLinear)
        self.linear, self.scheme = linear, scheme
        self.factors: Monarch | None = None
        shape: Pattern | None = None
        if isinstance(linear, nn.Linear):
            n_in, n_out = linear.in_features, linear.out_features
        else:
            self.factors = linear.monarch()
            shape = self.factors.pattern
            n_in, n_out = shape.n_in, shape.n_out
        self.n_out = n_out
        channels = shape.k * shape.q if shape and scheme.equalise is not None else 1
        self.input = Magnitudes(1 if scheme.inputs is None else n_in)
        self.mid = Magnitudes(channels)
        self.output = Magnitudes(n_out if scheme.per_channel else 1)
        self._rows = 0
        self._products: list[Tensor] = []
        self._by_size: bool | None = None  #: as the first call says

    @property
    def by_size(self) -> bool:
        """Whether tokens are in units of their sizes; the same for all matrices that read the same inputs."""
        return bool(self._by_size)

    def see(self, x: Tensor, y: Tensor, mask: Tensor | None = None) -> None:
        """Take note of a call, y (.., n_out) of x (.., n_in).

        Positions where `mask` is 0 are left out, if it has the shape of x without its last dimension.
        """
        x, y = _tokens(x, y, mask)
        size = torch.from_numpy(quantise.sizes(x.numpy()))
        if self._by_size is None and len(x):
            self._by_size = self.scheme.by_size and bool(size.max() >= SPREAD * size.median())
        if self.by_size:
            bias = (
                torch.zeros(()) if self.linear.bias is None else self.linear.bias.detach().float()
            )
            x, y = x / size, (y - bias) / size
        self.input.see(x.numpy())
        self.output.see(y.numpy())
        inputs = x[:, None]
        if self.factors is not None:
            shape = self.factors.pattern
            inputs = nn.functional.pad(x, (0, shape.k * shape.p - shape.n_in))
            inputs = inputs.unflatten(-1, (shape.k, shape.p))
            u = self.factors.intermediate(x)
            self.mid.see(u.numpy())
        if self.scheme.compensate:
            seen = [inputs]
            if self.factors is not None:
                shape = self.factors.pattern
                seen.append(torch.from_numpy(quantise.by_left(u.numpy(), shape)))
            self._add(len(x), [_products(t) for t in seen])

    def _add(self, rows: int, products: list[Tensor]) -> None:
        self._rows += rows
        old = self._products or [torch.zeros(()) for _ in products]
        self._products = [a + b for a, b in zip(old, products, strict=True)]

    def ranges(self, bits: int) -> Ranges:
        """The ranges for activations of `bits` bits."""
        inputs, mid, output = (
            self._reach(part, bits) for part in (self.input, self.mid, self.output)
        )
        if self.scheme.inputs is not None:
            inputs = balanced(inputs, self.scheme.inputs)
        if self.factors is not None and self.scheme.equalise is not None:
            shape = self.factors.pattern
            mid = balanced(mid.reshape(shape.k, shape.q), self.scheme.equalise)
        return Ranges(
            input=float(inputs[0]) if self.scheme.inputs is None else inputs,
            output=output if self.scheme.per_channel else float(output[0]),
            mid=float(mid[0]) if mid.ndim == 1 else mid,
        )

    def _reach(self, part: Magnitudes, bits: int) -> np.ndarray:
        found = part.ranges(self.scheme.method, bits)
        if len(found) > 1:
            found = np.minimum(
                found * (1 + HEADROOM / max(part.rows, 1) ** 0.5), part.largest.max()
            )
        return found

    def matrix(self, name: str, layer: int, params: Params) -> Matrix:
        """The integer matrix for what has been seen."""
        bias = torch.zeros(self.n_out) if self.linear.bias is None else self.linear.bias.detach()
        if not self.by_size:
            return self._matrix(name, layer, params, bias.double().numpy())
        made = self._matrix(name, layer, params, np.zeros(self.n_out))
        return dataclasses.replace(made, by_size=True, out_offset=tuple(bias.double().tolist()))

    def _matrix(self, name: str, layer: int, params: Params, bias: np.ndarray) -> Matrix:
        ranges = self.ranges(params.act_bits)
        grams: tuple[np.ndarray | None, ...] = (None, None)
        if self._products and params.weight_bits < ENOUGH_BITS:
            grams = tuple(p.numpy() / self._rows for p in self._products)
        rounding = Rounding(self.scheme.method, grams)
        if isinstance(self.linear, nn.Linear):
            weight = self.linear.weight.detach().double().numpy()
            return quantise.dense(name, layer, weight, bias, ranges, params, rounding)
        assert self.factors is not None
        shape, stored = self.factors.pattern, self.factors.stored()
        return quantise.monarch(name, layer, shape, stored, bias, ranges, params, rounding)


def _tokens(x: Tensor, y: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Inputs and outputs of a call, float32 (tokens, n), of positions that count."""
    if mask is not None and mask.shape == x.shape[:-1]:
        x, y = x[mask.bool()], y[mask.bool()]
    x, y = (t.detach().reshape(-1, t.shape[-1]).float() for t in (x, y))
    return x, y


def _products(x: Tensor) -> Tensor:
    """Sums over rows of products of a block's inputs, float64 (K, n, n) of (rows, K, n)."""
    blocks = x.transpose(0, 1)
    return (blocks.mT @ blocks).double()


def balanced(each: np.ndarray, exponent: float) -> np.ndarray:
    """Ranges to quantise channels with, of the shape of their own ranges `each`: in proportion to each^exponent.

    They are the least that clip nothing (0 stays 0). With 1 all channels use all steps, and the weights that read them
    take all differences; with 0 neither. In between both give a little (after SmoothQuant, arXiv 2211.10438; its
    dependence on the weights was measured and is worse here, where D2S has split singular values evenly).
    """
    live = each > 0
    gain = np.where(live, each, 1.0) ** -exponent
    return np.where(live, (each * gain).max() / gain, 0.0)


class Integer(nn.Module):
    """The integer matrix as a real-valued linear; `x` keeps its last input, int8 (T, n_in)."""

    def __init__(self, matrix: Matrix, params: Params):
        super().__init__()
        self.matrix, self.params = matrix, params
        self.scales = matrix.out_scales.astype(np.float32)
        self.offset = np.asarray(matrix.out_offset, np.float32)
        self.x = np.zeros((0, matrix.n_in), np.int8)

    def forward(self, x: Tensor) -> Tensor:
        """y (.., n_out) of x (.., n_in)."""
        flat = x.detach().flatten(0, -2).numpy()
        size = quantise.sizes(flat) if self.matrix.by_size else np.float32(1)
        flat = flat / size
        self.x = quantise.activations(flat, self.matrix.in_scale, self.params.act_bits)
        y = quantise.apply_matrix(self.matrix, self.x, self.params)
        real = y.astype(np.float32) * self.scales * size + self.offset
        return torch.from_numpy(real).unflatten(0, x.shape[:-1])


@torch.no_grad()
def observe(
    module: nn.Module, batches: Iterable[Batch], scheme: Scheme, dense: Iterable[str] = ()
) -> dict[str, Observer]:
    """Observers, by full name, of all Monarch layers and the linears named in `dense`, after running all batches.

    Raises `ConfigError` when one has seen nothing, NaN or infinity.
    """
    chosen = {n: m for n, m in module.named_modules() if isinstance(m, MonarchLinear)}
    chosen |= {name: module.get_submodule(name) for name in dense}
    observers = {name: Observer(linear, scheme) for name, linear in chosen.items()}
    mask: Tensor | None = None

    def see(name: str, x: Tensor, y: Tensor) -> None:
        observers[name].see(x, y, mask)

    with observed(chosen, see):
        for batch in batches:
            mask = batch.get("attention_mask")
            forward(module, batch)
    for name, observer in observers.items():
        if not observer.input.largest.any():
            raise ConfigError(f"{name}: quantisation has seen no input other than zero")
    return observers


def integer_module(
    module: nn.Module,
    batches: Iterable[Batch],
    params: Params,
    method: str = "mse",
    dense: Iterable[str] = (),
    scheme: Scheme | None = None,
) -> nn.Module:
    """A copy of a float module whose Monarch layers, and the linears named in `dense`, compute in integers.

    Ranges are those of the float module on `batches`, tokens that `attention_mask` hides left out. `scheme` overrides
    `method`. Raises `ConfigError` when a layer sees nothing, NaN, or needs a wider accumulator.
    """
    scheme = scheme or Scheme(method)
    observers = observe(module, batches, scheme, dense)
    result = copy.deepcopy(module)
    for name, observer in observers.items():
        replace(result, name, Integer(observer.matrix(name, 0, params), params))
    return result


@torch.no_grad()
def weights_only(module: nn.Module, bits: int, method: str = "mse") -> nn.Module:
    """A copy of a float module with the factors of Monarch layers rounded to `bits` bits; activations stay float."""
    result = copy.deepcopy(module)
    for layer in result.modules():
        if isinstance(layer, MonarchLinear):
            for factor in (layer.R, layer.L):
                factor.copy_(rounded(factor, bits, method))
    return result


def rounded(factor: Tensor, bits: int, method: str) -> Tensor:
    """Real factor (K, fan_out, fan_in) to the nearest integers of each output channel, as real values again."""
    top = (1 << (bits - 1)) - 1
    reach = weight_ranges(factor.detach().mT.double().numpy(), bits, method)
    step = torch.from_numpy(np.where(reach > 0, reach / top, 1.0))[..., None]
    return ((factor.double() / step).round().clamp(-top, top) * step).to(factor.dtype)
