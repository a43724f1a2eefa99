"""`blockcim.h`: parameters, registers, opcodes, field positions and error codes for C11."""

from enum import IntEnum

from gen.describe import derived, hash_text, member_docs
from rtl.spec import isa, numeric, regmap
from rtl.spec.params import ISA_VERSION, Params

_PUT = """\
/* Or a field value of `width` bits (1..32) into an instruction of zeros, from bit `bit` on. */
static inline void blockcim_put(uint32_t *words, unsigned bit, unsigned width, uint32_t value)
{
    for (unsigned i = 0; i < width; i++)
        if (value >> i & 1u)
            words[(bit + i) / 32u] |= UINT32_C(1) << (bit + i) % 32u;
}
"""


def header(params: Params) -> str:
    """The text of the C header for one configuration."""
    return "\n".join(
        [
            "/*",
            f" * blockcim.h: configuration {hash_text(params)}, instruction set {ISA_VERSION}.",
            " * Generated from rtl/spec by `python -m gen`; do not edit.",
            " */",
            "#ifndef BLOCKCIM_H",
            "#define BLOCKCIM_H",
            "",
            "#include <stdint.h>",
            "",
            *_parameters(params),
            *_registers(),
            "/* Opcodes: the low BLOCKCIM_OP_BITS bits of an instruction. */",
            *_enum("op", {op.name: (op.value, isa.DOCS[op]) for op in isa.Op}),
            "/* Values of register ERROR. */",
            *_enum("error", _codes(isa.Error)),
            "/* Values of register FAULT. */",
            *_enum("fault", _codes(regmap.Fault)),
            *_instructions(params),
            *_constants(),
            _PUT,
            "#endif /* BLOCKCIM_H */",
            "",
        ]
    )


def _define(name: str, value: object, comment: str = "") -> str:
    line = f"#define BLOCKCIM_{name} {value}"
    return f"{line} /* {comment} */" if comment else line


def _hex(value: int) -> str:
    return f"UINT32_C(0x{value:08x})"


def _parameters(params: Params) -> list[str]:
    docs = member_docs(Params)
    lines = ["/* Parameters. */"]
    for name, value in params.as_dict().items():
        text = f'"{value}"' if isinstance(value, str) else value
        lines.append(_define(name.upper(), text, docs[name]))
    lines += ["", "/* Values that follow from the parameters. */"]
    lines += [_define(n.upper(), value, doc) for n, (value, doc) in derived(params).items()]
    lines += ["", "/* Register CONFIG_HASH must read this value; refuse to run otherwise. */"]
    lines += [_define("CONFIG_HASH", _hex(params.config_hash)), ""]
    return lines


def _registers() -> list[str]:
    lines = [
        "/*",
        " * Registers: byte offsets on a bus, 32 bits each; fields by position and mask. Those below",
        f" * 0x{4 << regmap.ADDRESS_BITS:02x} are a core's, the others the peripheral's around it.",
        " */",
    ]
    lines.append(_define("ID_VALUE", _hex(regmap.MAGIC), "value of register ID"))
    for register in regmap.ON_BUS.values():
        comment = f"{register.access}: {register.doc}"
        lines.append(_define(f"REG_{register.name}", f"0x{4 * register.address:02x}u", comment))
        for name, first, count, doc in register.bits:
            base = f"{register.name}_{name.upper()}"
            lines.append(_define(f"{base}_SHIFT", first))
            lines.append(_define(f"{base}_MASK", _hex(((1 << count) - 1) << first), doc))
    return [*lines, ""]


def _codes(codes: type[IntEnum]) -> dict[str, tuple[int, str]]:
    docs = member_docs(codes)
    return {code.name: (code.value, docs.get(code.name, "")) for code in codes}


def _enum(name: str, codes: dict[str, tuple[int, str]]) -> list[str]:
    lines = [f"enum blockcim_{name} {{"]
    for code, (value, doc) in codes.items():
        comment = f" /* {doc} */" if doc else ""
        lines.append(f"    BLOCKCIM_{name.upper()}_{code} = {value},{comment}")
    return [*lines, "};", ""]


def _instructions(params: Params) -> list[str]:
    bits = isa.width(params)
    lines = [
        "/*",
        " * Instructions: first bit of each field, bits of one value, number of values. Value i",
        " * of a field starts at bit BIT + i * WIDTH. An instruction is stored low word first.",
        " */",
        _define("OP_BITS", isa.OP_BITS),
        _define("INSTR_BITS", bits),
        _define("INSTR_WORDS", bits // 32, "32-bit words of an instruction"),
        _define("AREGS", isa.AREGS, "address registers; number 0 is always zero"),
    ]
    for op, fields in isa.FORMATS.items():
        positions = isa.offsets(op, params)
        for field in fields:
            base = f"{op.name}_{field.name.upper()}"
            lines.append(_define(f"{base}_BIT", positions[field.name][0], field.doc))
            lines.append(_define(f"{base}_WIDTH", field.width(params)))
            lines.append(_define(f"{base}_COUNT", field.count(params)))
    return [*lines, ""]


def _constants() -> list[str]:
    lines = [
        "/* Requantisation constants: fields of a 64-bit entry, one entry an output channel. */"
    ]
    lines.append(_define("CONST_BITS", numeric.CONST_BITS))
    for name, first, bits in numeric.CONST_FIELDS:
        lines.append(_define(f"CONST_{name.upper()}_BIT", first))
        lines.append(_define(f"CONST_{name.upper()}_WIDTH", bits))
    return [*lines, ""]
