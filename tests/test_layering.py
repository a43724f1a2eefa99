"""Imports point one way: rtl.spec <- rtl <- gen; rtl.spec <- mapper <- sim <- firmware; both may run gen."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("rtl", "gen", "mapper", "sim", "benchmarks", "firmware", "tests")

#: Package (longest match counts): which of ours it may import, and whether it takes nothing else
#: but the standard library.
RULES = {
    "rtl.spec": (("rtl.spec",), True),
    "rtl": (("rtl",), False),
    "gen": (("rtl", "gen"), False),
    # The commands of an installation: the top of everything.
    "gen.package": (("gen.cli", "mapper.cli", "sim.cli", "firmware.cli"), False),
    "mapper": (("rtl.spec", "mapper"), False),
    "sim": (("rtl.spec", "mapper", "sim", "gen"), False),
    "firmware": (("rtl.spec", "mapper", "sim", "gen", "firmware"), False),
}
PACKAGES = ("rtl", "gen", "mapper", "sim", "firmware")
#: Third-party packages that a package must not import.
BANNED = {
    "mapper": ("amaranth", "cocotb"),
    "sim": ("amaranth",),
    "rtl": ("cocotb", "torch"),
    "firmware": ("amaranth", "torch"),
}


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def imports(name: str, source: str, is_package: bool = False) -> set[str]:
    """Dotted names that a module imports, relative ones resolved; `from a import b` is a.b."""
    found = set()
    parts = name.split(".")
    package = parts if is_package else parts[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            found |= {".".join([*base, alias.name]) for alias in node.names}
    return found


def violations(name: str, source: str, is_package: bool = False) -> list[str]:
    """What a module imports against the rules, one line each."""
    rule = max((r for r in RULES if within(name, r)), key=len)
    allowed, pure = RULES[rule]
    result = []
    for target in sorted(imports(name, source, is_package)):
        top = target.split(".")[0]
        if top in OURS:
            wrong = not any(within(target, a) for a in allowed)
        else:
            wrong = top in BANNED.get(name.split(".")[0], ()) or (
                pure and top not in sys.stdlib_module_names
            )
        if wrong:
            result.append(f"{name} imports {target}")
    return result


def sources() -> list[Path]:
    return sorted(p for top in PACKAGES for p in (ROOT / top).rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path: Path):
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    assert violations(name, path.read_text(encoding="utf-8"), is_package) == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("rtl.spec.isa", "import numpy"),
        ("rtl.spec.isa", "from .. import macro"),
        ("rtl.spec.isa", "from mapper.graph import Matrix"),
        ("rtl.tile", "import sim.iss"),
        ("rtl.tile", "from mapper import graph"),
        ("gen.emit", "from sim import tools"),
        ("mapper.place", "from amaranth.hdl import Signal"),
        ("mapper.place", "from rtl.macro import Macro"),
        ("mapper.place", "from rtl import macro"),
        ("mapper.place", "def late():\n    import gen.emit"),
        ("sim.iss", "import rtl.tile"),
        ("sim.iss", "import amaranth"),
        ("sim.iss", "from firmware import image"),
        ("firmware.image", "from rtl import core"),
        ("firmware.image", "import amaranth"),
    ],
)
def test_planted_violation_is_found(name: str, line: str):
    assert len(violations(name, line)) == 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("rtl.spec.isa", "import re\nfrom .params import Params"),
        ("rtl.tile", "from amaranth.hdl import Signal\nfrom rtl.spec import isa"),
        ("gen.emit", "from rtl.tile import Tile"),
        ("mapper.place", "import numpy as np\nfrom rtl.spec import isa"),
        ("sim.iss", "from mapper import graph\nfrom gen import emit\nfrom . import tools"),
    ],
)
def test_allowed_imports_pass(name: str, line: str):
    assert violations(name, line) == []
