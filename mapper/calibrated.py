"""Data-aware projection: the Monarch factors whose outputs are nearest to those of a dense matrix on given inputs.

`mapper.d2s` minimises the error of the weights, ||W - M||. What a model sees is the error of the outputs,
||X (W - M)^T||, which the covariance C = X^T X of its inputs describes in full: ||X D^T||^2 = tr(D C D^T). For all
blocks of L, or for one block of R, the best values given the others have a closed form; sweeps over the blocks
(alternating least squares) therefore never raise that error, and they start from the better of two projections.
"""

import torch
from torch import Tensor

from rtl.spec.params import ConfigError

from .d2s import Monarch, fit, slices
from .pattern import Pattern

#: Sweeps over all blocks; most of what there is to gain comes in the first few.
SWEEPS = 8
#: Directions of the inputs below this share of the strongest one count as absent.
CUTOFF = 1e-10


def covariance(inputs: Tensor) -> Tensor:
    """C = X^T X / T (n_in, n_in), float64, of inputs X (..., n_in). Sums of several may be passed on as well."""
    x = inputs.reshape(-1, inputs.shape[-1]).to(torch.float64)
    return x.mT @ x / len(x)


def output_error(monarch: Monarch, weight: Tensor, cov: Tensor) -> float:
    """||X (W - M)^T|| / ||X W^T||, Frobenius, for inputs of covariance `cov`; 0 if all outputs are 0."""
    weight = weight.to(torch.float64)
    return (_square(weight - monarch.dense(), cov) / max(_square(weight, cov), 1e-300)) ** 0.5


def fit_outputs(
    weight: Tensor, shape: Pattern, cov: Tensor, sweeps: int = SWEEPS, name: str = "weight"
) -> Monarch:
    """Factors of a pattern for `weight` (n_out, n_in) and inputs of covariance `cov` (n_in, n_in).

    On inputs of that covariance the result is at least as good as `mapper.d2s.fit`. Raises `ConfigError`, naming
    `name`, on values that are not finite or a covariance of another size.
    """
    plain = fit(weight, shape, name)
    if cov.shape != (shape.n_in, shape.n_in):
        raise ConfigError(f"{name}: covariance {tuple(cov.shape)}, expected {(shape.n_in,) * 2}")
    if not torch.isfinite(cov).all():
        raise ConfigError(f"{name}: the covariance of the inputs is NaN or infinite")
    weight, cov = weight.to(torch.float64), cov.to(torch.float64)
    starts = [plain, _whitened(weight, shape, cov)]
    best = min(starts, key=lambda m: output_error(m, weight, cov))
    padded = torch.nn.functional.pad(
        weight, (0, shape.k * shape.p - shape.n_in, 0, shape.s * shape.l - shape.n_out)
    )
    wide = shape.k * shape.p - shape.n_in
    sweeper = _Sweeper(padded, torch.nn.functional.pad(cov, (0, wide, 0, wide)), best)
    for _ in range(sweeps):
        sweeper.left()
        sweeper.right()
        found = sweeper.monarch()
        if output_error(found, weight, cov) >= output_error(best, weight, cov):
            break  # converged, to rounding
        best = found
    return best


def rank_errors(weight: Tensor, shape: Pattern, cov: Tensor) -> Tensor:
    """Relative error of the outputs by rank (index 0: rank 1), for inputs of covariance `cov`; (largest rank,).

    As if slices of the input were uncorrelated, which makes all ranks one singular value decomposition. The rank of
    `shape` does not matter.
    """
    root, _ = _roots(shape, cov.to(torch.float64))
    parts = slices(weight.to(torch.float64) @ root, shape)
    energy = torch.linalg.svdvals(parts).square().sum((0, 1))
    return ((energy.sum() - energy.cumsum(0)).clamp_min(0) / energy.sum().clamp_min(1e-300)).sqrt()


