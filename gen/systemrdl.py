"""`blockcim.rdl`: the register map in SystemRDL 2.0, the root of HTML, IP-XACT and what else PeakRDL makes.

Offsets are byte addresses on a bus (rtl/peripheral.py): a core's registers first, the peripheral's behind them. A
register without fields has one, `value`, of all 32 bits.
"""

from enum import IntEnum

from gen.describe import hash_text, member_docs
from rtl.spec import isa, regmap
from rtl.spec.params import ISA_VERSION, Params
from rtl.spec.regmap import Register

#: Name of the address map, and of the only field of a register without fields.
MAP, VALUE = "blockcim", "value"
#: What software and hardware do with a field, by access; of a constant.
_ACCESS = {"ro": "sw = r; hw = w;", "rw": "sw = rw; hw = r;", "wo": "sw = w; hw = r;"}
_CONSTANT = "sw = r; hw = na;"
#: Registers whose value is a code, and the codes.
CODES: dict[str, type[IntEnum]] = {"ERROR": isa.Error, "FAULT": regmap.Fault}


def systemrdl(params: Params) -> str:
    """The text for one configuration, whose hash is the reset value of CONFIG_HASH."""
    constants = {"ID": regmap.MAGIC, "CONFIG_HASH": params.config_hash}
    summary = f"Block-diagonal compute-in-memory core, configuration {hash_text(params)}"
    return "\n".join(
        [
            "// SPDX-License-Identifier: Apache-2.0",
            f"// {MAP}.rdl: configuration {hash_text(params)}, instruction set {ISA_VERSION}.",
            "// Generated from rtl/spec by `python -m gen`; do not edit.",
            "",
            *(_enum(codes) for codes in CODES.values()),
            f"addrmap {MAP} {{",
            f"    name = {_text(MAP)};",
            f"    desc = {_text(summary)};",
            "    littleendian;",
            "    default regwidth = 32;",
            "    default accesswidth = 32;",
            "",
            *(_register(r, constants.get(r.name)) for r in regmap.ON_BUS.values()),
            "};",
            "",
        ]
    )


def _text(text: str) -> str:
    """A string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _enum(codes: type[IntEnum]) -> str:
    docs = member_docs(codes)
    lines = [f"enum {codes.__name__} {{"]
    for code in codes:
        doc = docs.get(code.name, f"no {codes.__name__.lower()}")
        lines.append(f"    {code.name} = 32'd{code.value} {{ desc = {_text(doc)}; }};")
    return "\n".join([*lines, "};", ""])


def _register(register: Register, constant: int | None) -> str:
    lines = ["    reg {", f"        desc = {_text(register.doc)};"]
    for name, first, count, doc in register.bits or ((VALUE, 0, 32, register.doc),):
        access = _ACCESS[register.access] if constant is None else _CONSTANT
        properties = f"{access} desc = {_text(doc)};"
        if register.name in CODES:
            properties += f" encode = {CODES[register.name].__name__};"
        reset = "" if constant is None else f" = 32'h{constant:08x}"
        lines.append(
            f"        field {{ {properties} }} {name}[{first + count - 1}:{first}]{reset};"
        )
    return "\n".join([*lines, f"    }} {register.name} @ 0x{4 * register.address:02x};", ""])
