"""The driver against the model of its registers: results, codes, and recovery after each."""

import ctypes
from ctypes import byref, c_uint32

import numpy as np
import pytest

from firmware.image import Image, parse
from mapper.program import pack_elements
from rtl.spec.image import HEADER
from rtl.spec.isa import Error, Op, encode, make, width
from rtl.spec.params import ISA_VERSION, ConfigError, Params
from rtl.spec.regmap import MAGIC, ON_BUS, Fault
from sim.iss import Iss
from sim.peripheral import FIFO_WORDS, field_bits
from sim.random_program import random_program
from tests.firmware import driver
from tests.firmware.conftest import layer
from tests.firmware.driver import COPY, DMA, INTERRUPT, Bench, Code, Counters, Opened, Run

HOW = {"copy": COPY, "dma": DMA, "copy-irq": COPY | INTERRUPT, "dma-irq": DMA | INTERRUPT}
hows = pytest.mark.parametrize("how", HOW.values(), ids=HOW)
ways = pytest.mark.parametrize("how", [COPY, DMA], ids=["copy", "dma"])
WORDS = {name: at for at, (name, _) in enumerate(HEADER)}


def booted(bench: Bench, image: Image, how: int = DMA):
    opened = bench.open(image)
    assert bench("boot", opened, how) == Code.OK
    return opened


def run(bench: Bench, opened, image: Image, how: int, words=None) -> np.ndarray:
    """Run the image's program, on `words` or on its own input; the output."""
    output = bench.place(np.zeros(len(image.output)))
    given = None if words is None else bench.place(words)
    assert bench("run_image", opened, given, output, len(output), how) == Code.OK
    return np.array(output)


def recovers(bench: Bench, opened, image: Image, how: int = COPY) -> None:
    """The next run is right, without a reset by the caller."""
    assert (run(bench, opened, image, how) == image.output).all()
    assert (bench.core.error, bench.core.error_pc, bench.core.fault) == (0, 0, 0)


def job(bench: Bench, image: Image, **changes) -> Run:
    """The program of an image as a run of the caller's own."""
    values = {"input": bench.place(image.input), "input_words": len(image.input)}
    values |= {"output": bench.place(np.zeros(len(image.output)))}
    values |= {"output_words": len(image.output), "length": image.length} | changes
    pointers = {
        n: ctypes.cast(v, driver.Words) for n, v in values.items() if n in ("input", "output")
    }
    return Run(**(values | pointers))


def gives_up(bench: Bench, name: str, *arguments) -> Code:
    """Call a function that will not end, with a short time-out."""
    bench.core.polls = driver.FEW
    code = finish(bench, *arguments) if name == "finish" else bench(name, *arguments)
    bench.core.polls = driver.POLLS
    return code


def finish(bench: Bench, run: Run, how: int) -> Code:
    code = bench("start", byref(run), how)
    return bench("wait") if code == Code.OK else code


# -- it works ----------------------------------------------------------------------------------------


def test_structures_are_those_of_c(library):
    sizes = (ctypes.c_uint * len(driver.STRUCTURES)).in_dll(library, "blockcim_sizes")
    assert list(sizes) == [ctypes.sizeof(s) for s in driver.STRUCTURES]


@pytest.mark.parametrize("config", ["tiny", "small", "gpt2-medium"])
def test_probe_reads_what_the_hardware_is(bench, config):
    p = Params.load(config)
    b = bench(p)
    assert b("probe") == Code.OK
    found = {name: getattr(b.core.has, name) for name, _ in driver.Capabilities._fields_}
    assert found.pop("beat_words") == p.stream_bits // 32
    assert found.pop("fifo_words") == FIFO_WORDS
    assert found == {name: getattr(p, name) for name in found}


@hows
@pytest.mark.parametrize("pace", [1, 5])
def test_an_image_gives_its_output_and_cycles(bench, packed, how, pace):
    params, image = packed
    b = bench(params, pace=pace, seed=pace)
    opened = booted(b, image, how)
    assert (run(b, opened, image, how) == image.output).all()
    counters = Counters()
    b("read_counters", byref(counters))
    assert counters.cycles == image.cycles
    assert counters.issued and counters.pass_tiles >= counters.busy_pass
    assert bool(counters.busy_pass) == bool(params.busy_counters)
    assert bool(b.sleeps) == bool(b.woken) == bool(how & INTERRUPT)
    assert b.register("IRQ_ENABLE") == 0


