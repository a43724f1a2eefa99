"""The self-test: a program with its input and its output, and a test bench that runs it on a core anywhere.

It loads constants and weights through the front door, multiplies one slice by a row group of blocks, requantises and
sends slice and result: every unit of the core works once. The bench (rtl/views/selftest.v) is plain Verilog with the
data inside, so that any simulator runs it without this package.
"""

import random
from dataclasses import dataclass

from rtl.spec import isa, numeric, regmap
from rtl.spec.isa import Op
from rtl.spec.params import Params
from rtl.template import render

#: Where it lies in a bundle, and its module.
FILE, MODULE = "testbench/selftest.v", "blockcim_selftest"
SEED = 1
#: Cycles without an end after which the bench gives up.
TIMEOUT = 1_000_000


@dataclass(frozen=True)
class SelfTest:
    """Instruction words, the beats that go in, and the beats that must come out."""

    program: list[int]
    inputs: list[int]
    outputs: list[int]


def selftest(params: Params) -> SelfTest:
    """The self-test of a configuration; the same every time."""
    p, rng = params, random.Random(SEED)
    groups = p.col_groups
    slots = min(p.slots, -(-groups // p.granule))
    steps = -(-groups // p.lanes)
    pieces = p.slots // slots if steps == 1 else 1
    columns = min(p.granule, p.const_depth // steps * pieces)
    constants = -(-columns // pieces) * steps
    words = -(-columns * groups // p.lanes)

    slice_ = [rng.randint(*numeric.signed_range(p.act_bits)) for _ in range(p.granule)]
    weights = [
        [rng.randint(*numeric.signed_range(p.weight_bits)) for _ in range(p.cols)]
        for _ in range(p.granule)
    ]
    # Sums of some standard deviations fill the range of an activation; few of them are clipped.
    bias, mult = -3, 3
    shift = p.weight_bits + numeric.clog2(p.granule) // 2

    program = [
        isa.make(Op.LDC, const=0, words=constants),
        isa.make(Op.LDW, tile=0, row=0, rows=p.granule),
        isa.make(Op.RECV, addr=0, words=1),
        isa.make(Op.LOAD, addr=0, words=1, elems=p.granule, parts=1, tail=p.granule, part_n=1,
                 d_span=1, d_copies=1, d_blocks=1),
        isa.make(Op.PASS, span=1, fresh=1, first=1, steps=1, mask=(1,) * groups, sel=(0,) * groups),
        isa.make(Op.DRAIN, groups=1, chain=1, blocks=groups // p.drain_chunk, count=groups,
                 columns=columns, slots=slots, pieces=pieces, steps=steps, release=1, addr=1,
                 words=words, elems=columns * groups, flush=1),
        isa.make(Op.SEND, addr=0, words=1 + words),
        isa.make(Op.HALT),
    ]  # fmt: skip
    entry = numeric.pack_const(bias, mult, shift)
    const_word = _join([entry] * p.lanes, numeric.CONST_BITS)
    sent = _words(slice_, p)
    inputs = _split([const_word] * constants, p.const_words, p.word_bits)
    inputs += _weight_words(weights, p) + sent
    outputs = [
        _requantised(
            _column(slice_, [row[h * p.granule + c] for row in weights], p), bias, mult, shift, p
        )
        for c in range(columns)
        for h in range(groups)
    ]
    return SelfTest(
        [isa.encode(instr, p) for instr in program],
        _split(inputs, p.beats_per_word, p.stream_bits),
        _split(sent + _words(outputs, p), p.beats_per_word, p.stream_bits),
    )


# -- arithmetic ------------------------------------------------------------------------------------


def _column(inputs: list[int], weights: list[int], p: Params) -> int:
    """Sum of one column: exact, or what the converters make of it (rtl/spec/numeric.py)."""
    if not p.analog:
        return sum(x * w for x, w in zip(inputs, weights, strict=True))
    shift, total = numeric.adc_shift(len(inputs), p), 0
    for i in range(p.act_bits):
        for j in range(p.weight_bits):
            ones = sum(x >> i & w >> j & 1 for x, w in zip(inputs, weights, strict=True))
            value = min(ones >> shift, (1 << p.adc_bits) - 1) << shift
            negative = (i == p.act_bits - 1) != (j == p.weight_bits - 1)
            total += (-value if negative else value) << i + j
    return total


def _requantised(acc: int, bias: int, mult: int, shift: int, p: Params) -> int:
    low, high = numeric.signed_range(p.act_bits)
    return min(max((acc + bias) * mult + (1 << shift - 1) >> shift, low), high)


# -- packing ---------------------------------------------------------------------------------------


def _join(values: list[int], bits: int) -> int:
    """Values of `bits` bits side by side, the first lowest."""
    return sum((value & (1 << bits) - 1) << i * bits for i, value in enumerate(values))


def _split(words: list[int], parts: int, bits: int) -> list[int]:
    """Words cut into parts of `bits` bits each, low part first."""
    return [word >> i * bits & (1 << bits) - 1 for word in words for i in range(parts)]


def _words(elements: list[int], p: Params) -> list[int]:
    """Buffer words of elements, the last filled up with zeros."""
    return [_join(elements[i : i + p.lanes], p.act_bits) for i in range(0, len(elements), p.lanes)]


def _weight_words(weights: list[list[int]], p: Params) -> list[int]:
    """Stream words of rows of weights: a granule row is `weight_slots` slots, low parts first."""
    elements = []
    for row in weights:
        for start in range(0, p.cols, p.granule):
            for part in range(p.weight_slots):
                elements += [w >> part * p.act_bits for w in row[start : start + p.granule]]
    return _words(elements, p)


# -- test bench ------------------------------------------------------------------------------------


def bench(params: Params) -> str:
    """The Verilog of the test bench."""
    test, parts = selftest(params), isa.width(params) // 32
    program = _split(test.program, parts, 32)
    values = {
        "STREAM": params.stream_bits,
        "PROGRAM": len(program),
        "INPUTS": len(test.inputs),
        "OUTPUTS": len(test.outputs),
        "TIMEOUT": TIMEOUT,
        "HASH": f"32'h{params.config_hash:08x}",
        "MAGIC": f"32'h{regmap.MAGIC:08x}",
        "PROGRAM_DATA": _assignments("code", program, 32),
        "INPUT_DATA": _assignments("inputs", test.inputs, params.stream_bits),
        "OUTPUT_DATA": _assignments("outputs", test.outputs, params.stream_bits),
        **{name: f"5'd{register.address}" for name, register in regmap.BY_NAME.items()},
    }
    return render("selftest", values)


def _assignments(name: str, values: list[int], bits: int) -> str:
    return "\n".join(f"    {name}[{i}] = {bits}'h{value:x};" for i, value in enumerate(values))
