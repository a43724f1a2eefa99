"""Widths and the requantisation constant."""

import random

import pytest

from rtl.spec import numeric
from rtl.spec.params import ConfigError, Params


@pytest.mark.parametrize("bits", [2, 4, 8, 32])
def test_signed_range(bits):
    low, high = numeric.signed_range(bits)
    assert high == -low - 1 and high - low + 1 == 1 << bits


def test_needed_acc_bits():
    assert numeric.needed_acc_bits(1, Params()) == 16
    assert numeric.needed_acc_bits(256, Params()) == Params().acc_bits == 24
    assert numeric.needed_acc_bits(1 << 16, Params()) == 32
    with pytest.raises(ConfigError, match="fan-in: 65537 needs accumulators of 33 bits, limit 32"):
        numeric.needed_acc_bits((1 << 16) + 1, Params())


def test_product_fits():
    low, high = numeric.signed_range(numeric.ACC_BITS)
    mult, rounding = (1 << numeric.MULT_BITS) - 1, 1 << ((1 << numeric.SHIFT_BITS) - 2)
    bottom, top = numeric.signed_range(numeric.PRODUCT_BITS)
    assert bottom <= low * mult and high * mult + rounding <= top


@pytest.mark.parametrize("seed", range(20))
def test_const_fields_read_back(seed):
    rng = random.Random(seed)
    values = {
        "bias": rng.randint(*numeric.signed_range(32)),
        "mult": rng.randrange(1 << 16),
        "shift": rng.randint(1, 31),
    }
    entry = numeric.pack_const(**values)
    assert 0 <= entry < 1 << numeric.CONST_BITS
    read = {n: entry >> first & ((1 << bits) - 1) for n, first, bits in numeric.CONST_FIELDS}
    assert read == {**values, "bias": values["bias"] & 0xFFFFFFFF}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((1 << 31, 0, 1), "bias: 2147483648 is outside"),
        ((-(1 << 31) - 1, 0, 1), "bias: -2147483649 is outside"),
        ((0, 1 << 16, 1), r"mult: 65536 is outside 0\.\.65535"),
        ((0, -1, 1), "mult: -1 is outside"),
        ((0, 0, 0), r"shift: 0 is outside 1\.\.31"),
        ((0, 0, 32), "shift: 32 is outside"),
    ],
)
def test_const_out_of_range(values, message):
    with pytest.raises(ConfigError, match=message):
        numeric.pack_const(*values)
