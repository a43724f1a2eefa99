"""ELF files: sizes of sections, and the bytes that a program puts into memory. 32 bits, little endian."""

import struct
from dataclasses import dataclass

from rtl.spec.params import ConfigError

_PROGBITS, _LOAD = 1, 1
_WRITE, _ALLOC, _EXEC = 1, 2, 4


@dataclass(frozen=True)
class Sizes:
    """Bytes of code, of constants and of initialised data."""

    text: int
    rodata: int
    data: int


def _table(data: bytes, name: str, at: int, layout: str) -> list[tuple[int, ...]]:
    """The rows of the section table (`at` 32) or program table (`at` 28) of a file."""
    if data[:6] != b"\x7fELF\x01\x01":
        raise ConfigError(f"{name}: no ELF file of 32 bits, little endian")
    (offset,) = struct.unpack_from("<I", data, at)
    size, count = struct.unpack_from("<HH", data, 46 if at == 32 else 42)
    return [struct.unpack_from(layout, data, offset + i * size) for i in range(count)]


def sizes(data: bytes, name: str = "file") -> Sizes:
    """Sizes of what an object or a program loads. Raises `ConfigError` for another file."""
    total = {"text": 0, "rodata": 0, "data": 0}
    for _, kind, flags, _, _, size in _table(data, name, 32, "<6I"):
        if kind == _PROGBITS and flags & _ALLOC:
            part = "text" if flags & _EXEC else "data" if flags & _WRITE else "rodata"
            total[part] += size
    return Sizes(**total)


def memory(data: bytes, name: str = "file", base: int = 0) -> bytes:
    """What a program puts into memory, from address `base` on; gaps are zeros. Raises `ConfigError`."""
    result = bytearray()
    for kind, offset, _, address, size, *_ in _table(data, name, 28, "<8I"):
        if kind != _LOAD or not size:
            continue
        if address < base:
            raise ConfigError(f"{name}: loads at 0x{address:x}, memory starts at 0x{base:x}")
        result.extend(bytes(max(0, address - base + size - len(result))))
        result[address - base : address - base + size] = data[offset : offset + size]
    return bytes(result)
