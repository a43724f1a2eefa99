"""Wide shifts by elements: instances of rtl/views/shift.v.

They stay out of the Amaranth netlist, whose check for combinational loops walks every pair of input and output
bit of a shift: minutes for words of a thousand bits.
"""

from amaranth.hdl import Instance, Signal


def shift(m, value, amount, *, unit: int, width: int, left: bool, name: str):
    """`value` shifted by `amount` elements of `unit` bits, cut to `width` bits, as a signal."""
    result = Signal(width, name=name)
    m.submodules[f"shift_{name}"] = Instance(
        "blockcim_shift",
        p_IN=len(value),
        p_OUT=width,
        p_UNIT=unit,
        p_AMOUNT=len(amount),
        p_LEFT=int(left),
        i_data=value,
        i_amount=amount,
        o_shifted=result,
    )
    return result
