"""Files that are there completely or not at all."""

import errno
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mapper import atomic
from rtl.spec.params import ConfigError

FULL = OSError(errno.ENOSPC, "No space left on device", "somewhere")


def test_files_are_written_and_replaced(tmp_path):
    path = tmp_path / "new" / "file"
    for text in ("Grüße", "zwei"):
        atomic.write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    matrix = torch.arange(6.0).reshape(2, 3)
    atomic.save_tensors(path, {"a": matrix.mT}, {"key": "value"})
    torch.testing.assert_close(load_file(path), {"a": matrix.mT}, rtol=0, atol=0)
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644


def half_written(error):
    def write(path, *_, **__):
        with open(path, "wb") as file:
            file.write(b"half")
        raise error

    return write


def text(path):
    atomic.write_text(path, "new")


def tensors(path):
    atomic.save_tensors(path, {"a": torch.ones(2)}, {})


@pytest.mark.parametrize("old", [b"old", None])
@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (text, FULL, "file: No space left on device$"),
        (tensors, FULL, "file: No space left on device$"),
        (tensors, SafetensorError("I/O error: full\nmore"), "file: I/O error: full$"),
        (text, OSError(), "file: $"),
    ],
)
def test_failing_write_leaves_the_old_file(tmp_path, monkeypatch, write, error, message, old):
    path = tmp_path / "file"
    if old:
        path.write_bytes(old)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", half_written(error))
        patch.setattr(atomic, "save_file", lambda t, p, m: half_written(error)(p))
        with pytest.raises(ConfigError, match=message) as caught:
            write(path)
    assert "\n" not in str(caught.value)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([old] if old else [])


def test_interruption_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "replace", half_written(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            text(path)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match="file/inner: "):
        text(tmp_path / "file" / "inner")
