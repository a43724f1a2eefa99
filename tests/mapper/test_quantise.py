"""Quantisation: bounds, exact zeros, the multiplier, and pad = trim in integers."""

import numpy as np
import pytest
import torch

from mapper import d2s, quantise
from mapper.graph import Factor
from mapper.quantise import Ranges, Rounding
from rtl.spec.params import ConfigError, Params

PARAMS = Params()


@pytest.mark.parametrize("exponent", range(-15, 15))
def test_multiplier_is_within_half_a_step(exponent):
    ratio = np.random.default_rng(exponent + 99).uniform(1, 2, 1000) * 2.0**exponent
    mult, shift = quantise.multiplier(ratio)
    assert mult.dtype == np.uint16 and shift.dtype == np.uint8
    assert mult.min() >= 1 << 15 and shift.min() >= 1 and shift.max() <= 31
    assert np.abs(mult / 2.0**shift / ratio - 1).max() <= 2.0**-16


@pytest.mark.parametrize(
    ("ratio", "mult", "shift"),
    [
        (0.0, 0, 1),
        (1.0, 1 << 15, 15),
        (1 - 2.0**-20, 1 << 15, 15),
        (2.0**-16, 1 << 15, 31),
        (3 * 2.0**-31, 3, 31),
        (2.0**-40, 0, 1),
        (2.0**14, 1 << 15, 1),
        (32767.9, 65535, 1),
        (1e9, 65535, 1),
    ],
)
def test_multiplier_extremes(ratio, mult, shift):
    got = quantise.multiplier(np.array([ratio]))
    assert (int(got[0][0]), int(got[1][0])) == (mult, shift)


@pytest.mark.parametrize("ratio", [np.nan, np.inf, -1.0])
def test_multiplier_wrong_ratio(ratio):
    with pytest.raises(ConfigError, match="ratio is negative, NaN or infinite"):
        quantise.multiplier(np.array([ratio]))


@pytest.mark.parametrize("bits", [4, 8])
def test_activations_round_trip(bits):
    x = np.random.default_rng(1).uniform(-3, 3, 500)
    scale = quantise.step(3.0, bits)
    q = quantise.activations(x, scale, bits)
    assert q.dtype == np.int8
    assert np.abs(q * scale - x).max() <= scale / 2 + 1e-12
    assert quantise.activations(np.array([-99.0, 99.0]), scale, bits).tolist() == [
        -(1 << (bits - 1)),
        (1 << (bits - 1)) - 1,
    ]


def test_step_of_a_silent_tensor():
    assert quantise.step(0.0, 8) == 1.0


@pytest.mark.parametrize("weight_bits", [2, 4, 8])
def test_weights_are_symmetric_per_channel(weight_bits):
    params = Params(weight_bits=weight_bits)
    rng = np.random.default_rng(2)
    blocks = rng.standard_normal((3, 10, 5)) * rng.uniform(0.001, 100, (3, 1, 5))
    part = quantise.factor(blocks, np.zeros((3, 5)), 1.0, 1.0, params, "w")
    top = (1 << (weight_bits - 1)) - 1
    assert (np.abs(part.blocks).max(axis=1) == top).all()
    scale = np.abs(blocks).max(axis=1, keepdims=True) / top
    assert np.abs(part.blocks * scale - blocks).max(axis=1).max() <= scale.max() / 2 * (1 + 1e-9)
    assert (np.abs(part.blocks * scale - blocks) <= scale / 2 * (1 + 1e-9)).all()
    assert (part.blocks[blocks == 0] == 0).all()


def test_channels_without_weights():
    blocks = np.zeros((1, 4, 3))
    blocks[0, 0, 2] = 1.0
    part = quantise.factor(blocks, np.array([[0.0, 5.0, 5.0]]), 0.1, 0.1, PARAMS, "w")
    assert (int(part.mult[0, 0]), int(part.shift[0, 0]), int(part.bias[0, 0])) == (0, 1, 0)
    out = quantise.apply_factor(part, np.zeros((1, 1, 4), np.int8), PARAMS)
    # A bias of 5 at an output step of 0.1, with and without weights beside it.
    assert out[0, 0].tolist() == [0, 50, 50]


