"""The SoC runs the demo: the C driver on the CPU boots an image, runs it in both ways and checks itself."""

import dataclasses
from pathlib import Path

import pytest

from firmware import soc
from firmware.soc import Way, memory_for, parse, run
from firmware.toolchain import DEMO, demo
from rtl.spec.params import ConfigError
from rtl.spec.soc import Memory
from tests.cosim import tiny

TEXT = """blockcim 0x8983b01b: 7 arrays of 256x256, 128 lanes, image of 193481 words
cpu-copy: boot 9073795 cycles
cpu-copy: 0 mismatches of 13824, 1123088 cycles, core busy 1120588, alone 6153
cpu-copy: in 845663 load 34360 pass 1942 drain 2880 out 897014 tiles 7168 issued 1344
dma: boot 185281 cycles
dma: 2 mismatches of 13824, 26000 cycles, core busy 25000, alone 5000
dma: in 16855 load 1198 pass 1942 drain 2880 out 18673 tiles 7168 issued 1344
FAIL
"""


def test_text_of_the_demo():
    outcome = parse(TEXT)
    assert outcome.ways["dma"] == Way(2, 13824, 26000, 25000, 5000, 185281)
    assert (outcome.ways["dma"].control, outcome.ways["dma"].total) == (0.04, 4.2)
    assert not outcome.good and not parse(TEXT.replace(" 2 mis", " 0 mis")).good
    assert not parse(TEXT.replace("FAIL", "PASS")).good
    assert parse(TEXT.replace("FAIL", "PASS").replace(" 2 mis", " 0 mis")).good


def test_memory_holds_image_and_results():
    assert memory_for(1000).ram == 512 << 10
    assert memory_for(800_000).ram == 2 << 20


@pytest.fixture(scope="module")
def packed():
    return tiny.image(seed=2)


def check(outcome, image) -> None:
    assert outcome.good, outcome.text
    assert set(outcome.ways) == {"cpu-copy", "dma"}
    for way in outcome.ways.values():
        assert (way.mismatches, way.outputs, way.alone) == (0, len(image.output), image.cycles)
        assert way.cycles > way.busy >= way.alone > 0


@pytest.mark.icarus
def test_demo_on_icarus(need, packed):
    image, params = packed
    check(run(image, params, need("icarus")), image)


@pytest.mark.verilator
def test_demo_on_verilator(need, packed, monkeypatch):
    """As it is, with one wrong bit in the expected output, for other hardware, and given up."""
    image, params = packed
    check(run(image, params, need("verilator"), quick=True), image)
    wrong = image.output.copy()
    wrong[3] ^= 1 << 17
    outcome = run(dataclasses.replace(image, output=wrong), params, "verilator", quick=True)
    assert not outcome.good and "cpu-copy: 1 mismatches of 4" in outcome.text
    outcome = run(dataclasses.replace(image, config_hash=1), params, "verilator", quick=True)
    assert not outcome.good and outcome.text.endswith("FAIL\n")
    monkeypatch.setattr(soc, "CYCLES", 12_000)
    monkeypatch.setattr(soc, "CYCLES_A_WORD", 0)
    with pytest.raises(ConfigError, match="no end after 12000 cycles; the UART said 'block"):
        run(image, params, "verilator", quick=True)


@pytest.mark.verilator
def test_bus_errors_and_interrupts_of_the_cpu(need):
    """tests/cosim/bus_errors.c says which of its checks failed."""
    image, params = tiny.image(seed=2, tokens=100)  # enough for the driver to fall asleep
    source = Path(__file__).with_name("bus_errors.c")
    sources = (source, *(path for path in DEMO if path.name != "main.c"))
    program = demo(memory_for(4 * len(image.words())), sources)
    outcome = run(image, params, need("verilator"), program=program, quick=True)
    assert outcome.text == "\nPASS\n"


def test_an_image_that_does_not_fit(packed):
    image, params = packed
    with pytest.raises(ConfigError, match="do not fit 65600 bytes of RAM"):
        run(image, params, "verilator", memory=Memory(ram=65_600))
