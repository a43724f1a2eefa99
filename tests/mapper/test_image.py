"""Images: what is written to the arrays can be read back as factors."""

import numpy as np
import pytest

from mapper.compile import Compiler
from mapper.image import fill_blocks, read_blocks, weight_image
from rtl.spec.params import ConfigError
from sim.fuzz import random_case


@pytest.mark.parametrize("seed", range(5000, 5040))
def test_blocks_come_back_from_the_arrays(seed):
    try:
        strategy, params, work = random_case(seed)
        placement = Compiler(strategy, params).plan(work).placement
    except ConfigError:
        pytest.skip("does not fit")
    image = weight_image(work.segments, placement)
    factors = [(m, n) for s in work.segments for m in s.matrices for n in range(len(m.factors))]
    wanted = [read_blocks(matrix, number).copy() for matrix, number in factors]
    for matrix, number in factors:
        matrix.factors[number].blocks[:] = 99
    fill_blocks(image, work.segments, placement)
    for (matrix, number), blocks in zip(factors, wanted, strict=True):
        assert np.array_equal(matrix.factors[number].blocks, blocks), (matrix.name, number)
