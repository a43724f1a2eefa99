"""Simulators of the co-simulation tests: a missing one skips its tests and says what to install."""

import pytest

from rtl.spec.params import ConfigError
from sim.tools import find_icarus, find_verilator

_FIND = {"icarus": find_icarus, "verilator": find_verilator}


@pytest.fixture
def need():
    """`need("icarus")`: skip unless the simulator is there."""

    def check(simulator: str) -> str:
        try:
            _FIND[simulator]()
        except ConfigError as error:
            pytest.skip(str(error))
        return simulator

    return check
