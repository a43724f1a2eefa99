"""Dense to sparse: the Frobenius-optimal Monarch factors of a dense matrix (DESIGN section 3)."""

# ruff: noqa: E741 - l is the name of L's block count in the definition

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rtl.spec.params import ConfigError

from .pattern import Pattern, pattern


@dataclass(frozen=True)
class Monarch:
    """Real-valued factors R (k, q, p) and L (l, s, r) in the order of DESIGN section 3.

    Input index of a block of L: kk * rank + rh, so that v is exactly the transpose of u. `stored`
    has the order of `mapper.graph`.
    """

    R: Tensor
    L: Tensor
    pattern: Pattern

    def intermediate(self, x: Tensor) -> Tensor:
        """u (..., k, q) of x (..., n_in), in the dtype of x; x is zero-padded to k * p."""
        shape = self.pattern
        x = torch.nn.functional.pad(x, (0, shape.k * shape.p - shape.n_in))
        return torch.einsum(
            "kqp,...kp->...kq", self.R.to(x.dtype), x.unflatten(-1, (shape.k, shape.p))
        )

    def outputs(self, u: Tensor) -> Tensor:
        """y (..., n_out) of u (..., k, q)."""
        shape = self.pattern
        v = u.flatten(-2).unflatten(-1, (shape.r, shape.l)).mT
        y = torch.einsum("lsr,...lr->...sl", self.L.to(u.dtype), v)
        return y.flatten(-2)[..., : shape.n_out]

    def forward(self, x: Tensor) -> Tensor:
        """y (..., n_out) of x (..., n_in)."""
        return self.outputs(self.intermediate(x))

    def dense(self) -> Tensor:
        """The matrix W (n_out, n_in) that the factors stand for."""
        shape = self.pattern
        left = self.L.reshape(shape.l, shape.s, shape.k, shape.rank)
        right = self.R.reshape(shape.k, shape.rank, shape.l, shape.p)
        w = torch.einsum("lskr,krlp->slkp", left, right).reshape(
            shape.s * shape.l, shape.k * shape.p
        )
        return w[: shape.n_out, : shape.n_in]

    def error(self, weight: Tensor) -> float:
        """Relative Frobenius error against `weight` (n_out, n_in); 0 for a zero matrix."""
        weight = weight.to(self.R.dtype)
        norm = float(torch.linalg.norm(weight))
        return float(torch.linalg.norm(self.dense() - weight)) / norm if norm else 0.0

    def stored(self) -> tuple[np.ndarray, np.ndarray]:
        """float64 blocks in the order of `mapper.graph.Matrix`: R (k, p, q), L (l, rank * k, s)."""
        shape = self.pattern
        left = self.L.reshape(shape.l, shape.s, shape.k, shape.rank).permute(0, 3, 2, 1)
        return self.R.mT.numpy(), left.reshape(shape.l, shape.r, shape.s).numpy()


def project(
    weight: Tensor | np.ndarray,
    policy: str,
    k: int | None = None,
    l: int | None = None,
    rank: int = 1,
    name: str = "weight",
) -> Monarch:
    """The Monarch matrix of a policy's pattern that is nearest to `weight` (n_out, n_in).

    Nearest in Frobenius norm. Slice (kk, ll), the elements W[j * l + ll, kk * p + i] for all j and
    i, gets its best rank-`rank` approximation; singular values are split evenly between R and L
    (float64). Zero padding stays exactly zero. Exact when `weight` is such a matrix. Raises
    `ConfigError`, naming `name`, on weights that are not finite or a pattern that does not fit.
    """
    weight = torch.as_tensor(weight)
    if weight.ndim != 2:
        raise ConfigError(f"{name}: shape {tuple(weight.shape)} is not a matrix")
    n_out, n_in = weight.shape
    return fit(weight, pattern(n_in, n_out, policy, k, l, rank, name), name)


def fit(weight: Tensor, shape: Pattern, name: str = "weight") -> Monarch:
    """`project` onto a pattern that is already known; the pattern has the size of `weight`."""
    bad = int((~torch.isfinite(weight)).sum())
    if bad:
        raise ConfigError(f"{name}: {bad} weights are NaN or infinite")
    weight = weight.to(torch.float64)
    live, rank = shape.live, shape.rank
    u, sigma, vh = torch.linalg.svd(slices(weight, shape), full_matrices=False)
    root = sigma[..., :rank].sqrt()
    right = torch.zeros(shape.k, rank, shape.l, shape.p, dtype=torch.float64)
    right[: live.k] = (root[..., None] * vh[..., :rank, :]).permute(0, 2, 1, 3)
    left = torch.zeros(shape.l, shape.s, shape.k, rank, dtype=torch.float64)
    left[:, : live.s, : live.k] = (u[..., :rank] * root[..., None, :]).permute(1, 2, 0, 3)
    # SVD may leave rounding noise where a slice is partly padding.
    right *= torch.from_numpy(shape.input_mask())[:, None, None, :]
    left *= torch.from_numpy(shape.output_mask())[:, :, None, None]
    return Monarch(
        right.reshape(shape.k, shape.q, shape.p), left.reshape(shape.l, shape.s, shape.r), shape
    )


def slices(weight: Tensor, shape: Pattern) -> Tensor:
    """The parts of a matrix (n_out, n_in) that each get a rank of their own: (k, l, s, p), zero-padded, live blocks."""
    live = shape.live
    padded = torch.nn.functional.pad(
        weight, (0, live.k * live.p - shape.n_in, 0, live.s * live.l - shape.n_out)
    )
    return padded.reshape(live.s, live.l, live.k, live.p).permute(2, 1, 0, 3)
