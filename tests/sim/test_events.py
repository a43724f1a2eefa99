"""Events of the ISS: hand counts of small programs, and counts that placements, streams and counters give."""

import numpy as np
import pytest

from mapper.compile import Compiler
from mapper.cost import cost, load
from mapper.events import Events
from rtl.spec.isa import Op, assemble
from rtl.spec.params import ConfigError, Params
from sim.execute import boot_program, run_iss
from sim.fuzz import random_case
from sim.iss import Iss
from sim.random_program import random_program
from tests.mapper import programs

P = Params.from_dict(
    {"rows": 8, "cols": 8, "granule": 4, "lanes": 8, "tiles": 2, "act_depth": 32, "const_depth": 8}
    | {"prog_depth": 64}
)


def counted(text: str, words: int, params: Params = P) -> dict[str, int]:
    """Events that happened in a program with `words` words of input."""
    x = np.ones((words, params.lanes), np.int8)
    result = Iss(params).run(assemble(text, params), x)
    assert result.error == 0, result.error.name
    events = result.events.as_dict()
    assert events.pop("cycles") == result.cycles
    return {name: count for name, count in events.items() if count}


def test_a_pass_by_hand():
    """Two blocks 4 x 4 on the diagonal of one array, 8 bits by 8 bits, bit-serial."""
    text = (
        "RECV addr=0 words=1\n"
        "LOAD addr=0 words=1 elems=8 parts=1 tail=4 part_n=1 d_span=1 d_copies=1 d_blocks=2\n"
        "PASS tile=0 span=1 fresh=1 first=1 steps=1 mask=all sel=diag(0)\n"
        "DRAIN tile=0 groups=1 chain=1 blocks=1 count=2 columns=4 slots=1 pieces=2 steps=1 "
        "release=1 addr=4 words=1 elems=8\n"
        "SEND addr=4 words=1\nHALT"
    )
    assert counted(text, 1) == {
        "instructions": 5,
        "passes": 1,
        "steps": 1,
        "planes": 8,
        "row_groups": 2,
        "column_groups": 2,
        "macs": 2 * 16,
        "bit_macs": 2 * 16 * 64,
        "drains": 1,
        "drained": 8,
        "const_reads": 2,
        "requantisations": 8,
        "row_writes": 8,
        "buffer_reads": 2,
        "buffer_writes": 2,
        "stream_in": 1,
        "stream_out": 1,
    }


DENSE = (
    "LDC const=0 words=1\n"
    "LDW tile=0 row=0 rows=3\n"
    "RECV addr=0 words=1\n"
    "LOAD addr=0 words=1 elems=8 parts=1 tail=4 part_n=1 d_span=1 d_copies=2 d_blocks=2\n"
    "PASS tile=0 span=2 fresh=1 first=1 steps=2 stride=1 mask=all sel=0,0\n"
    "DRAIN tile=0 groups=1 chain=2 blocks=1 count=1 columns=4 slots=1 pieces=1 steps=1 raw=1 "
    "release=1 addr=4 words=2 elems=16\n"
    "LOOP body=1 times=3\n"
    "SEND addr=4 words=2\nHALT"
)


@pytest.mark.parametrize(("tree", "steps"), [("shared", 2), ("full", 1)])
def test_dense_arrays_by_hand(tree, steps):
    """Two dense arrays whose sums are added, int32 out; weights and constants through the stream."""
    assert counted(DENSE, 12, P.replace(tree=tree)) == {
        "instructions": 10,  # SEND three times
        "passes": 2,
        "steps": 2 * steps,
        "planes": 2 * steps * 8,
        "row_groups": 2 * 2,
        "column_groups": 2 * 2 * 2,
        "macs": 2 * 64,
        "bit_macs": 2 * 64 * 64,
        "drains": 1,
        "drained": 2 * 4,  # of the first column group only
        "const_reads": 4,
        "row_writes": 2 * 8,
        "buffer_reads": 1 + 3 * 2,
        "buffer_writes": 1 + 2,
        "stream_in": 8 + 3 + 1,
        "stream_out": 3 * 2,
        "weight_writes": 3 * 8,
        "const_writes": 1,
    }


def test_row_groups_that_are_driven_once():
    """With one select for all column groups a step drives one row group, on the diagonal each its own."""
    text = "PASS tile=0 span=2 fresh=1 first=1 steps=1 mask=all sel={}\nHALT"
    assert counted(text.format("1,1"), 0)["row_groups"] == 2 * 1
    assert counted(text.format("diag(1)"), 0)["row_groups"] == 2 * 2


@pytest.mark.parametrize("dac_bits", [1, 4])
def test_bits_by_hand(dac_bits):
    """Fewer planes with a wider DAC, the same bits."""
    p = P.replace(act_bits=4, weight_bits=2, dac_bits=dac_bits)
    found = counted("PASS tile=1 span=1 fresh=1 first=1 steps=1 mask=all sel=diag(0)\nHALT", 0, p)
    assert found["planes"] == 4 // dac_bits
    assert found["bit_macs"] == found["macs"] * 4 * 2


