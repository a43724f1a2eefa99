"""Seeded random workloads for models that come as shapes only, and shapes alone for placement."""

import dataclasses
from collections.abc import Callable

import numpy as np

from rtl.spec.numeric import needed_acc_bits, signed_range
from rtl.spec.params import ConfigError, Params

from .graph import Factor, Matrix, Segment, Workload
from .models import Model, segments
from .pattern import Pattern, PatternOf
from .quantise import multiplier

#: Part of the positive activation range that one standard deviation of an output fills.
SPREAD = 0.25


def random_workload(
    model: Model,
    layer: int,
    policy: str,
    pattern_of: PatternOf,
    params: Params,
    tokens: int,
    seed: int,
) -> Workload:
    """Random integers of the exact shapes of a layer, a function of seed, layer and shapes only.

    Weights and inputs cover the whole two's complement range; zeros of a policy's padding are
    exact; outputs use the activation range and seldom saturate. Raises `ConfigError` when a fan-in
    needs too wide an accumulator.
    """
    names = [name for _, matrices in segments(model, layer) for name, _, _ in matrices]

    def matrix(name: str, n_in: int, n_out: int) -> Matrix:
        rng = np.random.default_rng([seed, layer, names.index(name)])
        form = pattern_of(name, n_in, n_out)
        if form is None:
            return Matrix(name, layer, n_in, n_out, (_random(rng, (1, n_in, n_out), params, name),))
        return _random_monarch(rng, name, layer, form, params)

    def inputs(n_in: int, index: int) -> np.ndarray:
        rng = np.random.default_rng([seed, layer, len(names) + index])
        return _integers(rng, params.act_bits, (tokens, n_in))

    return _assemble(model, layer, policy, matrix, inputs)


def zero_workload(
    model: Model, layer: int, policy: str, pattern_of: PatternOf, tokens: int
) -> Workload:
    """The shapes of a layer with all-zero broadcast arrays, which take no memory and no time."""

    def matrix(name: str, n_in: int, n_out: int) -> Matrix:
        return zero_matrix(name, layer, n_in, n_out, pattern_of(name, n_in, n_out))

    return _assemble(model, layer, policy, matrix, lambda n_in, _: zero_inputs(tokens, n_in))


def zero_matrix(name: str, layer: int, n_in: int, n_out: int, form: Pattern | None) -> Matrix:
    """A matrix of all-zero broadcast arrays; None: dense."""
    if form is None:
        return Matrix(name, layer, n_in, n_out, (_zeros(1, n_in, n_out),))
    factors = (_zeros(form.k, form.p, form.q), _zeros(form.l, form.r, form.s))
    return _monarch(name, layer, form, factors)


def zero_inputs(tokens: int, n_in: int) -> np.ndarray:
    """int8 (tokens, n_in) of zeros, without memory."""
    return np.broadcast_to(np.int8(0), (tokens, n_in))


def _assemble(
    model: Model,
    layer: int,
    policy: str,
    matrix: Callable[[str, int, int], Matrix],
    inputs: Callable[[int, int], np.ndarray],
) -> Workload:
    """A workload of `matrix(name, n_in, n_out)` and `inputs(n_in, index of the segment)`."""
    parts = [
        Segment(name, layer, tuple(matrix(m, n_in, n_out) for m, n_in, n_out in matrices))
        for name, matrices in segments(model, layer)
    ]
    return Workload(
        model=model.name,
        layer=layer,
        policy=policy,
        segments=parts,
        inputs={part.name: inputs(part.n_in, index) for index, part in enumerate(parts)},
        barrier={part.name: False for part in parts},
        synthetic=True,
    )


def _monarch(name: str, layer: int, form: Pattern, factors: tuple[Factor, Factor]) -> Matrix:
    return Matrix(
        name,
        layer,
        form.n_in,
        form.n_out,
        factors,
        rank=form.rank,
        useful_weights=form.live.weights,
    )


def _zeros(blocks: int, fan_in: int, fan_out: int) -> Factor:
    outputs = (blocks, fan_out)
    return Factor(
        np.broadcast_to(np.int8(0), (blocks, fan_in, fan_out)),
        np.broadcast_to(np.int32(0), outputs),
        np.broadcast_to(np.uint16(0), outputs),
        np.broadcast_to(np.uint8(1), outputs),
    )


def _integers(rng: np.random.Generator, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """int8 over the whole range of `bits` bits, the most negative value included."""
    low, high = signed_range(bits)
    return rng.integers(low, high, shape, dtype=np.int8, endpoint=True)


def _random(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    params: Params,
    name: str,
    bias: bool = True,
) -> Factor:
    """A random factor (K, fan_in, fan_out), its bias within a standard deviation of the sums."""
    blocks, fan_in, fan_out = shape
    try:
        needed_acc_bits(fan_in, params)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    # A uniform integer of b bits has a standard deviation of 2**b / sqrt(12).
    deviation = fan_in**0.5 * 2.0 ** (params.weight_bits + params.act_bits) / 12
    target = SPREAD * signed_range(params.act_bits)[1]
    outputs = (blocks, fan_out)
    mult, shift = multiplier(target / deviation * rng.uniform(0.5, 1.0, outputs))
    limit = int(deviation) if bias else 0
    offsets = rng.integers(-limit, limit, outputs, dtype=np.int32, endpoint=True)
    return Factor(_integers(rng, params.weight_bits, shape), offsets, mult, shift)


def _random_monarch(
    rng: np.random.Generator, name: str, layer: int, form: Pattern, params: Params
) -> Matrix:
    """Random factors; for one generator state, `pad` and `trim` give the same function."""
    live = form.live
    right = _random(rng, (live.k, live.p, live.q), params, f"{name}.R", bias=False)
    left = _random(rng, (live.l, live.r, live.s), params, f"{name}.L")
    seen, kept = live.input_mask(), live.output_mask()
    right = dataclasses.replace(right, blocks=right.blocks * seen[:, :, None])
    left = Factor(
        left.blocks * kept[:, None, :],
        left.bias * kept,
        left.mult * kept,
        np.where(kept, left.shift, np.uint8(1)),
    )
    if live != form:
        spread = np.zeros((live.l, live.rank, form.k, live.s), np.int8)
        spread[:, :, : live.k] = left.blocks.reshape(live.l, live.rank, live.k, live.s)
        left = dataclasses.replace(left, blocks=spread.reshape(live.l, form.r, live.s))
        right = _grow(right, (form.k, form.p, form.q))
        left = _grow(left, (form.l, form.r, form.s))
    return _monarch(name, layer, form, (right, left))


def _grow(part: Factor, shape: tuple[int, int, int]) -> Factor:
    """The factor in the corner of a larger one that is zero elsewhere (mult 0, shift 1)."""
    extra = [(0, new - old) for new, old in zip(shape, part.shape, strict=True)]
    outputs = (extra[0], extra[2])
    return Factor(
        np.pad(part.blocks, extra),
        np.pad(part.bias, outputs),
        np.pad(part.mult, outputs),
        np.pad(part.shift, outputs, constant_values=1),
    )
