"""The serial link: frames that carry reads and writes of 32-bit words over a UART, as data.

A request is answered by exactly one answer, and a host sends the next request only then:

    request   SYNC_REQUEST  command  count  address (4 bytes)  words of a write     crc
    answer    SYNC_ANSWER   result   done                      words of a read      crc

Words and the address are little endian; the address is that of a byte, a multiple of 4. `count` words, 1..BURST, go to
or come from consecutive addresses, or with FIXED all the same one (FIFOs such as IN_DATA). The CRC, one byte
(polynomial x^8 + x^2 + x + 1), covers everything between the sync byte and itself. `result` has the status in its low
half and the request's sequence number in its high half. `done` counts the words that were read or written before the
status; an answer to a read carries that many.

A write is carried out only when its CRC was right. A request with the sequence number of the one that was carried out
last (0 excepted) is not carried out again: its answer is sent again. So a host may repeat a request whose answer was
damaged, also where reading pops and writing pushes. A new host starts with number 0, which is always carried out.

A damaged request gets an answer with one of `DAMAGED` and number 0 once the line was quiet for `IDLE_BITS` bit times.
A break drops whatever was received and is not answered. Bytes between frames are ignored.
"""

import enum
from dataclasses import dataclass

SYNC_REQUEST, SYNC_ANSWER = 0xA5, 0x5A

#: Words of a request or an answer at most.
BURST = 64
#: Bit times of quiet after which an unfinished request is given up: 36 ms at 115200 baud.
IDLE_BITS = 4096

#: The CRC: x^8 + x^2 + x + 1 without its top term, highest bit first, from 0.
CRC_POLYNOMIAL = 0x07


class Command(enum.IntFlag):
    """Command byte, low half; the high half is the sequence number."""

    READ = 1
    WRITE = 2
    FIXED = 4  #: all words at one address


class Status(enum.IntEnum):
    """Status of an answer."""

    OK = 0
    BUS = 1  #: the bus answered word number `done` with an error
    STUCK = 2  #: the bus did not answer word number `done`
    CRC = 8  #: wrong CRC
    COMMAND = 9  #: neither READ nor WRITE, an address that is no multiple of 4, or a count outside 1..BURST
    FRAMING = 10  #: a byte without a stop bit
    TIMEOUT = 11  #: the line was quiet in the middle of a request


#: What says that a request was damaged on its way and nothing was carried out.
DAMAGED = frozenset({Status.CRC, Status.COMMAND, Status.FRAMING, Status.TIMEOUT})

#: Bytes of a request before its words, and of an answer before its words.
REQUEST_HEAD, ANSWER_HEAD = 7, 3


def crc8(data: bytes) -> int:
    """The CRC of some bytes."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ CRC_POLYNOMIAL if crc & 0x80 else crc << 1) & 0xFF
    return crc


@dataclass(frozen=True)
class Request:
    """A request; `words` are those of a write, of a read there are `count`."""

    command: Command
    address: int
    count: int
    words: tuple[int, ...] = ()
    number: int = 0  #: sequence number, 0..15

    def encode(self) -> bytes:
        """The frame."""
        body = bytes([self.command | self.number << 4, self.count])
        body += self.address.to_bytes(4, "little") + words_bytes(self.words)
        return bytes([SYNC_REQUEST]) + body + bytes([crc8(body)])


@dataclass(frozen=True)
class Answer:
    """An answer whose CRC was right."""

    status: Status
    done: int
    words: tuple[int, ...]
    number: int


def decode_answer(frame: bytes) -> Answer | None:
    """The answer in a whole frame, sync byte included; None if it is damaged."""
    body, crc = frame[1:-1], frame[-1:]
    words = body[ANSWER_HEAD - 1 :]
    if frame[:1] != bytes([SYNC_ANSWER]) or len(words) % 4 or crc != bytes([crc8(body)]):
        return None
    try:
        status = Status(body[0] & 15)
    except ValueError:
        return None
    return Answer(status, body[1], bytes_words(words), body[0] >> 4)


def words_bytes(words) -> bytes:
    """32-bit words as bytes."""
    return b"".join(word.to_bytes(4, "little") for word in words)


def bytes_words(data: bytes) -> tuple[int, ...]:
    """The inverse of `words_bytes`."""
    return tuple(int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4))
