"""Data-aware projection: never worse on its data, exact where it can be, better where inputs are correlated."""

import pytest
import torch

from mapper.calibrated import covariance, fit_outputs, output_error, rank_errors
from mapper.d2s import Monarch, fit
from mapper.pattern import Pattern, pattern
from rtl.spec.params import ConfigError

SHAPES = {
    "square": pattern(24, 24, "rect", 4, 4),
    "rank": pattern(24, 36, "blocks", 3, 4, 2),
    "wide": pattern(40, 16, "blocks", 5, 2, 1),
    "pad": pattern(20, 14, "pad"),
    "trim": pattern(20, 14, "trim"),
}


def data(shape: Pattern, seed: int, tokens: int = 400):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(shape.n_in, shape.n_in, generator=generator, dtype=torch.float64)
    scale = torch.linspace(0.05, 3, shape.n_in, dtype=torch.float64)
    x = torch.randn(tokens, shape.n_in, generator=generator, dtype=torch.float64) * scale @ mix
    w = torch.randn(shape.n_out, shape.n_in, generator=generator, dtype=torch.float64)
    return w, x


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", SHAPES)
def test_never_worse_than_the_plain_projection_on_its_inputs(name, seed):
    shape = SHAPES[name]
    w, x = data(shape, seed)
    cov = covariance(x)
    errors = [output_error(fit_outputs(w, shape, cov, sweeps=n), w, cov) for n in range(4)]
    assert errors[0] <= output_error(fit(w, shape), w, cov)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.98 * output_error(fit(w, shape), w, cov)


@pytest.mark.parametrize("name", SHAPES)
def test_error_is_that_of_the_outputs(name):
    shape = SHAPES[name]
    w, x = data(shape, 7)
    found = fit_outputs(w, shape, covariance(x), sweeps=2)
    y = x @ w.mT
    direct = torch.linalg.norm(found.forward(x) - y) / torch.linalg.norm(y)
    assert output_error(found, w, covariance(x)) == pytest.approx(float(direct), rel=1e-9)


@pytest.mark.parametrize("name", ["square", "rank", "wide"])
def test_exact_for_a_monarch_matrix(name):
    shape = SHAPES[name]
    w, x = data(shape, 3)
    exact = fit(w, shape).dense()
    assert output_error(fit_outputs(exact, shape, covariance(x)), exact, covariance(x)) < 1e-9


def test_one_block_of_rank_one_is_the_best_that_any_gradient_finds():
    """With one block a side the problem is reduced-rank regression, whose optimum is known."""
    shape = pattern(10, 8, "blocks", 1, 1, 3)
    w, x = data(shape, 5)
    y = x @ w.mT
    _, _, v = torch.linalg.svd(y, full_matrices=False)
    best = torch.linalg.norm(y - y @ v[:3].mT @ v[:3]) / torch.linalg.norm(y)
    assert output_error(fit_outputs(w, shape, covariance(x)), w, covariance(x)) == pytest.approx(
        float(best), rel=1e-6
    )


def test_inputs_that_span_few_directions():
    """A singular covariance must not blow up what the data does not see."""
    shape = SHAPES["square"]
    w, x = data(shape, 1, tokens=3)  # fewer than an output sees
    found = fit_outputs(w, shape, covariance(x))
    assert output_error(found, w, covariance(x)) < 1e-4
    assert found.R.abs().max() < 1e3 and found.L.abs().max() < 1e3


def test_padding_stays_zero():
    shape = SHAPES["pad"]
    w, x = data(shape, 2)
    found = fit_outputs(w, shape, covariance(x))
    assert isinstance(found, Monarch)
    assert not found.R.mT[~torch.from_numpy(shape.input_mask())].any()
    assert not found.L[~torch.from_numpy(shape.output_mask())].any()


def test_wrong_data_is_named():
    shape = SHAPES["square"]
    w, x = data(shape, 2)
    with pytest.raises(ConfigError, match=r"ffn1: covariance \(3, 3\), expected \(24, 24\)"):
        fit_outputs(w, shape, torch.eye(3), name="ffn1")
    with pytest.raises(ConfigError, match="ffn1: the covariance of the inputs is NaN"):
        fit_outputs(w, shape, covariance(x) * float("nan"), name="ffn1")


RANKED = {"square": (24, 24, 4, 4), "wide": (40, 16, 5, 2), "tall": (12, 60, 3, 5)}


def block_diagonal(shape: Pattern, seed: int):
    """A weight, and a covariance of inputs whose slices are uncorrelated."""
    w, x = data(shape, seed)
    cov = covariance(x)
    slice_of = torch.arange(shape.n_in) // shape.p
    return w, cov * (slice_of[:, None] == slice_of)


@pytest.mark.parametrize("name", RANKED)
def test_rank_errors_are_those_of_the_projection(name):
    """For uncorrelated slices, of every rank; there is then nothing that sweeps could add."""
    n_in, n_out, k, l_blocks = RANKED[name]
    largest = min(n_in // k, n_out // l_blocks)
    shapes = [pattern(n_in, n_out, "blocks", k, l_blocks, r + 1) for r in range(largest)]
    w, cov = block_diagonal(shapes[0], 11)
    found = rank_errors(w, shapes[0], cov)
    assert len(found) == largest
    for shape, error in zip(shapes, found.tolist(), strict=True):
        # The square root of a difference: half of the digits.
        for sweeps in (0, 3):
            fitted = fit_outputs(w, shape, cov, sweeps)
            assert output_error(fitted, w, cov) == pytest.approx(error, rel=1e-6, abs=1e-6)
        torch.testing.assert_close(rank_errors(w, shape, cov), found)


@pytest.mark.parametrize("seed", range(3))
def test_rank_errors_fall_with_rank_and_are_convex_in_squares(seed):
    """Correlated inputs as well: what allocation relies on."""
    w, x = data(SHAPES["square"], seed)
    found = rank_errors(w, SHAPES["square"], covariance(x))
    assert 0 < found[0] < 1 and found[-1] < 1e-6
    saved = -found.square().diff()
    assert (saved > 0).all() and (saved.diff() <= 1e-12).all()


def test_rank_errors_see_the_inputs():
    """Slices whose inputs are weak count little."""
    shape = pattern(24, 24, "rect", 4, 4)
    w = torch.eye(24, dtype=torch.float64)
    w[:12] = torch.randn(12, 24, generator=torch.Generator().manual_seed(1))
    strong = torch.ones(24, dtype=torch.float64)
    strong[6:] = 1e-6
    errors = [rank_errors(w, shape, torch.diag(s))[1] for s in (strong, torch.ones(24).double())]
    exact = rank_errors(w[:, :6], pattern(6, 24, "blocks", 1, 4), torch.eye(6).double())[1]
    assert errors[0] == pytest.approx(float(exact), rel=1e-3) != pytest.approx(float(errors[1]))
