"""The wheel: complete, and at home beside a distribution whose packages are called like ours."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from rtl.spec.params import ConfigError
from sim.tools import find_icarus

ROOT = Path(__file__).parent.parent
#: What is installed, as far as it is there.
FOLDERS = [f for f in ("rtl", "gen", "mapper", "sim", "firmware") if (ROOT / f).is_dir()]
#: Names that another distribution has too.
COMMON = ("gen", "sim")


def sources() -> list[Path]:
    """All files of the folders, relative to the root; notes (.md) and what Python left are none."""
    found = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.is_file()]
    skip = {"__pycache__", "build"}
    return sorted(
        p.relative_to(ROOT) for p in found if p.suffix != ".md" and not skip & set(p.parts)
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy, so that the tree stays as it is."""
    work = tmp_path_factory.mktemp("wheel")
    for name in [*sources(), *map(Path, ("pyproject.toml", "README.md", "LICENSE"))]:
        (work / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "tree" / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    command = [*pip, "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(work), str(work / "tree")], check=True)
    return next(work.glob("blockcim-*.whl"))


def decoy(where: Path) -> Path:
    """A wheel of another distribution, with packages `gen` and `sim`."""
    info, path = "decoy-1.0.dist-info", where / "decoy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in COMMON:
            archive.writestr(f"{name}/__init__.py", 'OWNER = "decoy"\n')
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: decoy\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs a command of a fresh environment, with both wheels, in an empty folder; its standard output."""
    home = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home / "env")], check=True)
    python = home / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    command = [*pip, "install", "-q", "--no-deps", "--no-index", str(wheel), str(decoy(home))]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run(command, check=True, env=environment)
    # What we depend on is there already; nothing is downloaded.
    (site,) = home.glob("env/lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    empty = home / "empty"
    empty.mkdir()

    def run(name: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(python.with_name(name)), *arguments],
            cwd=empty,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_wheel_is_complete_and_has_one_package(wheel):
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    launcher = Path("gen/package/__init__.py")
    assert names == {
        "blockcim/__init__.py" if path == launcher else f"blockcim/{path.as_posix()}"
        for path in sources()
    }


def test_other_packages_keep_their_names(installed):
    code = "import gen, sim; print(gen.OWNER, sim.OWNER)"
    assert installed("python", "-c", code).split() == ["decoy", "decoy"]
    code = "import blockcim; blockcim.activate(); import sim.iss; print(hasattr(sim, 'OWNER'))"
    assert installed("python", "-c", code).split() == ["False"]


def test_commands_work_from_an_empty_folder(installed):
    assert "configuration 0x" in installed("blockcim-gen", "--config", "tiny", "-o", "bundle")
    compile_ = ["compile", "gpt2-medium", "--strategy", "densemap"]
    installed("blockcim-mapper", *compile_, "-o", "program")
    run = ["run", "program", "--simulator", "iss", "--cost", "digital-sram"]
    assert "0 mismatches" in installed("blockcim-sim", *run)
    installed("blockcim-firmware", "pack", "program", "-o", "image.bin")
    assert "program" in installed("blockcim-firmware", "info", "image.bin")
    for name in ("gen", "mapper", "sim", "firmware"):
        text = installed(f"blockcim-{name}", "--help")
        assert f"usage: blockcim-{name} " in text and "python -m" not in text


@pytest.mark.icarus
def test_simulators_find_the_bench(installed):
    """cocotb imports it in a process of its own."""
    try:
        find_icarus()
    except ConfigError as error:
        pytest.skip(str(error))
    code = (
        "import blockcim; blockcim.activate()\n"
        "from rtl.spec.params import Params\n"
        "from sim.verify import run_random\n"
        "check = run_random(Params.load('tiny'), 'icarus', 0, stalls=False, size=20)\n"
        "print(check.good, check.detail)"
    )
    assert installed("python", "-c", code).startswith("True")
