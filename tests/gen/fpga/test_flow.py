"""The flow: what it checks first, what it runs, and how it ends, with tools that only pretend."""

import json
import sys

import pytest

from gen.fpga import cli, demo, flow
from gen.fpga.boards import BOARDS, find
from rtl.selftest import encode
from rtl.spec.params import ConfigError, Params
from tests.gen.fpga.test_report import sample

TOOL = """#!{python}
import json, pathlib, sys
args = sys.argv[1:]
if "--report" in args:
    report = json.loads({report!r})
    report["fmax"]["$glbnet$clk_core"]["achieved"] = {fmax}
    pathlib.Path(args[args.index("--report") + 1]).write_text(json.dumps(report))
    if {error!r}:
        print("ERROR: " + {error!r})
        sys.exit(1)
if "--bit" in args:
    pathlib.Path(args[args.index("--bit") + 1]).write_bytes(b"bits")
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """`tools(fmax, error)`: every tool of the ULX3S is a script that reports this clock, or fails like that."""
    pytest.importorskip("amaranth_boards", reason="pip install 'blockcim[fpga]'")

    def make(fmax: float, error: str = ""):
        text = TOOL.format(
            python=sys.executable, report=json.dumps(sample()), fmax=fmax, error=error
        )
        path = tmp_path / "tool"
        path.write_text(text)
        path.chmod(0o755)
        for variable in find("ulx3s").tools:
            monkeypatch.setenv(variable, str(path))

    return make


@pytest.mark.parametrize("name", BOARDS)
def test_preset_of_a_board_has_a_self_test_that_fits(name):
    params = Params.load(find(name).preset)
    assert len(encode(demo.script(params))) <= 1024
    assert len(demo.program(params)) <= params.prog_depth
    assert len(set(demo.data(params)[1])) > params.cols // 2  # outputs that tell something


@pytest.mark.parametrize("name", BOARDS)
def test_plan_calls_the_tools_in_order(name):
    pytest.importorskip("amaranth_boards", reason="pip install 'blockcim[fpga]'")
    spec = find(name)
    plan = flow.plan(spec, Params.load(spec.preset), next(iter(spec.platforms)), spec.mhz, 7)
    names = dict(spec.tools)
    found = flow.commands(plan.files[f"build_{flow.NAME}.sh"], names, spec.spelling)
    assert [command[0] for command in found] == list(spec.tools.values())
    assert not set(spec.spelling) & set(found[1])
    constraints = [text for n, text in plan.files.items() if n.endswith((".lpf", ".pcf"))]
    assert (
        any("FREQUENCY" in t or "set_frequency" in t for t in constraints) or "--freq" in found[1]
    )
    assert "blockcim_serial.v" in plan.files and "--seed" in found[1] and "7" in found[1]


def test_options_are_spelled_as_the_tool_wants_them():
    script = "$NEXTPNR --family GW1N-9C --top x \\\n --cst top.cst --family-like\n"
    spelling = {"--family": "--vopt family=", "--cst": "--vopt cst="}
    assert flow.commands(script, {"NEXTPNR": "pnr"}, spelling) == [
        ["pnr", "--vopt", "family=GW1N-9C", "--top", "x", "--vopt", "cst=top.cst", "--family-like"]
    ]


def test_build_leaves_bitstream_and_report(tools, tmp_path, capsys):
    tools(fmax=83.5)
    out = tmp_path / "out"
    assert cli.main(["ulx3s", "-o", str(out), "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert captured.err.splitlines() == [f"ulx3s: {step} ..." for step in flow.STEPS]
    assert result == json.loads((out / "report.json").read_text())
    assert (result["fmax_mhz"], result["constraint_mhz"], result["met"]) == (83.5, 80.0, True)
    assert (out / "top.bit").read_bytes() == b"bits" and result["bytes"] == 4


def test_too_slow_fails_and_leaves_no_bitstream(tools, tmp_path, capsys):
    tools(fmax=71.0)
    out = tmp_path / "out"
    assert cli.main(["ulx3s", "-o", str(out)]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("fpga: ulx3s: timing: 71 MHz reached, 80 MHz wanted; see ")
    assert not (out / "top.bit").exists()
    assert json.loads((out / "report.json").read_text())["met"] is False


def test_tool_that_fails_is_named_with_its_error(tools, tmp_path, capsys):
    tools(fmax=90.0, error="no BELs remaining")
    out = tmp_path / "out"
    (out).mkdir()
    (out / "report.json").write_text("old")
    assert cli.main(["ulx3s", "-o", str(out)]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("fpga: place and route: no BELs remaining; see ")
    assert not (out / "report.json").exists()


def test_missing_tool_is_one_line_with_the_command_that_installs_it(monkeypatch, capsys):
    monkeypatch.setenv("ECPPACK", "no-such-ecppack")
    assert cli.main(["ulx3s"]) == 2
    text = capsys.readouterr().err
    assert text == "fpga: error: no-such-ecppack is missing: pip install 'blockcim[fpga]'\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["arty"], "board: 'arty' is not one of ulx3s, icebreaker, hx8k, tangnano9k"),
        ([], "the following arguments are required: BOARD"),
        (["ulx3s", "--config", "huge"], "config: 'huge' is neither"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message, capsys):
    assert cli.main(arguments) == 2
    text = capsys.readouterr().err
    assert message in text and text.count("\n") == 1


def test_wrong_device_and_clock(tools, tmp_path, capsys):
    tools(fmax=90.0)
    out = ["-o", str(tmp_path / "out")]
    assert cli.main(["ulx3s", "--device", "100f", *out]) == 2
    assert "device: '100f' is not one of 12f, 25f, 45f, 85f" in capsys.readouterr().err
    assert cli.main(["ulx3s", "--clock", "80.123", *out]) == 2
    assert "clock: no PLL dividers make 80.123 MHz of 25 MHz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_self_test_needs_bytes():
    with pytest.raises(ConfigError, match="self-test: needs act_bits = 8"):
        demo.script(Params(act_bits=4))
