"""Images: what is packed is what the golden model says, and what is damaged is refused."""

import numpy as np
import pytest

from firmware.image import Image, load, pack, parse
from mapper.compile import Compiler
from rtl.spec.image import HEADER, MAGIC, SECTIONS
from rtl.spec.params import ConfigError
from sim.execute import run_iss
from sim.fuzz import random_case
from sim.iss import Iss


def test_sections_are_in_the_order_of_the_header():
    assert tuple(name for name, _ in HEADER)[-len(SECTIONS) :] == SECTIONS
    assert MAGIC.to_bytes(4, "little") == b"BCIM"


def test_an_image_says_what_the_iss_does(packed):
    """The boot program fills an empty core: the program then gives its output, in its cycles."""
    params, image = packed
    size = image.instruction

    def code(words: np.ndarray) -> list[int]:
        rows = words.reshape(-1, size).tolist()
        return [sum(word << 32 * k for k, word in enumerate(row)) for row in rows]

    def stream(words: np.ndarray) -> np.ndarray:
        data = words.astype("<u4").view(np.uint8)
        if params.act_bits == 8:
            return data.view(np.int8).reshape(-1, params.lanes)
        pairs = np.stack([data << 4, data & 240], axis=-1).view(np.int8) >> 4
        return pairs.reshape(-1, params.lanes)

    iss = Iss(params)
    assert len(iss.run(code(image.boot), stream(image.boot_input)).outputs) == 0
    result = iss.run(code(image.program), stream(image.input))
    assert (result.outputs == stream(image.output)).all()
    assert result.cycles == image.cycles


def test_the_output_is_that_of_the_program():
    strategy, params, work = random_case(2011)
    program = Compiler(strategy, params).compile(work)
    image = pack(program)
    outputs = run_iss(program).outputs
    assert len(image.output) * 4 == outputs.size * program.params.act_bits // 8
    program.workload.inputs[work.segments[0].name][0] ^= 0x55
    with pytest.raises(ConfigError, match="outputs are not the golden model's: token 0"):
        pack(program)


def test_bytes_and_back(packed, tmp_path):
    image = packed[1]
    (tmp_path / "image.bin").write_bytes(image.to_bytes())
    again = load(tmp_path / "image.bin")
    for name in vars(image):
        assert np.array_equal(getattr(again, name), getattr(image, name)), name


def changed(image: Image, **values: int) -> bytes:
    """The bytes of an image with other header words."""
    words = image.words()
    for at, (name, _) in enumerate(HEADER):
        words[at] = values.get(name, words[at])
    return words.astype("<u4").tobytes()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"magic": 1}, "no image .magic 0x00000001, not 0x4d494342"),
        ({"version": 9}, "image version 9, this tool reads 1"),
        ({"words": 20}, "the header says 80"),
        ({"output": 0}, "sections make .* words, the header says"),
        ({"sum": 5}, "the header says 0x00000005"),
        ({"instruction": 0}, "boot has .* no whole instructions of 0"),
        ({"instruction": 7}, "program has .* no whole instructions of 7"),
    ],
)
def test_damaged_headers(one, values, message):
    with pytest.raises(ConfigError, match=f"x: .*{message}"):
        parse(changed(one[1], **values), "x")


@pytest.mark.parametrize("cut", [0, 40, -4, -1])
def test_truncated_images(one, cut):
    with pytest.raises(ConfigError, match="bytes, "):
        parse(one[1].to_bytes()[:cut])


def test_what_cannot_be_packed():
    strategy, params, work = random_case(2011)
    program = Compiler(strategy, params).compile(work)
    program.params = params.replace(stream_width=8)
    with pytest.raises(ConfigError, match=r"stream_width: beats of 8 bits.*multiple of 32"):
        pack(program)
    program.params = params.replace(cores=2)
    with pytest.raises(ConfigError, match="cores: 2, an image is for one core"):
        pack(program)
    program = Compiler(strategy, params).compile(work)
    program.instructions = program.instructions[:-1]
    with pytest.raises(ConfigError, match=r"program: stops with PC at pc"):
        pack(program)


def test_no_such_file(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none")
