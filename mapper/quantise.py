"""Real weights and ranges to integer factors, and the same integers applied in numpy.

Weights are symmetric per output channel, activations symmetric per tensor. Requantisation follows
`rtl.spec.numeric`; this implementation and the golden model share that contract only.
"""

from dataclasses import dataclass

import numpy as np

from rtl.spec.numeric import ACC_BITS, MULT_BITS, SHIFT_BITS, needed_acc_bits, signed_range
from rtl.spec.params import ConfigError, Params

from .graph import Factor, Matrix
from .pattern import Pattern

#: |bias| in accumulator units stays below this, so that acc + bias never wraps for a fan-in that
#: fits ACC_BITS.
BIAS_LIMIT = 1 << (ACC_BITS - 2)


@dataclass(frozen=True)
class Ranges:
    """Largest magnitudes of a matrix's input, intermediate (Monarch) and output, real units."""

    input: float
    output: float
    mid: float = 0.0


def step(largest: float, bits: int) -> float:
    """Real value of one step of a symmetric `bits`-bit integer that reaches `largest` (0: 1.0)."""
    return float(largest) / signed_range(bits)[1] if largest > 0 else 1.0


def activations(x: np.ndarray, scale: float, bits: int) -> np.ndarray:
    """int8 of real x, any shape: round(x / scale), clipped to `bits` bits."""
    return np.clip(np.rint(x / scale), *signed_range(bits)).astype(np.int8)


