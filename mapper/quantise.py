"""Real weights and ranges to integer factors, and the same integers applied in numpy.

Weights are symmetric per output channel. Activations are symmetric: inputs per tensor, outputs per tensor or channel,
and the intermediate of a Monarch pair per tensor after its channels have been made alike (`equalised`). They can be in
units of each token's own size, a power of two (`sizes`): a matrix is linear, so its outputs scale with its inputs, and
the few tokens with massive activations (arXiv 2402.17762) no longer set the steps of all others. What is quantised and
multiplied is the same; whoever makes integers of real values, and real values of integers, scales and adds the bias.
Requantisation follows `rtl.spec.numeric`; this implementation and the golden model share that contract only.
"""

from dataclasses import dataclass

import numpy as np

from rtl.spec.numeric import ACC_BITS, MULT_BITS, SHIFT_BITS, needed_acc_bits, signed_range
from rtl.spec.params import ConfigError, Params

from . import analog
from .graph import Factor, Matrix
from .layout import DENSE, LEFT, RIGHT
from .pattern import Pattern
from .ranges import weight_ranges
from .rounding import compensated

#: |bias| in accumulator units stays below this, so that acc + bias never wraps for a fan-in that
#: fits ACC_BITS.
BIAS_LIMIT = 1 << (ACC_BITS - 2)
#: Every integer up to this magnitude is a float32.
FLOAT32_EXACT = 1 << 24
#: Tokens at a time: accumulators stay in the cache.
CHUNK = 256

Stored = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Ranges:
    """Magnitudes that the integers of a matrix reach, real units."""

    input: float | np.ndarray  #: of all inputs, or of each, (n_in,)
    output: float | np.ndarray  #: of all outputs, or of each, (n_out,)
    mid: float | np.ndarray = 0.0  #: of the intermediate (Monarch), or of each channel, (k, q)


@dataclass(frozen=True)
class Rounding:
    """How weights become integers. `grams` are for each factor mean products of a block's inputs, (K, fan_in, fan_in).

    With them weights are rounded so that errors of a channel's outputs, not of its weights, are small.
    """

    method: str = "max"  #: of `mapper.ranges`
    grams: tuple[np.ndarray | None, ...] = (None, None)


def step(largest: float, bits: int) -> float:
    """Real value of one step of a symmetric `bits`-bit integer that reaches `largest` (0: 1.0)."""
    return float(largest) / signed_range(bits)[1] if largest > 0 else 1.0


def steps(largest: float | np.ndarray, count: int, bits: int) -> np.ndarray:
    """`step` for each of `count` channels, float64 (count,); a channel of 0 gets the largest step of the others."""
    each = np.broadcast_to(np.asarray(largest, dtype=np.float64), count)
    return np.where(each > 0, each / signed_range(bits)[1], step(each.max(), bits))


def activations(x: np.ndarray, scale: float | tuple[float, ...], bits: int) -> np.ndarray:
    """int8 of real x (.., n): round(x / scale), clipped to `bits` bits; one scale, or one of each element."""
    return np.clip(np.rint(x / np.asarray(scale)), *signed_range(bits)).astype(np.int8)


def sizes(x: np.ndarray) -> np.ndarray:
    """The size of each token of real x (T, n): the largest power of two up to its largest magnitude, (T, 1), as x."""
    largest = np.abs(x).max(axis=-1, keepdims=True)
    return np.ldexp(np.ones_like(largest), np.frexp(np.where(largest > 0, largest, 1))[1] - 1)


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
    out_scale: float | np.ndarray,
    params: Params,
    name: str,
    method: str = "max",
    gram: np.ndarray | None = None,
) -> Factor:
    """The integer factor of real `blocks` (K, fan_in, fan_out) with real `bias` (K, fan_out).

    `out_scale` may be (K, fan_out); `method` and `gram` as in `Rounding`. Zero weights stay zero; a
    channel that is zero with its bias gets mult 0. Raises `ConfigError`, naming `name`, when the
    fan-in needs a wider accumulator or a value is not finite.
    """
    try:
        needed_acc_bits(blocks.shape[1], params)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    if not (np.isfinite(blocks).all() and np.isfinite(bias).all()):
        raise ConfigError(f"{name}: a weight or bias is NaN or infinite")
    top = signed_range(params.weight_bits)[1]
    importance = None if gram is None else gram.diagonal(axis1=1, axis2=2)
    reach = weight_ranges(blocks, params.weight_bits, method, importance)
    # A bias that dwarfs its weights widens the step, so that it fits the accumulator.
    scale = np.maximum(reach / top, np.abs(bias) / (in_scale * BIAS_LIMIT))
    live = scale > 0
    scale = np.where(live, scale, 1.0)
    mult, shift = multiplier(np.where(live, in_scale * scale / out_scale, 0.0))
    wanted = blocks / scale[:, None, :]
    rounded = np.rint(wanted) if gram is None else compensated(wanted, gram, top)
    return Factor(
        blocks=np.clip(rounded, -top, top).astype(np.int8),
        bias=np.rint(bias / (in_scale * scale)).astype(np.int32),
        mult=mult,
        shift=shift,
    )


