"""Compilers: the system's for the host, `ziglang` or the system's for RISC-V; driver and demo built with them."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from firmware import elf
from mapper.atomic import write_bytes, write_text
from rtl.spec.params import ConfigError
from rtl.spec.soc import RAM_BASE, Memory

ROOT = Path(__file__).parent
DRIVER = ROOT / "blockcim_driver.c"
DEMO = (ROOT / "demo/start.S", ROOT / "demo/main.c", ROOT / "demo/runtime.c", DRIVER)
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-Wpedantic", f"-I{ROOT}")
#: Flags of a target without an operating system; functions that are not called are left out.
FREESTANDING = (
    "-ffreestanding",
    "-Os",
    "-ffunction-sections",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
)
_ZIG = ("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32", "-fno-sanitize=all")
_GCC = ("-march=rv32i", "-mabi=ilp32")


def host() -> list[str]:
    """The host's C compiler: $CC, or `cc`. Raises `ConfigError` if there is none."""
    command = shlex.split(os.environ.get("CC", "cc"))
    if not command or shutil.which(command[0]) is None:
        raise ConfigError(f"CC: {' '.join(command) or 'empty'} is not here: apt-get install gcc")
    return command


def riscv() -> list[str]:
    """The RV32I compiler: $CC_RISCV, or Zig's of the package `ziglang`. Raises `ConfigError` if there is none."""
    given = os.environ.get("CC_RISCV")
    if given:
        command = shlex.split(given)
        if shutil.which(command[0]) is None:
            raise ConfigError(f"CC_RISCV: {command[0]} is not here")
        return [*command, *_GCC]
    if importlib.util.find_spec("ziglang") is None:
        raise ConfigError("ziglang: is not installed: pip install ziglang, or give CC_RISCV")
    return [sys.executable, "-m", "ziglang", "cc", *_ZIG]


def compile_(command: list[str], what: str) -> None:
    """Run a compiler. Raises `ConfigError` with its first line of complaint."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if "error" in line]
        raise ConfigError(f"{what}: {(lines or [f'status {result.returncode}'])[0]}")


def driver_object(compiler: list[str], flags: tuple[str, ...]) -> bytes:
    """The driver as an object file."""
    with tempfile.TemporaryDirectory(prefix="blockcim-") as scratch:
        made = Path(scratch) / "driver.o"
        compile_([*compiler, *WARNINGS, *flags, "-c", str(DRIVER), "-o", str(made)], DRIVER.name)
        return made.read_bytes()


def driver_sizes() -> elf.Sizes:
    """Bytes of the driver for RV32I with -Os."""
    return elf.sizes(driver_object(riscv(), FREESTANDING), "driver")


def link_script(memory: Memory) -> str:
    """The demo's memory: program and data below the image, the stack down from it."""
    room = memory.image - RAM_BASE
    return f"""\
/* Generated from rtl/spec/soc.py. */
ENTRY(_start)
MEMORY {{ ram (rwx) : ORIGIN = 0x{RAM_BASE:08x}, LENGTH = 0x{room:x} }}
SECTIONS {{
    .text : {{ KEEP(*(.start)) *(.text .text.*) }} > ram
    .rodata : {{ *(.rodata .rodata.* .srodata .srodata.*) }} > ram
    .data : {{ *(.data .data.* .sdata .sdata.*) }} > ram
    .bss (NOLOAD) : ALIGN(4) {{
        __bss_start = .;
        *(.bss .bss.* .sbss .sbss.* COMMON)
        . = ALIGN(4);
        __bss_end = .;
    }} > ram
    /DISCARD/ : {{ *(.comment) *(.note*) *(.eh_frame*) *(.riscv.attributes) }}
}}
__stack_top = 0x{memory.image:08x};
__image = 0x{memory.image:08x};
__ram_end = 0x{RAM_BASE + memory.ram:08x};
ASSERT(__bss_end + 1024 <= __stack_top, "no room for the stack below the image")
"""


def demo(memory: Memory) -> bytes:
    """The demo for a memory, as an ELF file."""
    with tempfile.TemporaryDirectory(prefix="blockcim-") as scratch:
        script, made = Path(scratch) / "link.ld", Path(scratch) / "demo.elf"
        script.write_text(link_script(memory))
        flags = [*WARNINGS, *FREESTANDING, "-nostdlib", "-static", "-Wl,--gc-sections"]
        libraries = ["-lgcc"] if os.environ.get("CC_RISCV") else []
        sources = [str(path) for path in DEMO]
        command = [*riscv(), *flags, f"-Wl,-T,{script}", *sources, *libraries, "-o", str(made)]
        compile_(command, "demo")
        return made.read_bytes()


def ram(program: bytes, image: bytes, memory: Memory) -> bytes:
    """What the SoC's memory holds at the start: the program, and the image where it looks for it."""
    low = elf.memory(program, "demo", RAM_BASE)
    end = memory.image - RAM_BASE + len(image)
    if end > memory.ram:
        raise ConfigError(
            f"image: {len(image)} bytes at 0x{memory.image:x} do not fit {memory.ram} bytes of RAM"
        )
    return low.ljust(memory.image - RAM_BASE, b"\0") + image


def build(target: Path, memory: Memory, image: bytes | None = None) -> dict[str, int]:
    """Driver (host, RV32I), demo and, with an image, the content of RAM as files; bytes of each by name."""
    program = demo(memory)
    files = {
        "host/blockcim_driver.o": driver_object(host(), ("-O2",)),
        "rv32i/blockcim_driver.o": driver_object(riscv(), FREESTANDING),
        "rv32i/demo.elf": program,
        "rv32i/demo.bin": elf.memory(program, "demo", RAM_BASE),
    }
    if image is not None:
        files["rv32i/ram.bin"] = ram(program, image, memory)
    write_text(target / "rv32i/link.ld", link_script(memory))
    for name, data in files.items():
        write_bytes(target / name, data)
    return {name: len(data) for name, data in files.items()}
