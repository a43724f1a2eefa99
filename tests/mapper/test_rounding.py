"""Rounding with compensation: better outputs than rounding to nearest, exact zeros, within limits."""

import numpy as np
import pytest

from mapper.rounding import compensated


def problem(seed, blocks=3, fan_in=24, fan_out=10, rows=400):
    """Weights in units of a step, correlated inputs (rows, blocks, fan_in), and their mean products."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((blocks, fan_in, fan_in))
    x = np.einsum("tki,kij->tkj", rng.standard_normal((rows, blocks, fan_in)), mix)
    wanted = rng.uniform(-7, 7, (blocks, fan_in, fan_out))
    return wanted, x, np.einsum("tki,tkj->kij", x, x) / rows


def output_error(got, wanted, x):
    return np.linalg.norm(np.einsum("tki,kij->tkj", x, got - wanted))


@pytest.mark.parametrize("seed", range(5))
def test_outputs_are_nearer_than_with_plain_rounding(seed):
    wanted, x, gram = problem(seed)
    got = compensated(wanted, gram, 7)
    assert (got == np.rint(got)).all() and np.abs(got).max() <= 7
    assert output_error(got, wanted, x) < 0.8 * output_error(np.rint(wanted), wanted, x)


def test_independent_inputs_are_rounded_to_nearest():
    wanted, _, _ = problem(6)
    gram = np.broadcast_to(np.diag(np.linspace(1, 5, 24)), (3, 24, 24))
    np.testing.assert_array_equal(compensated(wanted, gram, 7), np.rint(wanted))


def test_zeros_stay_and_silent_inputs_are_fine():
    wanted, _, gram = problem(7)
    wanted[:, ::3] = 0
    gram[0] = 0
    gram[1, 5] = gram[1, :, 5] = 0
    given = wanted.copy()
    got = compensated(wanted, gram, 7)
    np.testing.assert_array_equal(wanted, given)
    assert (got[:, ::3] == 0).all()
    np.testing.assert_array_equal(got[0], np.rint(wanted[0]))
