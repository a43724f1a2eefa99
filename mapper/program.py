"""The program directory: everything that a simulator, a driver or a person needs to run a program.

| file | holds |
|---|---|
| program.bin | header (magic, version, bytes an instruction, config hash, count), instruction words |
| program.lst | the same as assembler text |
| params.toml | the parameters that the hardware must have |
| weights/weights.bin | tiles * rows * cols bytes, one a weight, array by array, row by row |
| weights/const.bin | constant words of `lanes` entries of 8 bytes |
| stream/input.bin | input stream words, elements packed low first |
| stream/after.bin | u32 per input word: output words that leave before it is offered |
| packets.json | packets of both streams in order, segments and matrices by name |
| matrices.npz, inputs.npz | constants of factors, and inputs, for the golden model |
| placement.json, occupancy.svg, report.json | where everything is, drawn, and what it costs |

Weights are stored once: the golden model's factors are read from the arrays by placement.json, and must then have the
digests that packets.json keeps of the factors that were compiled. Everything is little endian.
"""

import contextlib
import hashlib
import json
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from rtl.spec.isa import Instr, decode, encode, listing, width
from rtl.spec.params import ISA_VERSION, ConfigError, Params

from .graph import Factor, Matrix, Segment, Workload
from .image import fill_blocks, read_blocks
from .layout import Placement

MAGIC = b"BCIM"
#: magic, version, bytes per instruction, config hash, instructions.
HEADER = struct.Struct("<4sHHII")

_FACTOR_ARRAYS = ("bias", "mult", "shift")
_MATRIX_VALUES = (
    "name",
    "layer",
    "n_in",
    "n_out",
    "rank",
    "in_scale",
    "out_scale",
    "out_offset",
    "by_size",
    "useful_weights",
    "mid_scale",
)


@dataclass(frozen=True)
class StreamPacket:
    """Consecutive words of a stream: the input of a segment or the output of one matrix."""

    segment: str
    layer: int
    matrix: str  #: empty for an input
    token: int
    first: int  #: first word of the stream
    words: int
    elements: int  #: elements that count; what follows in the last word does not


@dataclass
class Program:
    """A compiled program with its data."""

    params: Params
    instructions: list[Instr]
    weights: np.ndarray  #: int8 (tiles, rows, cols)
    constants: np.ndarray  #: uint64 (const words, lanes)
    inputs: np.ndarray  #: int8 (input words, lanes)
    after: np.ndarray  #: uint32 (input words,)
    input_packets: list[StreamPacket]
    output_packets: list[StreamPacket]
    workload: Workload
    placement: Placement
    report: dict = field(default_factory=dict)
    picture: str = ""  #: occupancy.svg

    @property
    def words(self) -> list[int]:
        """Encoded instructions."""
        return [encode(instr, self.params) for instr in self.instructions]


# -- elements in words ------------------------------------------------------------------------------


def pack_elements(words: np.ndarray, params: Params) -> np.ndarray:
    """Elements int8 (n, lanes) as uint8 (n, word_bits / 8): one a byte, or two of 4 bits, low first."""
    data = np.ascontiguousarray(words, dtype=np.int8).view(np.uint8)
    if params.act_bits == 8:
        return data
    return (data[:, 0::2] & 15) | (data[:, 1::2] & 15) << 4


def unpack_elements(data: np.ndarray, params: Params) -> np.ndarray:
    """The inverse of `pack_elements`, from uint8 of any shape: int8 (n, lanes)."""
    if params.act_bits == 4:
        data = np.stack([data << 4, data & 240], axis=-1).view(np.int8) >> 4
    return data.reshape(-1, params.lanes).view(np.int8).copy()


# -- program.bin --------------------------------------------------------------------------------------


def program_bytes(instructions: list[Instr], params: Params) -> bytes:
    """The content of program.bin."""
    return words_bytes([encode(i, params) for i in instructions], params)


def words_bytes(words: list[int], params: Params) -> bytes:
    """The content of program.bin for instruction words, legal or not."""
    size = width(params) // 8
    head = HEADER.pack(MAGIC, ISA_VERSION, size, params.config_hash, len(words))
    return head + b"".join(word.to_bytes(size, "little") for word in words)


