"""One program directory through every door: the same outputs, those of the golden model, and no others.

The image that most doors take is packed from the directory; its outputs were compared with golden then, and those of
the core alone are compared again here.
"""

import numpy as np
import pytest

from firmware import soc
from firmware.image import pack
from mapper import program as program_files
from mapper.compile import Compiler
from rtl.spec.params import Params
from sim.execute import execute
from sim.netlist import netlist
from tests.cosim import tiny
from tests.cosim.bench import Bench
from tests.cosim.bus_bench import image_jobs, run_on_bus
from tests.mapper.programs import monarch, workload

TOKENS = 3


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A block-diagonal layer: two matrices that read the same input, and one behind them."""
    params = Params.from_dict(tiny.PARAMS | {"act_depth": 64})
    rng = np.random.default_rng(5)
    parts = {
        "a": [monarch(rng, params, name, 4, 2, 4, 4) for name in ("m", "n")],
        "b": [monarch(rng, params, "o", 2, 4, 4, 2)],
    }
    made = Compiler("densemap", params).compile(workload(rng, params, parts, TOKENS))
    where = tmp_path_factory.mktemp("doors") / "program"
    program_files.write(made, where)
    return where


@pytest.fixture(scope="module")
def packed(directory):
    """The image of the directory, and its parameters."""
    program = program_files.load(directory)
    return pack(program), program.params


@pytest.mark.verilator
@pytest.mark.parametrize("front_door", [False, True])
def test_core(need, directory, front_door):
    outcome = execute(directory, need("verilator"), front_door=front_door)
    assert outcome.good and outcome.outputs_checked == TOKENS * (2 * 8 + 8)


@pytest.mark.icarus
@pytest.mark.parametrize("bus", ["axi", "wishbone"])
def test_bus(need, packed, tmp_path, monkeypatch, bus):
    """By stream and by DMA, with stalls and without."""
    image, params = packed
    rounds = dict.fromkeys(range(4), image_jobs(image))
    only = ["jobs_by_stream", "jobs_under_stalls", "jobs_by_dma"]
    bench = Bench(tmp_path, monkeypatch)
    run_on_bus(bench, need("icarus"), bus, params, rounds, only=only)


@pytest.mark.verilator
def test_soc(need, packed):
    """The C driver on the RISC-V."""
    image, params = packed
    outcome = soc.run(image, params, need("verilator"), quick=True)
    assert outcome.good, outcome.text
    for way in outcome.ways.values():
        assert (way.mismatches, way.outputs, way.alone) == (0, len(image.output), image.cycles)


@pytest.mark.verilator
def test_serial_line(need, packed, serial):
    image, params = packed
    assert serial(need("verilator"), image, params)["wrong"] == [0, 0]


@pytest.mark.slow
@pytest.mark.icarus
def test_netlist(need, yosys, directory):
    params = program_files.load(directory).params
    outcome = execute(directory, need("icarus"), front_door=True, texts=netlist(params, "ice40"))
    assert outcome.good and outcome.outputs_checked
