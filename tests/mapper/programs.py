"""Random workloads of any shape, and running compiled programs against the golden model."""

import numpy as np

from mapper.graph import Factor, Matrix, Segment, Workload
from mapper.program import Program
from rtl.spec.numeric import signed_range
from rtl.spec.params import Params
from sim.golden import run_matrix
from sim.iss import Iss
from sim.slots import clashes


def factor(rng: np.random.Generator, shape: tuple[int, int, int], params: Params, bias: bool):
    low, high = signed_range(params.weight_bits)
    count, fan_in, fan_out = shape
    span = fan_in**0.5 * 2.0 ** (params.weight_bits + params.act_bits - 3)
    outputs = (count, fan_out)
    limit = int(span) if bias else 0
    return Factor(
        rng.integers(low, high, shape, dtype=np.int8, endpoint=True),
        rng.integers(-limit, limit, outputs, dtype=np.int32, endpoint=True),
        rng.integers(1 << 14, 1 << 15, outputs).astype(np.uint16),
        np.full(
            outputs, min(31, 13 + params.weight_bits + int(fan_in**0.5).bit_length()), np.uint8
        ),
    )


def monarch(rng, params, name, k, l_blocks, p, s, rank=1, n_in=None, n_out=None, layer=0) -> Matrix:
    """A Monarch matrix of random factors; n_in and n_out below k * p and l * s are padding."""
    right = factor(rng, (k, p, rank * l_blocks), params, bias=False)
    left = factor(rng, (l_blocks, rank * k, s), params, bias=True)
    return Matrix(name, layer, n_in or k * p, n_out or l_blocks * s, (right, left), rank=rank)


def dense(rng, params, name, n_in, n_out, layer=0) -> Matrix:
    return Matrix(name, layer, n_in, n_out, (factor(rng, (1, n_in, n_out), params, True),))


def workload(rng, params, segments: dict[str, list[Matrix]], tokens=1, barrier=()) -> Workload:
    low, high = signed_range(params.act_bits)
    parts = [Segment(name, 0, tuple(matrices)) for name, matrices in segments.items()]
    inputs = {
        part.name: rng.integers(low, high, (tokens, part.n_in), dtype=np.int8, endpoint=True)
        for part in parts
    }
    flags = {part.name: part.name in barrier for part in parts}
    return Workload("random", 0, "blocks", parts, inputs, flags, synthetic=True)


def run(program: Program) -> int:
    """Run on the ISS, compare every output packet with the golden model; the cycles."""
    params = program.params
    bad = next((i for i in program.instructions if clashes(i, params)), None)
    assert bad is None, f"slots clash: {bad}"
    iss = Iss(params, program.weights, program.constants)
    result = iss.run(program.words, program.inputs, program.after)
    assert result.error == 0, f"{result.error.name} at pc {result.pc}"
    expected = {
        (segment.name, matrix.name): run_matrix(
            matrix, program.workload.inputs[segment.name], params
        )
        for segment in program.workload.segments
        for matrix in segment.matrices
    }
    assert len(program.output_packets) == len(expected) * program.workload.tokens
    for packet in program.output_packets:
        words = result.outputs[packet.first : packet.first + packet.words]
        got = words.reshape(-1)[: packet.elements]
        want = expected[packet.segment, packet.matrix][packet.token]
        assert np.array_equal(got, want), f"{packet.segment}.{packet.matrix} token {packet.token}"
    return result.cycles