def parse_program(data: bytes, params: Params, name: str = "program.bin") -> list[Instr]:
    """Instructions of a program file. Raises `ConfigError` for a foreign or damaged file."""
    if len(data) < HEADER.size or data[:4] != MAGIC:
        raise ConfigError(f"{name}: not a program file (magic {data[:4]!r}, expected {MAGIC!r})")
    _, version, size, config, count = HEADER.unpack_from(data)
    if version != ISA_VERSION:
        raise ConfigError(f"{name}: version {version}, this tool reads {ISA_VERSION}")
    if config != params.config_hash:
        raise ConfigError(
            f"{name}: config hash 0x{config:08x} does not match params.toml (0x{params.config_hash:08x})"
        )
    if size != width(params) // 8:
        raise ConfigError(f"{name}: {size} bytes an instruction, expected {width(params) // 8}")
    body = data[HEADER.size :]
    if len(body) != size * count:
        raise ConfigError(f"{name}: {len(body)} bytes of program, expected {size * count}")
    words = (int.from_bytes(body[i : i + size], "little") for i in range(0, len(body), size))
    try:
        return [decode(word, params) for word in words]
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


# -- writing -----------------------------------------------------------------------------------------


def write(program: Program, directory: str | Path) -> None:
    """Write the program directory: completely, or not at all, see `write_directory`."""
    write_directory(directory, "program.bin", lambda where: write_files(program, where))


