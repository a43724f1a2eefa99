"""The golden model against permutation matrices, plain integers and the mapper's own chain."""

# ruff: noqa: E741 - l is the name of L's block count in the definition

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mapper import quantise, workload
from mapper.graph import Factor, Matrix
from rtl.spec.params import ConfigError, Params
from sim import golden

PARAMS = Params()


def random_factor(rng, shape, params):
    """Random integers of the whole range, with constants of the whole range too."""
    blocks, _, fan_out = shape
    half = 1 << (params.weight_bits - 1)
    outputs = (blocks, fan_out)
    return Factor(
        rng.integers(-half, half, shape, dtype=np.int8),
        rng.integers(-5000, 5000, outputs, dtype=np.int32),
        rng.integers(0, 1 << 16, outputs, dtype=np.uint16),
        rng.integers(18, 28, outputs, dtype=np.uint8),
    )


def random_matrix(rng, k, p, l, s, rank, params, n_in=None, n_out=None):
    factors = (
        random_factor(rng, (k, p, rank * l), params),
        random_factor(rng, (l, rank * k, s), params),
    )
    return Matrix("w", 3, n_in or k * p, n_out or l * s, factors, rank=rank)


def inputs(rng, tokens, n_in, params):
    half = 1 << (params.act_bits - 1)
    return rng.integers(-half, half, (tokens, n_in), dtype=np.int8)


def rule(acc, bias, mult, shift, bits):
    """The requantisation rule on Python integers."""
    value = (acc + bias + (1 << 31)) % (1 << 32) - (1 << 31)
    value = (value * mult + (1 << (shift - 1))) >> shift
    return max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, value))


def rule_all(acc, part, bits):
    """`rule` for accumulators (K * fan_out)."""
    constants = zip(
        acc.tolist(),
        part.bias.ravel().tolist(),
        part.mult.ravel().tolist(),
        part.shift.ravel().tolist(),
        strict=True,
    )
    return np.array([rule(*values, bits) for values in constants])


def block_diagonal(part):
    """The factor as one matrix (K * fan_out, K * fan_in)."""
    blocks, fan_in, fan_out = part.shape
    dense = np.zeros((blocks * fan_out, blocks * fan_in), np.int64)
    for n in range(blocks):
        dense[n * fan_out : (n + 1) * fan_out, n * fan_in : (n + 1) * fan_in] = part.blocks[n].T
    return dense


def by_permutation_matrices(matrix, x, bits):
    """y = P_out requantise(L P_mid requantise(R x)) for one token, with matrices for everything."""
    right, left = matrix.factors
    (k, p, q), (l, r, s) = right.shape, left.shape
    middle = np.zeros((l * r, k * q), np.int64)
    for kk in range(k):
        for rh in range(matrix.rank):
            for ll in range(l):
                middle[ll * r + rh * k + kk, kk * q + rh * l + ll] = 1
    outer = np.zeros((l * s, l * s), np.int64)
    for ll in range(l):
        for j in range(s):
            outer[j * l + ll, ll * s + j] = 1
    padded = np.zeros(k * p, np.int64)
    padded[: matrix.n_in] = x
    u = rule_all(block_diagonal(right) @ padded, right, bits)
    return (outer @ rule_all(block_diagonal(left) @ middle @ u, left, bits))[: matrix.n_out]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    k=st.integers(1, 6),
    p=st.integers(1, 9),
    l=st.integers(1, 6),
    s=st.integers(1, 9),
    rank=st.integers(1, 3),
    cut=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    act_bits=st.sampled_from([4, 8]),
    weight_bits=st.sampled_from([2, 4, 8]),
    seed=st.integers(0, 1000),
)
def test_monarch_equals_permutation_matrices(k, p, l, s, rank, cut, act_bits, weight_bits, seed):
    params = Params(act_bits=act_bits, weight_bits=weight_bits)
    rng = np.random.default_rng(seed)
    n_in, n_out = max(1, k * p - cut[0]), max(1, l * s - cut[1])
    matrix = random_matrix(rng, k, p, l, s, rank, params, n_in, n_out)
    x = inputs(rng, 3, n_in, params)
    got = golden.run_matrix(matrix, x, params)
    assert got.dtype == np.int8 and got.shape == (3, n_out)
    expected = np.stack([by_permutation_matrices(matrix, row, act_bits) for row in x])
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(quantise.apply_matrix(matrix, x, params), got)


