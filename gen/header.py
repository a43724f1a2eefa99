"""`blockcim.h`: parameters, opcodes and field positions of one configuration for C11."""

from gen.ctext import define, enum, guarded, hex32
from gen.describe import derived, hash_text, member_docs
from rtl.spec import isa, numeric
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
    """The text of the C header for one configuration; it includes `blockcim_regs.h`."""
    return guarded(
        "blockcim.h",
        [
            f"blockcim.h: configuration {hash_text(params)}, instruction set {ISA_VERSION}.",
            "Generated from rtl/spec by `python -m gen`; do not edit.",
        ],
        [
            '#include "blockcim_regs.h"',
            "",
            *_parameters(params),
            "/* Opcodes: the low BLOCKCIM_OP_BITS bits of an instruction. */",
            *enum("op", {op.name: (op.value, isa.DOCS[op]) for op in isa.Op}),
            *_instructions(params),
            *_constants(),
            _PUT,
        ],
    )


def _parameters(params: Params) -> list[str]:
    docs = member_docs(Params)
    lines = ["/* Parameters. */"]
    for name, value in params.as_dict().items():
        text = f'"{value}"' if isinstance(value, str) else value
        lines.append(define(name.upper(), text, docs[name]))
    lines += ["", "/* Values that follow from the parameters. */"]
    lines += [define(n.upper(), value, doc) for n, (value, doc) in derived(params).items()]
    lines += ["", "/* Register CONFIG_HASH must read this value; refuse to run otherwise. */"]
    lines += [define("CONFIG_HASH", hex32(params.config_hash)), ""]
    return lines


def _instructions(params: Params) -> list[str]:
    bits = isa.width(params)
    lines = [
        "/*",
        " * Instructions: first bit of each field, bits of one value, number of values. Value i",
        " * of a field starts at bit BIT + i * WIDTH. An instruction is stored low word first.",
        " */",
        define("OP_BITS", isa.OP_BITS),
        define("INSTR_BITS", bits),
        define("INSTR_WORDS", bits // 32, "32-bit words of an instruction"),
        define("AREGS", isa.AREGS, "address registers; number 0 is always zero"),
    ]
    for op, fields in isa.FORMATS.items():
        positions = isa.offsets(op, params)
        for field in fields:
            base = f"{op.name}_{field.name.upper()}"
            lines.append(define(f"{base}_BIT", positions[field.name][0], field.doc))
            lines.append(define(f"{base}_WIDTH", field.width(params)))
            lines.append(define(f"{base}_COUNT", field.count(params)))
    return [*lines, ""]


def _constants() -> list[str]:
    lines = [
        "/* Requantisation constants: fields of a 64-bit entry, one entry an output channel. */"
    ]
    lines.append(define("CONST_BITS", numeric.CONST_BITS))
    for name, first, bits in numeric.CONST_FIELDS:
        lines.append(define(f"CONST_{name.upper()}_BIT", first))
        lines.append(define(f"CONST_{name.upper()}_WIDTH", bits))
    return [*lines, ""]