def test_nothing_done_costs_nothing_but_leakage():
    assert counted("HALT", 0) == {}
    table = load("digital-sram")
    found = cost(Iss(P).run(assemble("HALT", P)).events, table, P)
    assert sum(e.value for e in found.dynamic.values()) == 0
    leaks = sum(table.power[n].quantity.value * many for n, many in (("array", 2), ("core", 1)))
    assert found.energy.value == pytest.approx(leaks * found.time.value)


def test_each_run_counts_for_itself():
    iss = Iss(P)
    program = assemble("PASS tile=0 span=1 fresh=1 first=1 steps=1 mask=all sel=diag(0)\nHALT", P)
    first, second = iss.run(program).events, iss.run(program).events
    assert first == second and first is not second and first.passes == 1


# -- against what says the same in another way -----------------------------------------------------


@pytest.mark.parametrize("tree", ["shared", "full"])
@pytest.mark.parametrize("seed", range(4))
def test_planes_are_what_the_hardware_counts_as_busy(seed, tree):
    """PASS_TILES of the register map counts cycles of computing arrays, one for each plane."""
    params = Params.load("tiny").replace(tree=tree, dac_bits=(1, 2)[seed % 2])
    made = random_program(params, seed)
    iss = Iss(params)
    result = iss.run(
        made.words,
        made.inputs,
        made.after,
        stall_in=made.stall_in,
        stall_out=made.stall_out,
        length=made.length,
    )
    assert result.error == 0 and result.events.passes > 0
    assert result.events.planes == result.busy["pass_tiles"]
    assert result.events.instructions == result.issued


def compiled(seed: int):
    while True:
        try:
            strategy, params, work = random_case(seed)
            return Compiler(strategy, params).compile(work)
        except ConfigError:
            seed += 1000


@pytest.mark.parametrize("seed", range(6))
def test_words_are_those_of_the_streams_and_of_the_report(seed):
    program = compiled(seed)
    events, tokens = run_iss(program).events, program.workload.tokens
    load_of = program.report["resources"]
    assert events.stream_in == len(program.inputs)
    assert events.stream_out == sum(packet.words for packet in program.output_packets)
    assert events.buffer_reads == load_of["read"] * tokens
    if program.params.drain_ports == 1:
        assert events.buffer_writes == load_of["write"] * tokens
        flushes = sum(i.fields.get("flush", 0) for i in program.instructions if i.op == Op.DRAIN)
        steps = load_of["drain"] // program.params.step_cycles
        assert events.const_reads == steps * tokens - flushes
    assert events.weight_writes == events.const_writes == 0  # in place before the run


def exact(tokens: int, dense: bool = False):
    """A segment whose factors fill granules: 16 inputs, 16 outputs, granules of 4."""
    params = Params.load("tiny")
    rng = np.random.default_rng(5)
    matrix = (
        programs.dense(rng, params, "w", 16, 16)
        if dense
        else programs.monarch(rng, params, "m", 4, 4, 4, 4)
    )
    work = programs.workload(rng, params, {"s": [matrix]}, tokens)
    strategy = "linear" if dense else "densemap"
    return Compiler(strategy, params).compile(work)


@pytest.mark.parametrize(("dense", "weights"), [(False, 2 * 4 * 16), (True, 256)])
def test_macs_are_the_stored_weights(dense, weights):
    """Where factors fill granules every stored weight meets its activation once a token."""
    program = exact(3, dense)
    assert program.report["macs"] == weights
    events = run_iss(program).events
    assert events.macs == 3 * weights
    assert events.bit_macs == 3 * weights * 64


def test_values_are_the_outputs_of_the_factors():
    """Each output of R and of L is requantised once; R's outputs go to the row registers of L."""
    events = run_iss(exact(3)).events
    assert events.requantisations == events.drained == 3 * (16 + 16)
    assert events.row_writes == 3 * (16 + 16)


def test_half_the_tokens_are_half_the_events():
    """Exactly, for all that work does, energy too; not cycles, since the first token fills the pipeline."""
    runs = [run_iss(exact(tokens)).events for tokens in (8, 4)]
    whole, half = (events.as_dict() for events in runs)
    for name in Events().as_dict():
        if name != "cycles":
            assert whole[name] == 2 * half[name], name
    assert whole["macs"] > 0 and half["cycles"] < whole["cycles"] < 2 * half["cycles"]
    dynamic = [
        cost(events, load("digital-sram"), Params.load("tiny")).as_dict()["dynamic_nj"]
        for events in runs
    ]
    assert dynamic[0] == pytest.approx(2 * dynamic[1])


def test_data_do_not_matter():
    """Events follow from the program: prices are for average data."""
    program = exact(2)
    before = run_iss(program).events
    program.inputs = np.zeros_like(program.inputs)
    assert run_iss(program).events == before


def test_loading_weights_is_counted_where_it_is_done():
    program = exact(1)
    p = program.params
    instructions, inputs = boot_program(program, front_door=True)
    events = Iss(p).run(instructions, inputs).events
    assert events.weight_writes == p.tiles * p.rows * p.cols
    assert events.const_writes == len(program.constants)
    assert events.stream_in == len(inputs)