def dense(
    name: str,
    layer: int,
    weight: np.ndarray,
    bias: np.ndarray,
    ranges: Ranges,
    params: Params,
    rounding: Rounding | None = None,
) -> Matrix:
    """The dense `Matrix` of real weight (n_out, n_in) and bias (n_out,)."""
    rounding = rounding or Rounding()
    n_out, n_in = weight.shape
    inputs, out = _steps(ranges.input, n_in, params), _steps(ranges.output, n_out, params)
    blocks, gram, in_scale = _fold(weight.T[None], rounding.grams[0], inputs[None])
    only = factor(blocks, bias[None], in_scale, out[None], params, name, rounding.method, gram)
    return Matrix(
        name,
        layer,
        n_in,
        n_out,
        (only,),
        in_scale=_plain(ranges.input, inputs),
        out_scale=_plain(ranges.output, out),
    )


def monarch(
    name: str,
    layer: int,
    pattern: Pattern,
    stored: Stored,
    bias: np.ndarray,
    ranges: Ranges,
    params: Params,
    rounding: Rounding | None = None,
) -> Matrix:
    """The Monarch `Matrix` of real factors R (k, p, q), L (l, rank * k, s) and a bias (n_out,).

    The bias goes to the outputs of L; R has none. `rounding.grams` belong to the given factors.
    """
    rounding = rounding or Rounding()
    inputs = _steps(ranges.input, pattern.n_in, params)
    out = _steps(ranges.output, pattern.n_out, params)
    by_row = np.full(pattern.k * pattern.p, inputs.max())
    by_row[: pattern.n_in] = inputs
    grams, reach = list(rounding.grams), ranges.mid
    if isinstance(reach, np.ndarray):
        stored = equalised(stored, pattern, reach)
        grams[1] = _equalised_gram(grams[1], reach, pattern)
        reach = float(reach.max())
    mid_scale = step(reach, params.act_bits)
    right, grams[0], in_scale = _fold(stored[0], grams[0], by_row.reshape(pattern.k, pattern.p))
    no_bias, biases = np.zeros((pattern.k, pattern.q)), _by_block(bias, pattern, 0.0)
    outs, method = _by_block(out, pattern, 1.0), rounding.method
    factors = (
        factor(right, no_bias, in_scale, mid_scale, params, f"{name}.R", method, grams[0]),
        factor(stored[1], biases, mid_scale, outs, params, f"{name}.L", method, grams[1]),
    )
    return Matrix(
        name,
        layer,
        pattern.n_in,
        pattern.n_out,
        factors,
        rank=pattern.rank,
        in_scale=_plain(ranges.input, inputs),
        mid_scale=mid_scale,
        out_scale=_plain(ranges.output, out),
        useful_weights=pattern.live.weights,
    )


def _steps(largest: float | np.ndarray, count: int, params: Params) -> np.ndarray:
    return steps(largest, count, params.act_bits)


def _fold(
    blocks: np.ndarray, gram: np.ndarray | None, inputs: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None, float]:
    """Blocks, gram and step for inputs in units of the largest of the steps `inputs` (K, fan_in)."""
    common = float(inputs.max())
    gain = inputs / common
    if gram is not None:
        gram = gram / (gain[:, :, None] * gain[:, None, :])
    return blocks * gain[..., None], gram, common


def _plain(largest: float | np.ndarray, scales: np.ndarray) -> float | tuple[float, ...]:
    return tuple(scales.tolist()) if isinstance(largest, np.ndarray) else float(scales[0])


def _by_block(values: np.ndarray, pattern: Pattern, rest: float) -> np.ndarray:
    """Values of the outputs (n_out,) as outputs of the blocks of L, (l, s); padding is `rest`."""
    padded = np.full(pattern.s * pattern.l, rest)
    padded[: pattern.n_out] = values
    return padded.reshape(pattern.s, pattern.l).T