@pytest.mark.parametrize("seed", range(4))
def test_dense_equals_plain_integers(seed):
    rng = np.random.default_rng(seed)
    matrix = Matrix("w", 0, 70, 30, (random_factor(rng, (1, 70, 30), PARAMS),))
    x = inputs(rng, 4, 70, PARAMS)
    part = matrix.factors[0]
    acc = x.astype(np.int64) @ part.blocks[0].astype(np.int64)
    expected = np.stack([rule_all(row, part, 8) for row in acc])
    np.testing.assert_array_equal(golden.run_matrix(matrix, x, PARAMS), expected)
    np.testing.assert_array_equal(golden.run_factor_raw(part, x[:, None, :])[:, 0], acc)
    np.testing.assert_array_equal(quantise.apply_matrix(matrix, x, PARAMS), expected)


@pytest.mark.parametrize(
    ("acc", "bias", "mult", "shift"),
    [
        (5, 0, 1, 1),
        (-5, 0, 1, 1),
        (1 << 30, (1 << 30), 65535, 31),  # acc + bias wraps to -2**31
        (-(1 << 30), -(1 << 30) - 1, 65535, 31),
        (7, (1 << 31) - 1, 3, 31),
        (0, 0, 0, 1),
        ((1 << 30), -1, 65535, 1),  # a product of 46 bits
        (-12345, 678, 40000, 22),
    ],
)
def test_requantise_extremes(acc, bias, mult, shift):
    part = Factor(
        np.zeros((1, 1, 1), np.int8),
        np.array([[bias]], np.int32),
        np.array([[mult]], np.uint16),
        np.array([[shift]], np.uint8),
    )
    expected = rule(acc, bias, mult, shift, 8)
    assert golden.requantise(torch.tensor([[[acc]]]), part, PARAMS).item() == expected
    assert quantise.requantise(np.array([[[acc]]]), part, PARAMS).item() == expected


@pytest.mark.parametrize("policy", ["dense", "pad", "trim", "rect"])
@pytest.mark.parametrize("model", ["minilm", "gpt2-medium"])
def test_workloads_equal_the_mappers_integers(model, policy):
    params = Params.load(model)
    (one,) = workload.build(model, [1], params=params, policy=policy, tokens=4)
    for part in one.segments:
        for matrix in part.matrices:
            x = one.inputs[part.name]
            np.testing.assert_array_equal(
                golden.run_matrix(matrix, x, params), quantise.apply_matrix(matrix, x, params)
            )


def test_input_longer_than_the_blocks_is_cut():
    rng = np.random.default_rng(0)
    short = random_matrix(rng, 2, 3, 2, 4, 1, PARAMS)
    longer = Matrix("w", 0, 9, short.n_out, short.factors)
    x = inputs(rng, 2, 9, PARAMS)
    expected = golden.run_matrix(short, np.ascontiguousarray(x[:, :6]), PARAMS)
    np.testing.assert_array_equal(golden.run_matrix(longer, x, PARAMS), expected)
    np.testing.assert_array_equal(quantise.apply_matrix(longer, x, PARAMS), expected)


