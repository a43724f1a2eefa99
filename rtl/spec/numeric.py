"""Numeric rules: widths, ranges and the requantisation constant, stated once.

The arithmetic itself is written independently by the torch golden model, the ISS and the hardware;
they share these names and numbers only.

Requantisation of one output channel, with bias (DESIGN section 2):

    y = clamp(((acc + bias) * mult + (1 << (shift - 1))) >> shift)

acc + bias is int32 (it wraps), mult unsigned 16 bit, shift 1..31, the shift is arithmetic (round
half up) and the intermediate fits `PRODUCT_BITS` bits.

Analog readout (`readout = "adc"`, DESIGN section 4.3). One bit plane of the inputs against one bit plane of the
weights, a column sums m ones over all rows that are on, and a converter makes of that

    value = min(m >> shift, 2^adc_bits - 1) << shift

with the range of the N rows that can give it a one (`adc_shift`): 0..N in steps of 2^shift. The values are added
at the place of their planes; those of one sign plane are negative, of two positive.
"""

from .params import ConfigError, Params, clog2

ACC_BITS = 32
MULT_BITS = 16
SHIFT_BITS = 5
PRODUCT_BITS = 50

#: Layout of a 64-bit constant entry: name, first bit, bits.
CONST_FIELDS = (("bias", 0, ACC_BITS), ("mult", 32, MULT_BITS), ("shift", 48, SHIFT_BITS))
CONST_BITS = 64


def signed_range(bits: int) -> tuple[int, int]:
    """Smallest and largest two's complement value of `bits` bits."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def needed_acc_bits(fan_in: int, params: Params) -> int:
    """Bits for an exact sum of `fan_in` products. Raises `ConfigError` above 32."""
    bits = params.act_bits + params.weight_bits + clog2(fan_in)
    if bits > ACC_BITS:
        raise ConfigError(f"fan-in: {fan_in} needs accumulators of {bits} bits, limit {ACC_BITS}")
    return bits


def adc_shift(rows: int, params: Params) -> int:
    """Bits that a converter drops in the range 0..rows: max(0, ceil(log2(rows + 1)) - adc_bits)."""
    return max(0, clog2(rows + 1) - params.adc_bits)


def pack_const(bias: int, mult: int, shift: int) -> int:
    """The 64-bit constant entry of one channel. Raises `ConfigError` on a value out of range."""
    low, high = signed_range(ACC_BITS)
    if not low <= bias <= high:
        raise ConfigError(f"bias: {bias} is outside {low}..{high}")
    if not 0 <= mult < 1 << MULT_BITS:
        raise ConfigError(f"mult: {mult} is outside 0..{(1 << MULT_BITS) - 1}")
    if not 1 <= shift < 1 << SHIFT_BITS:
        raise ConfigError(f"shift: {shift} is outside 1..{(1 << SHIFT_BITS) - 1}")
    return (bias & 0xFFFFFFFF) | mult << 32 | shift << 48
