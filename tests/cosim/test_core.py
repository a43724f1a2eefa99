"""The core on RTL against the ISS: random programs on configurations that differ in every parameter."""

import pytest

from gen.emit import emit
from rtl.spec.params import Params
from sim.verify import run_random

SMALL = {"act_depth": 64, "const_depth": 32, "prog_depth": 256}
CONFIGS = {
    "base": {"rows": 16, "cols": 16, "granule": 4, "lanes": 8, "tiles": 4},
    "act4-two-ports-narrow-stream": {
        "rows": 16,
        "cols": 8,
        "granule": 4,
        "lanes": 8,
        "tiles": 3,
        "drain_ports": 2,
        "act_bits": 4,
        "stream_width": 16,
    },
    "full-tree-four-ports": {
        "rows": 8,
        "cols": 16,
        "granule": 4,
        "lanes": 16,
        "tiles": 5,
        "drain_ports": 4,
        "tree": "full",
        "weight_bits": 4,
        "dac_bits": 4,
        "stream_width": 32,
    },
    "granule-6-one-tile": {
        "rows": 12,
        "cols": 18,
        "granule": 6,
        "lanes": 12,
        "tiles": 1,
        "weight_bits": 2,
        "dac_bits": 8,
        "act_depth": 48,
    },
    "issue-in-two-cycles": {
        "rows": 8,
        "cols": 12,
        "granule": 2,
        "lanes": 8,
        "tiles": 3,
        "drain_ports": 2,
        "issue_cycles": 2,
    },
    "one-requantiser": {
        "rows": 8,
        "cols": 16,
        "granule": 4,
        "lanes": 4,
        "tiles": 3,
        "requantisers": 1,
        "busy_counters": 0,
    },
    "multiplies-in-four-cycles": {
        "rows": 8,
        "cols": 8,
        "granule": 4,
        "lanes": 8,
        "tiles": 2,
        "requantisers": 2,
        "multiply_cycles": 4,
    },
    "requantisers-by-turns": {
        "rows": 16,
        "cols": 16,
        "granule": 4,
        "lanes": 16,
        "tiles": 3,
        "act_bits": 4,
        "drain_ports": 2,
        "requantisers": 8,
        "issue_cycles": 2,
    },
    "issue-in-three-cycles": {
        "rows": 16,
        "cols": 16,
        "granule": 4,
        "lanes": 8,
        "tiles": 4,
        "stream_width": 32,
        "issue_cycles": 3,
    },
    "adc3-one-converter": {
        "rows": 16,
        "cols": 16,
        "granule": 4,
        "lanes": 8,
        "tiles": 3,
        "readout": "adc",
        "adc_bits": 3,
        "adcs": 1,
        "weight_bits": 4,
    },
    "adc4-full-tree": {
        "rows": 16,
        "cols": 8,
        "granule": 4,
        "lanes": 8,
        "tiles": 3,
        "tree": "full",
        "readout": "adc",
        "adc_bits": 4,
        "adcs": 5,
        "adc_settle": 1,
        "drain_ports": 2,
        "stream_width": 32,
    },
    "adc8-all-columns": {
        "rows": 18,
        "cols": 24,
        "granule": 6,
        "lanes": 24,
        "tiles": 2,
        "readout": "adc",
        "adc_bits": 8,
        "adcs": 24,
        "adc_cycles_per_bit": 2,
        "act_bits": 4,
        "weight_bits": 2,
    },
}


def check(name, simulator, seed, **options):
    params = Params.from_dict(SMALL | CONFIGS[name])
    result = run_random(params, simulator, seed, **options)
    assert result.good, f"{result.name}: {result.detail} (tests/cosim/test_core.py, config {name})"


@pytest.mark.icarus
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stalls", [False, True], ids=["free", "stalls"])
@pytest.mark.parametrize("name", CONFIGS)
def test_random_program_on_icarus(need, name, stalls, seed):
    check(name, need("icarus"), seed, stalls=stalls)


@pytest.mark.icarus
@pytest.mark.parametrize("seed", range(100, 112))
def test_illegal_program_stops_with_code_and_pc(need, seed):
    check("base", need("icarus"), seed, stalls=seed % 2 == 1, illegal=True, size=70)


@pytest.mark.verilator
@pytest.mark.parametrize("seed", range(6))
def test_random_program_on_verilator(need, seed):
    check("act4-two-ports-narrow-stream", need("verilator"), seed, stalls=seed % 2 == 1)


@pytest.mark.verilator
@pytest.mark.parametrize("seed", [4, 5, 7])
def test_structural_view_with_four_slots_a_word(need, seed):
    """The views differ where slots of one cycle clash, so no random program may have that."""
    wide = {"rows": 16, "cols": 16, "granule": 4, "lanes": 16, "act_bits": 4, "weight_bits": 4}
    params = Params.from_dict(SMALL | wide)
    result = run_random(
        params,
        need("verilator"),
        seed,
        stalls=seed % 2 == 1,
        texts=emit(params, "structural"),
    )
    assert result.good, f"{result.name}: {result.detail}"


@pytest.mark.icarus
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("issue_cycles", [2, 3])
def test_structural_view_with_registers_for_a_fast_clock(need, issue_cycles, seed):
    """One tile and several, whose columns take two cycles more than those of the other view."""
    sizes = CONFIGS["one-requantiser"] | {"issue_cycles": issue_cycles, "dac_bits": 8 >> 3 * seed}
    params = Params.from_dict(SMALL | sizes | {"tiles": 1 + 2 * seed})
    result = run_random(
        params, need("icarus"), seed, stalls=seed == 1, texts=emit(params, "structural")
    )
    assert result.good, f"{result.name}: {result.detail}"


@pytest.mark.verilator
@pytest.mark.parametrize("seed", range(4))
def test_analog_random_program_on_verilator(need, seed):
    check("adc4-full-tree", need("verilator"), seed, stalls=seed % 2 == 1)
