"""docs/programming.md: its code is that of firmware/examples/guide.c, which compiles and runs."""

import ctypes
import importlib.util
import re
import subprocess
from ctypes import POINTER, byref, c_uint32

import numpy as np
import pytest

from firmware import toolchain
from rtl.spec.isa import Error
from tests.firmware import driver
from tests.firmware.driver import COPY, DMA, Bench, Code, Run, Words
from tests.firmware.test_driver import booted, job

GUIDE = (driver.ROOT / "docs/programming.md").read_text()
SOURCE = driver.ROOT / "firmware/examples/guide.c"
SNIPPETS = dict(
    re.findall(r"/\* snippet: (\w+) \*/\n(.*?)/\* end \*/", SOURCE.read_text(), re.DOTALL)
)
QUOTED = dict(
    re.findall(r"<!-- firmware/examples/guide\.c: (\w+) -->\n```c\n(.*?)```", GUIDE, re.DOTALL)
)
#: What the guide takes from the system, here by a function that Python sets.
SYSTEM = """
#include "guide.h"
static int disabled;
void (*guide_sleep)(void);
void disable_interrupts(void) { disabled++; }
void wait_for_any_interrupt(void) { if (disabled == 1) guide_sleep(); }
void enable_interrupts(void) { disabled--; }
"""


def test_the_guide_quotes_the_code():
    assert GUIDE.count("```c\n") == len(QUOTED) == len(SNIPPETS)
    assert QUOTED == SNIPPETS


def test_the_guide_names_every_code():
    named = set(re.findall(r"`BLOCKCIM_(\w+)`", GUIDE))
    assert {code.name for code in Code} - {"OK", "PENDING"} <= named
    assert named <= {code.name for code in Code} | {"COPY", "DMA", "INTERRUPT"}


def test_codes_are_those_of_the_header():
    text = (driver.ROOT / "firmware/blockcim_driver.h").read_text()
    block = re.search(r"enum blockcim_code \{(.*?)\};", text, re.DOTALL)
    assert block
    assert re.findall(r"^    BLOCKCIM_(\w+)", block[1], re.MULTILINE) == [c.name for c in Code]


def test_the_guide_names_files_that_are_there():
    for name in re.findall(r"`((?:firmware|rtl|sim|tests)/[\w/.]+)`", GUIDE):
        assert (driver.ROOT / name).exists(), name


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="pip install ziglang")
def test_the_code_compiles_for_riscv(tmp_path):
    flags = [*toolchain.WARNINGS, *toolchain.FREESTANDING, "-c", str(SOURCE)]
    toolchain.compile_([*toolchain.riscv(), *flags, "-o", str(tmp_path / "guide.o")], "guide")


@pytest.fixture(scope="module")
def guide(tmp_path_factory):
    where = tmp_path_factory.mktemp("guide")
    system, glue, library = where / "system.c", where / "glue.c", where / "guide.so"
    system.write_text(SYSTEM)
    glue.write_text(driver.GLUE)
    flags = [*driver.UNDEFINED.split(), *driver.WARNINGS, "-shared", "-fPIC"]
    flags += ["-DBLOCKCIM_EXTERNAL_ACCESS", f"-I{SOURCE.parent}", "-o", str(library)]
    files = [str(path) for path in (driver.SOURCE, SOURCE, system, glue)]
    subprocess.run(["cc", *flags, *files], check=True)
    loaded = driver.declare(ctypes.CDLL(str(library)))
    core, run = POINTER(driver.Core), POINTER(Run)
    loaded.infer.argtypes = (Words, Words, c_uint32, Words, c_uint32)
    loaded.overlap.argtypes = (core, run, ctypes.CFUNCTYPE(None))
    loaded.sleeping.argtypes = (core, run)
    loaded.patient.argtypes = (core, POINTER(driver.Opened), Words, c_uint32)
    for function in (loaded.infer, loaded.overlap, loaded.sleeping, loaded.patient):
        function.restype = Code
    return loaded


@pytest.fixture
def bench(guide, one):
    """A bench for the guide, its memory at the same address for CPU and DMA."""
    made = Bench(guide, one[0])
    made.model.base = ctypes.addressof(made.memory) & 0xFFFFFFFF
    made.core.platform = None
    made.hook()
    yield made
    made.check()


def test_from_boot_to_result(guide, bench, one):
    image = one[1]
    words, output = bench.place(image.words()), bench.place(np.zeros(len(image.output)))
    assert guide.infer(None, words, len(words), output, len(output)) == Code.OK
    assert (np.array(output) == image.output).all()
    assert guide.infer(None, words, len(words) - 1, output, 0) == Code.IMAGE_TRUNCATED


def test_overlap(guide, bench, one):
    image = one[1]
    booted(bench, image)
    calls = []
    run = job(bench, image)
    code = guide.overlap(
        byref(bench.core), byref(run), ctypes.CFUNCTYPE(None)(lambda: calls.append(1))
    )
    assert code == Code.OK and len(calls) > 1
    assert list(run.output[: len(image.output)]) == image.output.tolist()
    assert 0 < guide.percent_busy(byref(bench.core)) <= 100


def test_sleeping(guide, bench, one):
    image = one[1]
    booted(bench, image, COPY)
    slept = ctypes.CFUNCTYPE(None)(bench.sleep)
    ctypes.c_void_p.in_dll(guide, "guide_sleep").value = ctypes.cast(slept, ctypes.c_void_p).value
    run = job(bench, image)
    assert guide.sleeping(byref(bench.core), byref(run)) == Code.OK
    assert list(run.output[: len(image.output)]) == image.output.tolist()
    assert bench.sleeps == 1


def test_patience(guide, bench, one):
    image = one[1]
    opened = booted(bench, image, DMA)
    output = bench.place(np.zeros(len(image.output)))

    def patient(room: int = len(output)) -> Code:
        return guide.patient(byref(bench.core), opened, output, room)

    assert patient() == Code.OK
    assert patient(0) == Code.RESULT_TOO_SMALL
    bench.core.polls = driver.FEW
    bench.model.hang = True
    assert patient() == Code.TIMEOUT
    bench.model.values["STATUS"] = 1
    assert patient() == Code.TIMEOUT
    del bench.model.values["STATUS"]
    bench.model.hang = False
    bench.core.polls = driver.POLLS
    bench.model.core.program[0] |= 31
    assert patient() == Code.OK
    assert bench.core.error == Error.NONE