def test_bias_never_wraps():
    blocks = np.full((1, 4, 1), 1e-9)
    part = quantise.factor(blocks, np.array([[-3.0]]), 1e-3, 0.1, PARAMS, "w")
    assert abs(int(part.bias[0, 0])) <= quantise.BIAS_LIMIT
    out = quantise.apply_factor(part, np.full((1, 1, 4), 127, np.int8), PARAMS)
    assert out[0, 0, 0] == -30


@pytest.mark.parametrize(
    ("blocks", "bias", "message"),
    [
        (np.full((1, 2, 2), np.nan), np.zeros((1, 2)), "ffn1.L: a weight or bias is NaN"),
        (np.ones((1, 2, 2)), np.full((1, 2), np.inf), "ffn1.L: a weight or bias is NaN"),
        (
            np.broadcast_to(1.0, (1, 1 << 17, 1)),
            np.zeros((1, 1)),
            "ffn1.L: fan-in: 131072 needs accumulators of 33 bits, limit 32",
        ),
    ],
)
def test_factor_wrong_values(blocks, bias, message):
    with pytest.raises(ConfigError, match=message):
        quantise.factor(blocks, bias, 1.0, 1.0, PARAMS, "ffn1.L")


def quantised(weight, bias, policy, params=PARAMS, **options):
    """The integer matrix of `weight` with ranges from 64 random inputs, and those inputs."""
    x = np.random.default_rng(9).standard_normal((64, weight.shape[1]))
    if policy == "dense":
        ranges = Ranges(np.abs(x).max(), np.abs(x @ weight.T + bias).max())
        return quantise.dense("w", 0, weight, bias, ranges, params), x
    monarch = d2s.project(weight, policy, **options)
    u = monarch.intermediate(torch.from_numpy(x))
    y = monarch.outputs(u).numpy() + bias
    ranges = Ranges(np.abs(x).max(), np.abs(y).max(), float(u.abs().max()))
    return quantise.monarch("w", 0, monarch.pattern, monarch.stored(), bias, ranges, params), x


@pytest.mark.parametrize(("n_in", "n_out"), [(30, 50), (50, 30), (49, 49), (100, 40)])
def test_pad_and_trim_are_the_same_integers(n_in, n_out):
    rng = np.random.default_rng(10)
    weight, bias = rng.standard_normal((n_out, n_in)), rng.standard_normal(n_out)
    pad, x = quantised(weight, bias, "pad")
    trim, _ = quantised(weight, bias, "trim")
    assert pad.useful_weights == trim.useful_weights == trim.weights
    q = quantise.activations(x, pad.in_scale, 8)
    np.testing.assert_array_equal(
        quantise.apply_matrix(pad, q, PARAMS), quantise.apply_matrix(trim, q, PARAMS)
    )
    kept = trim.factors[0].shape[0]
    assert not pad.factors[0].blocks[kept:].any()
    assert not pad.factors[1].blocks[:, kept:].any()


@pytest.mark.parametrize(
    ("policy", "options"),
    [("dense", {}), ("blocks", {"k": 4, "l": 8, "rank": 8}), ("rect", {"k": 8, "rank": 8})],
)
def test_integers_follow_the_real_function(policy, options):
    """Full-rank projections lose nothing, so what is left is the rounding of 8 bits."""
    rng = np.random.default_rng(11)
    weight, bias = rng.standard_normal((64, 64)) / 8, rng.standard_normal(64)
    matrix, x = quantised(weight, bias, policy, **options)
    q = quantise.activations(x, matrix.in_scale, 8)
    y = quantise.apply_matrix(matrix, q, PARAMS) * matrix.out_scale
    real = x @ weight.T + bias
    assert np.linalg.norm(y - real) / np.linalg.norm(real) < 0.04


def test_requantise_rounds_half_up_and_clamps():
    one = np.ones((1, 1))
    part = Factor(
        np.ones((1, 1, 1), np.int8),
        np.zeros((1, 1), np.int32),
        one.astype(np.uint16),
        one.astype(np.uint8),
    )
    acc = np.array([-3, -2, -1, 0, 1, 2, 3, 1000, -1000]).reshape(-1, 1, 1)
    got = quantise.requantise(acc, part, PARAMS).ravel().tolist()
    assert got == [-1, -1, 0, 0, 1, 1, 2, 127, -128]
    assert quantise.requantise(acc, part, Params(act_bits=4)).ravel().tolist()[-2:] == [7, -8]


