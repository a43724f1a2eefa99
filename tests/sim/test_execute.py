"""`sim run`: what it writes, what it finds, what it refuses."""

import json
import shutil

import numpy as np
import pytest

from mapper import program as program_files
from mapper.compile import Compiler
from mapper.cycles import random_stalls
from rtl.spec.isa import Error
from rtl.spec.params import ConfigError
from sim.cli import main
from sim.execute import boot_program, compare, execute, run_iss
from sim.fuzz import random_case
from sim.iss import Iss


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    seed = 2000
    while True:
        try:
            strategy, params, work = random_case(seed)
            program = Compiler(strategy, params).compile(work)
            break
        except ConfigError:
            seed += 1
    where = tmp_path_factory.mktemp("compiled") / "p"
    program_files.write(program, where)
    return where


@pytest.fixture
def directory(compiled, tmp_path):
    return shutil.copytree(compiled, tmp_path / "p")


def test_iss_equals_golden_and_extends_the_report(directory):
    outcome = execute(directory, "iss")
    assert outcome.good and outcome.outputs_checked > 0
    report = json.loads((directory / "report.json").read_text())
    assert report["mismatches"] == 0
    assert report["cycles"] == report["cycles_predicted"] == outcome.cycles
    assert report["simulator"] == "iss"


def test_stalls_cost_cycles_and_change_nothing_else(directory):
    free = execute(directory, "iss")
    stalled = execute(directory, "iss", stalls=random_stalls(3, rate=0.6) * 3)
    assert stalled.mismatches == 0
    assert stalled.cycles > free.cycles


def test_first_mismatch_is_named(directory):
    program = program_files.load(directory)
    outputs = run_iss(program).outputs.copy()
    packet = program.output_packets[-1]
    outputs[packet.first, 1] ^= 1
    checked, wrong, first = compare(program, outputs)
    assert wrong == 1 and checked > 1
    assert packet.matrix in first
    for word in ("layer", "token", "block", "channel", "expected", "got"):
        assert word in first


def test_changed_weight_is_found(directory):
    program = program_files.load(directory)
    program.weights = -program.weights
    assert compare(program, run_iss(program).outputs)[1] > 0


def test_changed_weight_file_is_refused(directory):
    path = directory / "weights/weights.bin"
    weights = np.frombuffer(path.read_bytes(), np.int8).copy()
    weights[np.flatnonzero(weights)[0]] ^= 1
    path.write_bytes(weights.tobytes())
    with pytest.raises(ConfigError, match=r"weights\.bin: .*: weights are not those that were"):
        execute(directory, "iss")


