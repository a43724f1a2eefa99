"""The ISS on hand-written programs, and its errors."""

import numpy as np
import pytest

from mapper.cycles import CycleModel
from rtl.spec.isa import Error, Op, assemble, encode, make
from rtl.spec.numeric import pack_const
from rtl.spec.params import ConfigError, Params
from sim.iss import Iss, wrap
from sim.random_program import random_program

P = Params.from_dict(
    {"rows": 8, "cols": 8, "granule": 4, "lanes": 8, "tiles": 2, "act_depth": 32, "const_depth": 8}
    | {"prog_depth": 64}
)


def run(text, inputs=None, params=P, **options):
    return Iss(params).run(assemble(text, params), inputs, **options)


def test_stream_through_the_buffer():
    x = np.arange(16, dtype=np.int8).reshape(2, 8)
    result = run("RECV addr=3 words=2\nSEND addr=3 words=2\nHALT", x)
    assert np.array_equal(result.outputs, x)
    assert result.error == Error.NONE


def test_identity_weights_give_back_the_input():
    weights = np.broadcast_to(np.eye(8, dtype=np.int8), (2, 8, 8))
    constants = np.full((8, 8), pack_const(0, 2, 1), np.uint64)
    x = np.array([[1, -2, 3, -4, 5, -6, 7, -8]], np.int8)
    program = assemble(
        "RECV addr=0 words=1\n"
        "LOAD addr=0 words=1 elems=8 parts=1 tail=4 part_n=1 d_span=1 d_copies=1 d_blocks=2\n"
        "PASS tile=0 span=1 fresh=1 first=1 steps=1 mask=all sel=diag(0)\n"
        "DRAIN tile=0 groups=1 chain=1 blocks=1 count=2 columns=4 slots=1 pieces=2 steps=1 "
        "release=1 addr=4 words=1 elems=8\n"
        "SEND addr=4 words=1\nHALT",
        P,
    )
    result = Iss(P, weights, constants).run(program, x)
    # j-major: column 0 of both blocks, then column 1, ...
    assert result.outputs.tolist() == [[1, 5, -2, -6, 3, 7, -4, -8]]


@pytest.mark.parametrize(
    ("text", "error", "pc"),
    [
        ("NOP\nRECV addr=31 words=2\nHALT", Error.ADDRESS, 1),
        ("RECV addr=0 words=0\nHALT", Error.FIELD, 0),
        ("PASS tile=0 span=3 steps=1\nHALT", Error.TILE, 0),
        ("LOOP body=1 times=2\nLOOP body=1 times=2\nHALT", Error.LOOP, 1),
        ("LDC const=7 words=2\nHALT", Error.CONST, 0),
        (
            "DRAIN groups=1 chain=1 blocks=1 count=1 columns=1 slots=1 pieces=1 steps=1 words=1 elems=1\nHALT",
            Error.DEADLOCK,
            0,
        ),
        ("NOP", Error.PC, 64),
    ],
)
def test_errors_have_code_and_pc(text, error, pc):
    result = run(text)
    assert (result.error, result.pc) == (error, pc)


def test_reserved_opcode():
    result = Iss(P).run([encode(make(Op.NOP), P), 20])
    assert (result.error, result.pc) == (Error.OPCODE, 1)


@pytest.mark.parametrize(("length", "words"), [(0, 0), (3, 3)])
def test_loop_of_run_time_length(length, words):
    x = np.arange(8 * 3, dtype=np.int8).reshape(3, 8)
    text = "LOOP body=2 use_len=1\nRECV addr=0 words=1 areg=1 inc=1\nSEND addr=0 words=1 areg=2 inc=1\nHALT"
    result = run(text, x, length=length)
    assert np.array_equal(result.outputs, x[:words])


def test_program_that_waits_for_input_forever_is_named():
    with pytest.raises(ConfigError, match="still waiting"):
        run("RECV addr=0 words=1\nSEND addr=0 words=1\nHALT", limit=1000)


def test_wrap():
    assert wrap(np.array([127, 128, -129, 255, 256]), 8).tolist() == [127, -128, 127, -1, 0]


def test_cycles_do_not_depend_on_data():
    text = "RECV addr=0 words=2\nSEND addr=0 words=2\nHALT"
    a = run(text, np.zeros((2, 8), np.int8))
    b = run(text, np.full((2, 8), -77, np.int8))
    assert a.cycles == b.cycles


ANALOG = P.replace(readout="adc", adc_bits=2, adcs=3)


@pytest.mark.parametrize(
    ("tree", "sel", "sums"),
    [
        # Weights and inputs are 1: a column counts 4 ones for each row group that is on; 2 bits for 0..4: steps of 2.
        ("shared", "0,1", [4, 4]),  # one row group is on in each of two reads
        ("full", "0,0", [4, 4]),
        ("full", "0,1", [6, 6]),  # both are on for both column groups, whose range ends at code 3
    ],
)
def test_rows_are_on_for_all_columns(tree, sel, sums):
    params = ANALOG.replace(tree=tree)
    program = assemble(
        "RECV addr=0 words=1\n"
        "LOAD addr=0 words=1 elems=8 parts=1 tail=4 part_n=1 d_span=1 d_copies=1 d_blocks=2\n"
        f"PASS tile=0 span=1 fresh=1 first=1 steps=1 mask=all sel={sel}\nHALT",
        params,
    )
    iss = Iss(params, np.ones((2, 8, 8), np.int8))
    iss.run(program, np.ones((1, 8), np.int8))
    assert iss.acc[iss.newest[0], 0, :, 0].tolist() == sums


def test_waiting_is_ticking():
    """The cycle model may skip what passes take; stepped cycle by cycle it counts the same."""

    class Stepped(CycleModel):
        def wait(self):
            self.tick()

    for seed in range(4):
        sizes = {"act_depth": 64, "const_depth": 32, "prog_depth": 256, "stream_width": 16}
        params = ANALOG.replace(tree=("shared", "full")[seed % 2], **sizes)
        code = random_program(params, seed, size=60)
        skipped, stepped = (
            Iss(params).run(code.words, code.inputs, code.after, length=code.length, timing=timing)
            for timing in (CycleModel, Stepped)
        )
        assert (skipped.cycles, skipped.busy) == (stepped.cycles, stepped.busy), f"seed {seed}"


def test_model_refuses_nothing_it_issued():
    model = CycleModel(P)
    nop = make(Op.NOP)
    assert model.can_issue(nop)
    model.issue(nop)
    model.tick()
    assert model.cycle == 1 and model.idle