#: Random layers: beats of 1 to 5 words, 1 to 4 a stream word, 4 and 8 bits, weights that end within a stream word.
@pytest.mark.parametrize("seed", [3006, 3010, 3025, 3031, 3047, 3059])
def test_random_configurations(bench, seed):
    params, image = layer(seed)
    b = bench(params, pace=20, seed=seed)
    opened = booted(b, image, COPY if seed % 2 else DMA)
    for how in (COPY, DMA):
        assert (run(b, opened, image, how) == image.output).all()


@hows
def test_other_input_other_output(bench, packed, how):
    params, image = packed
    b = bench(params)
    opened = booted(b, image)
    assert (run(b, opened, image, how) == image.output).all()
    other = run(b, opened, image, how, image.input ^ 0x01010101)
    again = run(b, opened, image, COPY, image.input ^ 0x01010101)
    assert (other == again).all() and (other != image.output).any()
    recovers(b, opened, image, how)


def random_job(params: Params, seed: int, illegal: bool = False):
    """Words of a random program, its input and output in 32-bit words, what the ISS says, LEN."""
    program = random_program(params, seed, illegal=illegal)
    result = Iss(params).run(program.words, program.inputs, length=program.length)
    parts = width(params) // 32
    words = [word >> 32 * k & 0xFFFFFFFF for word in program.words for k in range(parts)]
    data = [
        pack_elements(x, params).view("<u4").reshape(-1) for x in (program.inputs, result.outputs)
    ]
    return words, *data, result, program.length


@ways
@pytest.mark.parametrize("seed", range(3))
def test_random_programs_without_an_image(bench, how, seed):
    params = Params.load("tiny").replace(act_depth=64, const_depth=64, stream_width=32)
    words, given, expected, result, length = random_job(params, seed)
    b = bench(params, pace=40, seed=seed)
    assert b("probe") == Code.OK
    assert b("load", b.place(words), len(words), how) == Code.OK
    output = b.place(np.zeros(len(expected)))
    r = Run(
        ctypes.cast(b.place(given), driver.Words),
        len(given),
        ctypes.cast(output, driver.Words),
        len(output),
        length,
    )
    assert finish(b, r, how) == Code.OK
    assert (np.array(output) == expected).all()
    assert b.register("CYCLES") == result.cycles


def test_polls_that_move_words_do_not_count(bench, one):
    params, image = one
    b = bench(params, pace=4)
    opened = b.open(image)
    b.core.polls = 2
    assert b("boot", opened, COPY) == Code.OK
    assert len(image.boot_input) > 2 * 2 * FIFO_WORDS  # more than the FIFO takes in so many polls


@ways
def test_poll_says_when_it_is_over(bench, one, how):
    params, image = one
    b = bench(params, pace=2)
    booted(b, image)
    r = job(b, image)
    assert b("start", byref(r), how) == Code.OK
    codes = []
    while not codes or codes[-1] == Code.PENDING:
        codes.append(b("poll"))
    assert codes[-1] == Code.OK and codes[0] == Code.PENDING


def test_interrupts_without_a_platform_that_sleeps_are_polled(bench, one):
    params, image = one
    b = bench(params)
    b.platform.wait_for_interrupt = driver.SLEEP()
    opened = booted(b, image)
    recovers(b, opened, image, DMA | INTERRUPT)


def test_registers_through_the_base_pointer(tmp_path, library):
    direct = driver.build(tmp_path, external=False)
    words = (c_uint32 * 64)()
    core = driver.Core(registers=ctypes.cast(words, driver.Words), polls=3)
    assert direct.blockcim_probe(byref(core)) == Code.NO_CORE
    words[ON_BUS["ID"].address] = MAGIC
    words[ON_BUS["VERSION"].address] = field_bits(ON_BUS["VERSION"], isa=ISA_VERSION, peripheral=1)
    words[ON_BUS["CAP_ARRAY"].address] = 16 | 24 << 16
    assert direct.blockcim_probe(byref(core)) == Code.OK
    assert (core.has.rows, core.has.cols) == (16, 24)
    program = (c_uint32 * 2)(5, 7)
    assert direct.blockcim_load(byref(core), program, 2, COPY) == Code.OK
    assert words[ON_BUS["PROG_DATA"].address] == 7


