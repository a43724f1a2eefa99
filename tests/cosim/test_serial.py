"""A program through the serial line: the host driver, the bridge, the peripheral and the core, to equal outputs."""

import pytest

from tests.cosim import tiny


def check(result: dict, image, params) -> None:
    found, counters = result["found"], result["counters"]
    assert result["wrong"] == [0, 0]
    assert found["config_hash"] == params.config_hash
    assert (found["rows"], found["tiles"]) == (params.rows, params.tiles)
    assert counters["CYCLES"] >= image.cycles > 0
    assert counters["ISSUED"] == len(image.program) // image.instruction - 1  # HALT
    assert result["refused"] == "bus: answers with an error: read of word 0 of 1 at 0x00000100"


@pytest.mark.icarus
def test_host_runs_a_layer_after_it_had_to_give_up(need, serial):
    """Too much noise is an error and not a hang; when it is over, all is well."""
    image, params = tiny.image(seed=1)
    result = serial(need("icarus"), image, params, noise=30)
    assert result["gave_up"].startswith("serial line: no right answer in 9 tries")
    check(result, image, params)
    assert result["repeated"] == 8


@pytest.mark.verilator
def test_noise_changes_nothing_but_the_number_of_requests(need, serial):
    """Bits flip both ways, requests are repeated, and the outputs are the same."""
    image, params = tiny.image(seed=1)
    result = serial(need("verilator"), image, params, noise=1000, seed=1)
    check(result, image, params)
    assert result["repeated"] > 3
