"""The peripheral at the level of its registers (rtl/spec/regmap.py): what drivers are tested against.

Programs execute on the ISS, so that outputs are real (sim/stepped.py); time is not: with every access to a register
each FIFO and channel moves a few words.
"""

import random
from collections import deque

from rtl.spec.image import beat_words
from rtl.spec.isa import Error
from rtl.spec.params import ISA_VERSION, Params
from rtl.spec.regmap import MAGIC, ON_BUS, PERIPHERAL_VERSION, Fault, Register

from .counters import BUSY, busy_registers
from .iss import Result
from .stepped import SteppedCore

#: Words that each FIFO holds; the hardware says its own in CAP_BEAT.
FIFO_WORDS = 32
_BY_OFFSET = {4 * register.address: register for register in ON_BUS.values()}
INPUT, OUTPUT, PROGRAM = 1, 2, 4  # bits of DMA_START


class BusError(Exception):
    """An access that the hardware answers with a bus error, or that it does not define."""


def field_bits(register: Register, **values: int) -> int:
    """The value of a register with these fields."""
    total = 0
    for name, first, count, _ in register.bits:
        value = values.pop(name, 0)
        if not 0 <= value < 1 << count:
            raise ValueError(f"{register.name}.{name}: {value} does not fit {count} bits")
        total |= value << first
    if values:
        raise ValueError(f"{register.name}: unknown field {sorted(values)[0]}")
    return total


def constants(params: Params) -> dict[str, int]:
    """Values of the registers that say what the hardware is."""
    p = params
    fields = {
        "VERSION": {"isa": ISA_VERSION, "peripheral": PERIPHERAL_VERSION},
        "CAP_ARRAY": {"rows": p.rows, "cols": p.cols},
        "CAP_CORE": {"tiles": p.tiles, "lanes": p.lanes},
        "CAP_FORMAT": {
            "granule": p.granule,
            "weight_bits": p.weight_bits,
            "act_bits": p.act_bits,
        },
        "CAP_BUFFERS": {"act": p.act_depth - 1, "const": p.const_depth - 1},
        "CAP_BEAT": {"words": beat_words(p), "fifo": FIFO_WORDS},
    }
    values = {name: field_bits(ON_BUS[name], **value) for name, value in fields.items()}
    return values | {"ID": MAGIC, "CONFIG_HASH": p.config_hash, "CAP_PROG": p.prog_depth}