def test_without_a_platform_addresses_are_those_of_the_cpu(bench, one):
    params, image = one
    b = bench(params)
    b.core.platform = None
    words = b.place([1] * 4)
    b.model.base = ctypes.addressof(b.memory) & 0xFFFFFFFF
    assert b("load", words, 4, DMA) == Code.OK
    assert b.register("DMA_IN_ADDR") == ctypes.addressof(words) & 0xFFFFFFFF
    b.model.hang = True
    assert gives_up(b, "finish", job(b, image), DMA | INTERRUPT) == Code.TIMEOUT


def test_only_what_was_booted_runs(bench, one):
    params, image = one
    b = bench(params)
    opened, other = booted(b, image), b.open(image)
    output = b.place(image.output)
    for wrong in (None, other):
        arguments = (wrong, None, output, len(output), COPY)
        assert b("run_image", *arguments) == Code.BAD_ARGUMENT
    assert b("load", output, 4, COPY) == Code.OK
    assert b("run_image", opened, None, output, len(output), COPY) == Code.BAD_ARGUMENT
    recovers(b, booted(b, image), image)


# -- hardware and images that it refuses -------------------------------------------------------------


@pytest.mark.parametrize(
    ("register", "value", "code"),
    [
        ("ID", 0, Code.NO_CORE),
        ("ID", 0xFFFFFFFF, Code.NO_CORE),
        (
            "VERSION",
            field_bits(ON_BUS["VERSION"], isa=ISA_VERSION + 1, peripheral=1),
            Code.BAD_VERSION,
        ),
        ("VERSION", field_bits(ON_BUS["VERSION"], isa=ISA_VERSION, peripheral=2), Code.BAD_VERSION),
    ],
)
def test_probe_refuses(bench, register, value, code):
    b = bench(Params.load("tiny"))
    b.model.values[register] = value
    assert b("probe") == code


def test_another_configuration_is_refused(bench, one):
    params, image = one
    b = bench(params)
    b.model.values["CONFIG_HASH"] ^= 1
    opened = b.open(image)
    assert b("boot", opened, DMA) == Code.BAD_CONFIG
    assert b("run_image", opened, None, None, 0, DMA) == Code.BAD_ARGUMENT
    b.model.values["CONFIG_HASH"] ^= 1
    opened = booted(b, image)
    other = b.open(Image(**(vars(image) | {"config_hash": image.config_hash ^ 1})))
    assert b("boot", other, DMA) == Code.BAD_CONFIG
    recovers(b, opened, image)  # what was booted before is still in place


def test_without_a_probe_nothing_is_accepted(bench, one):
    params, image = one
    b = bench(params)
    opened = b.open(image)
    b.core.has = driver.Capabilities(config_hash=image.config_hash)
    assert b("boot", opened, COPY) == Code.BAD_CONFIG


def open_words(library, words, available=None) -> Code:
    array = (c_uint32 * max(1, len(words)))(*[int(w) for w in words])
    return library.blockcim_image_open(
        Opened(), array, len(words) if available is None else available
    )


def test_no_memory(library):
    assert library.blockcim_image_open(Opened(), None, 100) == Code.BAD_ARGUMENT


@pytest.mark.parametrize(
    ("word", "value", "code"),
    [
        ("magic", lambda v: v ^ 1, Code.IMAGE_NO_MAGIC),
        ("version", lambda v: v + 1, Code.IMAGE_BAD_VERSION),
        ("words", lambda v: v + 1, Code.IMAGE_TRUNCATED),
        ("words", lambda v: v - 1, Code.IMAGE_BAD_SIZE),
        ("words", lambda v: 3, Code.IMAGE_BAD_SIZE),
        ("sum", lambda v: v ^ 0x100, Code.IMAGE_BAD_SUM),
        ("boot", lambda v: v - 1, Code.IMAGE_BAD_SIZE),
        ("boot_input", lambda v: 0xFFFFFFFF, Code.IMAGE_BAD_SIZE),
        ("output", lambda v: v + 1, Code.IMAGE_BAD_SIZE),
        ("output", lambda v: v - 1, Code.IMAGE_BAD_SIZE),
        ("instruction", lambda v: 0, Code.IMAGE_BAD_SIZE),
        ("instruction", lambda v: v + 1, Code.IMAGE_BAD_SIZE),
    ],
)
def test_wrong_headers(library, one, word, value, code):
    words = one[1].words()
    words[WORDS[word]] = value(int(words[WORDS[word]]))
    assert open_words(library, words) == code


