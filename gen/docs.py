"""`ISA.md` and `REGISTERS.md` for one configuration, from the tables in `rtl.spec`."""

import inspect
from enum import IntEnum

from gen.describe import hash_text, member_docs, table
from rtl.spec import isa, numeric, regmap
from rtl.spec.params import ISA_VERSION, Params


def bit_range(first: int, bits: int) -> str:
    """Bits as `high:low`, or one number for a single bit."""
    return f"{first + bits - 1}:{first}" if bits > 1 else str(first)


def isa_reference(params: Params) -> str:
    """The instruction set: execution model, the encoding of each instruction, error codes."""
    bits = isa.width(params)
    parts = [
        f"# Instruction set {ISA_VERSION}, configuration {hash_text(params)}\n",
        "Bit positions hold for this configuration only: widths follow from the parameters.\n",
        inspect.cleandoc(isa.__doc__ or "").split("\n", 2)[2] + "\n",
        "## Encoding\n",
        f"An instruction has {bits} bits, {bits // 32} words of 32 bits, stored low word first. "
        f"Bits {bit_range(0, isa.OP_BITS)} hold the opcode; bits beyond a format are 0.\n",
        table(
            ("opcode", "instruction", "bits used", "does"),
            [(op.value, op.name, _used(op, params), isa.DOCS[op]) for op in isa.Op],
        ),
        f"Opcodes {_reserved()} are reserved and stop the program with error OPCODE.\n",
    ]
    parts += [_instruction(op, params) for op in isa.Op]
    parts += ["## Requantisation constants\n", _constants(), "## Errors\n", _errors()]
    return "\n".join(parts)


def _used(op: isa.Op, params: Params) -> int:
    return isa.OP_BITS + sum(isa.field_bits(f, params) for f in isa.FORMATS[op])


def _reserved() -> str:
    """The opcodes that are not defined, as ranges."""
    free = sorted(set(range(1 << isa.OP_BITS)) - {op.value for op in isa.Op})
    ranges: list[list[int]] = []
    for code in free:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return ", ".join(f"{a}..{b}" if a != b else str(a) for a, b in ranges)


def _instruction(op: isa.Op, params: Params) -> str:
    parts = [f"### {op.name}\n", f"{isa.DOCS[op]}\n"]
    rows: list[tuple] = [(bit_range(0, isa.OP_BITS), "opcode", "", op.value)]
    for field in isa.FORMATS[op]:
        first, bits = isa.offsets(op, params)[field.name]
        width, count = field.width(params), field.count(params)
        values = f"{count} x {width} bits" if count > 1 else f"0..{(1 << width) - 1}"
        rows.append((bit_range(first, bits), field.name, values, field.doc))
    parts.append(table(("bits", "field", "fits", "meaning"), rows))
    return "\n".join(parts)


def _constants() -> str:
    docs = {"bias": "signed, added to the accumulator", "mult": "unsigned", "shift": "1..31"}
    rows = [(bit_range(f, b), n, docs[n]) for n, f, b in numeric.CONST_FIELDS]
    text = inspect.cleandoc(numeric.__doc__ or "").split("\n\n", 2)[2]
    return f"{text}\n\nAn entry has {numeric.CONST_BITS} bits:\n\n" + table(
        ("bits", "field", "meaning"), rows
    )


def _codes(codes: type[IntEnum], nothing: str) -> list[tuple]:
    """Value, name and meaning of each code; `nothing` is what 0 means."""
    docs = member_docs(codes)
    return [(code.value, code.name, docs.get(code.name, nothing)) for code in codes]


def _errors() -> str:
    rows = _codes(isa.Error, "no error")
    return (
        "The first error stops the program; its code is in register ERROR and the pc of the "
        "instruction in ERROR_PC until they are cleared.\n\n"
        + table(("code", "name", "raised by"), rows)
    )


def register_table() -> str:
    """The register map as a table, one row a register and one a field."""
    rows: list[tuple] = []
    for register in regmap.ON_BUS.values():
        offset = f"0x{4 * register.address:02x}"
        rows.append((offset, register.name, register.access, "31:0", register.doc))
        for name, first, count, doc in register.bits:
            rows.append(("", f"{register.name}.{name}", "", bit_range(first, count), doc))
    return table(("offset", "register", "access", "bits", "meaning"), rows)


def register_reference(params: Params) -> str:
    """The registers of a core and of the peripheral, with the constants that this configuration has in them."""
    return "\n".join(
        [
            f"# Registers, configuration {hash_text(params)}\n",
            "Registers have 32 bits; offsets are in bytes. Access: ro read-only, wo write-only, "
            f"rw both. Those below 0x{4 << regmap.ADDRESS_BITS:02x} are a core's, the others the "
            "peripheral's around it, on a bus.\n",
            register_table(),
            "## Constants\n",
            table(
                ("register", "value"),
                [("ID", f"0x{regmap.MAGIC:08x}"), ("CONFIG_HASH", hash_text(params))],
            ),
            "Error codes are listed in ISA.md.\n",
            "## Faults\n",
            "Values of register FAULT:\n",
            table(("code", "name", "meaning"), _codes(regmap.Fault, "no fault")),
        ]
    )