def write_directory(directory: str | Path, mark: str, fill: Callable[[Path], object]) -> None:
    """Let `fill` make a new directory and put it in its place: completely, or not at all.

    An older directory, one that has a file `mark`, is replaced; anything else that is in the way raises
    `ConfigError`.
    """
    target = Path(directory)
    _check_target(target, mark)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise ConfigError(f"{target}: {error.strerror}") from None
    try:
        made = scratch / "new"
        fill(made)
        if target.exists():
            os.rename(target, scratch / "old")
        os.rename(made, target)
    except OSError as error:
        raise ConfigError(f"{target}: {error.strerror}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_target(target: Path, mark: str) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise ConfigError(f"{target}: is not a directory")
    if any(target.iterdir()) and not (target / mark).exists():
        raise ConfigError(f"{target}: is not empty and not a directory with {mark}")


def write_files(program: Program, where: Path) -> None:
    """Write the files of a program directory into a new directory."""
    params = program.params
    for folder in ("weights", "stream"):
        (where / folder).mkdir(parents=True)
    files: dict[str, bytes] = {
        "program.bin": program_bytes(program.instructions, params),
        "program.lst": listing(program.instructions).encode(),
        "params.toml": params.to_toml().encode(),
        "weights/weights.bin": program.weights.astype(np.int8).tobytes(),
        "weights/const.bin": program.constants.astype("<u8").tobytes(),
        "stream/input.bin": pack_elements(program.inputs, params).tobytes(),
        "stream/after.bin": program.after.astype("<u4").tobytes(),
        "packets.json": json_bytes(_packets(program)),
        "placement.json": json_bytes(program.placement.as_dict()),
        "report.json": json_bytes(program.report),
        "occupancy.svg": program.picture.encode(),
    }
    for name, data in files.items():
        (where / name).write_bytes(data)
    np.savez(where / "matrices.npz", allow_pickle=False, **_factor_arrays(program.workload))
    np.savez(where / "inputs.npz", allow_pickle=False, **program.workload.inputs)


def json_bytes(value) -> bytes:
    """A value as indented JSON."""
    return (json.dumps(value, indent=1) + "\n").encode()


def _packets(program: Program) -> dict:
    work = program.workload
    return {
        "model": work.model,
        "layer": work.layer,
        "policy": work.policy,
        "synthetic": work.synthetic,
        "segments": [
            {
                "name": segment.name,
                "layer": segment.layer,
                "barrier": bool(work.barrier.get(segment.name, False)),
                "matrices": [
                    {n: getattr(m, n) for n in _MATRIX_VALUES} | {"factors": _blocks(m)}
                    for m in segment.matrices
                ],
            }
            for segment in work.segments
        ],
        "inputs": [asdict(p) for p in program.input_packets],
        "outputs": [asdict(p) for p in program.output_packets],
    }


def _blocks(matrix: Matrix) -> list[dict]:
    """Shape and digest of the blocks of every factor: what is on the arrays is theirs, whoever put it there."""
    return [
        {
            "shape": list(factor.shape),
            "sha256": hashlib.sha256(read_blocks(matrix, n).tobytes()).hexdigest(),
        }
        for n, factor in enumerate(matrix.factors)
    ]


def _factor_arrays(work: Workload) -> dict[str, np.ndarray]:
    return {
        f"{s}.{m}.{f}.{name}": getattr(factor, name)
        for s, segment in enumerate(work.segments)
        for m, matrix in enumerate(segment.matrices)
        for f, factor in enumerate(matrix.factors)
        for name in _FACTOR_ARRAYS
    }


# -- reading -----------------------------------------------------------------------------------------


def load(directory: str | Path) -> Program:
    """Read a program directory. Raises `ConfigError` naming the file that is missing or damaged."""
    where = Path(directory)
    if not where.is_dir():
        raise ConfigError(f"{where}: no such program directory")
    params = Params.from_toml(where / "params.toml")
    program = parse_program(read_bytes(where / "program.bin"), params, str(where / "program.bin"))
    weights = _array(where / "weights/weights.bin", "i1", (params.tiles, params.rows, params.cols))
    constants = _array(where / "weights/const.bin", "<u8", (-1, params.lanes))
    raw = read_bytes(where / "stream/input.bin")
    if len(raw) % (params.word_bits // 8):
        raise ConfigError(
            f"{where / 'stream/input.bin'}: not whole words of {params.word_bits} bits"
        )
    inputs = unpack_elements(np.frombuffer(raw, np.uint8), params)
    after = _array(where / "stream/after.bin", "<u4", (len(inputs),))
    info = load_json(where / "packets.json")
    try:
        packets = [[StreamPacket(**p) for p in info[key]] for key in ("inputs", "outputs")]
        work = _workload(info, where)
        placement = Placement.from_dict(load_json(where / "placement.json"), params)
        _fill(weights, work, placement, info, where)
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{where / 'packets.json'}: {error} is missing or unknown") from None
    report = load_json(where / "report.json")
    picture = where / "occupancy.svg"
    return Program(
        params=params,
        instructions=program,
        weights=weights,
        constants=constants,
        inputs=inputs,
        after=after,
        input_packets=packets[0],
        output_packets=packets[1],
        workload=work,
        report=report,
        placement=placement,
        picture=picture.read_text(encoding="utf-8") if picture.exists() else "",
    )


def write_report(report: dict, directory: str | Path) -> None:
    """Replace report.json of a program directory in one step."""
    path = Path(directory) / "report.json"
    handle, scratch = tempfile.mkstemp(prefix=".report-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(json_bytes(report))
        os.replace(scratch, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(scratch)
        raise ConfigError(f"{path}: {error.strerror}") from None


def _fill(
    weights: np.ndarray, work: Workload, placement: Placement, info: dict, where: Path
) -> None:
    """Blocks of all factors from the arrays. Raises `ConfigError` if they are not those that were compiled."""
    try:
        fill_blocks(weights, work.segments, placement)
    except (IndexError, ValueError) as error:
        raise ConfigError(f"{where / 'placement.json'}: {error}") from None
    for segment, values in zip(work.segments, info["segments"], strict=True):
        for matrix, known in zip(segment.matrices, values["matrices"], strict=True):
            if _blocks(matrix) != known["factors"]:
                raise ConfigError(
                    f"{where / 'weights/weights.bin'}: {matrix.name}: weights are not those that were compiled"
                )


def _workload(info: dict, where: Path) -> Workload:
    factors = _npz(where / "matrices.npz")
    segments = []
    for s, segment in enumerate(info["segments"]):
        matrices = []
        for m, values in enumerate(segment["matrices"]):
            parts = tuple(
                Factor(
                    np.zeros(known["shape"], np.int8),
                    *(factors[f"{s}.{m}.{f}.{name}"] for name in _FACTOR_ARRAYS),
                )
                for f, known in enumerate(values["factors"])
            )
            rest = {n: values[n] for n in _MATRIX_VALUES}
            matrices.append(Matrix(factors=parts, **rest))
        segments.append(Segment(segment["name"], segment["layer"], tuple(matrices)))
    return Workload(
        info["model"],
        info["layer"],
        info["policy"],
        segments,
        _npz(where / "inputs.npz"),
        {s["name"]: s["barrier"] for s in info["segments"]},
        info["synthetic"],
    )


def read_bytes(path: Path) -> bytes:
    """A file's content. Raises `ConfigError` naming it if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _array(path: Path, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    data = read_bytes(path)
    size = np.dtype(kind).itemsize * int(np.prod([n for n in shape if n >= 0]))
    good = len(data) == size if -1 not in shape else len(data) % size == 0
    if not good:
        raise ConfigError(f"{path}: {len(data)} bytes, expected {size}")
    return np.frombuffer(data, dtype=kind).reshape(shape)


def load_json(path: Path) -> dict:
    """A JSON file. Raises `ConfigError` naming it if it is missing or damaged."""
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def _npz(path: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here: numpy leaves the file open when it is not a whole archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from None
