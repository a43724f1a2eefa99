"""Images (rtl/spec/image.py): packed from a program, and read back."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from mapper import program as program_files
from mapper.program import Program, pack_elements, program_bytes
from rtl.spec.image import HEADER, MAGIC, SECTIONS, VERSION, beat_words
from rtl.spec.isa import width
from rtl.spec.params import ConfigError
from sim.execute import boot_program, compare
from sim.iss import Iss

_NAMES = tuple(name for name, _ in HEADER)


@dataclass(frozen=True)
class Image:
    """Header values that do not follow from the sections, and the sections: uint32 arrays of words."""

    config_hash: int
    length: int
    cycles: int
    instruction: int
    boot: np.ndarray
    boot_input: np.ndarray
    program: np.ndarray
    input: np.ndarray
    output: np.ndarray

    def words(self) -> np.ndarray:
        """The whole image, uint32."""
        body = np.concatenate([getattr(self, name) for name in SECTIONS])
        header = {name: getattr(self, name) for name in _NAMES if hasattr(self, name)}
        header |= {name: len(getattr(self, name)) for name in SECTIONS}
        header |= {
            "magic": MAGIC,
            "version": VERSION,
            "words": len(_NAMES) + len(body),
            "sum": int(body.sum(dtype=np.uint64)) & 0xFFFFFFFF,
        }
        return np.concatenate([np.array([header[n] for n in _NAMES], np.uint32), body])

    def to_bytes(self) -> bytes:
        """The content of an image file."""
        return self.words().astype("<u4").tobytes()


def parse(data: bytes, name: str = "image") -> Image:
    """The image in `data`. Raises `ConfigError`, naming what is wrong with it."""
    if len(data) < 4 * len(_NAMES):
        raise ConfigError(f"{name}: {len(data)} bytes, a header has {4 * len(_NAMES)}")
    words = np.frombuffer(data[: len(data) // 4 * 4], "<u4")
    header = {key: int(word) for key, word in zip(_NAMES, words, strict=False)}
    if header["magic"] != MAGIC:
        raise ConfigError(f"{name}: no image (magic 0x{header['magic']:08x}, not 0x{MAGIC:08x})")
    if header["version"] != VERSION:
        raise ConfigError(f"{name}: image version {header['version']}, this tool reads {VERSION}")
    if 4 * header["words"] != len(data):
        raise ConfigError(f"{name}: {len(data)} bytes, the header says {4 * header['words']}")
    total = len(_NAMES) + sum(header[section] for section in SECTIONS)
    if total != header["words"]:
        raise ConfigError(f"{name}: sections make {total} words, the header says {header['words']}")
    for section in ("boot", "program"):
        if not header["instruction"] or header[section] % header["instruction"]:
            raise ConfigError(
                f"{name}: {section} has {header[section]} words, "
                f"no whole instructions of {header['instruction']}"
            )
    body = words[len(_NAMES) :]
    found = int(body.sum(dtype=np.uint64)) & 0xFFFFFFFF
    if found != header["sum"]:
        raise ConfigError(f"{name}: sum 0x{found:08x}, the header says 0x{header['sum']:08x}")
    ends = np.cumsum([header[section] for section in SECTIONS])
    parts = dict(zip(SECTIONS, np.split(body, ends[:-1]), strict=True))
    return Image(**{f.name: parts.get(f.name, header.get(f.name)) for f in fields(Image)})


def load(path: str | Path) -> Image:
    """Read an image file. Raises `ConfigError`."""
    return parse(program_files.read_bytes(Path(path)), str(path))


def stream_words(words: np.ndarray, program: Program) -> np.ndarray:
    """Stream words int8 (n, lanes) as uint32."""
    return pack_elements(words, program.params).view("<u4").reshape(-1).astype(np.uint32)


def _instructions(code: list, program: Program) -> np.ndarray:
    if len(code) > program.params.prog_depth:
        raise ConfigError(
            f"program: {len(code)} instructions, prog_depth = {program.params.prog_depth}"
        )
    body = program_bytes(code, program.params)[program_files.HEADER.size :]
    return np.frombuffer(body, "<u4").astype(np.uint32)


def pack(program: Program, length: int = 0) -> Image:
    """The image of a program, its output checked against the golden model.

    Raises `ConfigError` if the program is of a chip, its beats are no whole 32-bit words, or it goes wrong.
    """
    p = program.params
    if p.cores > 1:
        raise ConfigError(f"cores: {p.cores}, an image is for one core")
    beat_words(p)
    boot, boot_input = boot_program(program, front_door=True)
    iss = Iss(p)
    iss.run(boot, boot_input)
    result = iss.run(program.instructions, program.inputs, length=length)
    if result.error:
        raise ConfigError(f"program: stops with {result.error.name} at pc {result.pc}")
    _, wrong, first = compare(program, result.outputs)
    if wrong:
        raise ConfigError(f"program: {wrong} outputs are not the golden model's: {first}")
    return Image(
        config_hash=p.config_hash,
        length=length,
        cycles=result.cycles,
        instruction=width(p) // 32,
        boot=_instructions(boot, program),
        boot_input=stream_words(boot_input, program),
        program=_instructions(program.instructions, program),
        input=stream_words(program.inputs, program),
        output=stream_words(result.outputs, program),
    )
