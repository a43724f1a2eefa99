"""Headers that no configuration changes: `blockcim_regs.h` (registers, codes, image), `blockcim_soc.h` (memory map).

Copies are committed in firmware/include; `python -m gen.regs` writes them anew.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from gen.ctext import Lines, define, enum, guarded, hex32, registers
from gen.describe import member_docs
from rtl.spec import image, isa, regmap, soc
from rtl.spec.params import ISA_VERSION

_GENERATED = "Generated from rtl/spec by `python -m gen`; do not edit."


def regs_header() -> str:
    """`blockcim_regs.h`: what a driver needs to know and no configuration changes."""
    return guarded(
        "blockcim_regs.h",
        [
            "blockcim_regs.h: registers, codes and the image, the same for every configuration.",
            _GENERATED,
        ],
        [
            "#include <stdint.h>",
            "",
            define("ISA_VERSION", ISA_VERSION, "instruction set"),
            define("PERIPHERAL_VERSION", regmap.PERIPHERAL_VERSION, "this register map"),
            define("ID_VALUE", hex32(regmap.MAGIC), "value of register ID"),
            "",
            "/* Registers: byte offsets, 32 bits each; fields by position and mask. */",
            *registers(regmap.REGISTERS),
            "",
            "/* Registers of the peripheral around the core. */",
            *registers(regmap.PERIPHERAL),
            define("REG_BYTES", f"{4 << regmap.BUS_ADDRESS_BITS}u", "all registers"),
            "",
            "/* Values of register ERROR. */",
            *_codes("error", isa.Error),
            "/* Values of register FAULT. */",
            *_codes("fault", regmap.Fault),
            *_image(),
        ],
    )


def _codes(name: str, codes: type) -> Lines:
    docs = member_docs(codes)
    return enum(name, {c.name: (c.value, docs.get(c.name, "")) for c in codes})


def _image() -> Lines:
    names = [name for name, _ in image.HEADER]
    words = {name.upper(): (at, doc) for at, (name, doc) in enumerate(image.HEADER)}
    return [
        "/* Image: numbers of the header's words; sections follow the header, in order. */",
        define("IMAGE_MAGIC", hex32(image.MAGIC)),
        define("IMAGE_VERSION", image.VERSION),
        define("IMAGE_HEADER_WORDS", len(names)),
        define(
            "IMAGE_SECTIONS", len(image.SECTIONS), "of which words BOOT to OUTPUT are the lengths"
        ),
        *enum("image_word", words),
    ]


def soc_header() -> str:
    """`blockcim_soc.h`: the memory map of the SoC; the link script says how large its memory is."""
    body = [
        "/* Byte addresses. */",
        define("SOC_RAM", hex32(soc.RAM_BASE)),
        define("SOC_CORE", hex32(soc.CORE_BASE), "registers of blockcim_regs.h"),
        define("SOC_UART", hex32(soc.UART_BASE)),
        define("SOC_TIMER", hex32(soc.TIMER_BASE)),
        "",
        "/* Registers of the UART and of the timer: byte offsets from their bases. */",
        *registers(soc.UART, "UART_"),
        *registers(soc.TIMER, "TIMER_"),
        "",
    ]
    about = ["blockcim_soc.h: the memory map of the SoC.", _GENERATED]
    return guarded("blockcim_soc.h", about, ["#include <stdint.h>", "", *body])


#: Every header of this file by name.
HEADERS: dict[str, Callable[[], str]] = {
    "blockcim_regs.h": regs_header,
    "blockcim_soc.h": soc_header,
}


def main(argv: list[str] | None = None) -> int:
    """Write the headers into a directory."""
    parser = argparse.ArgumentParser(prog="python -m gen.regs", description=main.__doc__)
    parser.add_argument("-o", "--output", default="firmware/include", metavar="DIR", type=Path)
    target = parser.parse_args(argv).output
    if not target.is_dir():
        print(f"gen.regs: error: {target}: no such directory", file=sys.stderr)
        return 2
    for name, text in HEADERS.items():
        (target / name).write_text(text(), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
