"""Ranges for quantisation: how far the integers of an activation or a weight channel reach.

A range that covers everything wastes steps on rare large values; a smaller one clips them. `mse` takes the range with
the smallest squared error of both together, `percentile` ignores the largest values, `max` clips nothing.
"""

import numpy as np

from rtl.spec.numeric import signed_range
from rtl.spec.params import ConfigError

#: How a range is chosen.
METHODS = ("mse", "percentile", "max")
#: Share of the values that a range by percentile covers.
PERCENTILE = 0.9999
#: Bins of a histogram; even. At least half are in use, two a step of 8 bits.
BINS = 512
#: Width of a bin below which a value counts as 0; its inverse is a float32.
TINY = 1e-30
#: Weight ranges that are tried, as shares of the largest magnitude.
SHARES = np.linspace(1.0, 0.35, 40)


def check_method(method: str) -> None:
    """Raise `ConfigError` unless `method` is one of `METHODS`."""
    if method not in METHODS:
        raise ConfigError(f"range: {method!r} is not one of {', '.join(METHODS)}")


class Magnitudes:
    """Histograms of |x|, one a channel, of values that arrive batch by batch.

    Memory is bounded: a channel has `BINS` bins of equal width; pairs of them are merged when a larger value arrives.

    Parameters
    ----------
    channels : int
        1 for a whole tensor.

    Attributes
    ----------
    largest : float64 (channels,), the largest magnitudes seen.
    rows : int, values seen of each channel.
    """

    def __init__(self, channels: int):
        self.largest = np.zeros(channels)
        self.rows = 0
        self._width = np.zeros(channels)
        self._counts = np.zeros((channels, BINS), np.int64)

    def see(self, values: np.ndarray) -> None:
        """Count real values (.., channels). Raises `ConfigError` if one is NaN or infinite."""
        magnitudes = np.abs(values.reshape(-1, len(self.largest)))
        if not len(magnitudes):
            return
        self.rows += len(magnitudes)
        self.largest = np.maximum(self.largest, magnitudes.max(axis=0))
        if not np.isfinite(self.largest).all():
            raise ConfigError("ranges: an activation is NaN or infinite")
        self._grow()
        magnitudes *= (1 / np.maximum(self._width, TINY)).astype(magnitudes.dtype)
        bins = np.minimum(magnitudes.astype(np.int32), BINS - 1)
        bins += BINS * np.arange(len(self.largest), dtype=np.int32)
        self._counts += np.bincount(bins.ravel(), minlength=self._counts.size).reshape(-1, BINS)

    def _grow(self) -> None:
        """Widen bins until the largest value is in the last one or before."""
        self._width = np.where(self._width > 0, self._width, self.largest / BINS)
        while (small := self._width * BINS < self.largest).any():
            merged = self._counts[small].reshape(-1, BINS // 2, 2).sum(-1)
            self._counts[small] = np.pad(merged, ((0, 0), (0, BINS // 2)))
            self._width[small] *= 2

    def ranges(self, method: str, bits: int) -> np.ndarray:
        """float64 (channels,): the ranges for symmetric integers of `bits` bits; 0 where all values were 0."""
        check_method(method)
        if method == "max":
            return self.largest.copy()
        edge = self._percentile() if method == "percentile" else self._least_error(bits)
        return np.minimum(edge * self._width, self.largest)

    def _percentile(self) -> np.ndarray:
        behind = self._counts.cumsum(axis=1)
        return 1 + (behind < PERCENTILE * behind[:, -1:]).sum(axis=1)

    def _least_error(self, bits: int) -> np.ndarray:
        """The bin edge with the smallest expected error of round and clip, in bins.

        A value in range errs by step^2 / 12, or by its own square if that is less: it is rounded to 0 then.
        """
        top = signed_range(bits)[1]
        edges = np.arange(1, BINS + 1)
        centre = np.arange(BINS) + 0.5
        # Numbers, sums and sums of squares of the values below each edge 0..BINS.
        below = [
            np.pad((self._counts * centre**power).cumsum(axis=1), ((0, 0), (1, 0)))
            for power in range(3)
        ]
        beyond = [part[:, -1:] - part[:, edges] for part in below]
        clipped = beyond[2] - 2 * edges * beyond[1] + edges**2 * beyond[0]
        steps = edges / top
        tiny = np.rint(steps / 12**0.5).astype(int)
        rounded = steps**2 / 12 * (below[0][:, edges] - below[0][:, tiny]) + below[2][:, tiny]
        return edges[(clipped + rounded).argmin(axis=1)]


def weight_ranges(
    blocks: np.ndarray, bits: int, method: str, importance: np.ndarray | None = None
) -> np.ndarray:
    """float64 (K, fan_out): the ranges of real weights (K, fan_in, fan_out) in `bits`-bit integers.

    `mse` minimises the squared error of a channel's weights, those of input i weighted by `importance` (K, fan_in),
    the mean square of that input. A channel has too few weights for percentiles: other methods take the largest.
    """
    check_method(method)
    largest = np.abs(blocks).max(axis=1)
    if method != "mse":
        return largest
    top = signed_range(bits)[1]
    share = np.ones_like(largest)
    best = np.full(largest.shape, np.inf)
    for tried in SHARES:
        step = np.where(largest > 0, tried * largest / top, 1.0)[:, None, :]
        squares = (np.clip(np.rint(blocks / step), -top, top) * step - blocks) ** 2
        error = (squares if importance is None else squares * importance[..., None]).sum(axis=1)
        share = np.where(error < best, tried, share)
        best = np.minimum(error, best)
    return share * largest
