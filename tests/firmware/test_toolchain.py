"""Builds: the size of the driver, what it needs, and the demo on an emulated CPU."""

import importlib.util
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from firmware import elf, toolchain
from firmware.cli import CODE_LIMIT
from firmware.image import Image
from rtl.spec.params import ConfigError
from rtl.spec.soc import Memory

needs_zig = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason="pip install ziglang"
)
needs_unicorn = pytest.mark.skipif(
    importlib.util.find_spec("unicorn") is None, reason="pip install unicorn"
)
MEMORY = Memory()


@pytest.fixture(scope="module")
def demo():
    return toolchain.demo(MEMORY)


@needs_zig
def test_the_driver_is_small():
    sizes = toolchain.driver_sizes()
    assert 1000 < sizes.text <= CODE_LIMIT
    assert (sizes.rodata, sizes.data) == (0, 0)


@pytest.mark.skipif(shutil.which("nm") is None, reason="apt-get install binutils")
def test_the_driver_needs_no_library(tmp_path):
    """Compilers may call these four wherever they like; the driver calls nothing."""
    flags = (*toolchain.FREESTANDING, "-O2")
    path = tmp_path / "driver.o"
    path.write_bytes(toolchain.driver_object(toolchain.host(), flags))
    listing = subprocess.run(["nm", "-u", path], check=True, capture_output=True, text=True)
    names = set(re.findall(r"U (\w+)", listing.stdout))
    assert names <= {"memcpy", "memset", "memmove", "memcmp", "_GLOBAL_OFFSET_TABLE_"}


def test_headers_are_those_of_c_alone():
    text = (toolchain.ROOT / "blockcim_driver.c").read_text()
    text += (toolchain.ROOT / "blockcim_driver.h").read_text()
    freestanding = {"stdatomic.h", "stdbool.h", "stddef.h", "stdint.h"}
    assert set(re.findall(r"#include <(.*)>", text)) <= freestanding


@needs_zig
@needs_unicorn
def test_the_demo_runs_on_an_emulated_cpu(packed, demo):
    from tests.firmware.machine import Machine

    params, image = packed
    machine = Machine(params, toolchain.ram(demo, image.to_bytes(), MEMORY), MEMORY)
    lines = machine.run().splitlines()
    words, out = len(image.words()), len(image.output)
    p = params
    assert lines[0] == (
        f"blockcim 0x{image.config_hash:08x}: {p.tiles} arrays of {p.rows}x{p.cols}, "
        f"{p.lanes} lanes, image of {words} words"
    )
    for name, part in (("cpu-copy", lines[1:4]), ("dma", lines[4:7])):
        assert re.fullmatch(rf"{name}: boot \d+ cycles", part[0])
        counts = f"{name}: 0 mismatches of {out}, \\d+ cycles, core busy {image.cycles}"
        assert re.fullmatch(rf"{counts}, alone {image.cycles}", part[1])
        assert re.fullmatch(rf"{name}:( \w+ \d+){{7}}", part[2])
    assert lines[7:] == ["PASS"]


@needs_zig
@needs_unicorn
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("output", "cpu-copy: 1 mismatches of"),
        ("hash", "cpu-copy: code 5, error 0 at 0, fault 0"),
        ("sum", "image: code 10, error 0 at 0, fault 0"),
        ("program", "cpu-copy: code 17, error 1 at 0, fault 0"),
    ],
)
def test_the_demo_says_what_is_wrong(one, demo, change, message):
    from tests.firmware.machine import Machine

    params, image = one
    values = dict(vars(image))
    if change == "output":
        values["output"] = np.concatenate([image.output[:-1], [0x12345678]]).astype(np.uint32)
    elif change == "program":
        values["program"] = image.program | np.uint32(31)
    elif change == "hash":
        values["config_hash"] ^= 1
    data = bytearray(Image(**values).to_bytes())
    data[-1] ^= change == "sum"
    machine = Machine(params, toolchain.ram(demo, bytes(data), MEMORY), MEMORY)
    lines = machine.run().splitlines()
    assert lines[-1] == "FAIL"
    assert any(line.startswith(message) for line in lines), lines


@needs_zig
def test_link_script_keeps_the_program_below_the_image(demo):
    assert 4000 < len(elf.memory(demo)) < MEMORY.image - 1024
    small = Memory(image=0x1000)
    with pytest.raises(ConfigError, match=r"demo: .*(ram|stack|overflow)"):
        toolchain.demo(small)


def test_an_image_that_does_not_fit():
    head = b"\x7fELF\x01\x01" + bytes(46)
    with pytest.raises(ConfigError, match="image: 8 bytes at 0x100 do not fit 260 bytes of RAM"):
        toolchain.ram(head, bytes(8), Memory(ram=0x104, image=0x100))


@pytest.mark.parametrize("reader", [elf.sizes, elf.memory])
@pytest.mark.parametrize("data", [b"", b"\x7fELF\x02\x01" + bytes(58), b"MZ" + bytes(62)])
def test_other_files_are_no_programs(reader, data):
    with pytest.raises(ConfigError, match=r"x: no ELF file of 32 bits, little endian"):
        reader(data, "x")


def test_missing_compilers(monkeypatch):
    monkeypatch.setenv("CC_RISCV", "/nowhere/riscv-gcc -O1")
    with pytest.raises(ConfigError, match="CC_RISCV: /nowhere/riscv-gcc is not here"):
        toolchain.riscv()
    monkeypatch.setenv("CC", "/nowhere/cc")
    with pytest.raises(ConfigError, match="CC: /nowhere/cc is not here: apt-get install gcc"):
        toolchain.host()
    monkeypatch.delenv("CC_RISCV")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="ziglang: is not installed"):
        toolchain.riscv()


def test_a_compiler_that_complains(tmp_path):
    bad = tmp_path / "bad.c"
    bad.write_text("int x = ;\n")
    with pytest.raises(ConfigError, match=r"what: .*bad.c:1.*error"):
        toolchain.compile_([*toolchain.host(), "-c", str(bad), "-o", os.devnull], "what")
