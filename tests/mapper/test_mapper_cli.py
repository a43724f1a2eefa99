import json
import subprocess
import sys

import pytest

from mapper.cli import main
from mapper.program import load
from rtl.spec.params import Params
from tests.mapper import programs

#: A compilation for arrays with converters.
ANALOG = "bert-large --readout adc --adc-bits 5 --adcs 8"


def fails(capsys, *arguments) -> str:
    assert main([*arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("mapper: error: ") and err.count("\n") == 1
    return err


def test_compile_writes_a_program_that_runs(tmp_path, capsys):
    where = tmp_path / "p"
    assert main(["compile", "gpt2-medium", "--strategy", "densemap", "-o", str(where)]) == 0
    assert "20 arrays, 100.0% full" in capsys.readouterr().out
    program = load(where)
    assert program.report["arrays"] == 20
    assert programs.run(program) == program.report["cycles_predicted"]


def test_report_has_the_keys_of_the_design(tmp_path, capsys):
    where = tmp_path / "p"
    arguments = ["compile", "gpt2-medium", "--strategy", "linear", "--json", "-o", str(where)]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) >= {
        *("model", "strategy", "params", "config_hash", "arrays", "utilization", "weights"),
        *("dense_weights", "macs", "dense_macs", "tokens", "cycles", "cycles_predicted"),
        *("throughput_bound", "latency_bound", "efficiency", "array_cycles", "outputs_checked"),
        *("mismatches", "simulator", "seed", "versions", "wall_s"),
    }
    assert report["arrays"] == 192
    assert report == json.loads((where / "report.json").read_text())


def test_several_layers_and_options(tmp_path, capsys):
    arguments = "compile gpt2-medium --strategy densemap --policy rect --layers 0,2-3 --tokens 2"
    more = "--lanes 64 --drain-ports 2 --seed 7 --json -o"
    assert main([*arguments.split(), *more.split(), str(tmp_path)]) == 0
    reports = json.loads(capsys.readouterr().out)
    assert [r["layer"] for r in reports] == [0, 2, 3]
    assert {r["params"]["lanes"] for r in reports} == {64}
    for layer in (0, 2, 3):
        programs.run(load(tmp_path / f"layer_{layer:02}"))


def test_some_matrices_of_a_layer(tmp_path, capsys):
    where = tmp_path / "p"
    arguments = f"compile gpt2-medium --strategy densemap --tokens 2 --json -o {where} --matrices"
    assert main([*arguments.split(), "v,o"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["dense_weights"] == 2 * 1024 * 1024
    assert report["notes"]["matrices"] == ["v", "o"]
    program = load(where)
    assert [[m.name for m in s.matrices] for s in program.workload.segments] == [["v"], ["o"]]
    programs.run(program)
    assert "matrices: 'w' is not one of q, k, v, o, ffn1, ffn2" in fails(
        capsys, *arguments.split(), "v,w"
    )


def test_blocks_and_rank(tmp_path, capsys):
    arguments = "compile gpt2-medium --strategy densemap --policy blocks --blocks 16,32 --rank 2 -o"
    assert main([*arguments.split(), str(tmp_path / "p")]) == 0
    assert load(tmp_path / "p").workload.segments[0].matrices[0].factors[0].shape == (16, 64, 64)


@pytest.mark.parametrize(("strategy", "tree"), [("sparsemap", "full"), ("densemap", "shared")])
def test_converters_are_options(tmp_path, strategy, tree):
    where = tmp_path / "p"
    assert main(["compile", *ANALOG.split(), "--strategy", strategy, "-o", str(where)]) == 0
    program = load(where)
    assert (program.params.adcs, program.params.tree) == (8, tree)
    assert programs.run(program) == program.report["cycles_predicted"]


def test_a_config_file_is_a_limit(tmp_path, capsys):
    config = tmp_path / "c.toml"
    config.write_text(Params.load("gpt2-medium").replace(tiles=24, chunk=4).to_toml())
    arguments = ["compile", "gpt2-medium", "--strategy", "densemap", "--config", str(config), "-o"]
    assert main([*arguments, str(tmp_path / "p")]) == 0
    program = load(tmp_path / "p")
    assert program.params == Params.from_toml(config)
    programs.run(program)
    capsys.readouterr()
    config.write_text(Params.load("gpt2-medium").replace(tiles=12).to_toml())
    error = fails(capsys, *arguments, str(tmp_path / "q"))
    assert "tiles: 12 arrays are too few, densemap needs 20 (8 missing)" in error
    assert not (tmp_path / "q").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("gpt2-medium --strategy best", "strategy: 'best' is not one of linear"),
        ("gpt3 --strategy linear", "model: 'gpt3'"),
        ("gpt2-medium", "--strategy"),
        ("gpt2-medium --strategy linear --policy pad", "policy: linear stores dense weights"),
        ("gpt2-medium --strategy densemap --policy odd", "policy: 'odd'"),
        ("gpt2-medium --strategy densemap --layers 0,x", "'0,x' is not a list"),
        ("gpt2-medium --strategy densemap --layers 99", "layers: 99 is outside 0..23"),
        ("gpt2-medium --strategy densemap --blocks a,b", "'a,b' is not K,L"),
        ("gpt2-medium --strategy densemap --rows 100", "granule: 32 does not divide rows = 100"),
        ("gpt2-medium --strategy densemap --config none.toml", "none.toml: no such file"),
        ("gpt2-medium --strategy densemap --tokens 0", "tokens: 0"),
        ("gpt2-medium --strategy densemap --act-depth 60", "act_depth: 60 words are too few"),
        ("gpt2-medium --strategy linear --readout analog", "readout: 'analog' is not one of"),
        ("gpt2-medium --strategy linear --readout adc", "adc_bits: 0 is outside 1..12"),
        ("gpt2-medium --strategy linear --adcs 8", "adcs: 8 needs readout = 'adc'"),
        (f"{ANALOG} --strategy linear --adcs 300", "adcs: 300 is outside 1..256"),
        (f"{ANALOG} --strategy linear --dac-bits 2", "dac_bits: 2 must be 1 with readout"),
        (f"{ANALOG} --strategy densemap --tree full", "tree: 'full' turns on all rows at once"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(tmp_path, capsys, arguments, message):
    error = fails(capsys, "compile", *arguments.split(), "-o", str(tmp_path / "p"))
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_help_has_examples():
    run = [sys.executable, "-m", "mapper", "compile", "--help"]
    text = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert "python -m mapper compile gpt2-medium --strategy densemap" in text
    assert "--drain-ports" in text
