"""Projection: exact for Monarch matrices, optimal otherwise, and the shapes of every policy."""

# ruff: noqa: E741 - l is the name of L's block count in the definition

import numpy as np
import pytest
import torch

from mapper import d2s
from mapper.pattern import Pattern, pattern
from rtl.spec.params import ConfigError

#: n_in, n_out, k, l, rank
SHAPES = [
    (36, 36, 6, 6, 1),
    (24, 40, 4, 5, 1),
    (40, 24, 5, 4, 2),
    (64, 32, 4, 8, 3),
    (30, 42, 3, 7, 5),
    (16, 16, 1, 1, 4),
    (12, 20, 12, 20, 1),
]


def random_monarch(n_in, n_out, k, l, rank, seed):
    form = Pattern(n_in, n_out, k, l, n_in // k, n_out // l, rank)
    rng = torch.Generator().manual_seed(seed)
    draw = {"generator": rng, "dtype": torch.float64}
    right = torch.randn(form.k, form.q, form.p, **draw)
    left = torch.randn(form.l, form.s, form.r, **draw)
    return d2s.Monarch(right, left, form)


def by_definition(monarch, x):
    """DESIGN section 3, one index at a time."""
    form = monarch.pattern
    padded = np.zeros(form.k * form.p)
    padded[: form.n_in] = x
    u = [monarch.R[k].numpy() @ padded[k * form.p : (k + 1) * form.p] for k in range(form.k)]
    flat = np.concatenate(u)
    y = np.empty(form.s * form.l)
    for block in range(form.l):
        v = np.array([flat[r * form.l + block] for r in range(form.r)])
        for s, value in enumerate(monarch.L[block].numpy() @ v):
            y[s * form.l + block] = value
    return y[: form.n_out]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward_and_dense_follow_the_definition(shape):
    monarch = random_monarch(*shape, seed=1)
    x = torch.randn(5, shape[0], dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = np.stack([by_definition(monarch, row) for row in x.numpy()])
    np.testing.assert_allclose(monarch.forward(x).numpy(), expected, atol=1e-10)
    np.testing.assert_allclose((x @ monarch.dense().T).numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_projection_of_a_monarch_matrix_is_exact(shape):
    n_in, n_out, k, l, rank = shape
    if rank > min(n_in // k, n_out // l):
        pytest.skip("more rank than a slice has")
    weight = random_monarch(*shape, seed=3).dense()
    projected = d2s.project(weight, "blocks", k=k, l=l, rank=rank)
    assert projected.error(weight) < 1e-12


@pytest.mark.parametrize("shape", [s for s in SHAPES if s[4] <= min(s[0] // s[2], s[1] // s[3])])
def test_projection_is_optimal_slice_by_slice(shape):
    n_in, n_out, k, l, rank = shape
    weight = np.random.default_rng(4).standard_normal((n_out, n_in))
    lost = 0.0
    for kk in range(k):
        for ll in range(l):
            piece = weight[ll::l, kk * (n_in // k) : (kk + 1) * (n_in // k)]
            lost += (np.linalg.svd(piece, compute_uv=False)[rank:] ** 2).sum()
    error = d2s.project(weight, "blocks", k=k, l=l, rank=rank).error(torch.from_numpy(weight))
    assert error == pytest.approx((lost / (weight**2).sum()) ** 0.5, rel=1e-10, abs=1e-12)


def test_singular_values_are_split_evenly():
    monarch = d2s.project(np.random.default_rng(5).standard_normal((20, 12)), "blocks", k=3, l=4)
    right = torch.linalg.norm(monarch.R, dim=2)  # (k, l) at rank 1
    left = torch.linalg.norm(monarch.L, dim=1).T  # (l, k) to (k, l)
    torch.testing.assert_close(right, left)


@pytest.mark.parametrize(("n_in", "n_out"), [(384, 1536), (1536, 384), (30, 5), (16, 16), (5, 30)])
def test_pad_and_trim_are_the_same_function(n_in, n_out):
    weight = np.random.default_rng(6).standard_normal((n_out, n_in))
    pad, trim = d2s.project(weight, "pad"), d2s.project(weight, "trim")
    torch.testing.assert_close(pad.dense(), trim.dense(), rtol=0, atol=0)
    b = int(np.ceil(max(n_in, n_out) ** 0.5))
    assert pad.R.shape == (b, b, b) and pad.L.shape == (b, b, b)
    kept = -(-n_in // b)
    assert trim.R.shape == (kept, b, b)
    assert trim.L.shape == (b, -(-n_out // b), kept)


def test_padding_is_exactly_zero():
    monarch = d2s.project(np.random.default_rng(7).standard_normal((37, 20)), "pad")
    form = monarch.pattern
    assert form.k == 7
    outside = ~torch.from_numpy(form.input_mask())
    assert not monarch.R.transpose(1, 2)[outside].any()
    assert not monarch.L[~torch.from_numpy(form.output_mask())].any()
    assert not monarch.L[:, :, form.live.k :].any()


@pytest.mark.parametrize(
    ("n_in", "n_out", "blocks"), [(384, 1536, 32), (1024, 1024, 32), (20, 30, 10), (7, 5, 1)]
)
def test_rect_picks_the_largest_common_block_count(n_in, n_out, blocks):
    form = pattern(n_in, n_out, "rect")
    assert (form.k, form.l, form.p, form.s) == (blocks, blocks, n_in // blocks, n_out // blocks)
    assert (form.q, form.r) == (blocks, blocks)


def test_reference_layer_weights():
    sizes = [(1024, 1024)] * 4 + [(1024, 4096), (4096, 1024)]
    total = {p: sum(pattern(i, o, p).weights for i, o in sizes) for p in ("pad", "trim", "rect")}
    # DESIGN section 6: 20 arrays of 256 x 256 exactly, 9 for `rect`.
    assert total["pad"] == 20 * 256 * 256
    assert total["rect"] == 9 * 256 * 256
    assert total["rect"] < total["trim"] < total["pad"]


@pytest.mark.parametrize(
    ("policy", "options", "message"),
    [
        ("blocks", {"k": 5, "l": 4}, r"w: k = 5 does not divide n_in = 24"),
        ("blocks", {"k": 4, "l": 3}, r"w: l = 3 does not divide n_out = 16"),
        ("blocks", {"k": 4}, r"w: policy 'blocks' needs k and l"),
        ("blocks", {"k": 4, "l": 4, "rank": 5}, r"w: rank = 5 is above the limit 4 of a 4x6 slice"),
        ("blocks", {"k": 4, "l": 4, "rank": 0}, r"w: rank = 0 must be at least 1"),
        ("rect", {"k": 2, "l": 4}, r"w: policy 'rect' needs k = l"),
        ("rect", {"k": 3}, r"w: l = 3 does not divide n_out = 16"),
        ("pad", {"rank": 2}, r"w: policy 'pad' fixes k, l and rank"),
        ("dense", {}, r"policy: 'dense' is not one of pad, trim, rect, blocks"),
    ],
)
def test_project_wrong_options(policy, options, message):
    with pytest.raises(ConfigError, match=message):
        d2s.project(np.ones((16, 24)), policy, **options, name="w")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_project_wrong_weights(value):
    weight = np.ones((8, 8), np.float32)
    weight[1, 2] = value
    with pytest.raises(ConfigError, match="layer 3 q: 1 weights are NaN or infinite"):
        d2s.project(weight, "pad", name="layer 3 q")
    with pytest.raises(ConfigError, match=r"w: shape \(8,\) is not a matrix"):
        d2s.project(np.ones(8), "pad", name="w")


def test_zero_matrix():
    monarch = d2s.project(np.zeros((16, 16)), "pad")
    assert not monarch.R.any() and not monarch.L.any()
    assert monarch.error(torch.zeros(16, 16)) == 0.0
