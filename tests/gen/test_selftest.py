"""The self-test of a bundle: its program gives on the ISS what it says, whatever the configuration."""

import random

import numpy as np
import pytest

from gen.selftest import selftest
from mapper.program import pack_elements, unpack_elements
from rtl.spec.isa import Error
from rtl.spec.params import PRESETS, ConfigError, Params
from sim.iss import Iss


def random_params(seed: int) -> Params:
    """A random small configuration."""
    r = random.Random(seed)
    while True:
        granule = r.choice([2, 4, 8])
        values = {
            "granule": granule,
            "rows": granule * r.randint(1, 6),
            "cols": granule * r.randint(1, 6),
            "lanes": granule * r.choice([1, 2, 3, 4]),
            "weight_bits": r.choice([2, 4, 8]),
            "act_bits": r.choice([4, 8]),
            "tree": r.choice(["shared", "full"]),
            "tiles": r.randint(1, 3),
            "drain_ports": r.choice([1, 2]),
        }
        if r.random() < 0.4:
            values |= {"readout": "adc", "adc_bits": r.randint(1, 4), "adcs": r.randint(1, 2)}
        try:
            return Params.from_dict(values)
        except ConfigError:
            continue


CONFIGS = {name: Params.load(name) for name in PRESETS if not name.startswith("chip")}
CONFIGS |= {f"seed-{seed}": random_params(seed) for seed in range(40)}


def words(beats: list[int], params: Params) -> np.ndarray:
    size = params.stream_bits // 8
    data = b"".join(beat.to_bytes(size, "little") for beat in beats)
    return unpack_elements(np.frombuffer(data, np.uint8).reshape(-1, params.word_bits // 8), params)


@pytest.mark.parametrize("params", CONFIGS.values(), ids=CONFIGS)
def test_iss_gives_the_outputs(params):
    test = selftest(params)
    inputs = words(test.inputs, params)
    result = Iss(params).run(test.program, inputs, np.zeros(len(inputs), np.int64))
    assert result.error == Error.NONE
    assert np.array_equal(result.outputs, words(test.outputs, params))
    assert pack_elements(result.outputs, params).tobytes() == b"".join(
        beat.to_bytes(params.stream_bits // 8, "little") for beat in test.outputs
    )
    values = result.outputs[1:].reshape(-1)
    assert len(np.unique(values)) > 3 or params.analog or params.act_bits == 4
