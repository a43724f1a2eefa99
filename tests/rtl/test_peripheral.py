"""Parameters of a peripheral that a bus cannot have."""

import pytest

from gen.cli import main
from rtl.peripheral import Peripheral
from rtl.spec.params import ConfigError, Params

TINY = Params.load("tiny")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"stream_width": 16},
            "stream_width: a beat of 16 bits must, on a bus, be a multiple of 32",
        ),
        ({"cores": 2}, "cores: 2, but a peripheral has one core"),
        (
            {"rows": 512, "cols": 512, "lanes": 512},
            "stream_width: a beat of 4096 bits must, on a bus, be a multiple of 32, at most 2048",
        ),
    ],
    ids=["narrow", "chip", "wide"],
)
def test_init_wrong_parameters(changes, message):
    with pytest.raises(ConfigError, match=message):
        Peripheral(TINY.replace(**changes))


def test_the_command_says_so_and_writes_nothing(tmp_path, capsys):
    arguments = ["--config", "tiny", "--stream-width", "16", "--top", "axi"]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("gen: error: stream_width: ")
    assert not (tmp_path / "out").exists()
