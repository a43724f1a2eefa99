"""Ranges: histograms that stay bounded and agree with a direct search, clipping that pays."""

import numpy as np
import pytest

from mapper import ranges
from mapper.ranges import METHODS, Magnitudes, weight_ranges
from rtl.spec.params import ConfigError


def error(x, reach, bits=8):
    """Squared error of round and clip."""
    top = (1 << (bits - 1)) - 1
    step = reach / top
    return ((np.clip(np.rint(x / step), -top, top) * step - x) ** 2).sum()


def seen(x, batches=1):
    found = Magnitudes(x.shape[1])
    for part in np.array_split(x, batches):
        found.see(part)
    return found


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("draw", ["standard_normal", "standard_cauchy", "random"])
def test_least_error_is_near_that_of_a_direct_search(draw, bits):
    x = getattr(np.random.default_rng(3), draw)((20000, 1))
    reach = seen(x, 7).ranges("mse", bits)[0]
    best = min(error(x, np.abs(x).max() * share, bits) for share in np.linspace(0.001, 1, 400))
    assert error(x, reach, bits) <= 1.08 * best


def test_heavy_tails_are_clipped_and_uniform_values_are_not():
    rng = np.random.default_rng(4)
    heavy = rng.standard_t(3, (20000, 1))
    found = seen(heavy)
    assert error(heavy, found.ranges("mse", 4)[0], 4) < 0.5 * error(heavy, np.abs(heavy).max(), 4)
    even = rng.uniform(-1, 1, (20000, 1))
    assert seen(even).ranges("mse", 8)[0] > 0.98


def test_percentile_covers_all_but_one_in_ten_thousand():
    x = np.random.default_rng(5).standard_normal((200000, 1))
    reach = seen(x).ranges("percentile", 8)[0]
    assert 0.9999 <= (np.abs(x) <= reach).mean() < 0.99996


def test_max_is_exact_and_no_method_is_above():
    x = np.random.default_rng(6).standard_normal((500, 9)) * np.logspace(-4, 4, 9)
    found = seen(x, 3)
    np.testing.assert_array_equal(found.ranges("max", 8), np.abs(x).max(axis=0))
    for method in METHODS:
        assert (found.ranges(method, 8) <= np.abs(x).max(axis=0)).all()


def test_batches_in_any_order_give_nearly_the_same():
    x = np.random.default_rng(7).standard_normal((4000, 3)) * [1, 10, 100]
    rising = x[np.argsort(np.abs(x[:, 0]))]
    for method in METHODS:
        a, b = (seen(values, 50).ranges(method, 8) for values in (rising, x[::-1]))
        np.testing.assert_allclose(a, b, rtol=0.02)


def test_channels_do_not_see_each_other():
    x = np.random.default_rng(8).standard_cauchy((1000, 4))
    alone = [seen(x[:, n : n + 1], 4).ranges("mse", 8)[0] for n in range(4)]
    np.testing.assert_array_equal(seen(x, 4).ranges("mse", 8), alone)


@pytest.mark.parametrize("method", METHODS)
def test_silence(method):
    found = Magnitudes(2)
    assert found.ranges(method, 8).tolist() == [0, 0]
    found.see(np.zeros((5, 2)))
    found.see(np.array([[0.0, 3.0]]))
    found.see(np.zeros((0, 2)))
    reach = found.ranges(method, 8)
    assert reach[0] == 0 and reach[1] == pytest.approx(3, rel=0.01)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_wrong_activations(value):
    with pytest.raises(ConfigError, match="an activation is NaN or infinite"):
        Magnitudes(1).see(np.array([[1.0], [value]]))


def test_wrong_method():
    message = "range: 'best' is not one of mse, percentile, max"
    with pytest.raises(ConfigError, match=message):
        Magnitudes(1).ranges("best", 8)
    with pytest.raises(ConfigError, match=message):
        weight_ranges(np.ones((1, 1, 1)), 8, "best")


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weight_ranges_are_the_best_that_are_tried(bits):
    blocks = np.random.default_rng(9).standard_t(4, (3, 40, 5))
    reach = weight_ranges(blocks, bits, "mse")
    largest = weight_ranges(blocks, bits, "max")
    np.testing.assert_array_equal(largest, np.abs(blocks).max(axis=1))
    for block, channel in np.ndindex(3, 5):
        w = blocks[block, :, channel]
        tried = [error(w, share * np.abs(w).max(), bits) for share in ranges.SHARES]
        assert error(w, reach[block, channel], bits) == pytest.approx(min(tried))
    if bits < 8:
        assert (reach < largest).mean() > 0.5


def test_weights_that_matter_more_are_not_clipped():
    blocks = np.random.default_rng(10).standard_normal((1, 40, 6))
    blocks[0, 7] = 4.0
    importance = np.ones((1, 40))
    unweighted = weight_ranges(blocks, 4, "mse", importance)
    np.testing.assert_array_equal(unweighted, weight_ranges(blocks, 4, "mse"))
    assert (unweighted < 4).all()
    importance[0, 7] = 1e4
    assert (weight_ranges(blocks, 4, "mse", importance) == 4).all()
