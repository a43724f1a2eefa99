"""`python -m firmware`: what it prints, and one line for every error."""

import json

import pytest

from firmware import coverage, toolchain
from firmware.cli import main
from firmware.elf import Sizes
from mapper import program as program_files
from mapper.compile import Compiler
from sim.fuzz import random_case


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    strategy, params, work = random_case(2011)
    where = tmp_path_factory.mktemp("compiled") / "p"
    program_files.write(Compiler(strategy, params).compile(work), where)
    return where


def fails(capsys, *arguments) -> str:
    """Run, expect status 2 and one line on stderr; returns the line."""
    assert main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("firmware: error: ")
    return captured.err


def test_pack_and_info(directory, tmp_path, capsys):
    image = tmp_path / "deep" / "image.bin"
    assert main(["pack", str(directory), "-o", str(image), "--json"]) == 0
    packed = json.loads(capsys.readouterr().out)
    assert main(["info", str(image), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == packed
    assert packed["bytes"] == image.stat().st_size
    assert main(["info", str(image)]) == 0
    out = capsys.readouterr().out
    assert f"{packed['cycles']} cycles" in out and f"output {packed['output']}" in out
    assert [p.name for p in image.parent.iterdir()] == ["image.bin"]


def test_what_is_not_there(tmp_path, capsys):
    assert "no such program directory" in fails(
        capsys, "pack", tmp_path / "x", "-o", tmp_path / "i"
    )
    assert "no such file" in fails(capsys, "info", tmp_path / "x")
    assert "no such file" in fails(capsys, "build", "--image", tmp_path / "x")
    assert "-o/--output" in fails(capsys, "pack", tmp_path)
    assert "'lots' is no size" in fails(capsys, "build", "--ram", "lots")
    assert "ram: 6 is not a multiple of 4" in fails(capsys, "build", "--ram", "6")
    assert list(tmp_path.iterdir()) == []


def test_damaged_image(directory, tmp_path, capsys):
    image = tmp_path / "image.bin"
    main(["pack", str(directory), "-o", str(image)])
    capsys.readouterr()
    data = bytearray(image.read_bytes())
    data[-3] ^= 4
    image.write_bytes(data)
    assert f"{image}: sum 0x" in fails(capsys, "info", image)


def test_size_and_its_limit(monkeypatch, capsys):
    monkeypatch.setattr(toolchain, "driver_sizes", lambda: Sizes(4000, 96, 0))
    assert main(["size"]) == 0
    assert "4000 bytes of code (limit 4096)" in capsys.readouterr().out
    monkeypatch.setattr(toolchain, "driver_sizes", lambda: Sizes(4000, 97, 0))
    assert main(["size", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["text"] == 4000


def test_coverage_and_its_limit(monkeypatch, capsys):
    monkeypatch.setattr(coverage, "measure", lambda: coverage.Coverage(100, 95, 200, 190, [7, 7]))
    assert main(["coverage"]) == 0
    assert "95.0 % of 100 lines, 95.0 % of 200 branches" in capsys.readouterr().out
    monkeypatch.setattr(coverage, "measure", lambda: coverage.Coverage(100, 100, 200, 189))
    assert main(["coverage", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["branch_rate"] == 94.5
