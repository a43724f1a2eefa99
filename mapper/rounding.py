"""Rounding of weights that makes good for itself: small errors of outputs instead of small errors of weights.

Weights are rounded one input after the other, and what a channel's output has lost is put on those that are not yet
rounded, as well as the correlations of the inputs allow (optimal brain quantisation in the form of GPTQ,
arXiv 2210.17323, algorithm 1). Blocks are small, so the whole second-moment matrix of a block's inputs is used.
"""

import numpy as np

#: Added to the diagonal, as a share of its mean: inputs are only known from some batches.
DAMPING = 0.01


def compensated(wanted: np.ndarray, gram: np.ndarray, top: int) -> np.ndarray:
    """Integers within +-top near the real `wanted`, both float64 (K, fan_in, fan_out).

    `gram` (K, fan_in, fan_in) has the mean products of a block's inputs. Zeros stay zero.
    """
    order = np.argsort(-gram.diagonal(axis1=1, axis2=2), axis=1, kind="stable")
    spread = _inverse_root(gram, order)
    rest = np.take_along_axis(wanted, order[..., None], axis=1)
    live = rest != 0
    result = np.zeros_like(rest)
    for i in range(rest.shape[1]):
        result[:, i] = np.clip(np.rint(rest[:, i]), -top, top) * live[:, i]
        lost = (rest[:, i] - result[:, i]) / spread[:, i, i, None]
        rest[:, i + 1 :] -= spread[:, i, i + 1 :, None] * lost[:, None, :]
    return np.take_along_axis(result, np.argsort(order, axis=1)[..., None], axis=1)


def _inverse_root(gram: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Upper U with U^T U = inverse of the damped `gram`, inputs in `order`, (K, fan_in, fan_in)."""
    sorted_ = np.take_along_axis(gram, order[:, :, None], axis=1)
    sorted_ = np.take_along_axis(sorted_, order[:, None, :], axis=2)
    mean = sorted_.trace(axis1=1, axis2=2) / sorted_.shape[1]
    # A block that saw nothing but zeros: any positive number will do.
    damping = np.where(mean > 0, DAMPING * mean, 1.0)
    inverse = np.linalg.inv(sorted_ + damping[:, None, None] * np.eye(sorted_.shape[1]))
    return np.linalg.cholesky((inverse + np.swapaxes(inverse, 1, 2)) / 2).swapaxes(1, 2)