def test_requantise_wraps_at_32_bits():
    part = Factor(
        np.ones((1, 1, 1), np.int8),
        np.full((1, 1), 5, np.int32),
        np.full((1, 1), 1 << 15, np.uint16),
        np.full((1, 1), 31, np.uint8),
    )
    acc = np.array([[[(1 << 31) - 3]]])
    assert quantise.requantise(acc, part, PARAMS).item() == -128


@pytest.mark.parametrize("bits", [(8, 8), (8, 4), (4, 2)])
def test_sums_are_exact_in_the_dtype_that_is_chosen(bits):
    """The largest fan-in that float32 takes, with the largest products, and one more."""
    params = Params(act_bits=bits[0], weight_bits=bits[1])
    low = [-(1 << (n - 1)) for n in bits]
    most = quantise.FLOAT32_EXACT // (low[0] * low[1])
    assert quantise.sum_dtype(most, params) is np.float32
    assert quantise.sum_dtype(most + 1, params) is np.float64
    rng = np.random.default_rng(12)
    fan_in = min(most, 1 << 14)
    x = rng.integers(low[0], 0, (3, 1, fan_in), dtype=np.int8)
    x[0] = low[0]
    blocks = np.full((1, fan_in, 2), low[1], np.int8)
    blocks[..., 1] += rng.integers(0, 2, (1, fan_in), dtype=np.int8)
    acc = x.transpose(1, 0, 2).astype(np.float32) @ blocks.astype(np.float32)
    exact = x.transpose(1, 0, 2).astype(np.int64) @ blocks.astype(np.int64)
    np.testing.assert_array_equal(acc.astype(np.int64), exact)


def test_both_dtypes_give_the_same_outputs(monkeypatch):
    rng = np.random.default_rng(13)
    matrix, x = quantised(rng.standard_normal((48, 64)), np.ones(48), "blocks", k=4, l=8, rank=3)
    x = quantise.activations(np.tile(x, (9, 1)), matrix.in_scale, 8)
    fast = quantise.apply_matrix(matrix, x, PARAMS)
    monkeypatch.setattr(quantise, "FLOAT32_EXACT", 0)
    monkeypatch.setattr(quantise, "CHUNK", 17)
    np.testing.assert_array_equal(quantise.apply_matrix(matrix, x, PARAMS), fast)


SHAPE = {"k": 4, "l": 6, "rank": 2}


def uneven(seed, spread=30.0):
    """A Monarch pair for 32 -> 36 whose intermediate channels differ much, a bias, inputs (T, 32)."""
    rng = np.random.default_rng(seed)
    monarch = d2s.project(rng.standard_normal((36, 32)), "blocks", **SHAPE)
    gain = torch.from_numpy(np.exp(rng.uniform(-1, 1, (4, 12)) * np.log(spread)))
    right, left = monarch.R * gain[..., None], monarch.L / by_layer(gain)[:, None]
    x = rng.standard_normal((200, 32)) * np.exp(rng.uniform(-2, 2, 32))
    return d2s.Monarch(right, left, monarch.pattern), rng.standard_normal(36), x


def by_layer(gain):
    """Values (k, q) as inputs of the layer's L, (l, rank * k) in its order."""
    return gain.flatten().view(8, 6).mT


def errors(monarch, bias, x, ranges, rounding=None, params=PARAMS):
    """Relative error of the integers on x, and the matrix."""
    stored = monarch.stored()
    args = ("w", 0, monarch.pattern, stored, bias, ranges, params, rounding)
    matrix = quantise.monarch(*args)
    q = quantise.activations(x, matrix.in_scale, params.act_bits)
    y = quantise.apply_matrix(matrix, q, params) * matrix.out_scales
    real = monarch.forward(torch.from_numpy(x)).numpy() + bias
    return np.linalg.norm(y - real) / np.linalg.norm(real), matrix


def magnitudes(monarch, bias, x):
    """Largest magnitudes of each input, intermediate and output."""
    u = monarch.intermediate(torch.from_numpy(x))
    y = monarch.outputs(u).numpy() + bias
    return np.abs(x).max(axis=0), u.abs().amax(0).numpy(), np.abs(y).max(axis=0)


