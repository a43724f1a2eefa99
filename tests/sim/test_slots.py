"""Slots of fills: `clashes` against a count of what each cycle writes."""

import numpy as np
import pytest

from rtl.spec.isa import Op, make
from rtl.spec.params import Params
from sim.random_program import random_program
from sim.slots import clashes, load_landing

P = Params(rows=16, cols=16, granule=4, lanes=16, act_bits=4)
LOAD = {"words": 1, "parts": 1, "tail": 4, "part_n": 1, "d_span": 1, "d_copies": 1, "d_blocks": 4}


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({"elems": 16}, False),
        ({"elems": 16, "d_blocks": 3}, True),  # the fourth slice starts anew, in the same tile
        ({"elems": 16, "d_blocks": 3, "d_span": 2, "d_tstride": 1}, False),
        ({"elems": 12, "d_blocks": 3}, False),
        ({"elems": 16, "parts": 2, "part_n": 2}, True),  # both parts in one row group
        ({"elems": 16, "parts": 2, "part_n": 2, "d_rpart": 2, "d_blocks": 2}, False),
        ({"elems": 16, "parts": 2, "part_n": 2, "d_rpart": 1, "d_blocks": 2}, True),
        ({"elems": 16, "parts": 2, "part_n": 1}, False),
    ],
)
def test_loads(fields, bad):
    assert clashes(make(Op.LOAD, **(LOAD | fields)), P) == bad


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({"columns": 2, "pieces": 2, "slots": 1, "count": 4, "d_blocks": 2}, False),
        ({"columns": 2, "pieces": 2, "slots": 1, "count": 4, "d_blocks": 1}, True),
        ({"columns": 2, "pieces": 1, "slots": 1, "count": 4, "d_blocks": 1}, False),  # one a cycle
        ({"columns": 1, "pieces": 1, "slots": 2, "count": 8, "d_rpart": 0}, True),
        ({"columns": 1, "pieces": 1, "slots": 2, "count": 8, "d_rpart": 1}, False),
    ],
)
def test_drains(fields, bad):
    given = {"rows": 1, "steps": 1, "d_span": 1, "d_copies": 1, "d_blocks": 4} | fields
    assert clashes(make(Op.DRAIN, **given), P) == bad


def test_random_loads_have_one_writer_an_element():
    """Counted cycle by cycle, `slots` slots each; `clashes` may be stricter, never laxer."""
    found = 0
    for seed in range(10):
        for instr in _instructions(seed):
            landing = load_landing(instr.fields | {}, P)
            for start in range(0, len(landing.size), P.slots):
                hits = np.zeros((64, P.row_groups, P.granule), int)
                for i in range(start, min(start + P.slots, len(landing.size))):
                    if landing.keep[i]:
                        hits[landing.offset[i], landing.group[i], : landing.size[i]] += 1
                assert hits.max() <= 1
                found += 1
    assert found > 100


def _instructions(seed: int):
    from mapper.cycles import fields
    from rtl.spec.isa import Instr, decode

    for word in random_program(P, seed).words:
        instr = decode(word, P)
        if instr.op == Op.LOAD:
            yield Instr(instr.op, fields(instr))
