"""Golden model: the integers of a matrix in torch, written from the definition in DESIGN section 3.

It shares only parameters and `rtl.spec.numeric` with the mapper, the instruction-set simulator and
the hardware, and knows nothing of programs or placements. Everything is int64, the bias is added in
int32.

With `readout = "adc"` accumulators are what the converters of an analog array make of them (section 4.3), read by read:
`tree = full` turns on all rows of a block (dense: of an array), `tree = shared` one row group of `granule` rows.
"""

# ruff: noqa: E741 - l is the name of L's block count in the definition

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mapper.graph import Factor, Matrix
from rtl.spec.numeric import signed_range
from rtl.spec.params import ConfigError, Params


@dataclass(frozen=True)
class Stage:
    """One factor's part of a run: accumulators int64 and outputs int8, both (T, K, fan_out)."""

    name: str
    layer: int
    acc: np.ndarray
    out: np.ndarray


@dataclass(frozen=True)
class Mismatch:
    """The first element where two results differ, and how many differ in all."""

    layer: int
    stage: str
    token: int
    block: int
    channel: int
    expected: int
    got: int
    count: int

    def __str__(self) -> str:
        where = f"layer {self.layer} {self.stage} token {self.token}"
        where += f" block {self.block} channel {self.channel}"
        return f"{where}: expected {self.expected}, got {self.got} ({self.count} differ)"


def requantise(acc: Tensor, part: Factor, params: Params) -> Tensor:
    """Bias (int32), multiply, round half up, shift, clamp: int64 (T, K, fan_out) to the same."""
    bias, mult, shift = (
        torch.from_numpy(a.astype(np.int64)) for a in (part.bias, part.mult, part.shift)
    )
    value = (acc + bias).to(torch.int32).to(torch.int64)
    half = torch.bitwise_left_shift(torch.ones_like(shift), shift - 1)
    low, high = signed_range(params.act_bits)
    return torch.bitwise_right_shift(value * mult + half, shift).clamp(low, high)


def run_factor_raw(part: Factor, x: np.ndarray) -> np.ndarray:
    """Accumulators before the bias, int64 (T, K, fan_out), of x (T, K, fan_in)."""
    return _accumulate(part, torch.from_numpy(x.astype(np.int64))).numpy()


def run_matrix(matrix: Matrix, x: np.ndarray, params: Params) -> np.ndarray:
    """y int8 (T, n_out) of x int8 (T, n_in).

    Raises `ConfigError` on an input of the wrong shape or range.
    """
    last = trace(matrix, x, params)[-1].out
    if matrix.monarch:
        last = last.transpose(0, 2, 1)
    return np.ascontiguousarray(last.reshape(len(x), -1)[:, : matrix.n_out])


def trace(matrix: Matrix, x: np.ndarray, params: Params) -> list[Stage]:
    """Accumulators and outputs for x int8 (T, n_in): one stage (dense) or two, R and L."""
    low, high = signed_range(params.act_bits)
    if x.ndim != 2 or x.shape[1] != matrix.n_in:
        raise ConfigError(f"{matrix.name}: input shape {x.shape} is not (tokens, {matrix.n_in})")
    if x.size and not low <= int(x.min()) <= int(x.max()) <= high:
        raise ConfigError(f"{matrix.name}: an input is outside {low}..{high}")
    first = matrix.factors[0]
    k, p, q = first.shape
    rows = torch.zeros(len(x), max(k * p, matrix.n_in), dtype=torch.int64)
    rows[:, : matrix.n_in] = torch.from_numpy(x.astype(np.int64))
    rows = rows[:, : k * p].reshape(len(x), k, p)
    acc = _sums(first, rows, _reads(matrix, first, params), params)
    u = requantise(acc, first, params)
    stages = [_stage(matrix, ".R" if matrix.monarch else "", acc, u)]
    if matrix.monarch:
        second = matrix.factors[1]
        l, r, _ = second.shape
        v = u.reshape(len(x), k * q)[:, middle_permutation(k, l, matrix.rank)].reshape(len(x), l, r)
        acc = _sums(second, v, _reads(matrix, second, params), params)
        stages.append(_stage(matrix, ".L", acc, requantise(acc, second, params)))
    return stages


