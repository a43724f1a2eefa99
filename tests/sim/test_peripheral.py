"""The register-level model: what it refuses, how its streams wait, what stops it."""

import numpy as np
import pytest

from mapper.program import pack_elements
from rtl.spec.isa import Error, Op, encode, make, width
from rtl.spec.params import ISA_VERSION, ConfigError, Params
from rtl.spec.regmap import MAGIC, ON_BUS, Fault
from sim.iss import Iss
from sim.peripheral import FIFO_WORDS, INPUT, OUTPUT, PROGRAM, BusError, Peripheral, field_bits

TINY = Params.load("tiny").replace(act_depth=64, const_depth=64)


def at(name: str) -> int:
    return 4 * ON_BUS[name].address


def status(model: Peripheral) -> tuple[int, int, int]:
    value = model.read(at("STATUS"))
    return value & 1, value >> 1 & 1, value >> 2 & 1


def program_words(instructions, params: Params = TINY) -> list[int]:
    words = [encode(instr, params) for instr in instructions]
    return [word >> 32 * k & 0xFFFFFFFF for word in words for k in range(width(params) // 32)]


def loaded(instructions, **options) -> Peripheral:
    model = Peripheral(TINY, **options)
    model.write(at("PROG_ADDR"), 0)
    for word in program_words(instructions):
        model.write(at("PROG_DATA"), word)
    model.write(at("MODE"), 3)
    return model


ECHO = [make(Op.RECV, words=40), make(Op.SEND, words=40), make(Op.HALT)]


def test_every_register_reads_and_the_rest_is_a_bus_error():
    model = Peripheral(TINY)
    offsets = {4 * r.address for r in ON_BUS.values()}
    for offset in range(0, 300):
        if offset in offsets:
            assert 0 <= model.read(offset) < 1 << 32
        else:
            with pytest.raises(BusError, match="no register is there"):
                model.read(offset)
            with pytest.raises(BusError, match="no register is there"):
                model.write(offset, 0)


@pytest.mark.parametrize("register", [r for r in ON_BUS.values() if r.access != "wo"])
def test_access_is_that_of_the_map(register):
    model = Peripheral(TINY)
    if register.access == "ro":
        with pytest.raises(BusError, match=f"{register.name}: is read-only"):
            model.write(at(register.name), 0)
    else:
        model.write(at(register.name), 1)
        assert model.read(at(register.name)) == 1


def test_constants():
    model = Peripheral(TINY)
    assert model.read(at("ID")) == MAGIC
    assert model.read(at("CONFIG_HASH")) == TINY.config_hash
    assert model.read(at("VERSION")) & 0xFFFF == ISA_VERSION
    assert model.read(at("CAP_BUFFERS")) == 63 | 63 << 16
    with pytest.raises(ConfigError, match="beats of 16 bits"):
        Peripheral(TINY.replace(stream_width=16))


def test_input_and_output_wait_for_each_other():
    """More words than the FIFOs hold: the core takes no more input than its program, and stops at full output."""
    model = loaded(ECHO, pace=100)
    model.write(at("CTRL"), 1)
    words = list(range(1, 81))
    for word in words:
        assert status(model) == (1, 0, 0)
        model.write(at("IN_DATA"), word)
    assert model.read(at("FIFO")) == FIFO_WORDS | FIFO_WORDS << 8
    for _ in range(10):
        assert status(model) == (1, 0, 0)
    assert [model.read(at("OUT_DATA")) for _ in words] == words
    assert status(model) == (0, 1, 0)
    assert model.read(at("OUT_DATA")) == 0
    lanes = np.array(words, "<u4").view(np.int8).reshape(-1, TINY.lanes)
    result = Iss(TINY).run([encode(i, TINY) for i in ECHO], lanes)
    assert pack_elements(result.outputs, TINY).view("<u4").reshape(-1).tolist() == words
    assert model.read(at("CYCLES")) == result.cycles


def test_a_full_fifo_refuses():
    model = Peripheral(TINY)
    for word in range(FIFO_WORDS):
        model.write(at("IN_DATA"), word)
    with pytest.raises(BusError, match="IN_DATA: the FIFO is full"):
        model.write(at("IN_DATA"), 0)


def test_misuse_is_named():
    model = loaded(ECHO)
    model.write(at("CTRL"), 1)
    with pytest.raises(BusError, match="MODE: changed while a program runs"):
        model.write(at("MODE"), 0)
    with pytest.raises(BusError, match="CTRL: 0x8 has unknown bits"):
        model.write(at("CTRL"), 8)
    model.write(at("DMA_IN_ADDR"), 2)
    with pytest.raises(BusError, match="DMA_IN_ADDR: 0x2 is not a multiple of 4"):
        model.write(at("DMA_START"), INPUT)
    model.write(at("DMA_IN_ADDR"), 0)
    with pytest.raises(BusError, match="DMA_START: program beside input"):
        model.write(at("DMA_START"), INPUT | PROGRAM)


def test_an_error_of_the_program_and_its_interrupt():
    model = loaded([make(Op.NOP), make(Op.RECV, words=0)])
    model.write(at("IRQ_ENABLE"), 1)
    assert not model.irq
    model.write(at("CTRL"), 1)
    while not model.irq:
        model.tick()
    assert status(model) == (0, 0, 1)
    assert (model.read(at("ERROR")), model.read(at("ERROR_PC"))) == (Error.FIELD, 1)
    model.write(at("CTRL"), 2)
    assert status(model) == (0, 0, 0) and not model.irq


def test_dma_there_and_back():
    memory = bytearray(np.arange(200, dtype="<u4").tobytes())
    model = Peripheral(TINY, memory, base=0x100, seed=1)
    memory[: 4 * len(program_words(ECHO))] = np.array(program_words(ECHO), "<u4").tobytes()
    model.write(at("MODE"), 3)
    model.write(at("DMA_IN_ADDR"), 0x100)
    model.write(at("DMA_IN_WORDS"), len(program_words(ECHO)))
    model.write(at("DMA_START"), PROGRAM)
    while model.read(at("DMA_BUSY")):
        pass
    model.write(at("DMA_IN_ADDR"), 0x100 + 4 * 100)
    model.write(at("DMA_IN_WORDS"), 80)
    model.write(at("DMA_OUT_ADDR"), 0x100)
    model.write(at("DMA_OUT_WORDS"), 80)
    model.write(at("CTRL"), 1)
    model.write(at("DMA_START"), INPUT | OUTPUT)
    while status(model) != (0, 1, 0) or model.read(at("DMA_OUT_COUNT")) < 80:
        assert model.read(at("FIFO")) >> 8 == 0
    assert model.read(at("DMA_BUSY")) == OUTPUT
    model.write(at("DMA_STOP"), OUTPUT)
    assert model.read(at("DMA_BUSY")) == 0
    assert memory[: 4 * 80] == memory[400 : 400 + 4 * 80]


@pytest.mark.parametrize(
    ("where", "room", "fault"),
    [(0x1000, 80, Fault.WRITE), (0x100, 79, Fault.FULL), (0x100, 0, Fault.FULL)],
)
def test_faults_of_output_stop_everything(where, room, fault):
    model = loaded(ECHO, memory=bytearray(800), base=0x100, pace=64)
    model.write(at("DMA_IN_ADDR"), 0x100)
    model.write(at("DMA_IN_WORDS"), 80)
    model.write(at("DMA_OUT_ADDR"), where)
    model.write(at("DMA_OUT_WORDS"), room)
    model.write(at("CTRL"), 1)
    model.write(at("DMA_START"), INPUT | OUTPUT)
    for _ in range(50):
        model.tick()
    assert status(model) == (0, 0, 1)
    assert model.read(at("FAULT")) == fault and model.read(at("ERROR")) == Error.NONE
    assert model.read(at("DMA_BUSY")) == 0
    model.write(at("CTRL"), 4)
    assert model.read(at("FAULT")) == 0 and status(model) == (0, 0, 0)


def test_a_read_fault():
    model = loaded(ECHO, memory=bytearray(40))
    model.write(at("DMA_IN_WORDS"), 11)
    model.write(at("DMA_START"), INPUT)
    for _ in range(5):
        model.tick()
    assert model.read(at("FAULT")) == Fault.READ


def test_a_soft_reset_keeps_program_and_memories():
    load = [make(Op.RECV, words=1), make(Op.HALT)]
    model = loaded(load, pace=100)
    model.write(at("CTRL"), 1)
    model.write(at("IN_DATA"), 5)
    model.write(at("CTRL"), 4)
    assert status(model) == (0, 0, 0) and model.read(at("FIFO")) == FIFO_WORDS
    model.write(at("CTRL"), 1)
    for word in (7, 8):
        model.write(at("IN_DATA"), word)
    assert status(model) == (0, 1, 0)
    assert model.core.iss.buffer[0].view("<u4").tolist() == [7, 8]


def test_field_bits():
    assert field_bits(ON_BUS["CAP_BEAT"], words=3, fifo=2) == 0x203
    with pytest.raises(ValueError, match=r"CAP_BEAT\.words: 256 does not fit 8 bits"):
        field_bits(ON_BUS["CAP_BEAT"], words=256)
    with pytest.raises(ValueError, match="CAP_BEAT: unknown field depth"):
        field_bits(ON_BUS["CAP_BEAT"], depth=1)
