import numpy as np
import pytest

from mapper.bounds import (
    efficiency,
    latency_bound,
    pass_cycles,
    resources,
    throughput_bound,
)
from mapper.compile import Compiler
from mapper.workload import shapes
from rtl.spec.params import Params
from tests.mapper import programs

GPT2 = Params.load("gpt2-medium")


def plan(strategy, policy, params=GPT2):
    work = shapes("gpt2-medium", [0], policy=policy)[0]
    return work, Compiler(strategy, params).plan(work)


def test_resources_of_the_reference_layer():
    """1024 elements are 8 words: inputs 8 + 8 + 8 + 32, outputs 24 + 8 + 32 + 8 at 128 lanes."""
    for strategy, policy, drain in (("densemap", "pad", 152), ("linear", "dense", 72)):
        _, made = plan(strategy, policy)
        load = resources(made.lowered, made.params)
        assert load.stream_in == 8 + 8 + 8 + 32
        assert load.stream_out == 24 + 8 + 32 + 8
        assert load.read == load.write == 56 + 72
        assert load.drain == drain  # and 80 words between the factors, those of padding left out


def test_more_drain_ports_share_the_drain_work():
    _, one = plan("densemap", "pad")
    _, two = plan("densemap", "pad", GPT2.replace(drain_ports=2))
    assert resources(two.lowered, two.params).drain == resources(one.lowered, one.params).drain // 2
    assert resources(two.lowered, two.params).write == 64


def test_narrow_streams_take_more_cycles():
    _, made = plan("densemap", "pad", GPT2.replace(stream_width=256))
    assert resources(made.lowered, made.params).stream_in == 4 * 56


def test_latency_bound_of_one_matrix():
    params = Params(rows=16, cols=16, granule=4, lanes=8)
    rng = np.random.default_rng(0)
    matrix = programs.monarch(rng, params, "m", 4, 4, 4, 4)
    work = programs.workload(rng, params, {"s": [matrix]})
    made = Compiler("sparsemap", params).plan(work)
    # in 2 + load 2 + pass 8 + 16 / 8 + pass 8 + 16 / 8 + out 2
    assert latency_bound(work.segments, made.lowered, made.params) == 2 + 2 + 8 + 2 + 8 + 2 + 2


def test_throughput_bound_is_per_token():
    _, made = plan("densemap", "pad")
    assert throughput_bound(made.lowered, made.params, 16) == 16 * 152


@pytest.mark.parametrize(
    ("cycles", "tokens", "expected"), [(200, 16, 0.5), (200, 15, None), (None, 16, None)]
)
def test_efficiency_is_for_streaming_runs(cycles, tokens, expected):
    assert efficiency(100, cycles, tokens) == expected


@pytest.mark.parametrize(
    ("changes", "steps", "cycles"),
    [({}, 3, 24), ({"tree": "full"}, 3, 8), ({"dac_bits": 4}, 1, 2)],
)
def test_pass_cycles(changes, steps, cycles):
    assert pass_cycles({"steps": steps}, Params(**changes)) == cycles


ANALOG = Params(rows=128, cols=128, lanes=32, readout="adc", adc_bits=3, adcs=16)


@pytest.mark.parametrize(
    ("tree", "mask", "sel", "steps", "columns"),
    [
        ("full", (1, 1, 1, 1), (0, 1, 2, 3), 1, [128]),  # all rows at once
        ("full", (1, 1, 0, 0), (0, 0, 0, 0), 4, [64]),
        ("full", (0, 0, 0, 0), (0, 0, 0, 0), 4, [0]),
        ("shared", (1, 1, 1, 1), (0, 1, 2, 3), 1, [32] * 4),  # a diagonal: row group by row group
        ("shared", (1, 1, 1, 0), (2, 1, 2, 3), 1, [64, 32]),  # two column groups share a row group
        ("shared", (1, 1, 1, 1), (0, 0, 0, 0), 4, [128] * 4),  # dense
        ("shared", (0, 0, 0, 0), (0, 1, 2, 3), 2, [0, 0]),
    ],
)
def test_pass_cycles_of_an_analog_array(tree, mask, sel, steps, columns):
    """64 pairs of planes; each settles in 4 cycles, then columns take turns of 3 cycles at 16 converters."""
    fields = {"mask": mask, "sel": sel, "steps": steps, "stride": 1}
    params = ANALOG.replace(tree=tree)
    expected = sum(64 * (4 + 3 * -(-n // 16)) for n in columns)
    assert pass_cycles(fields, params) == expected