def middle_permutation(k: int, l: int, rank: int) -> Tensor:
    """Where each input of L comes from in u.flatten(): (l * rank * k) indices, blocks of L in turn.

    The definition reads v = u.flatten().view(r, l).T, whose rows are ordered (k, rank). A stored L
    is ordered (rank, k) instead, so its inputs are gathered in that order.
    """
    definition = torch.arange(k * rank * l).view(rank * k, l).T
    return definition.reshape(l, k, rank).transpose(1, 2).reshape(-1)


def first_mismatch(stage: Stage, got: np.ndarray) -> Mismatch | None:
    """The first difference between a stage's outputs and `got` (T, K, fan_out)."""
    different = np.argwhere(stage.out != got)
    if not len(different):
        return None
    token, block, channel = (int(i) for i in different[0])
    at = (token, block, channel)
    values = int(stage.out[at]), int(got[at])
    return Mismatch(stage.layer, stage.name, *at, *values, len(different))


def first_output_mismatch(matrix: Matrix, expected: np.ndarray, got: np.ndarray) -> Mismatch | None:
    """The first difference between two outputs (T, n_out), and the block and channel it is of."""
    different = np.argwhere(expected != got)
    if not len(different):
        return None
    token, index = (int(i) for i in different[0])
    channel, block = divmod(index, matrix.factors[-1].shape[0])
    values = int(expected[token, index]), int(got[token, index])
    return Mismatch(matrix.layer, matrix.name, token, block, channel, *values, len(different))


def _accumulate(part: Factor, x: Tensor) -> Tensor:
    return torch.einsum("tki,kij->tkj", x, torch.from_numpy(part.blocks.astype(np.int64)))


def _sums(part: Factor, x: Tensor, reads: tuple[Tensor, int], params: Params) -> Tensor:
    """Accumulators int64 (T, K, fan_out) of x (T, K, fan_in), as the readout gives them."""
    return _converted(part, x, *reads, params) if params.readout == "adc" else _accumulate(part, x)


def _reads(matrix: Matrix, part: Factor, params: Params) -> tuple[Tensor, int]:
    """Which read each input of a block is in, (fan_in,), and how many rows are on in one.

    Inputs of L come as `rank` pieces, one element of every block of R each: short pieces share row groups, long ones
    begin on a new one. Row groups of L behind blocks of R that only see padding stay off (rank 1).
    """
    granule, fan_in = params.granule, part.shape[1]
    index = torch.arange(fan_in)
    if not matrix.monarch:
        height = granule * -(-fan_in // granule)
        rows = min(params.rows, height) if params.tree == "full" else granule
        return index // rows, rows
    k, p, _ = matrix.factors[0].shape
    group = index // granule
    if part is matrix.factors[1]:
        if k <= granule:
            group = (index // k) // (granule // k)
        else:
            group = (index // k) * -(-k // granule) + index % k // granule
    if params.tree == "shared":
        return group, granule
    groups = int(group[-1]) + 1
    if part is matrix.factors[1] and matrix.rank == 1:
        groups = -(-min(k, -(-matrix.n_in // p)) // granule)
    return torch.zeros_like(group), groups * granule


def _converted(part: Factor, x: Tensor, reads: Tensor, rows: int, params: Params) -> Tensor:
    """Sums of ones per read, input bit and weight bit, each through a converter; shift and add."""
    codes = 2**params.adc_bits
    step = 1
    while step * codes < rows + 1:
        step *= 2
    weights = torch.from_numpy(part.blocks.astype(np.int64))
    total = torch.zeros(len(x), *part.bias.shape, dtype=torch.int64)
    for i in range(params.act_bits):
        # float32 has a fast product, and counts every number of rows exactly.
        inputs = ((x >> i) & 1).to(torch.float32)
        for w in range(params.weight_bits):
            cells = ((weights >> w) & 1).to(torch.float32)
            sign = -1 if (i == params.act_bits - 1) != (w == params.weight_bits - 1) else 1
            for read in range(int(reads.max()) + 1):
                on = reads == read
                ones = torch.einsum("tki,kij->tkj", inputs[:, :, on], cells[:, on]).long()
                value = torch.div(ones, step, rounding_mode="floor").clamp(max=codes - 1) * step
                total += sign * 2 ** (i + w) * value
    return total


def _stage(matrix: Matrix, factor: str, acc: Tensor, out: Tensor) -> Stage:
    return Stage(matrix.name + factor, matrix.layer, acc.numpy(), out.to(torch.int8).numpy())
