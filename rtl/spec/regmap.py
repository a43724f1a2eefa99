"""The register map: 32-bit registers by word address, as data: of a core, then of the peripheral around it."""

import enum
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


def _busy(name: str, address: int, counts: str) -> Register:
    """A counter of busy cycles."""
    return Register(name, address, "ro", f"{counts} (0 without busy_counters)")


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
            ("error", 2, 1, "stopped by an error (ERROR) or a fault (FAULT)"),
        ),
    ),
    Register("ERROR", 4, "ro", "sticky error code (spec/isa.py Error)"),
    Register("ERROR_PC", 5, "ro", "pc of the instruction that raised the error"),
    Register("IRQ_ENABLE", 6, "rw", "bit 0: interrupt on done or error"),
    Register("LEN", 7, "rw", "run-time length: iterations of a LOOP with use_len, 16 bits"),
    Register(
        "PROG_ADDR",
        8,
        "wo",
        "instruction, below prog_depth, that PROG_DATA writes next, low word first",
    ),
    Register(
        "PROG_DATA",
        9,
        "wo",
        "write one 32-bit word of the program, low word first; advances by itself",
    ),
    Register(
        "CYCLES", 10, "ro", "cycles from start to done or error, of the last or running program"
    ),
    _busy("BUSY_IN", 11, "cycles with the stream-in unit active"),
    _busy("BUSY_LOAD", 12, "cycles with the load unit active"),
    _busy("BUSY_PASS", 13, "cycles with at least one tile in a pass"),
    _busy("BUSY_DRAIN", 14, "drain steps, all ports together"),
    _busy("BUSY_OUT", 15, "cycles with the stream-out unit active"),
    _busy("PASS_TILES", 16, "tile cycles in a pass: sum over tiles"),
    Register("ISSUED", 17, "ro", "instructions issued"),
)

#: Registers of a core by name.
BY_NAME: dict[str, Register] = {r.name: r for r in REGISTERS}
#: Bits of the address of a core's register.
ADDRESS_BITS = 5


class Fault(enum.IntEnum):
    """Codes of register FAULT, sticky; a fault stops the core and both DMA channels."""

    NONE = 0
    SHORT = 1  #: the program wants more input after the beat marked as last (TLAST early)
    LONG = 2  #: the program halted, and the last beat that it took was not marked (TLAST late)
    READ = 3  #: the DMA read of input or of the program was answered with a bus error
    WRITE = 4  #: the DMA write of output was answered with a bus error
    FULL = 5  #: more output than DMA_OUT_WORDS


_CHANNELS = (
    ("input", 0, 1, "input: memory to stream"),
    ("output", 1, 1, "output: stream to memory"),
    ("program", 2, 1, "program: memory to PROG_DATA, from instruction 0 on; not beside input"),
)

#: Registers of the peripheral (rtl/peripheral.py): what it can do, streams by register, DMA. Words are of 32 bits,
#: little endian; a beat of k words comes and goes low word first.
PERIPHERAL: tuple[Register, ...] = (
    Register(
        "VERSION",
        32,
        "ro",
        "versions",
        (("isa", 0, 16, "instruction set"), ("peripheral", 16, 16, "this register map")),
    ),
    Register(
        "CAP_ARRAY",
        33,
        "ro",
        "size of an array",
        (("rows", 0, 16, "weights a column"), ("cols", 16, 16, "weights a row")),
    ),
    Register(
        "CAP_CORE",
        34,
        "ro",
        "size of the core",
        (("tiles", 0, 16, "arrays"), ("lanes", 16, 16, "elements of a buffer word")),
    ),
    Register(
        "CAP_FORMAT",
        35,
        "ro",
        "numbers",
        (
            ("granule", 0, 16, "rows and columns of a granule"),
            ("weight_bits", 16, 8, "bits of a weight"),
            ("act_bits", 24, 8, "bits of an activation"),
        ),
    ),
    Register(
        "CAP_BUFFERS",
        36,
        "ro",
        "depths of memories, less one",
        (("act", 0, 16, "activation words"), ("const", 16, 16, "constant words")),
    ),
    Register("CAP_PROG", 37, "ro", "instructions that the program memory holds"),
    Register(
        "CAP_BEAT",
        38,
        "ro",
        "streams",
        (("words", 0, 8, "32-bit words of a beat"), ("fifo", 8, 8, "words that each FIFO holds")),
    ),
    Register(
        "MODE",
        39,
        "rw",
        "where streams come from and go to; change it only when idle",
        (
            ("source", 0, 1, "input from 0: the stream port, 1: IN_DATA and DMA"),
            ("sink", 1, 1, "output to 0: the stream port, 1: OUT_DATA and DMA"),
            ("check_last", 2, 1, "with the stream port: one packet of input a run, see FAULT"),
        ),
    ),
    Register(
        "FAULT", 40, "ro", "sticky fault code (Fault); cleared by CTRL clear, reset and start"
    ),
    Register(
        "IN_DATA", 41, "wo", "push a word of input; a bus error, and no push, when the FIFO is full"
    ),
    Register("OUT_DATA", 42, "ro", "pop a word of output; 0 when there is none"),
    Register(
        "FIFO",
        43,
        "ro",
        "FIFOs",
        (
            ("in_free", 0, 8, "words that IN_DATA takes at once"),
            ("out_level", 8, 8, "words that OUT_DATA has"),
        ),
    ),
    Register("DMA_IN_ADDR", 44, "rw", "byte address of input or program, a multiple of 4"),
    Register("DMA_IN_WORDS", 45, "rw", "words to read"),
    Register("DMA_OUT_ADDR", 46, "rw", "byte address of output, a multiple of 4"),
    Register("DMA_OUT_WORDS", 47, "rw", "words that the output has room for"),
    Register("DMA_OUT_COUNT", 48, "ro", "words written since the channel was started"),
    Register(
        "DMA_START", 49, "wo", "start channels; a channel that runs is not disturbed", _CHANNELS
    ),
    Register("DMA_BUSY", 50, "ro", "channels that run; output runs until it is stopped", _CHANNELS),
    Register("DMA_STOP", 51, "wo", "stop channels and forget what they hold", _CHANNELS),
)

#: Version of the peripheral's register map.
PERIPHERAL_VERSION = 1
#: Bits of the word address of a register on a bus: the peripheral's start at 32, 256 bytes in all.
BUS_ADDRESS_BITS = 6
#: All registers on a bus by name.
ON_BUS: dict[str, Register] = {r.name: r for r in REGISTERS + PERIPHERAL}
