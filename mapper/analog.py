"""The analog array in numpy, for the ISS and the mapper's integers: what converters make of sums (DESIGN section 4.3).

Bit planes of the inputs against bit planes of the weights; a column counts ones over the rows that are on, a converter
of `adc_bits` bits reads the count, digital logic shifts and adds.
"""

import numpy as np

from rtl.spec.numeric import adc_shift
from rtl.spec.params import Params

from .graph import Matrix
from .layout import LEFT, RIGHT, ceil_div, input_map


def product(x: np.ndarray, weights: np.ndarray, rows: int, params: Params) -> np.ndarray:
    """x (..., R) @ weights (..., R, C) as the array reads it: int64 (..., C), dimensions before R broadcast.

    `rows` is the number of rows that can give a column a one: it sets the range of the converters.
    """
    shift, top = adc_shift(rows, params), (1 << params.adc_bits) - 1
    places = _places(params.act_bits)
    bits = np.arange(params.act_bits)[:, None]
    # Counts of ones are exact in float32, whose product is fast.
    inputs = (x.astype(np.int8)[..., None, :] >> bits & 1).astype(np.float32)
    stored = weights.astype(np.int8)
    total: np.ndarray | int = 0
    for w, place in enumerate(_places(params.weight_bits)):
        counts = np.matmul(inputs, (stored >> w & 1).astype(np.float32)).astype(np.int64)
        values = np.minimum(counts >> shift, top) << shift
        total = total + place * (values * places[:, None]).sum(axis=-2)
    return np.asarray(total)


def _places(bits: int) -> np.ndarray:
    """Place values of the planes of two's complement numbers; that of the sign is negative."""
    values = np.int64(1) << np.arange(bits, dtype=np.int64)
    values[-1] *= -1
    return values


def input_reads(matrix: Matrix, role: str, params: Params) -> tuple[np.ndarray, int]:
    """The read that each input of a block goes to, int (fan_in,), and the rows that are on in a read.

    tree = full: a block is read at once, a dense matrix array by array; row groups of L that only see padding stay off
    (rank 1). tree = shared: row group by row group.
    """
    b, fan_in = params.granule, matrix.factors[role == LEFT].shape[1]
    if role not in (LEFT, RIGHT):
        rows = min(params.rows, ceil_div(fan_in, b) * b) if params.tree == "full" else b
        return np.arange(fan_in) // rows, rows
    where = input_map(role, matrix, b)
    if params.tree == "shared":
        return where.arrays()[0], b
    parts = where.parts
    if role == LEFT and matrix.rank == 1:
        blocks, inputs, _ = matrix.factors[0].shape
        parts = ceil_div(min(blocks, ceil_div(matrix.n_in, inputs)), b)
    return np.zeros(fan_in, int), parts * b


def accumulate(matrix: Matrix, role: str, x: np.ndarray, params: Params) -> np.ndarray:
    """Accumulators of a factor, int64 (T, K, fan_out), of x (T, K, fan_in)."""
    blocks = matrix.factors[role == LEFT].blocks
    reads, rows = input_reads(matrix, role, params)
    total: np.ndarray | int = 0
    for read in range(reads.max() + 1):
        mine = reads == read
        total = total + product(x[..., mine], blocks[:, mine], rows, params)
    return np.asarray(total)
