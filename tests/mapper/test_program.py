import json
import os

import numpy as np
import pytest

from mapper import program as files
from mapper.compile import Compiler
from rtl.spec.isa import assemble
from rtl.spec.numeric import pack_const
from rtl.spec.params import ConfigError, Params
from tests.mapper import programs

PARAMS = Params(rows=16, cols=16, granule=4, lanes=8)


def compiled(params=PARAMS, tokens=2):
    rng = np.random.default_rng(2)
    matrices = {"s": [programs.monarch(rng, params, "m", 4, 4, 4, 4)]}
    return Compiler("densemap", params).compile(programs.workload(rng, params, matrices, tokens))


@pytest.fixture
def directory(tmp_path):
    files.write(compiled(), tmp_path / "p")
    return tmp_path / "p"


@pytest.mark.parametrize("act_bits", [4, 8])
def test_what_is_written_is_what_is_read(tmp_path, act_bits):
    made = compiled(PARAMS.replace(act_bits=act_bits))
    files.write(made, tmp_path / "p")
    read = files.load(tmp_path / "p")
    assert read.params == made.params
    assert read.words == made.words
    for name in ("weights", "constants", "inputs", "after"):
        assert np.array_equal(getattr(read, name), getattr(made, name)), name
    assert read.input_packets == made.input_packets
    assert read.output_packets == made.output_packets
    assert read.report == json.loads(json.dumps(made.report))
    assert programs.run(read) == made.report["cycles_predicted"]


def test_files_of_a_program_directory(directory):
    names = {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}
    assert names == {
        "program.bin",
        "program.lst",
        "params.toml",
        "weights/weights.bin",
        "weights/const.bin",
        "stream/input.bin",
        "stream/after.bin",
        "packets.json",
        "matrices.npz",
        "inputs.npz",
        "placement.json",
        "report.json",
        "occupancy.svg",
    }
    params = files.load(directory).params
    size = params.tiles * params.rows * params.cols
    assert (directory / "weights/weights.bin").stat().st_size == size
    assert list(directory.parent.iterdir()) == [directory]


def test_the_listing_assembles_to_the_program(directory):
    read = files.load(directory)
    text = (directory / "program.lst").read_text()
    assert (
        files.program_bytes(assemble(text, read.params), read.params)
        == (directory / "program.bin").read_bytes()
    )


def test_writing_twice_is_byte_identical(directory, tmp_path):
    other = compiled()
    other.report["wall_s"] = files.load(directory).report["wall_s"]
    files.write(other, tmp_path / "q")
    for path in directory.rglob("*"):
        if path.is_file():
            assert (tmp_path / "q" / path.relative_to(directory)).read_bytes() == path.read_bytes()


def test_constants_follow_the_numeric_rules(directory):
    read = files.load(directory)
    factor = read.workload.segments[0].matrices[0].factors[1]
    entries = {
        pack_const(int(b), int(m), int(s))
        for b, m, s in zip(factor.bias.flat, factor.mult.flat, factor.shift.flat, strict=True)
    }
    assert entries <= {int(v) for v in read.constants.flat}


def test_an_older_program_is_replaced(directory):
    (directory / "extra").write_text("old")
    files.write(compiled(tokens=1), directory)
    assert not (directory / "extra").exists()
    assert files.load(directory).report["tokens"] == 1


def test_a_foreign_directory_is_left_alone(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ConfigError, match=r"is not empty and not a directory with program\.bin"):
        files.write(compiled(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes"]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        files, "_factor_arrays", lambda work: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(ConfigError, match="p:"):
        files.write(compiled(), tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


def test_the_report_is_replaced_in_one_step(directory):
    files.write_report({"cycles": 5}, directory)
    assert json.loads((directory / "report.json").read_text()) == {"cycles": 5}
    assert not [p for p in os.listdir(directory) if p.startswith(".")]


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("program.bin", lambda d: b"ELF!" + d[4:], r"program\.bin: not a program file"),
        ("program.bin", lambda d: d[:4] + b"\xff\xff" + d[6:], r"version 65535, this tool reads"),
        ("program.bin", lambda d: d[:8] + b"\0\0\0\0" + d[12:], r"config hash 0x00000000 does not"),
        ("program.bin", lambda d: d[:-1], r"bytes of program, expected"),
        ("program.bin", lambda d: d[:16] + b"\x1f" + d[17:], r"opcode 31 is unknown"),
        ("weights/weights.bin", lambda d: d[:-1], r"weights\.bin: \d+ bytes, expected \d+"),
        ("weights/const.bin", lambda d: d[:-1], r"const\.bin: \d+ bytes"),
        ("stream/input.bin", lambda d: d[:-1], r"input\.bin: not whole words of 64 bits"),
        ("stream/after.bin", lambda d: d[:-4], r"after\.bin: \d+ bytes"),
        ("packets.json", lambda d: d[:-9], r"packets\.json"),
        ("packets.json", lambda d: b"{}", r"packets\.json: 'inputs' is missing"),
        ("matrices.npz", lambda d: d[:99], r"matrices\.npz"),
        ("params.toml", lambda d: d.replace(b"rows", b"rews"), r"params\.toml: rews: unknown"),
    ],
)
def test_damage_is_reported_in_one_line(directory, name, damage, message):
    path = directory / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigError, match=message) as caught:
        files.load(directory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["program.bin", "weights/weights.bin", "matrices.npz", "report.json"]
)
def test_a_missing_file_is_named(directory, name):
    (directory / name).unlink()
    with pytest.raises(ConfigError, match=rf"{name}: no such file"):
        files.load(directory)


def test_no_directory(tmp_path):
    with pytest.raises(ConfigError, match="no such program directory"):
        files.load(tmp_path / "none")


def test_packed_words_are_low_element_first():
    params = PARAMS.replace(act_bits=4)
    words = np.array([[1, -1, 2, -8, 0, 7, 3, 4]], dtype=np.int8)
    data = files.pack_elements(words, params)
    assert data.tobytes() == bytes([0xF1, 0x82, 0x70, 0x43])
    assert np.array_equal(files.unpack_elements(data, params), words)
