"""The register map in SystemRDL: it compiles, says what rtl/spec says, and PeakRDL's header agrees with ours."""

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from gen.bundle import contents, encoded
from gen.registers import exports
from gen.systemrdl import CODES, VALUE, systemrdl
from rtl.spec import regmap
from rtl.spec.params import ConfigError, Params

TINY = Params.load("tiny")
configs = pytest.mark.parametrize(
    "params", [TINY, Params.load("gpt2-medium")], ids=["tiny", "gpt2"]
)

ACCESS = {"ro": (True, False), "rw": (True, True), "wo": (False, True)}


@pytest.fixture(params=[TINY, Params.load("gpt2-medium")], ids=["tiny", "gpt2"])
def compiled(request, tmp_path):
    """Parameters, and the address map that systemrdl-compiler reads from the text."""
    rdl = pytest.importorskip("systemrdl", reason="pip install peakrdl")
    path = tmp_path / "blockcim.rdl"
    path.write_text(systemrdl(request.param))
    compiler = rdl.RDLCompiler()
    compiler.compile_file(str(path))
    return request.param, compiler.elaborate().top


@pytest.fixture(scope="module")
def exported() -> dict[str, bytes]:
    pytest.importorskip("peakrdl_html", reason="pip install peakrdl")
    return exports(systemrdl(TINY))


def fields_of(register):
    return register.bits or ((VALUE, 0, 32, register.doc),)


def test_compiled_map_is_the_register_map(compiled):
    _, top = compiled
    assert {r.inst_name: r.absolute_address for r in top.registers()} == {
        r.name: 4 * r.address for r in regmap.ON_BUS.values()
    }
    for node in top.registers():
        register = regmap.ON_BUS[node.inst_name]
        assert node.get_property("regwidth") == 32
        assert node.get_property("desc") == register.doc
        found = {
            f.inst_name: (
                f.low,
                f.width,
                f.is_sw_readable,
                f.is_sw_writable,
                f.get_property("desc"),
            )
            for f in node.fields()
        }
        assert found == {
            name: (first, count, *ACCESS[register.access], doc)
            for name, first, count, doc in fields_of(register)
        }


def test_codes_and_constants(compiled):
    params, top = compiled
    fields = {f"{r.inst_name}.{f.inst_name}": f for r in top.registers() for f in r.fields()}
    for name, codes in CODES.items():
        members = fields[f"{name}.{VALUE}"].get_property("encode").members
        assert {m: code.value for m, code in members.items()} == {c.name: c.value for c in codes}
    resets = {name: f.get_property("reset") for name, f in fields.items()}
    assert {name: value for name, value in resets.items() if value is not None} == {
        "ID.value": regmap.MAGIC,
        "CONFIG_HASH.value": params.config_hash,
    }


@pytest.mark.skipif(shutil.which("gcc") is None, reason="apt-get install gcc")
def test_header_of_peakrdl_agrees_with_ours(exported, tmp_path):
    for name, content in contents(TINY, "both", {}).items():
        if name.endswith(".h"):
            (tmp_path / name).write_bytes(encoded(content))
    (tmp_path / "blockcim_registers.h").write_bytes(exported["registers/blockcim_registers.h"])
    checks = []
    for register in regmap.ON_BUS.values():
        checks.append(f"offsetof(blockcim_t, {register.name}) == BLOCKCIM_REG_{register.name}")
        for name, *_ in register.bits:
            theirs = f"BLOCKCIM__{register.name}__{name.upper()}"
            ours = f"BLOCKCIM_{register.name}_{name.upper()}"
            checks += [f"{theirs}_bm == {ours}_MASK", f"{theirs}_bp == {ours}_SHIFT"]
    checks.append("BLOCKCIM__CONFIG_HASH__VALUE_reset == BLOCKCIM_CONFIG_HASH")
    lines = ["#include <stddef.h>", '#include "blockcim.h"', '#include "blockcim_registers.h"']
    lines += [f'_Static_assert({check}, "{check}");' for check in checks]
    (tmp_path / "check.c").write_text("\n".join([*lines, ""]))
    command = ["gcc", "-std=gnu11", "-Wall", "-Werror", "-c", "check.c", "-o", "check.o"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_ipxact_lists_all_registers(exported):
    root = ElementTree.fromstring(exported["registers/blockcim.xml"])
    space = {"x": root.tag[1:].partition("}")[0]}

    def number(node, name):
        return int(node.findtext(f"x:{name}", namespaces=space).replace("'h", "0x"), 0)

    found = {
        r.findtext("x:name", namespaces=space): (
            number(r, "addressOffset"),
            [
                (
                    f.findtext("x:name", namespaces=space),
                    number(f, "bitOffset"),
                    number(f, "bitWidth"),
                )
                for f in r.findall("x:field", space)
            ],
        )
        for r in root.iter(f"{{{space['x']}}}register")
    }
    assert found == {
        r.name: (4 * r.address, [bits[:3] for bits in fields_of(r)]) for r in regmap.ON_BUS.values()
    }


def test_pages_name_every_register(exported):
    pages = b"".join(data for name, data in exported.items() if "/html/" in name)
    for name in regmap.ON_BUS:
        assert name.encode() in pages


def test_exports_are_reproducible(exported):
    assert exports(systemrdl(TINY)) == exported
    for name, data in exported.items():
        assert not re.search(rb"/tmp/|blockcim-\w{8}\b", data), name


def test_bundle_holds_the_files_only_when_asked(exported):
    plain = contents(TINY, "both", {})
    assert plain["blockcim.rdl"] == systemrdl(TINY)
    assert not any(name.startswith("registers/") for name in plain)
    full = contents(TINY, "both", {}, with_registers=True)
    assert {name: data for name, data in full.items() if name in exported} == exported


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peakrdl_html", None)
    with pytest.raises(ConfigError, match=r"peakrdl_html; pip install 'blockcim\[registers\]'"):
        exports(systemrdl(TINY))