def test_changed_placement_is_refused(directory):
    path = directory / "placement.json"
    values = json.loads(path.read_text())
    values["panels"][0]["base"] += 1
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="weights are not those that were compiled"):
        execute(directory, "iss")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere"], "no such program directory"),
        (["run", "DIR", "--simulator", "spice"], "'spice' is not one of iss, verilator, icarus"),
        (["run", "DIR", "--simulator", "iss", "--stalls", "2"], "outside 0..1"),
        (["run", "DIR", "--simulator", "iss", "--dump", "x.fst"], "the ISS has no waves"),
        (["run", "DIR", "--simulator", "icarus", "--dump", "x.txt"], "must end in .fst or .vcd"),
        (["verify", "DIR"], "not an emitted bundle"),
        (["main", "--strategy", "magic"], "'magic' is not one of"),
        (["paint"], "invalid choice"),
        (["run", "DIR", "--colour"], "unrecognized arguments"),
    ],
)
def test_bad_command_lines(directory, capsys, arguments, message, tmp_path):
    bundle = tmp_path / "empty"
    bundle.mkdir()
    where = str(bundle if arguments[0] == "verify" else directory)
    assert main([where if a == "DIR" else a for a in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("sim: error: ") and error.count("\n") == 1


def test_foreign_configuration_is_refused(directory, capsys):
    text = (directory / "params.toml").read_text()
    (directory / "params.toml").write_text(text.replace("cores = 1", "cores = 2"))
    assert main(["run", str(directory), "--simulator", "iss"]) == 2
    assert "config hash" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["program.bin", "weights/weights.bin", "matrices.npz", "packets.json"]
)
def test_truncated_file_is_named(directory, capsys, name):
    path = directory / name
    path.write_bytes(path.read_bytes()[:-7])
    assert main(["run", str(directory), "--simulator", "iss"]) == 2
    assert name.split("/")[-1] in capsys.readouterr().err


def test_missing_simulator_is_one_line(directory, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["run", str(directory), "--simulator", "icarus"]) == 2
    assert "iverilog not found; apt-get install iverilog" in capsys.readouterr().err


def test_json_prints_the_report(directory, capsys):
    assert main(["run", str(directory), "--simulator", "iss", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mismatches"] == 0


def test_events_are_stored_and_cost_where_it_is_asked_for(directory, capsys):
    assert main(["run", str(directory), "--simulator", "iss"]) == 0
    report = json.loads((directory / "report.json").read_text())
    assert report["events"]["macs"] > 0 and report["cost"] is None
    assert report["events"]["cycles"] == report["cycles"]
    capsys.readouterr()
    assert main(["run", str(directory), "--simulator", "iss", "--cost", "digital-sram"]) == 0
    shown = capsys.readouterr().out
    cost = json.loads((directory / "report.json").read_text())["cost"]
    assert cost["energy_nj"] == pytest.approx(sum(cost["breakdown_nj"].values()))
    assert cost["table"] == "digital-sram" and cost["time_ns"] == 2 * report["cycles"]
    lines = {line.split()[0]: line for line in shown.splitlines()[1:]}
    energies = [float(line.split()[1].replace(",", "")) for line in list(lines.values())[1:-1]]
    assert energies == sorted(energies, reverse=True)
    assert f"{cost['energy_nj']:,.1f} nJ" in lines["digital-sram:"]
    assert f"{cost['breakdown_nj']['bit_macs']:,.2f} nJ" in lines["bit_macs"]


def test_cost_by_ones_own_prices(directory, capsys, tmp_path):
    """One price; what else happens is said to have none. The same with the page, which stores it too."""
    path = tmp_path / "mine.toml"
    path.write_text(
        'readout = "digital"\n[time.clock]\nvalue = 3\nunit = "ns"\nsource = "test"\n'
        '[energy.macs]\nvalue = 1000\nunit = "pJ/mac"\nsource = "a < b"\n'
    )
    for command in (["run", "--simulator", "iss"], ["report"]):
        assert main([command[0], str(directory), *command[1:], "--cost", str(path)]) == 0
        report = json.loads((directory / "report.json").read_text())
        assert report["cost"]["energy_nj"] == pytest.approx(report["events"]["macs"])
        assert report["cost"]["time_ns"] == pytest.approx(3 * report["events"]["cycles"])
        assert "requantisations" in report["cost"]["unpriced"]
        (directory / "report.json").write_text(json.dumps(report | {"cost": None}))
    assert "without a price: instructions, drains, " in capsys.readouterr().out
    assert "a &lt; b" in (directory / "report.html").read_text()


def test_wrong_prices_stop_before_the_run(directory, capsys, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('readout = "digital"\n[time.clock]\nvalue = 1\nsource = "test"\n')
    before = (directory / "report.json").read_text()
    for command in ("run", "report"):
        for prices, message in (
            (str(path), f"{path}: time.clock.unit: is missing"),
            ("analog-pcm", "analog-pcm: readout: prices of 'adc'"),
            ("gold", "'gold' is neither a TOML file nor one of analog-pcm, digital-sram"),
        ):
            assert main([command, str(directory), "--cost", prices]) == 2
            error = capsys.readouterr().err
            assert message in error and error.count("\n") == 1
    assert (directory / "report.json").read_text() == before
    assert not (directory / "report.html").exists()


def test_trace_is_written(directory, tmp_path):
    trace = tmp_path / "t.json"
    assert main(["run", str(directory), "--simulator", "iss", "--trace", str(trace)]) == 0
    events = json.loads(trace.read_text())["traceEvents"]
    assert {e["ph"] for e in events} == {"M", "X"}
    report = json.loads((directory / "report.json").read_text())
    assert max(e["ts"] + e["dur"] for e in events if e["ph"] == "X") <= report["cycles"]


@pytest.mark.parametrize("seed", [3006, 3007, 3010, 3025])
def test_front_door_fills_an_empty_core(seed):
    """Also where the weights of a tile end within a stream word (3010) or take two slots (3006)."""
    strategy, params, work = random_case(seed)
    program = Compiler(strategy, params).compile(work)
    full = Iss(program.params, program.weights, program.constants)
    empty = Iss(program.params)
    code, inputs = boot_program(program, front_door=True)
    assert empty.run(code, inputs).error == Error.NONE
    assert (empty.weights == full.weights).all()
    assert (empty.constants == full.constants).all()