class Peripheral:
    """The registers of a core on a bus, and what stands behind them.

    Parameters
    ----------
    params : Params
    memory : what DMA reads and writes, from byte address `base` on; everything else there is a bus error
    pace : words that a FIFO or channel moves at an access at most; with `seed` any number up to it

    Members
    -------
    values : registers that say what the hardware is, by name; tests change them
    hang, memory_hang : True: the core does not go on, memory does not answer
    fault, error, error_pc, irq
    """

    def __init__(
        self,
        params: Params,
        memory: bytearray | memoryview | None = None,
        base: int = 0,
        pace: int = 8,
        seed: int | None = None,
    ):
        self.memory, self.base = bytearray() if memory is None else memory, base
        self.pace = pace
        self.random = None if seed is None else random.Random(seed)
        self.core = SteppedCore(params)
        self.values = constants(params)
        self.registers = {r.name: 0 for r in ON_BUS.values() if r.access == "rw"}
        self.hang = self.memory_hang = False
        self.counters = dict.fromkeys(("CYCLES", "ISSUED", *BUSY), 0)
        self.part = 0
        self._reset()

    def _reset(self) -> None:
        """What a soft reset does: everything stops, FIFOs are empty, memories stay."""
        self.source: deque[int] = deque()
        self.sink: deque[int] = deque()
        self.core.running = False
        self.reading = self.loading = self.writing = False
        self.read_left = self.read_at = self.write_at = self.write_left = self.written = 0
        self._clear()

    def _clear(self) -> None:
        self.done, self.error, self.error_pc = False, Error.NONE, 0
        self.fault = Fault.NONE

    @property
    def irq(self) -> bool:
        """The interrupt line."""
        ended = self.done or self.error or self.fault
        return bool(self.registers["IRQ_ENABLE"] & 1 and ended)

    # -- registers ---------------------------------------------------------------------------------

    def read(self, offset: int) -> int:
        """Value of the register at a byte offset. Raises `BusError` if there is none."""
        register = _register(offset)
        self.tick()
        name = register.name
        if name in self.values:
            return self.values[name]
        if name in self.registers:
            return self.registers[name]
        if name in self.counters:
            return self.counters[name]
        if register.access == "wo":
            return 0
        return getattr(self, f"_read_{name.lower()}")()

    def write(self, offset: int, value: int) -> None:
        """Write the register at a byte offset. Raises `BusError` if that is not possible, or not defined."""
        register = _register(offset)
        self.tick()
        name = register.name
        if register.access == "ro":
            raise BusError(f"{name}: is read-only")
        if name == "MODE" and self.core.running and value != self.registers["MODE"]:
            raise BusError("MODE: changed while a program runs")
        if register.bits and value >> max(first + count for _, first, count, _ in register.bits):
            raise BusError(f"{name}: 0x{value:x} has unknown bits")
        if name in self.registers:
            self.registers[name] = value
        else:
            getattr(self, f"_write_{name.lower()}")(value)

    def _read_status(self) -> int:
        failed = self.error != Error.NONE or self.fault != Fault.NONE
        return field_bits(
            ON_BUS["STATUS"], busy=self.core.running, done=self.done, error=int(failed)
        )

    def _read_error(self) -> int:
        return self.error

    def _read_error_pc(self) -> int:
        return self.error_pc

    def _read_fault(self) -> int:
        return self.fault

    def _read_fifo(self) -> int:
        free = 0 if self.reading or self.loading else FIFO_WORDS - len(self.source)
        level = 0 if self.writing else len(self.sink)
        return field_bits(ON_BUS["FIFO"], in_free=free, out_level=level)

    def _read_out_data(self) -> int:
        return self.sink.popleft() if self.sink and not self.writing else 0

    def _read_dma_out_count(self) -> int:
        return self.written

    def _read_dma_busy(self) -> int:
        return INPUT * self.reading | OUTPUT * self.writing | PROGRAM * self.loading

    def _write_ctrl(self, value: int) -> None:
        start, clear, reset = (value >> bit & 1 for bit in range(3))
        if reset:
            self._reset()
        elif clear:
            self._clear()
        if start and not self.core.running:
            self._clear()
            self.counters = dict.fromkeys(self.counters, 0)
            self.core.start(self.registers["LEN"])

    def _write_prog_addr(self, value: int) -> None:
        self.part = value * self.core.parts

    def _write_prog_data(self, value: int) -> None:
        self.core.program[self.part % len(self.core.program)] = value
        self.part += 1

    def _write_in_data(self, value: int) -> None:
        if self.reading or self.loading or len(self.source) == FIFO_WORDS:
            raise BusError("IN_DATA: the FIFO is full")
        self.source.append(value)

    def _write_dma_start(self, value: int) -> None:
        for name in ("DMA_IN_ADDR", "DMA_OUT_ADDR"):
            if self.registers[name] % 4:
                raise BusError(f"{name}: 0x{self.registers[name]:x} is not a multiple of 4")
        if value & INPUT and value & PROGRAM:
            raise BusError("DMA_START: program beside input")
        if value & (INPUT | PROGRAM) and not (self.reading or self.loading):
            self.reading, self.loading = bool(value & INPUT), bool(value & PROGRAM)
            self.read_at, self.read_left = (
                self.registers[n] for n in ("DMA_IN_ADDR", "DMA_IN_WORDS")
            )
            if self.loading:
                self.part = 0
        if value & OUTPUT and not self.writing:
            self.writing, self.written = True, 0
            self.write_at, self.write_left = (
                self.registers[n] for n in ("DMA_OUT_ADDR", "DMA_OUT_WORDS")
            )

    def _write_dma_stop(self, value: int) -> None:
        if value & (PROGRAM if self.loading else INPUT):
            self.reading = self.loading = False
            self.source.clear()
        if value & OUTPUT:
            self.writing = False
            self.sink.clear()

    # -- time --------------------------------------------------------------------------------------

    def _some(self) -> int:
        return self.random.randint(0, self.pace) if self.random else self.pace

    def tick(self) -> None:
        """What happens between two accesses."""
        if not self.memory_hang:
            self._read_memory(self._some())
            self._write_memory(self._some())
        if self.writing and self.sink and not self.write_left:
            self._fault(Fault.FULL)
        if self.core.running and not self.hang:
            mode = self.registers["MODE"]
            source = self.source if mode & 1 else deque()
            sink = self.sink if mode & 2 else deque(maxlen=0)
            self.core.step(source, sink, self._some(), FIFO_WORDS - len(sink))
            if not self.core.running:
                self._ended(self.core.result)

    def _ended(self, result: Result) -> None:
        self.done, self.error = result.error == Error.NONE, result.error
        self.error_pc = result.pc if result.error else 0
        self.counters = busy_registers(result.busy, self.core.params)
        self.counters |= {"CYCLES": result.cycles, "ISSUED": result.issued}

    def _read_memory(self, words: int) -> None:
        """The channels that read: into the FIFO, or into the program memory."""
        if not (self.reading or self.loading):
            return
        room = words if self.loading else min(words, FIFO_WORDS - len(self.source))
        for _ in range(min(self.read_left, room)):
            at = self.read_at - self.base
            if not 0 <= at <= len(self.memory) - 4:
                return self._fault(Fault.READ)
            word = int.from_bytes(self.memory[at : at + 4], "little")
            if self.loading:
                self._write_prog_data(word)
            else:
                self.source.append(word)
            self.read_at, self.read_left = self.read_at + 4, self.read_left - 1
        if not self.read_left:
            self.reading = self.loading = False

    def _write_memory(self, words: int) -> None:
        """The channel that writes."""
        for _ in range(min(words, len(self.sink), self.write_left) if self.writing else 0):
            at = self.write_at - self.base
            if not 0 <= at <= len(self.memory) - 4:
                return self._fault(Fault.WRITE)
            self.memory[at : at + 4] = self.sink.popleft().to_bytes(4, "little")
            self.write_at, self.write_left = self.write_at + 4, self.write_left - 1
            self.written += 1

    def _fault(self, fault: Fault) -> None:
        """Everything stops, and FAULT says why."""
        self._reset()
        self.fault = fault


def _register(offset: int) -> Register:
    if offset not in _BY_OFFSET:
        raise BusError(f"0x{offset:x}: no register is there")
    return _BY_OFFSET[offset]
