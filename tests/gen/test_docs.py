"""Generated documents: complete, consistent with the tables, and plain tables in Markdown."""

import re

import pytest

from gen.datasheet import area, cycles, datasheet, memories
from gen.describe import derived, member_docs, table
from gen.docs import bit_range, isa_reference, register_reference
from rtl.spec import isa, regmap
from rtl.spec.params import PRESETS, Params

presets = pytest.mark.parametrize("params", [Params.load(n) for n in PRESETS], ids=PRESETS)
VERILOG = {"top.v": "module blockcim(input wire clk, output wire [7:0] q); endmodule"}


def rows_of(text: str) -> list[list[str]]:
    """The cells of every table row."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def section(text: str, title: str) -> str:
    """A `###` section without its title."""
    return text.split(f"### {title}\n", 1)[1].split("\n#", 1)[0]


@presets
@pytest.mark.parametrize("op", isa.Op, ids=lambda op: op.name)
def test_encoding_tables_cover_every_bit_once(params, op):
    at = 0
    names = []
    for cells in rows_of(section(isa_reference(params), op.name))[2:]:
        high, _, low = cells[0].partition(":")
        assert int(low or high) == at
        at = int(high) + 1
        names.append(cells[1])
    assert names == ["opcode", *(f.name for f in isa.FORMATS[op])]
    assert at == isa.OP_BITS + sum(isa.field_bits(f, params) for f in isa.FORMATS[op])


@presets
def test_isa_reference_is_complete(params):
    text = isa_reference(params)
    for op in isa.Op:
        assert isa.DOCS[op] in text
    for error in isa.Error:
        assert f"| {error.value} | {error.name} |" in text
    assert f"0x{params.config_hash:08x}" in text
    assert "Opcodes 11..31 are reserved" in text


@presets
def test_register_reference_is_complete(params):
    cells = rows_of(register_reference(params))
    assert all([str(f.value), f.name] in [row[:2] for row in cells] for f in regmap.Fault)
    for register in regmap.ON_BUS.values():
        head = [f"0x{4 * register.address:02x}", register.name, register.access, "31:0"]
        assert any(row[:4] == head for row in cells)
        for name, first, count, _ in register.bits:
            assert any(
                row[1] == f"{register.name}.{name}" and row[3] == bit_range(first, count)
                for row in cells
            )


@presets
def test_datasheet_lists_parameters_ports_and_registers(params):
    text = datasheet(params, VERILOG)
    for name, value in params.as_dict().items():
        assert f"| {name} | {value} |" in text
    for name, (value, _) in derived(params).items():
        assert f"| {name} | {value} |" in text
    assert "Module `blockcim`" in text
    assert "| q | output | 8 |" in text
    assert "CONFIG_HASH" in text


def test_ports_are_those_of_the_top_alone():
    core = "module blockcim_core(input a); blockcim_macro m(a); endmodule"
    views = {
        "structural": "module blockcim_macro(input a); part p(a); endmodule module part(input a); endmodule",
        "behavioural": "module blockcim_macro(input a); endmodule",
    }
    verilog = {f"blockcim_macro_{view}.v": text for view, text in views.items()}
    text = datasheet(Params(), {"blockcim_core.v": core, **verilog})
    assert re.findall(r"^Module `(\w+)`", text, re.M) == ["blockcim_core"]


@presets
def test_every_table_row_has_all_cells(params):
    for text in (datasheet(params, VERILOG), isa_reference(params), register_reference(params)):
        width = None
        for line in text.splitlines():
            if not line.startswith("|"):
                width = None
                continue
            (cells,) = rows_of(line)
            assert width in (None, len(cells)), line
            width = len(cells)


def test_memory_sizes():
    p = Params(tiles=3)
    sizes = {m.name.split()[0]: m.bits for m in memories(p)}
    assert sizes == {
        "weights": 3 * 256 * 256 * 8,
        "activation": 1024 * 32 * 8,
        "requantisation": 1024 * 32 * 64,
        "program": 1024 * isa.width(p),
    }


def test_area_of_both_trees():
    shared, full = area(Params()), area(Params(tree="full"))
    assert shared["weight multipliers"][0] == 256 * 32
    assert full["weight multipliers"][0] == 256 * 256
    assert shared["tree adders"][0] == 256 * 31
    assert full["tree adders"][0] == 256 * 255


@pytest.mark.parametrize(
    ("changes", "block", "dense"),
    [({}, 8, 64), ({"tree": "full"}, 8, 8), ({"dac_bits": 4}, 2, 16), ({"act_bits": 4}, 4, 32)],
)
def test_pass_cycles(changes, block, dense):
    found = {name: count for name, count, _ in cycles(Params(**changes))}
    assert found["block-diagonal pass"] == block
    assert found["dense pass"] == dense


def test_cycles_of_an_analog_array():
    """64 pairs of planes; 256 columns are 32 conversions of 5 cycles at 8 converters, 32 columns are 4; 4 to settle."""
    adc = {"readout": "adc", "adc_bits": 5, "adcs": 8}
    full, shared = (
        {name: count for name, count, _ in cycles(Params(tree=tree, **adc))}
        for tree in ("full", "shared")
    )
    assert full["any pass"] == 64 * (4 + 32 * 5)
    assert shared["block-diagonal pass"] == 8 * 64 * (4 + 4 * 5)
    assert shared["dense pass"] == 8 * full["any pass"]
    text = datasheet(Params(**adc), VERILOG)
    assert "| converters, emulated | 256 |" in text and "| weight multipliers | 8192 |" in text


def test_members_are_documented():
    assert set(member_docs(Params)) == set(Params().as_dict())
    assert set(member_docs(isa.Error)) == {e.name for e in isa.Error} - {"NONE"}
    assert all(doc for _, doc in derived(Params()).values())


def test_table_escapes_bars():
    assert table(("a",), [("x|y",)]) == "| a |\n|---|\n| x\\|y |\n"