def test_mismatches_are_located():
    rng = np.random.default_rng(1)
    matrix = random_matrix(rng, 3, 4, 5, 2, 2, PARAMS)
    x = inputs(rng, 4, 12, PARAMS)
    right, left = golden.trace(matrix, x, PARAMS)
    assert (right.name, left.name) == ("w.R", "w.L")
    assert right.out.shape == (4, 3, 10) and left.out.shape == (4, 5, 2)
    assert golden.first_mismatch(right, right.out) is None
    wrong = right.out.copy()
    wrong[2, 1, 7] ^= 1
    wrong[3, 0, 0] ^= 1
    found = golden.first_mismatch(right, wrong)
    assert (found.layer, found.stage, found.count) == (3, "w.R", 2)
    assert (found.token, found.block, found.channel) == (2, 1, 7)
    assert str(found) == (
        f"layer 3 w.R token 2 block 1 channel 7: expected {right.out[2, 1, 7]}, "
        f"got {wrong[2, 1, 7]} (2 differ)"
    )
    y = golden.run_matrix(matrix, x, PARAMS)
    assert golden.first_output_mismatch(matrix, y, y) is None
    wrong = y.copy()
    wrong[1, 8] ^= 1  # channel 1 of block 3, with 5 blocks
    found = golden.first_output_mismatch(matrix, y, wrong)
    assert (found.token, found.block, found.channel, found.count) == (1, 3, 1, 1)
    assert left.out[1, 3, 1] == y[1, 8]


def test_wrong_input():
    matrix = random_matrix(np.random.default_rng(2), 2, 3, 2, 2, 1, PARAMS)
    with pytest.raises(ConfigError, match=r"w: input shape \(1, 5\) is not \(tokens, 6\)"):
        golden.run_matrix(matrix, np.zeros((1, 5), np.int8), PARAMS)
    with pytest.raises(ConfigError, match=r"w: an input is outside -8..7"):
        golden.run_matrix(matrix, np.full((1, 6), 8, np.int8), Params(act_bits=4))


