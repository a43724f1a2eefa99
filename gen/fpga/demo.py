"""The program of the self-test: a small matrix on the whole array, with all it needs, and what comes out.

The expected output is computed here from the numeric rules (rtl/spec/numeric.py) in plain Python, so that the bitstream
checks the hardware against something else than itself.
"""

from rtl.selftest import Step, expect, wait, write
from rtl.spec import isa
from rtl.spec.isa import Op, make
from rtl.spec.numeric import pack_const
from rtl.spec.params import ConfigError, Params
from rtl.spec.regmap import ON_BUS

SHIFT = 14


def _bytes(seed: int):
    """Signed bytes without end: a linear congruential generator."""
    state = seed
    while True:
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        yield (state >> 16 & 0xFF) - 128


def program(params: Params) -> list[isa.Instr]:
    """Loads constants and weights, then multiplies one vector: every row with every column of tile 0."""
    p = params
    steps = -(-p.col_groups // p.lanes)
    words, answer = -(-p.rows // p.lanes), -(-p.cols // p.lanes)
    place = {"d_span": 1, "d_copies": 1, "d_blocks": p.row_groups}
    return [
        make(Op.LDC, words=p.granule * steps),
        make(Op.LDW, rows=p.rows),
        make(Op.RECV, words=words),
        make(Op.LOAD, words=words, elems=p.rows, parts=1, tail=p.granule, part_n=1, **place),
        make(
            Op.PASS,
            span=1,
            fresh=1,
            first=1,
            steps=p.row_groups,
            stride=1 % p.row_groups,
            mask=(1,) * p.col_groups,
            sel=tuple(h % p.row_groups for h in range(p.col_groups)),
        ),
        make(
            Op.DRAIN,
            groups=1,
            chain=1,
            blocks=p.col_groups // p.drain_chunk,
            count=p.col_groups,
            columns=p.granule,
            slots=min(p.slots, -(-p.col_groups // p.granule)),
            pieces=1,
            steps=steps,
            release=1,
            words=answer,
            elems=p.cols,
        ),
        make(Op.SEND, words=answer),
        make(Op.HALT),
    ]


def data(params: Params) -> tuple[list[int], list[int]]:
    """Bytes of the input and of the output stream, whole words of `lanes` elements."""
    p = params
    if (p.act_bits, p.weight_bits, p.analog) != (8, 8, False):
        raise ConfigError("self-test: needs act_bits = 8, weight_bits = 8 and readout = 'digital'")
    source = _bytes(1)
    weights = [[next(source) for _ in range(p.cols)] for _ in range(p.rows)]
    inputs = [next(source) for _ in range(p.rows)]
    steps = -(-p.col_groups // p.lanes)
    constants, outputs = [], []
    for column in range(p.granule):
        for lane in range(steps * p.lanes):
            bias, mult = 40 * lane - 1000 * column, 64 + 5 * lane + column
            constants += pack_const(bias, mult, SHIFT).to_bytes(8, "little")
            if lane < p.col_groups:
                at = lane * p.granule + column
                total = sum(x * row[at] for x, row in zip(inputs, weights, strict=True)) + bias
                rounded = (total * mult + (1 << (SHIFT - 1))) >> SHIFT
                outputs.append(max(-128, min(127, rounded)))
    stream = constants + _whole([w for row in weights for w in row], p) + _whole(inputs, p)
    return [b & 0xFF for b in stream], [b & 0xFF for b in _whole(outputs, p)]


def _whole(values: list[int], params: Params) -> list[int]:
    """Filled up with zeros to whole words."""
    return values + [0] * (-len(values) % params.lanes)


def _words(values: list[int]) -> list[int]:
    return [int.from_bytes(bytes(values[i : i + 4]), "little") for i in range(0, len(values), 4)]


def script(params: Params) -> list[Step]:
    """Loads the program, starts it, feeds it, and compares what comes out."""
    size = isa.width(params) // 32
    code = [isa.encode(instr, params) for instr in program(params)]
    words = [word >> 32 * i & 0xFFFFFFFF for word in code for i in range(size)]
    stream, answer = data(params)
    level = next(first for name, first, _, _ in ON_BUS["FIFO"].bits if name == "out_level")
    steps = [
        *expect("CONFIG_HASH", params.config_hash),
        *write("MODE", 3),
        *write("PROG_ADDR", 0),
        *write("PROG_DATA", *words),
        *write("CTRL", 1),
        *write("IN_DATA", *_words(stream)),
    ]
    for word in _words(answer):
        steps += [*wait("FIFO", 0xFF << level), *expect("OUT_DATA", word)]
    return [*steps, *wait("STATUS", 2), *write("MODE", 0), *write("CTRL", 2)]