def _square(weight: Tensor, cov: Tensor) -> float:
    return float(((weight @ cov) * weight).sum().clamp_min(0))


def _whitened(weight: Tensor, shape: Pattern, cov: Tensor) -> Monarch:
    """Each slice projected in the metric of its own inputs, as if slices of the input were uncorrelated."""
    root, inverse = _roots(shape, cov)
    found = fit(weight @ root, shape)
    n, p = shape.n_in, shape.p
    wide = shape.k * p - n
    undo = torch.nn.functional.pad(inverse, (0, wide, 0, wide)).unflatten(0, (shape.k, p))
    blocks = torch.stack([undo[i, :, i * p : (i + 1) * p] for i in range(shape.k)])
    return Monarch(found.R @ blocks, found.L, shape)


def _roots(shape: Pattern, cov: Tensor) -> tuple[Tensor, Tensor]:
    """Square root of each input block's covariance, and its inverse, on the diagonals of (n_in, n_in)."""
    n, p = shape.n_in, shape.p
    root, inverse = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64)
    for start in range(0, n, p):
        block = slice(start, min(start + p, n))
        values, vectors = torch.linalg.eigh(cov[block, block])
        values = values.clamp_min(values[-1].clamp_min(1e-300) * CUTOFF)
        root[block, block] = vectors * values.sqrt() @ vectors.mT
        inverse[block, block] = vectors / values.sqrt() @ vectors.mT
    return root, inverse


class _Sweeper:
    """Alternating least squares on factors in the order (l, ..): all blocks of L at once, blocks of R one by one."""

    def __init__(self, weight: Tensor, cov: Tensor, start: Monarch):
        s = self.shape = start.pattern
        self.cov = cov
        self.target = weight.reshape(s.s, s.l, s.k * s.p).transpose(0, 1)  # (l, s, k p)
        self.product = self.target @ cov
        self.L = start.L.clone()  # (l, s, k rank)
        self.R = start.R.reshape(s.k, s.rank, s.l, s.p).permute(2, 0, 1, 3).contiguous()
        self.inputs = torch.from_numpy(s.input_mask())
        self.outputs = torch.from_numpy(s.output_mask())

    def monarch(self) -> Monarch:
        """The factors as they are."""
        s = self.shape
        right = self.R.permute(1, 2, 0, 3).reshape(s.k, s.q, s.p)
        return Monarch(right.clone(), self.L.clone(), s)

    def _rows(self) -> Tensor:
        """R as rows over all inputs: (l, k rank, k p), zero outside a row's own block."""
        s = self.shape
        rows = torch.zeros(s.l, s.k, s.rank, s.k, s.p, dtype=torch.float64)
        index = torch.arange(s.k)
        rows[:, index, :, index] = self.R.transpose(0, 1)
        return rows.reshape(s.l, s.r, s.k * s.p)

    def left(self) -> None:
        """The best L for this R: an ordinary least-squares problem for each block."""
        rows = self._rows()
        gram = rows @ self.cov @ rows.mT
        self.L = self.product @ rows.mT @ _pinv(gram)
        self.L *= self.outputs[:, :, None]

    def right(self) -> None:
        """The best R for this L, one input block after the other."""
        s = self.shape
        error = self.target - self.L @ self._rows()
        for k in range(s.k):
            block = slice(k * s.p, (k + 1) * s.p)
            mine = self.L[:, :, k * s.rank : (k + 1) * s.rank]  # (l, s, rank)
            own = self.cov[block, block]
            wanted = error @ self.cov[:, block] + mine @ self.R[:, k] @ own
            new = _pinv(mine.mT @ mine) @ mine.mT @ wanted @ _pinv(own) * self.inputs[k]
            error[:, :, block] -= mine @ (new - self.R[:, k])
            self.R[:, k] = new


def _pinv(matrix: Tensor) -> Tensor:
    return torch.linalg.pinv(matrix, rtol=CUTOFF, hermitian=True)
