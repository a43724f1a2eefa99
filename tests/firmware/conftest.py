"""The compiled driver, and images for it."""

import shutil

import pytest

from firmware.image import pack
from mapper.compile import Compiler
from sim.fuzz import random_case
from tests.firmware.driver import Bench, build

#: Seeds of random programs whose beats are whole words, of 8 and 4 bits, one beat and two a stream word.
SEEDS = (2011, 2009)


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    if shutil.which("cc") is None:
        pytest.skip("apt-get install gcc")
    return build(tmp_path_factory.mktemp("driver"))


def layer(seed: int):
    """Parameters and image of a random layer."""
    strategy, params, work = random_case(seed)
    program = Compiler(strategy, params).compile(work)
    return program.params, pack(program)


@pytest.fixture(scope="session", params=SEEDS, ids=lambda seed: f"seed{seed}")
def packed(request):
    return layer(request.param)


@pytest.fixture(scope="session")
def one():
    return layer(SEEDS[1])


@pytest.fixture
def bench(library):
    """`bench(params, ...)`: a driver and its model, which must not have been misused at the end."""
    made = []

    def make(params, **options) -> Bench:
        made.append(Bench(library, params, **options))
        return made[-1]

    yield make
    assert [line for each in made for line in each.misuse] == []