def multiplier(ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """mult uint16 and shift uint8, same shape as `ratio` >= 0, with mult / 2**shift nearest to it.

    mult is in [2**15, 2**16) for 2**-16 <= ratio < 2**15; below, shift is 31 and mult shrinks (0
    from 2**-32 on); above, the pair saturates at mult 65535, shift 1. Ratio 0 gives mult 0, shift
    1. Raises `ConfigError` on NaN, infinite or negative ratios.
    """
    ratio = np.asarray(ratio, dtype=np.float64)
    if not np.isfinite(ratio).all() or (ratio < 0).any():
        raise ConfigError("scale: a requantisation ratio is negative, NaN or infinite")
    _, exponent = np.frexp(ratio)
    shift = np.clip(MULT_BITS - exponent, 1, (1 << SHIFT_BITS) - 1)
    mult = np.rint(np.ldexp(ratio, shift))
    # Rounding up to 2**16 is the same value as 2**15 one shift lower.
    carry = (mult == 1 << MULT_BITS) & (shift > 1)
    mult, shift = np.where(carry, 1 << (MULT_BITS - 1), mult), shift - carry
    mult = np.minimum(mult, (1 << MULT_BITS) - 1)
    return mult.astype(np.uint16), np.where(mult == 0, 1, shift).astype(np.uint8)


def factor(
    blocks: np.ndarray,
    bias: np.ndarray,
    in_scale: float,
    out_scale: float,
    params: Params,
    name: str,
) -> Factor:
    """The integer factor of real `blocks` (K, fan_in, fan_out) with real `bias` (K, fan_out).

    Zero weights stay zero; a channel that is zero with its bias gets mult 0. Raises `ConfigError`,
    naming `name`, when the fan-in needs a wider accumulator or a value is not finite.
    """
    try:
        needed_acc_bits(blocks.shape[1], params)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    if not (np.isfinite(blocks).all() and np.isfinite(bias).all()):
        raise ConfigError(f"{name}: a weight or bias is NaN or infinite")
    top = signed_range(params.weight_bits)[1]
    largest = np.abs(blocks).max(axis=1)
    # A bias that dwarfs its weights widens the step, so that it fits the accumulator.
    scale = np.maximum(largest / top, np.abs(bias) / (in_scale * BIAS_LIMIT))
    live = scale > 0
    scale = np.where(live, scale, 1.0)
    mult, shift = multiplier(np.where(live, in_scale * scale / out_scale, 0.0))
    return Factor(
        blocks=np.clip(np.rint(blocks / scale[:, None, :]), -top, top).astype(np.int8),
        bias=np.rint(bias / (in_scale * scale)).astype(np.int32),
        mult=mult,
        shift=shift,
    )


def dense(
    name: str, layer: int, weight: np.ndarray, bias: np.ndarray, ranges: Ranges, params: Params
) -> Matrix:
    """The dense `Matrix` of real weight (n_out, n_in) and bias (n_out,)."""
    n_out, n_in = weight.shape
    in_scale, out_scale = step(ranges.input, params.act_bits), step(ranges.output, params.act_bits)
    only = factor(weight.T[None], bias[None], in_scale, out_scale, params, name)
    return Matrix(name, layer, n_in, n_out, (only,), in_scale=in_scale, out_scale=out_scale)


def monarch(
    name: str,
    layer: int,
    pattern: Pattern,
    stored: tuple[np.ndarray, np.ndarray],
    bias: np.ndarray,
    ranges: Ranges,
    params: Params,
) -> Matrix:
    """The Monarch `Matrix` of real factors R (k, p, q), L (l, rank * k, s) and a bias (n_out,).

    The bias goes to the outputs of L; R has none.
    """
    right, left = stored
    scales = [step(r, params.act_bits) for r in (ranges.input, ranges.mid, ranges.output)]
    padded = np.zeros(pattern.s * pattern.l)
    padded[: pattern.n_out] = bias
    no_bias = np.zeros((pattern.k, pattern.q))
    factors = (
        factor(right, no_bias, scales[0], scales[1], params, f"{name}.R"),
        factor(
            left, padded.reshape(pattern.s, pattern.l).T, scales[1], scales[2], params, f"{name}.L"
        ),
    )
    return Matrix(
        name,
        layer,
        pattern.n_in,
        pattern.n_out,
        factors,
        rank=pattern.rank,
        in_scale=scales[0],
        mid_scale=scales[1],
        out_scale=scales[2],
        useful_weights=pattern.live.weights,
    )


def requantise(acc: np.ndarray, part: Factor, params: Params) -> np.ndarray:
    """int8 outputs of int64 accumulators (T, K, fan_out); acc + bias wraps at int32."""
    biased = (acc + part.bias).astype(np.int32).astype(np.int64)
    shift = part.shift.astype(np.int64)
    product = biased * part.mult + (np.int64(1) << (shift - 1))
    return np.clip(product >> shift, *signed_range(params.act_bits)).astype(np.int8)


def apply_factor(part: Factor, x: np.ndarray, params: Params) -> np.ndarray:
    """int8 (T, K, fan_out) of int8 x (T, K, fan_in).

    The sums run in float64, which holds any 32-bit accumulator exactly and is much faster than an
    integer product.
    """
    acc = x.transpose(1, 0, 2).astype(np.float64) @ part.blocks.astype(np.float64)
    return requantise(acc.transpose(1, 0, 2).astype(np.int64), part, params)


def apply_matrix(matrix: Matrix, x: np.ndarray, params: Params) -> np.ndarray:
    """int8 y (T, n_out) of int8 x (T, n_in)."""
    tokens = len(x)
    blocks, fan_in, _ = matrix.factors[0].shape
    rows = np.zeros((tokens, blocks * fan_in), np.int8)
    rows[:, : matrix.n_in] = x[:, : blocks * fan_in]
    out = apply_factor(matrix.factors[0], rows.reshape(tokens, blocks, fan_in), params)
    if matrix.monarch:
        left = matrix.factors[1]
        middle = out.reshape(tokens, blocks, matrix.rank, left.shape[0]).transpose(0, 3, 2, 1)
        out = apply_factor(left, middle.reshape(tokens, *left.shape[:2]), params).transpose(0, 2, 1)
    return out.reshape(tokens, -1)[:, : matrix.n_out]