def test_a_program_of_broken_instructions(library, one):
    words = one[1].words()
    size = one[1].instruction
    words[WORDS["boot"]] += size  # whole, and the program is not
    words[WORDS["program"]] -= 1
    words[WORDS["input"]] -= size - 1
    assert open_words(library, words) == Code.IMAGE_BAD_SIZE


def test_lengths_that_add_up_only_modulo_the_word(library, one):
    words = one[1].words()
    for section in ("input", "output"):
        words[WORDS[section]] ^= 1 << 31
    assert open_words(library, words) == Code.IMAGE_BAD_SIZE
    words = one[1].words()
    words[WORDS["input"]] += words[WORDS["output"]] + 1  # one word beyond the end
    words[WORDS["output"]] = 0xFFFFFFFF
    assert open_words(library, words) == Code.IMAGE_BAD_SIZE


def test_every_truncation_is_refused(library, one):
    words = one[1].words()
    assert open_words(library, words) == Code.OK
    for available in [*range(len(HEADER) + 2), len(words) // 2, len(words) - 1]:
        assert open_words(library, words, available) == Code.IMAGE_TRUNCATED, available


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_is_refused_as_python_refuses_it(library, one, seed):
    rng = np.random.default_rng(seed)
    words = one[1].words()
    at = rng.integers(len(HEADER) if seed % 2 else len(words))
    words[at] ^= np.uint32(1 << rng.integers(32))
    try:
        parse(words.astype("<u4").tobytes())
        good = True
    except ConfigError:
        good = False
    assert (open_words(library, words) == Code.OK) == good
    # What the sum does not cover, the configuration does, or it is no more than a value.
    names = ("config_hash", "length", "cycles")
    assert not good or at in [WORDS[name] for name in names]


@pytest.mark.parametrize("section", ["boot_input", "input", "output"])
def test_streams_of_broken_beats(bench, packed, section):
    params, image = packed
    b = bench(params)
    opened = b.open(image)
    b.core.has.beat_words = 2
    span = getattr(opened, section)
    span.count |= 1
    assert b("boot", opened, COPY) == Code.IMAGE_BAD_SIZE


@pytest.mark.parametrize("section", ["boot", "program"])
def test_a_program_that_does_not_fit(bench, one, section):
    params, image = one
    b = bench(params)
    opened = b.open(image)
    getattr(opened, section).count = (params.prog_depth + 1) * image.instruction
    assert b("boot", opened, DMA) == Code.PROGRAM_TOO_LONG
    assert b("boot", b.open(image), DMA) == Code.OK


def test_an_image_without_a_boot_program(bench, one):
    params, image = one
    b = bench(params)
    booted(b, image)
    empty = np.zeros(0, np.uint32)
    opened = booted(b, Image(**(vars(image) | {"boot": empty, "boot_input": empty})))
    recovers(b, opened, image)


# -- arguments ---------------------------------------------------------------------------------------


def test_null_pointers(bench, one):
    params, image = one
    b = bench(params)
    opened = booted(b, image)
    null = ctypes.cast(None, driver.Words)
    for how in (COPY, DMA):
        assert b("load", None, 4, how) == Code.BAD_ARGUMENT
        assert b("load", b.place([1]), 0, how) == Code.BAD_ARGUMENT
        for name in ("input", "output"):
            assert finish(b, job(b, image, **{name: null}), how) == Code.BAD_ARGUMENT
    assert b("run_image", opened, None, None, len(image.output), COPY) == Code.BAD_ARGUMENT
    recovers(b, opened, image)


@pytest.mark.parametrize("odd", [0, 2], ids=["far", "odd"])
def test_memory_that_dma_does_not_reach(bench, one, odd):
    params, image = one
    b = bench(params)
    opened = booted(b, image)
    far = (c_uint32 * 4)() if not odd else ctypes.c_void_p(ctypes.addressof(b.memory) + odd)
    words = ctypes.cast(far, driver.Words)
    assert b("load", words, 4, DMA) == Code.BAD_ARGUMENT
    for name in ("input", "output"):
        assert finish(b, job(b, image, **{name: words}), DMA) == Code.BAD_ARGUMENT
    recovers(b, opened, image, DMA)


@ways
def test_a_core_that_runs_is_left_alone(bench, one, how):
    params, image = one
    b = bench(params)
    opened = booted(b, image)
    b.model.hang = True
    r = job(b, image)
    assert b("start", byref(r), how) == Code.OK
    assert b("start", byref(r), how) == Code.BUSY
    assert b("load", b.place([1] * 8), 8, how) == Code.BUSY
    assert b("run_image", opened, None, r.output, len(image.output), how) == Code.BUSY
    b.model.hang = False
    assert b("wait") == Code.OK
    recovers(b, opened, image)


# -- failures, and what follows them -----------------------------------------------------------------


@ways
@pytest.mark.parametrize("seed", [0, 2, 4])
def test_an_error_of_the_program(bench, how, seed):
    params = Params.load("tiny").replace(act_depth=64, const_depth=64)
    words, given, expected, result, length = random_job(params, seed, illegal=True)
    b = bench(params, pace=64)
    assert b("probe") == Code.OK
    assert b("load", b.place(words), len(words), how) == Code.OK
    r = Run(
        ctypes.cast(b.place(given), driver.Words),
        len(given),
        ctypes.cast(b.place(np.zeros(len(expected) + 1)), driver.Words),
        len(expected) + 1,
        length,
    )
    assert result.error != Error.NONE
    assert finish(b, r, how) == Code.CORE_ERROR
    assert (b.core.error, b.core.error_pc, b.core.fault) == (result.error, result.pc, 0)
    halt = [encode(make(Op.HALT), params), *[0] * (width(params) // 32 - 1)]
    assert b("load", b.place(halt), len(halt), how) == Code.OK
    assert finish(b, Run(), how) == Code.OK
    assert b.core.error == 0


def test_a_boot_program_that_fails(bench, one):
    params, image = one
    b = bench(params)
    bad = Image(**(vars(image) | {"boot": image.boot | np.uint32(31)}))
    assert b("boot", b.open(bad), DMA) == Code.CORE_ERROR
    assert b.core.error == Error.OPCODE
    recovers(b, booted(b, image), image)


@ways
def test_a_core_that_never_answers(bench, one, how):
    params, image = one
    b = bench(params)
    opened = booted(b, image)
    b.model.hang = True
    for extra in (0, INTERRUPT):
        assert gives_up(b, "finish", job(b, image), how | extra) == Code.TIMEOUT
        assert b.register("STATUS") == b.register("DMA_BUSY") == 0
    b.model.hang = False
    recovers(b, opened, image, how)


def test_a_boot_that_never_ends(bench, one):
    params, image = one
    b = bench(params)
    opened = b.open(image)
    b.model.memory_hang = True
    assert gives_up(b, "boot", opened, DMA) == Code.TIMEOUT
    words = b.place(image.program)
    assert gives_up(b, "load", words, len(words), DMA) == Code.TIMEOUT
    b.model.memory_hang = False
    recovers(b, booted(b, image), image)


def test_memory_that_never_answers(bench, one):
    params, image = one
    b = bench(params)
    opened = booted(b, image)
    b.model.memory_hang = True
    assert gives_up(b, "finish", job(b, image), DMA) == Code.TIMEOUT
    b.model.memory_hang = False
    recovers(b, opened, image, DMA)


@pytest.mark.parametrize("register", ["STATUS", "DMA_BUSY"])
def test_hardware_that_does_not_stop(bench, one, register):
    params, image = one
    b = bench(params)
    opened = booted(b, image)
    b.model.values[register] = 1
    assert gives_up(b, "reset") == Code.TIMEOUT
    del b.model.values[register]
    assert b("reset") == Code.OK
    recovers(b, opened, image)


@ways
def test_too_little_input(bench, one, how):
    params, image = one
    b = bench(params)
    opened = booted(b, image)
    assert (
        gives_up(b, "finish", job(b, image, input_words=len(image.input) - 1), how) == Code.TIMEOUT
    )
    recovers(b, opened, image, how)


@ways
@pytest.mark.parametrize("more", [1, 3 * FIFO_WORDS])
def test_too_much_input(bench, one, how, more):
    params, image = one
    b = bench(params)
    opened = booted(b, image)
    words = b.place(np.concatenate([image.input, np.ones(more)]))
    assert finish(b, job(b, image, input=words, input_words=len(words)), how) == Code.INPUT_LEFT
    recovers(b, opened, image, how)


@ways
@pytest.mark.parametrize("pace", [2, 64])
@pytest.mark.parametrize("seed", [2009, 3006])
def test_a_result_buffer_that_is_too_small(bench, how, pace, seed):
    """The output of 3006 does not fit the FIFO: the core waits for somebody to take it."""
    params, image = layer(seed)
    assert (len(image.output) > FIFO_WORDS) == (seed == 3006)
    b = bench(params, pace=pace)
    opened = booted(b, image)
    for words in (0, len(image.output) - 1):
        output = b.place(np.full(len(image.output), 77))
        code = finish(b, job(b, image, output=output, output_words=words), how)
        assert code == Code.RESULT_TOO_SMALL
        assert (np.array(output)[words:] == 77).all()
        assert (np.array(output)[:words] == image.output[:words]).all()
        assert b.core.fault in ((Fault.NONE, Fault.FULL) if how == DMA else (Fault.NONE,))
    output, room = b.place(np.full(len(image.output), 77)), len(image.output) - 1
    assert b("run_image", opened, None, output, room, how) == Code.RESULT_TOO_SMALL
    assert (np.array(output) == 77).all()  # it did not even start
    recovers(b, opened, image, how)


@hows
def test_less_output_than_expected(bench, one, how):
    params, image = one
    b = bench(params)
    opened = booted(b, image)
    output = b.place(np.zeros(len(image.output) + 2))
    r = job(b, image, output=output, output_words=len(output))
    assert gives_up(b, "finish", r, how) == Code.RESULT_SHORT
    assert (np.array(output)[:-2] == image.output).all()
    recovers(b, opened, image, how)


def test_bus_errors_of_dma(bench, one):
    params, image = one
    b = bench(params, pace=64)
    assert b("probe") == Code.OK
    end = len(b.memory) - 2
    last = ctypes.cast((c_uint32 * 2).from_buffer(b.memory, 4 * end), driver.Words)
    assert b("load", last, 5, DMA) == Code.FAULT
    assert b.core.fault == Fault.READ
    opened = booted(b, image)
    assert finish(b, job(b, image, input=last), DMA) == Code.FAULT
    assert (b.core.fault, b.core.error) == (Fault.READ, Error.NONE)
    recovers(b, opened, image, DMA)
    assert finish(b, job(b, image, output=last), DMA) == Code.FAULT
    assert b.core.fault == Fault.WRITE
    recovers(b, opened, image, DMA)


@ways
def test_an_error_that_was_there_before(bench, one, how):
    """Of a program that somebody else ran: it is neither this load's nor this run's."""
    params, image = one
    b = bench(params)
    b.model.error, b.model.error_pc = Error.TILE, 7
    assert b.register("STATUS") == 4
    opened = booted(b, image, how)
    recovers(b, opened, image, how)


def test_the_length_is_the_images(bench, one):
    params, image = one
    b = bench(params)
    opened = booted(b, Image(**(vars(image) | {"length": 5})))
    recovers(b, opened, image)
    assert b.register("LEN") == 5


def test_every_run_sleeps_anew(bench, one):
    params, image = one
    b = bench(params, pace=1)
    opened = booted(b, image)
    for woken in (1, 2):
        recovers(b, opened, image, DMA | INTERRUPT)
        assert b.woken == woken


def test_an_interrupt_that_comes_early(bench, one):
    """The handler lowers the line once; after that the driver does not sleep any more."""
    params, image = one
    b = bench(params, pace=1)
    booted(b, image)
    r = job(b, image)
    assert b("start", byref(r), DMA | INTERRUPT) == Code.OK
    b("interrupt")
    assert b.core.interrupted == 1
    assert b("wait") == Code.OK
    assert b.sleeps == 0
