"""Lines of generated C headers: definitions, enumerations, registers."""

from rtl.spec.regmap import Register

Lines = list[str]


def define(name: str, value: object, comment: str = "") -> str:
    """One macro of ours, with a comment behind it."""
    line = f"#define BLOCKCIM_{name} {value}"
    return f"{line} /* {comment} */" if comment else line


def hex32(value: int) -> str:
    """A 32-bit constant."""
    return f"UINT32_C(0x{value:08x})"


def enum(name: str, codes: dict[str, tuple[int, str]]) -> Lines:
    """`enum blockcim_<name>` with value and comment of each code by name."""
    lines = [f"enum blockcim_{name} {{"]
    for code, (value, doc) in codes.items():
        comment = f" /* {doc} */" if doc else ""
        lines.append(f"    BLOCKCIM_{name.upper()}_{code} = {value},{comment}")
    return [*lines, "};", ""]


def registers(table: tuple[Register, ...], prefix: str = "") -> Lines:
    """Byte offset of each register, and shift and mask of its fields; names start with `prefix`."""
    lines = []
    for register in table:
        comment = f"{register.access}: {register.doc}"
        offset = f"0x{4 * register.address:02x}u"
        lines.append(define(f"REG_{prefix}{register.name}", offset, comment))
        for name, first, count, doc in register.bits:
            base = f"{prefix}{register.name}_{name.upper()}"
            lines.append(define(f"{base}_SHIFT", first))
            lines.append(define(f"{base}_MASK", hex32(((1 << count) - 1) << first), doc))
    return lines


def guarded(name: str, about: Lines, body: Lines) -> str:
    """A whole header: what it is about as a comment, then the body between guards."""
    guard = name.upper().replace(".", "_")
    head = ["/*", *(f" * {line}" for line in about), " */", f"#ifndef {guard}", f"#define {guard}"]
    return "\n".join([*head, "", *body, f"#endif /* {guard} */", ""])
