"""The register map of a core: 32-bit registers by word address, as data."""

from dataclasses import dataclass

MAGIC = 0x43494D42  #: "BMIC" little-endian: the value of register ID


@dataclass(frozen=True)
class Register:
    """One 32-bit register; `access` is ro, rw or wo; `bits` are (name, first, count, doc)."""

    name: str
    address: int
    access: str
    doc: str
    bits: tuple[tuple[str, int, int, str], ...] = ()


REGISTERS: tuple[Register, ...] = (
    Register("ID", 0, "ro", "constant that names this core"),
    Register(
        "CONFIG_HASH", 1, "ro", "hash of parameters and ISA version; drivers refuse a mismatch"
    ),
    Register(
        "CTRL",
        2,
        "wo",
        "commands",
        (
            ("start", 0, 1, "start at pc 0; ignored while busy"),
            ("clear", 1, 1, "clear done, error and interrupt"),
            ("reset", 2, 1, "soft reset: stop and return to idle, memories kept"),
        ),
    ),
    Register(
        "STATUS",
        3,
        "ro",
        "state",
        (
            ("busy", 0, 1, "a program runs"),
            ("done", 1, 1, "HALT was reached"),
            ("error", 2, 1, "stopped by an error"),
        ),
    ),
    Register("ERROR", 4, "ro", "sticky error code (spec/isa.py Error)"),
    Register("ERROR_PC", 5, "ro", "pc of the instruction that raised the error"),
    Register("IRQ_ENABLE", 6, "rw", "bit 0: interrupt on done or error"),
    Register("LEN", 7, "rw", "run-time length: iterations of a LOOP with use_len, 16 bits"),
    Register("PROG_ADDR", 8, "wo", "instruction that PROG_DATA writes next, from its low word on"),
    Register(
        "PROG_DATA",
        9,
        "wo",
        "write one 32-bit word of the program, low word first; advances by itself",
    ),
    Register(
        "CYCLES", 10, "ro", "cycles from start to done or error, of the last or running program"
    ),
    Register("BUSY_IN", 11, "ro", "cycles with the stream-in unit active"),
    Register("BUSY_LOAD", 12, "ro", "cycles with the load unit active"),
    Register("BUSY_PASS", 13, "ro", "cycles with at least one tile in a pass"),
    Register("BUSY_DRAIN", 14, "ro", "drain steps, all ports together"),
    Register("BUSY_OUT", 15, "ro", "cycles with the stream-out unit active"),
    Register("PASS_TILES", 16, "ro", "tile cycles in a pass: sum over tiles"),
    Register("ISSUED", 17, "ro", "instructions issued"),
)

#: Registers by name.
BY_NAME: dict[str, Register] = {r.name: r for r in REGISTERS}
#: Bits of a register address.
ADDRESS_BITS = 5
