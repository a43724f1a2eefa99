"""Results on disk: whole, or computed again."""

import pytest

from mapper.sweep.cache import Cache
from rtl.spec.params import ConfigError

RESULT = {"error": None, "arrays": 20, "utilization": 0.1 + 0.2}


def test_what_is_kept_is_found(tmp_path):
    cache = Cache(tmp_path / "new" / "cache")
    assert cache.get("a") is None
    cache.put("a", RESULT)
    assert cache.get("a") == RESULT and cache.get("b") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace("20", "21"),
        lambda text: "[1]",
        lambda text: "null",
        lambda text: '{"sum": 1}',
    ],
)
def test_what_is_damaged_is_named_once_and_not_used(tmp_path, capsys, damage):
    cache, path = Cache(tmp_path), tmp_path / "a.json"
    cache.put("a", RESULT)
    path.write_text(damage(path.read_text()))
    assert cache.get("a") is None
    err = capsys.readouterr().err
    assert err == f"mapper: warning: {path}: damaged, computed again\n"
    cache.put("a", RESULT)
    assert cache.get("a") == RESULT


def test_what_is_no_text_is_named(tmp_path, capsys):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    assert Cache(tmp_path).get("a") is None
    (tmp_path / "b.json").mkdir()
    assert Cache(tmp_path).get("b") is None
    assert capsys.readouterr().err.count("\n") == 2


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/a\.json: "):
        Cache(tmp_path / "file").put("a", RESULT)
