"""The study's numbers against those that follow by hand from the shapes; files and errors of the command."""

import json

import pytest

from mapper import study
from mapper.cli import main
from rtl.spec.params import Params


def found(figure, model, what):
    (row,) = [
        r for r in study.rows([figure], list(study.TOKENS)) if (r.model, r.what) == (model, what)
    ]
    return row


def test_weights_of_a_bert_layer_by_hand():
    one = study.size("bert-large")
    assert one.dense == 24 * 12 * 1024**2
    # b = 32 for 1024, two factors of 32 blocks 32 x 32; b = 64 for 4096.
    assert one.stored == 24 * (4 * 2 * 32**3 + 2 * 2 * 64**3)
    assert one.attention == 24 * 2 * 1024


@pytest.mark.parametrize(("tokens", "ratio"), [(512, 5.78), (1024, 4.31)])
def test_flops(tokens, ratio):
    assert study.size("bert-large").flops(tokens) == pytest.approx(ratio, abs=0.005)


def test_a_decoder_of_bart_attends_twice():
    assert study.size("bart-large").attention == (12 + 2 * 12) * 2 * 1024


def test_a_decode_of_bart_leaves_the_encoder_out():
    encoding, decode = study.phases("bart-large")
    whole = study.size("bart-large")
    assert (
        encoding.size.dense == 12 * (12 + 2) * 1024**2
    )  # with keys and values of 12 decoder layers
    assert decode.size.dense == 12 * 14 * 1024**2
    for part in ("dense", "stored", "attention"):
        assert sum(getattr(p.size, part) for p in (encoding, decode)) == getattr(whole, part)
    attention = 12 * 2 * 2 * 1024 * 1024
    assert decode.ratio == (decode.size.dense + attention) / (decode.size.stored + attention)


@pytest.mark.parametrize(
    ("model", "linear", "sparsemap", "densemap"),
    [
        ("gpt2-medium", 4608, 2304, 480),
        ("bart-large", 12 * 192 + 12 * 256, 12 * 96 + 12 * 128, 12 * 20 + 12 * 24),
    ],
)
def test_arrays(model, linear, sparsemap, densemap):
    for strategy, count in (("linear", linear), ("sparsemap", sparsemap), ("densemap", densemap)):
        assert found("6", model, f"arrays, {strategy}").ours == count


def test_densemap_fills_its_arrays():
    assert found("6", "mean", "utilisation, densemap").ours >= 0.98


def test_deviation():
    row = study.Row("6", "m", "w", 3.0, 2.0)
    assert row.deviation == pytest.approx(0.5)
    assert study.Row("6", "m", "w", 3.0).deviation is None


def test_an_array_count_is_for_the_hardware_given():
    small = Params.load("gpt2-medium").replace(rows=128, cols=128)
    assert study.arrays("gpt2-medium", "densemap", small).arrays == 4 * 480


def test_converters_have_the_bits_of_the_paper():
    for strategy, bits in (("linear", 8), ("sparsemap", 5), ("densemap", 3)):
        made = study.with_converters(Params(), strategy, 16)
        assert (made.readout, made.adc_bits, made.adcs) == ("adc", bits, 16)


def test_crossing_of_converters(monkeypatch):
    """The first number with which sparsemap takes fewer cycles."""
    cycles = {"linear": 1, "sparsemap": 30, "densemap": 20}

    def fake(name, strategy, adcs):
        return cycles[strategy] - (12 if strategy == "sparsemap" and adcs >= 16 else 0)

    monkeypatch.setattr(study, "analog_cycles", fake)
    rows = study.rows(["8"], ["bert-large", "gpt2-medium"])
    assert len(rows) == 4 * 3 + 4 + 1
    assert rows[-1].ours == 16
    assert study.rows(["8"], ["gpt2-medium"]) == []


def test_command(tmp_path, capsys):
    assert main(["study", "--figures", "2b", "-o", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows == json.loads((tmp_path / "study.json").read_text())
    assert {row["figure"] for row in rows} == {"2b"}
    assert (tmp_path / "fig2b.svg").read_text().count("<path") > 10
    assert "| 2b | bert-large |" in (tmp_path / "study.md").read_text()
    assert main(["study", "--figures", "2b,6", "--models", "gpt2-medium"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["figure", "model", "what"]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--figures", "9"], "figures: '9' is not one of 2b, 6, 7"),
        (["--figures", "7", "--cost", "gold"], "cost: 'gold' is neither a TOML file nor one of"),
        (["--figures", "7", "--cost", "analog-pcm", "--adcs", "0"], "adcs: 0"),
        (["--models", "minilm"], "models: 'minilm' is not one of bert-large"),
    ],
)
def test_wrong_options(capsys, tmp_path, arguments, message):
    assert main(["study", *arguments, "-o", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_converters_decide_between_sparsemap_and_densemap():
    """Few: densemap, which converts fewer bits; many: sparsemap, which settles less often."""
    found = {
        adcs: [study.analog_cycles("bert-large", s, adcs) for s in ("sparsemap", "densemap")]
        for adcs in (4, 32)
    }
    assert found[4][0] > found[4][1] and found[32][0] < found[32][1]


def test_claims_pass_or_fail():
    """Of BERT-large everything holds; a bound that is not reached fails."""
    rows = study.rows(["claims"], ["bert-large", "gpt2-medium"])
    bert = [row for row in rows if row.model == "bert-large"]
    assert len(bert) == 4 and all(row.passes for row in bert)
    flops = {row.what: row for row in rows if row.model == "gpt2-medium" and "FLOPs" in row.what}
    assert flops["FLOPs, prefill of 1024"].ours > flops["FLOPs, decode at 1024"].ours
    assert not study.Row("claims", "m", "w", 3.9, above=4).passes
    assert study.Row("2b", "m", "w", 3.9).passes is None
