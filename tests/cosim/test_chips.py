"""Chips on RTL: outputs equal to golden; cycles, counters and the order of packets equal to the model."""

import pytest

from mapper import chip
from mapper.cycles import random_stalls
from sim.chip import execute
from tests.mapper import chips


def run(seed, simulator, where, stalls=None):
    made = chips.random_chip(seed, cores=2 + seed % 3, tokens=1 + seed % 4)
    chip.write(made, where)
    return execute(where, simulator, stalls=stalls)


@pytest.mark.icarus
@pytest.mark.parametrize("seed", range(6))
def test_random_chip_on_icarus(need, tmp_path, seed):
    for stalls in (None, random_stalls(seed) | random_stalls(seed + 1) << 1):
        outcome = run(seed, need("icarus"), tmp_path / "c", stalls)
        assert outcome.good, outcome.first
        assert outcome.cycles == outcome.cycles_iss and outcome.outputs_checked > 0


@pytest.mark.verilator
def test_random_chip_on_verilator(need, tmp_path):
    outcome = run(3, need("verilator"), tmp_path / "c")
    assert outcome.good, outcome.first
    assert outcome.cycles_per_second > 0