def by_left(mid: np.ndarray, pattern: Pattern) -> np.ndarray:
    """Values of the intermediate's channels (.., k, q) as inputs of L, (.., l, rank * k), as stored."""
    split = mid.reshape(*mid.shape[:-2], pattern.k, pattern.rank, pattern.l)
    return np.swapaxes(split, -1, -3).reshape(*mid.shape[:-2], pattern.l, pattern.r)


def equalised(stored: Stored, pattern: Pattern, mid: np.ndarray) -> Stored:
    """The same function with D R and L D^-1, so that intermediates of magnitudes `mid` (k, q) become equal.

    They become the largest of `mid`; a channel of magnitude 0 keeps its factors.
    """
    gain = _gain(mid)
    right, left = stored
    return right * gain[:, None, :], left / by_left(gain, pattern)[..., None]


def _gain(mid: np.ndarray) -> np.ndarray:
    return np.where(mid > 0, mid.max() / np.where(mid > 0, mid, 1.0), 1.0)


def _equalised_gram(
    gram: np.ndarray | None, mid: np.ndarray, pattern: Pattern
) -> np.ndarray | None:
    if gram is None:
        return None
    gain = by_left(_gain(mid), pattern)
    return gram * gain[:, :, None] * gain[:, None, :]


def requantise(acc: np.ndarray, part: Factor, params: Params) -> np.ndarray:
    """int8 outputs of integer accumulators (T, K, fan_out); acc + bias wraps at int32."""
    biased = acc.astype(np.int32, copy=False) + part.bias
    shift = part.shift.astype(np.int64)
    # In place: this is bound by memory.
    product = biased.astype(np.int64)
    product *= part.mult
    product += np.int64(1) << (shift - 1)
    product >>= shift
    return np.clip(product, *signed_range(params.act_bits), out=product).astype(np.int8)


def sum_dtype(fan_in: int, params: Params) -> type[np.floating]:
    """A dtype that holds every partial sum of `fan_in` products exactly.

    float32 up to 2**24, otherwise float64, which holds any 32-bit accumulator.
    """
    largest = fan_in << (params.act_bits - 1) << (params.weight_bits - 1)
    return np.float32 if largest <= FLOAT32_EXACT else np.float64


def apply_factor(part: Factor, x: np.ndarray, params: Params) -> np.ndarray:
    """int8 (T, K, fan_out) of int8 x (T, K, fan_in).

    The sums run in floating point, which is much faster than an integer product and just as exact.
    """
    real = sum_dtype(part.shape[1], params)
    acc = x.transpose(1, 0, 2).astype(real) @ part.blocks.astype(real)
    return requantise(acc.transpose(1, 0, 2).astype(np.int64), part, params)


def apply_matrix(matrix: Matrix, x: np.ndarray, params: Params) -> np.ndarray:
    """int8 y (T, n_out) of int8 x (T, n_in)."""
    y = np.empty((len(x), matrix.n_out), np.int8)
    for start in range(0, len(x), CHUNK):
        rows = slice(start, start + CHUNK)
        y[rows] = _apply(matrix, x[rows], params)
    return y


def _apply(matrix: Matrix, x: np.ndarray, params: Params) -> np.ndarray:
    tokens = len(x)
    blocks, fan_in, _ = matrix.factors[0].shape
    rows = np.zeros((tokens, blocks * fan_in), np.int8)
    rows[:, : matrix.n_in] = x[:, : blocks * fan_in]
    first = RIGHT if matrix.monarch else DENSE
    out = _apply_role(matrix, first, rows.reshape(tokens, blocks, fan_in), params)
    if matrix.monarch:
        left = matrix.factors[1]
        middle = out.reshape(tokens, blocks, matrix.rank, left.shape[0]).transpose(0, 3, 2, 1)
        out = _apply_role(matrix, LEFT, middle.reshape(tokens, *left.shape[:2]), params)
        out = out.transpose(0, 2, 1)
    return out.reshape(tokens, -1)[:, : matrix.n_out]


def _apply_role(matrix: Matrix, role: str, x: np.ndarray, params: Params) -> np.ndarray:
    """A factor of a matrix, whose place in it decides what an analog array reads at once."""
    part = matrix.factors[role == LEFT]
    if not params.analog:
        return apply_factor(part, x, params)
    return requantise(analog.accumulate(matrix, role, x, params), part, params)