def read_by_read(matrix, role, x, params):
    """Accumulators of one token x (K, fan_in) on an analog array, with loops over everything."""
    part = matrix.factors[role == "L"]
    k, p, _ = matrix.factors[0].shape
    b = params.granule
    fan_in = part.shape[1]
    if role == "L":
        short = b // k
        part_of = [
            (i // k) // short if short else (i // k) * -(-k // b) + i % k // b
            for i in range(fan_in)
        ]
    else:
        part_of = [i // b for i in range(fan_in)]
    rows = b
    if params.tree == "full":
        per_read = params.row_groups if role == "W" else max(part_of) + 1
        rows = b * min(per_read, max(part_of) + 1)
        if role == "L" and matrix.rank == 1:
            rows = b * -(-min(k, -(-matrix.n_in // p)) // b)
        part_of = [part // per_read for part in part_of]
    step = max(1, 1 << (max(0, int(np.ceil(np.log2(rows + 1))) - params.adc_bits)))
    acc = np.zeros(part.bias.shape, np.int64)
    for block, j in np.ndindex(part.bias.shape):
        for read in range(max(part_of) + 1):
            on = [i for i in range(fan_in) if part_of[i] == read]
            for xb in range(params.act_bits):
                for wb in range(params.weight_bits):
                    ones = sum(
                        (int(x[block, i]) >> xb & 1) * (int(part.blocks[block, i, j]) >> wb & 1)
                        for i in on
                    )
                    code = min(ones // step, 2**params.adc_bits - 1)
                    sign = (-1) ** ((xb == params.act_bits - 1) + (wb == params.weight_bits - 1))
                    acc[block, j] += sign * code * step << (xb + wb)
    return acc


def analog(tree, adc_bits, **changes):
    sizes = {"rows": 16, "cols": 16, "granule": 4, "lanes": 8, "act_bits": 4, "weight_bits": 4}
    return Params(**(sizes | changes), tree=tree, readout="adc", adc_bits=adc_bits, adcs=2)


@pytest.mark.parametrize("seed", range(4), ids="seed{}".format)
@pytest.mark.parametrize("tree", ["full", "shared"])
@pytest.mark.parametrize("shape", [(3, 5, 2, 3, 2), (6, 3, 2, 5, 1), (6, 2, 2, 2, 2)])
def test_converters_equal_loops_over_bits(tree, shape, seed):
    """Blocks of R and L of one and of several row groups, ranks 1 and 2, padding, 1 to 4 bits."""
    rng = np.random.default_rng(seed)
    params = analog(tree, 1 + seed)
    k, p, l, s, rank = shape
    matrix = random_matrix(rng, k, p, l, s, rank, params, n_in=k * p - seed * p)
    x = inputs(rng, 2, matrix.n_in, params)
    right, left = golden.trace(matrix, x, params)
    padded = np.zeros((2, k * p), np.int64)
    padded[:, : matrix.n_in] = x
    middle = golden.middle_permutation(k, l, rank).numpy()
    for token in range(2):
        want = read_by_read(matrix, "R", padded[token].reshape(k, p), params)
        np.testing.assert_array_equal(right.acc[token], want)
        v = right.out[token].ravel()[middle].reshape(l, rank * k)
        np.testing.assert_array_equal(left.acc[token], read_by_read(matrix, "L", v, params))
    got = golden.run_matrix(matrix, x, params)
    np.testing.assert_array_equal(quantise.apply_matrix(matrix, x, params), got)


@pytest.mark.parametrize("tree", ["full", "shared"])
@pytest.mark.parametrize("n_in", [7, 16, 37])
def test_converters_of_a_dense_matrix_read_array_by_array(tree, n_in):
    rng = np.random.default_rng(n_in)
    params = analog(tree, 2)
    matrix = Matrix("w", 0, n_in, 3, (random_factor(rng, (1, n_in, 3), params),))
    x = inputs(rng, 2, n_in, params)
    (stage,) = golden.trace(matrix, x, params)
    for token in range(2):
        want = read_by_read(matrix, "W", x[token][None], params)
        np.testing.assert_array_equal(stage.acc[token], want)
    got = golden.run_matrix(matrix, x, params)
    np.testing.assert_array_equal(quantise.apply_matrix(matrix, x, params), got)


@pytest.mark.parametrize("seed", range(6), ids="seed{}".format)
@pytest.mark.parametrize("tree", ["full", "shared"])
def test_converters_that_lose_nothing_are_exact(tree, seed):
    """Enough bits for all rows, and the accumulators are the digital ones."""
    rng = np.random.default_rng(seed)
    digital = Params(rows=16, cols=16, granule=4, lanes=8)
    k, p, l, s, rank = (int(rng.integers(1, 7)) for _ in range(5))
    rank = min(rank, 2)
    matrix = random_matrix(rng, k, p, l, s, rank, digital)
    x = inputs(rng, 3, matrix.n_in, digital)
    want = [stage.acc for stage in golden.trace(matrix, x, digital)]
    exact = digital.replace(tree=tree, readout="adc", adc_bits=8, adcs=3)
    for stage, acc in zip(golden.trace(matrix, x, exact), want, strict=True):
        np.testing.assert_array_equal(stage.acc, acc)


def test_converters_clip_what_is_beyond_their_range():
    """Their range holds all rows of a block; with more ones they stay at the last code."""
    ones = np.ones((1, 1), np.int32)
    part = Factor(np.ones((1, 9, 1), np.int8), 0 * ones, ones, ones)
    reads, params = torch.zeros(9, dtype=torch.int64), analog("full", 2)
    for rows, want in ((9, 8), (8, 8), (7, 6), (3, 3)):  # steps of 4, 4, 2 and 1, codes up to 3
        got = golden._converted(part, torch.ones(1, 1, 9, dtype=torch.int64), reads, rows, params)
        assert got.item() == want


def test_converters_of_few_bits_lose_something():
    rng = np.random.default_rng(0)
    matrix = random_matrix(rng, 4, 4, 4, 4, 1, PARAMS)
    x = inputs(rng, 3, matrix.n_in, PARAMS)
    coarse = Params(readout="adc", adc_bits=3, adcs=3)
    assert (golden.trace(matrix, x, coarse)[0].acc != golden.trace(matrix, x, PARAMS)[0].acc).any()