@pytest.mark.parametrize("seed", range(3))
def test_equalisation_keeps_the_function_and_evens_the_channels(seed):
    monarch, _, x = uneven(seed)
    shape = monarch.pattern
    _, mid, _ = magnitudes(monarch, 0.0, x)
    mid[1, 2] = 0.0
    right, left = quantise.equalised(monarch.stored(), shape, mid)
    back = left.reshape(shape.l, shape.rank, shape.k, shape.s).transpose(0, 3, 2, 1)
    even = d2s.Monarch(
        torch.from_numpy(right).mT, torch.from_numpy(back.reshape(monarch.L.shape)), shape
    )
    x = torch.from_numpy(x)
    torch.testing.assert_close(even.forward(x), monarch.forward(x))
    found = even.intermediate(x).abs().amax(0)
    assert (found.flatten().sort().values[1:] / mid.max() - 1).abs().max() < 1e-9
    np.testing.assert_array_equal(right[1, :, 2], monarch.stored()[0][1, :, 2])


@pytest.mark.parametrize("seed", range(3))
def test_each_step_lowers_the_error_on_uneven_channels(seed):
    monarch, bias, x = uneven(seed)
    inputs, mid, outputs = magnitudes(monarch, bias, x)
    found = [
        errors(monarch, bias, x, ranges)[0]
        for ranges in (
            Ranges(inputs.max(), outputs.max(), mid.max()),
            Ranges(inputs.max(), outputs.max(), mid),
            Ranges(inputs, outputs.max(), mid),
            Ranges(inputs, outputs, mid),
        )
    ]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.4 * found[0]


def test_scales_of_each_element_are_tuples_and_of_all_floats():
    monarch, bias, x = uneven(4)
    inputs, mid, outputs = magnitudes(monarch, bias, x)
    _, whole = errors(monarch, bias, x, Ranges(inputs.max(), outputs.max(), mid))
    assert isinstance(whole.in_scale, float) and isinstance(whole.out_scale, float)
    assert whole.out_scales.tolist() == [whole.out_scale] * 36
    _, each = errors(monarch, bias, x, Ranges(inputs, outputs, mid))
    np.testing.assert_allclose(each.in_scale, inputs / 127)
    np.testing.assert_allclose(each.out_scale, outputs / 127)
    assert each.out_scales.dtype == np.float64 and each.in_scales.shape == (32,)


def test_compensated_rounding_and_mse_help_at_four_bits():
    params = Params(weight_bits=4)
    monarch, bias, x = uneven(5, spread=2)
    mix = np.random.default_rng(6).standard_normal((32, 32))
    x = x @ mix
    inputs, mid, outputs = magnitudes(monarch, bias, x)
    ranges = Ranges(inputs, outputs, mid)
    rows = torch.from_numpy(x).unflatten(-1, (4, 8))
    u = monarch.intermediate(torch.from_numpy(x)).numpy()
    grams = tuple(
        np.einsum("tki,tkj->kij", v, v) / len(x)
        for v in (rows.numpy(), quantise.by_left(u, monarch.pattern))
    )
    plain, mse, best = (
        errors(monarch, bias, x, ranges, rounding, params)[0]
        for rounding in (None, Rounding("mse"), Rounding("mse", grams))
    )
    assert best < 0.9 * mse < mse < plain


def test_dense_with_a_scale_of_each_element():
    rng = np.random.default_rng(14)
    gain = np.exp(rng.uniform(-3, 3, 40))
    weight, bias = rng.standard_normal((24, 40)) / gain * 3, rng.standard_normal(24)
    x = rng.standard_normal((300, 40)) * gain
    real = x @ weight.T + bias
    found = []
    for ranges in (
        Ranges(np.abs(x).max(), np.abs(real).max()),
        Ranges(np.abs(x).max(axis=0), np.abs(real).max(axis=0)),
    ):
        matrix = quantise.dense("w", 0, weight, bias, ranges, PARAMS)
        q = quantise.activations(x, matrix.in_scale, 8)
        y = quantise.apply_matrix(matrix, q, PARAMS) * matrix.out_scales
        found.append(np.linalg.norm(y - real) / np.linalg.norm(real))
    assert found[1] < 0.02 and found[1] < 0.3 * found[0]


def test_a_silent_channel_gets_the_step_of_the_others():
    assert quantise.steps(np.array([0.0, 127.0, 254.0]), 3, 8).tolist() == [2.0, 1.0, 2.0]
    assert quantise.steps(np.zeros(2), 2, 8).tolist() == [1.0, 1.0]
