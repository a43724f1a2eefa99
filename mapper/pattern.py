"""Policies: which block-diagonal shapes replace a dense matrix (DESIGN section 3)."""

# ruff: noqa: E741 - l is the name of L's block count in the definition

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rtl.spec.params import ConfigError

#: What `pattern` accepts; `dense` keeps the matrix as it is and has no pattern.
POLICIES = ("pad", "trim", "rect", "blocks", "dense")

#: Block count that `rect` prefers: the granule of the default hardware.
RECT_BLOCKS = 32


@dataclass(frozen=True)
class Pattern:
    """Shapes of a Monarch pair, R (k, q, p) and L (l, s, r), for a matrix of n_out x n_in.

    q = rank * l and r = rank * k (uniform rank). k * p >= n_in and l * s >= n_out; what is beyond
    is padding.
    """

    n_in: int
    n_out: int
    k: int
    l: int
    p: int
    s: int
    rank: int = 1

    @property
    def q(self) -> int:
        """Outputs of a block of R."""
        return self.rank * self.l

    @property
    def r(self) -> int:
        """Inputs of a block of L."""
        return self.rank * self.k

    @property
    def live(self) -> "Pattern":
        """The same function without blocks of R and outputs of L that are nothing but padding."""
        return dataclasses.replace(self, k=-(-self.n_in // self.p), s=-(-self.n_out // self.l))

    @property
    def weights(self) -> int:
        """Elements of both factors, padding included."""
        return self.k * self.q * self.p + self.l * self.s * self.r

    def input_mask(self) -> np.ndarray:
        """bool (k, p): True where an input of R is an element of x, False in the padding."""
        return (np.arange(self.k * self.p) < self.n_in).reshape(self.k, self.p)

    def output_mask(self) -> np.ndarray:
        """bool (l, s): True where an output of L is an element of y, False in the padding."""
        return (np.arange(self.s * self.l) < self.n_out).reshape(self.s, self.l).T


#: The pattern of a matrix from (name, n_in, n_out); None: it stays dense.
PatternOf = Callable[[str, int, int], Pattern | None]


def pattern(
    n_in: int,
    n_out: int,
    policy: str,
    k: int | None = None,
    l: int | None = None,
    rank: int = 1,
    name: str = "matrix",
) -> Pattern:
    """The pattern that `policy` gives a matrix of n_out x n_in.

    `pad` and `trim` take no options; `rect` takes rank and, as k (or l, or both alike), its block
    count; `blocks` needs k and l and takes rank. Raises `ConfigError` on options that do not fit,
    naming `name`.
    """
    for key, value in (("n_in", n_in), ("n_out", n_out), ("rank", rank), ("k", k), ("l", l)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}: {key} = {value} must be at least 1")
    if policy in ("pad", "trim"):
        if k is not None or l is not None or rank != 1:
            raise ConfigError(
                f"{name}: policy {policy!r} fixes k, l and rank = 1; use 'blocks' to choose them"
            )
        b = math.isqrt(max(n_in, n_out) - 1) + 1
        padded = Pattern(n_in, n_out, k=b, l=b, p=b, s=b)
        return padded if policy == "pad" else padded.live
    if policy == "rect":
        if k is not None and l is not None and k != l:
            raise ConfigError(
                f"{name}: policy 'rect' needs k = l, got k = {k}, l = {l}; use 'blocks'"
            )
        k = l = k or l or common_blocks(n_in, n_out, RECT_BLOCKS)
    elif policy == "blocks":
        if k is None or l is None:
            raise ConfigError(f"{name}: policy 'blocks' needs k and l")
    else:
        raise ConfigError(f"policy: {policy!r} is not one of {', '.join(POLICIES[:-1])}")
    for key, blocks, side, size in (("k", k, "n_in", n_in), ("l", l, "n_out", n_out)):
        if size % blocks:
            raise ConfigError(f"{name}: {key} = {blocks} does not divide {side} = {size}")
    p, s = n_in // k, n_out // l
    if rank > min(p, s):
        raise ConfigError(
            f"{name}: rank = {rank} is above the limit {min(p, s)} of a {s}x{p} slice"
        )
    return Pattern(n_in, n_out, k, l, p, s, rank)


def common_blocks(n_in: int, n_out: int, most: int) -> int:
    """The largest common divisor of n_in and n_out up to `most`."""
    common = math.gcd(n_in, n_out)
    return max(n for n in range(1, most + 1) if common % n == 0)
