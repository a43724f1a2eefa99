import pytest
from amaranth.lib.crc.catalog import CRC8_SMBUS

from rtl.spec.link import (
    BURST,
    SYNC_REQUEST,
    Answer,
    Command,
    Request,
    Status,
    bytes_words,
    crc8,
    decode_answer,
    words_bytes,
)


def test_crc_is_the_one_of_the_catalogue():
    assert crc8(b"123456789") == 0xF4 == CRC8_SMBUS().compute(b"123456789")


def test_request_bytes():
    frame = Request(Command.WRITE | Command.FIXED, 0x80000024, 1, (0x04030201,), 9).encode()
    body = bytes([0x96, 1, 0x24, 0, 0, 0x80, 1, 2, 3, 4])
    assert frame == bytes([SYNC_REQUEST]) + body + bytes([crc8(body)])
    assert len(Request(Command.READ, 0, BURST).encode()) == 8


def answer(*body: int) -> bytes:
    return bytes([0x5A, *body, crc8(bytes(body))])


def test_answers():
    assert decode_answer(answer(0x30, 1, 1, 2, 3, 4)) == Answer(Status.OK, 1, (0x04030201,), 3)
    assert decode_answer(answer(0x0B, 0)) == Answer(Status.TIMEOUT, 0, (), 0)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x5a",
        answer(0x30, 1)[:-1],
        answer(0x30, 1, 9),
        answer(0x07, 0),
        b"\xa5" + answer(0, 0)[1:],
    ],
)
def test_damaged_answers(frame):
    assert decode_answer(frame) is None


@pytest.mark.parametrize("bit", range(64), ids="bit{}".format)
def test_every_flipped_bit_is_found(bit):
    frame = bytearray(answer(0x10, 1, 1, 2, 3, 4))
    frame[bit // 8] ^= 1 << bit % 8
    assert decode_answer(bytes(frame)) is None


def test_words_and_bytes():
    assert bytes_words(words_bytes([1, 0xFFFFFFFF])) == (1, 0xFFFFFFFF)
