"""Drives a core behind a serial line (rtl/spec/link.py): the same registers and images as the C driver, from Python.

A port is anything with `write(data)`, `read(size)` (fewer bytes after a time-out) and `reset_input_buffer()`, as an
open `serial.Serial` of pyserial is.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from rtl.spec.isa import Error
from rtl.spec.link import (
    ANSWER_HEAD,
    BURST,
    DAMAGED,
    IDLE_BITS,
    SYNC_ANSWER,
    Answer,
    Command,
    Request,
    Status,
    decode_answer,
)
from rtl.spec.params import ConfigError
from rtl.spec.regmap import MAGIC, ON_BUS, PERIPHERAL_VERSION, REGISTERS, Fault

if TYPE_CHECKING:
    from .image import Image

#: Times that a damaged request or answer is repeated.
RETRIES = 8
#: Polls in a row in which nothing moves before a run is given up.
POLLS = 200
#: Performance counters.
COUNTERS = ("CYCLES", *(r.name for r in REGISTERS if r.name.startswith("BUSY_")))
COUNTERS += ("PASS_TILES", "ISSUED")


class LinkError(ConfigError):
    """The line: no right answer in spite of repetitions, or an access that the bus refuses."""


class DeviceError(ConfigError):
    """The hardware: not ours, of another configuration, stopped by an error, or silent."""


class Port(Protocol):
    """See the module."""

    def write(self, data: bytes, /) -> object:
        """Send bytes."""

    def read(self, size: int, /) -> bytes:
        """Receive `size` bytes, fewer if they do not come in time."""
        ...

    def reset_input_buffer(self) -> object:
        """Forget what was received."""


def time_out(baud: int) -> float:
    """Seconds that a port has to wait for a byte: longer than the bridge takes to give up a request."""
    return max(0.1, 3 * IDLE_BITS / baud)


class Link:
    """Requests and answers; repeats what was damaged. `repeated` counts how often."""

    def __init__(self, port: Port, retries: int = RETRIES):
        self.port, self.retries = port, retries
        self.repeated = 0
        self._number = 0  # the first request is carried out whatever came before

    def read(self, address: int, count: int, fixed: bool = False) -> tuple[int, ...]:
        """`count` words, 1..BURST. Raises `LinkError` where the bus refuses one."""
        command = Command.READ | (Command.FIXED if fixed else 0)
        answer = self._ask(Request(Command(command), address, count))
        self._whole(answer, "read", address, count)
        return answer.words

    def write(self, address: int, words: Sequence[int]) -> None:
        """Write 1..BURST words. Raises `LinkError` where the bus refuses one."""
        answer = self._ask(Request(Command.WRITE, address, len(words), tuple(words)))
        self._whole(answer, "write", address, len(words))

    def push(self, address: int, words: Sequence[int]) -> int:
        """Write 1..BURST words to one address until the bus refuses one; how many it took."""
        command = Command.WRITE | Command.FIXED
        answer = self._ask(Request(command, address, len(words), tuple(words)))
        if answer.status is Status.STUCK:
            self._whole(answer, "write", address, len(words))
        return answer.done

    def _ask(self, request: Request) -> Answer:
        number, self._number = self._number, self._number % 15 + 1
        request = Request(request.command, request.address, request.count, request.words, number)
        status = None
        for attempt in range(self.retries + 1):
            self.repeated += attempt > 0
            self.port.reset_input_buffer()
            self.port.write(request.encode())
            answer = self._answer(request)
            if answer and answer.number == number and answer.status not in DAMAGED:
                return answer
            status = answer.status.name if answer and answer.status in DAMAGED else "no answer"
        raise LinkError(
            f"serial line: no right answer in {self.retries + 1} tries, the last: {status}"
        )

    def _answer(self, request: Request) -> Answer | None:
        """The next answer; None if it does not come or is damaged: then nothing follows any more."""
        sync = self.port.read(1)
        while sync and sync[0] != SYNC_ANSWER:
            sync = self.port.read(1)
        head = sync + self.port.read(ANSWER_HEAD - 1) if sync else b""
        if len(head) == ANSWER_HEAD:
            words = head[2] if request.command & Command.READ else 0
            frame = head + self.port.read(4 * words + 1)
            if (answer := decode_answer(frame)) is not None:
                return answer
        while self.port.read(4 * BURST):
            pass
        return None

    def _whole(self, answer: Answer, what: str, address: int, count: int) -> None:
        if answer.status is not Status.OK or answer.done != count:
            where = f"{what} of word {answer.done} of {count} at 0x{address:08x}"
            why = "does not answer" if answer.status is Status.STUCK else "answers with an error"
            raise LinkError(f"bus: {why}: {where}")


class Device:
    """A core with its peripheral registers at byte address `base`."""

    def __init__(self, link: Link, base: int = 0):
        self.link, self.base = link, base

    def address(self, name: str) -> int:
        """Byte address of a register."""
        return self.base + 4 * ON_BUS[name].address

    def read(self, name: str) -> int:
        """The value of a register."""
        return self.link.read(self.address(name), 1)[0]

    def write(self, name: str, value: int) -> None:
        """Write a register."""
        self.link.write(self.address(name), [value])

    def probe(self) -> dict[str, int]:
        """Check that a core answers; its capability registers, field by field, and `config_hash`.

        Raises `DeviceError` for something else or another version of the register map.
        """
        if (magic := self.read("ID")) != MAGIC:
            raise DeviceError(f"ID: 0x{magic:08x} is not a core (0x{MAGIC:08x})")
        found = {"config_hash": self.read("CONFIG_HASH"), "prog": self.read("CAP_PROG")}
        for name in ("VERSION", "CAP_ARRAY", "CAP_CORE", "CAP_FORMAT", "CAP_BUFFERS", "CAP_BEAT"):
            value = self.read(name)
            for field, first, count, _ in ON_BUS[name].bits:
                found[field] = value >> first & (1 << count) - 1
        if found["peripheral"] != PERIPHERAL_VERSION:
            raise DeviceError(
                f"VERSION: register map {found['peripheral']}, this driver knows {PERIPHERAL_VERSION}"
            )
        return found

    def boot(self, image: "Image") -> None:
        """Reset, load constants and weights, then the program of an image.

        Raises `DeviceError` if the image is for another configuration.
        """
        if (found := self.read("CONFIG_HASH")) != image.config_hash:
            raise DeviceError(
                f"CONFIG_HASH: the hardware is 0x{found:08x}, the image for 0x{image.config_hash:08x}"
            )
        self.reset()
        if len(image.boot):
            self.load(image.boot.tolist())
            self._run(image.boot_input.tolist(), 0, 0)
        self.load(image.program.tolist())

    def run(self, image: "Image") -> list[int]:
        """Run the loaded program on the image's input; the output words."""
        return self._run(image.input.tolist(), len(image.output), image.length)

    def counters(self) -> dict[str, int]:
        """Performance counters of the last run."""
        return {name: self.read(name) for name in COUNTERS}

    def reset(self) -> None:
        """Soft reset: memories are kept, everything else stops; streams go by register."""
        self.write("CTRL", _bit("CTRL", "reset"))
        self.write("MODE", _bit("MODE", "source") | _bit("MODE", "sink"))

    def load(self, words: Sequence[int]) -> None:
        """Load a program from instruction 0 on."""
        self.write("PROG_ADDR", 0)
        for first in range(0, len(words), BURST):
            part = words[first : first + BURST]
            if self.link.push(self.address("PROG_DATA"), part) != len(part):
                raise LinkError("bus: PROG_DATA answers with an error")

    def _run(self, words: Sequence[int], outputs: int, length: int) -> list[int]:
        """Start; push input and pop output until the program has ended.

        Raises `DeviceError` if it stops with an error, nothing moves any more, or it leaves words over.
        """
        self.write("LEN", length)
        self.write("CTRL", _bit("CTRL", "start"))
        sent, got, still = 0, [], 0
        while still < POLLS:
            moved = 0
            if sent < len(words):
                moved = self.link.push(self.address("IN_DATA"), words[sent : sent + BURST])
                sent += moved
            # In this order: what is there after the end stays until it is read.
            busy = self._busy()
            level = _field("FIFO", "out_level", self.read("FIFO"))
            if level:
                got += self.link.read(self.address("OUT_DATA"), min(level, BURST), fixed=True)
            elif not busy:
                break
            still = 0 if moved or level else still + 1
        else:
            raise DeviceError(f"no answer: {sent} words in, {len(got)} out, then nothing moved")
        if sent < len(words):
            raise DeviceError(f"input: the program ended after {sent} of {len(words)} words")
        if len(got) != outputs:
            raise DeviceError(f"output: {len(got)} words, expected {outputs}")
        return got

    def _busy(self) -> bool:
        status = self.read("STATUS")
        if status & _bit("STATUS", "error"):
            if fault := self.read("FAULT"):
                raise DeviceError(f"fault {Fault(fault).name}")
            code, pc = Error(self.read("ERROR")), self.read("ERROR_PC")
            raise DeviceError(f"stopped with {code.name} at pc {pc}")
        return bool(status & _bit("STATUS", "busy"))


def _bits(register: str, field: str) -> tuple[int, int]:
    return next((first, count) for name, first, count, _ in ON_BUS[register].bits if name == field)


def _bit(register: str, field: str) -> int:
    return 1 << _bits(register, field)[0]


def _field(register: str, field: str, value: int) -> int:
    first, count = _bits(register, field)
    return value >> first & (1 << count) - 1
