import json
import re
from dataclasses import replace

import pytest
import torch

from mapper import pipeline
from mapper.cli import main
from mapper.finetune import Recipe
from mapper.network import load
from mapper.pipeline import Job, Pipeline
from mapper.tensors import open_tensors

from .networks import configured, loaded, sentences, tiny, tokenizer, values, written

LINES = [f"In year {n} the town of number {n * 7 % 90} built {n % 13} bridges." for n in range(240)]


@pytest.fixture
def checkpoint(tmp_path):
    """A tiny BERT without a tokenizer."""
    configured(tmp_path, "bert")
    return written(tmp_path, values(tiny("bert")))


def d2s(*arguments):
    return main(["d2s", *map(str, arguments)])


def test_without_text_there_is_plain_projection(checkpoint, tmp_path, capsys):
    out = tmp_path / "made.safetensors"
    assert d2s(checkpoint, "--blocks", "8", "--rank", 2, "-o", out) == 0
    card = json.loads(out.with_suffix(".json").read_text())
    # A layer: 4 x 2048 weights of 64 x 64 matrices, 2 x 3072 of 64 x 128.
    assert card["steps"] == [] and card["weights_kept"] == 2 * (4 * 2048 + 2 * 3072)
    assert card["compression"] == pytest.approx(65536 / 28672)
    assert len(card["matrices"]) == 12 and "2.29x fewer" in capsys.readouterr().out
    kept = sum(row["kept"] for row in card["memory"])
    assert kept < sum(row["parameters"] for row in card["memory"])
    assert len(open_tensors(out).header) == 36
    assert "Not evaluated" in out.with_suffix(".md").read_text()
    assert main(["compile", str(out), "--strategy", "densemap", "-o", str(tmp_path / "p")]) == 0


def test_memory_rows_add_up_to_the_model(checkpoint, tmp_path):
    out = tmp_path / "made.safetensors"
    assert d2s(checkpoint, "--blocks", "8", "-o", out) == 0
    card = json.loads(out.with_suffix(".json").read_text())
    total = sum(p.numel() for p in tiny("bert").parameters())
    assert sum(row["parameters"] for row in card["memory"]) == total
    assert card["memory"][0]["arrays"] > 0


@pytest.mark.slow
def test_all_steps_on_minilm(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(LINES))
    out = tmp_path / "one.safetensors"
    options = ("--layers", 0, "--compression", 4, "--corpus", text, "--seed", 3, "--threads", 1)
    assert d2s("minilm", *options, "--finetune", "--steps", 4, "-o", out, "--json") == 0
    card = json.loads(capsys.readouterr().out)
    names = [step["name"] for step in card["steps"]]
    assert names[:3] == ["plain projection", "calibrated projection", "fine-tuning"]
    scores = {step["name"]: step["scores"]["spearman"] for step in card["steps"]}
    assert scores["calibrated projection"] > scores["plain projection"]
    assert card["spearman_heldout"] == scores["fine-tuning"]
    assert card["spearman_w8a8"] == scores["W8A8"] > scores["fine-tuning"] - 0.05
    assert card["compression"] >= 4 and card["seed"] == 3 and card["finetuning"]["steps"] == 4
    assert not list(tmp_path.glob("*.state.safetensors"))
    assert json.loads(out.with_suffix(".json").read_text())["matrices"] == card["matrices"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--compression", 4, "--rank", 2), r"--compression and --rank: give one of them"),
        (("--compression", 4), r"ranks are allocated by sensitivity, which needs text"),
        (("--blocks", "7"), r"7 does not divide"),
        (("--blocks", "8", "--layers", 5), r"layers: 5 is outside 0\.\.1"),
        (("--blocks", "8", "--finetune"), r"no tokenizer beside the checkpoint"),
        (("--blocks", "8", "--qat"), r"--qat: needs --finetune"),
        (("--blocks", "8", "--threads", 0), r"threads: 0 must be at least 1"),
        (("--blocks", "8", "--finetune", "--minutes", 0), r"minutes: 0\.0 must be above 0"),
        (("--policy", "dense"), r"policy: 'dense' is not one of"),
        (("--blocks", "x"), r"argument --blocks: 'x' is not K,L"),
    ],
)
def test_wrong_options(checkpoint, tmp_path, capsys, arguments, message):
    out = tmp_path / "made.safetensors"
    assert d2s(checkpoint, *arguments, "-o", out) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1
    assert not out.exists() and not out.with_suffix(".json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--compression", 0.5), r"compression: 0\.5 must be above 1"),
        (("--compression", 400), r"budget: .* is below .*, the least that these blocks can do"),
        (("--corpus", "nothing.txt"), r"corpus: nothing\.txt: No such file"),
    ],
)
def test_wrong_budget(tmp_path, capsys, arguments, message):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(LINES))
    given = arguments if "--corpus" in arguments else (*arguments, "--corpus", text)
    assert d2s("minilm", "--layers", 0, *given, "-o", tmp_path / "x.safetensors") == 2
    told, error = capsys.readouterr().err.splitlines()
    assert told.startswith("read text") and re.search(message, error)


def test_shapes_have_nothing_to_project(tmp_path, capsys):
    assert d2s("gpt2-medium", "-o", tmp_path / "x.safetensors") == 2
    assert "gpt2-medium: has shapes only" in capsys.readouterr().err


def test_output_must_be_safetensors(checkpoint, tmp_path, capsys):
    assert d2s(checkpoint, "-o", tmp_path / "x.bin") == 2
    assert "does not end with .safetensors" in capsys.readouterr().err


def test_fixture_is_sane(tmp_path):
    assert loaded("bert", tmp_path).model.layers == 2


@pytest.fixture
def decoder(tmp_path):
    """A tiny Llama with tied embeddings, a tokenizer and text."""
    configured(tmp_path, "llama", tie_word_embeddings=True)
    tokenizer(marks=False).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "text.txt").write_text("\n".join(sentences(400)))
    return written(tmp_path, values(tiny("llama", tie_word_embeddings=True)))


def test_the_lm_head_too(decoder, tmp_path):
    out = tmp_path / "made.safetensors"
    options = ("--blocks", 2, "--rank", 2, "--corpus", tmp_path / "text.txt", "--no-quantise")
    assert d2s(decoder, *options, "--lm-head", "-o", out) == 0
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["matrices"][-1]["name"] == "lm_head"
    assert 0 < card["matrices"][-1]["error_outputs"] < 1
    (row,) = [row for row in card["memory"] if row["part"] == "LM head"]
    # Tied: its parameters were those of the embedding, which stays.
    assert row["parameters"] == 0 and row["kept"] == card["matrices"][-1]["weights"]
    assert {"lm_head.R", "lm_head.L"} <= set(open_tensors(out).header)
    assert type(load(out).module.lm_head).__name__ == "MonarchLinear"


def test_an_encoder_has_no_lm_head(checkpoint, tmp_path, capsys):
    out = tmp_path / "made.safetensors"
    assert d2s(checkpoint, "--blocks", "8", "--lm-head", "-o", out) == 2
    assert "--lm-head: tiny has no LM head" in capsys.readouterr().err


def test_an_interrupted_job_does_not_calibrate_again(decoder, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    def job(name):
        out = tmp_path / f"{name}.safetensors"
        recipe, text = Recipe(steps=6), str(tmp_path / "text.txt")
        blocks = {"blocks": (2, 2), "rank": 2}
        return Job(str(decoder), out, corpus=text, recipe=recipe, quantise=False, **blocks)

    def told(card):
        steps = [(step["name"], step["scores"]) for step in card["steps"]]
        return steps, card["matrices"], card["memory"], card["finetuning"]["steps"]

    whole = Pipeline(job("whole")).run()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pipeline.finetune, "finetune", stop)
        Pipeline(job("broken")).run()
    monkeypatch.setattr(pipeline.compress, "calibrate_all", stop)
    assert told(Pipeline(job("broken")).run()) == told(whole)
    files = [open_tensors(tmp_path / f"{n}.safetensors") for n in ("whole", "broken")]
    assert all(torch.equal(files[0].tensor(n), files[1].tensor(n)) for n in files[0].header)
    assert not list(tmp_path.glob("*.start.safetensors"))
    # Another job of the same name starts anew.
    monkeypatch.undo()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pipeline.finetune, "finetune", stop)
        Pipeline(job("broken")).run()
    monkeypatch.setattr(pipeline.compress, "calibrate_all", stop)
    with pytest.raises(KeyboardInterrupt):
        Pipeline(replace(job("broken"), seed=1)).run()


def test_factors_are_trained_on(decoder, tmp_path, capsys):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    text = ("--corpus", tmp_path / "text.txt", "--no-quantise", "--finetune", "--steps", 6)
    assert d2s(decoder, "--blocks", 2, "--rank", 2, *text, "-o", first) == 0
    assert d2s(first, *text, "-o", second) == 0
    old, new = (json.loads(p.with_suffix(".json").read_text()) for p in (first, second))
    assert new["base"] == old["base"] == str(decoder)
    assert new["compression"] == old["compression"]
    given, tuned = new["steps"]
    assert given["name"] == "given factors" and tuned["name"] == "fine-tuning"
    # Stored in float16.
    assert given["scores"]["ratio"] == pytest.approx(old["steps"][-1]["scores"]["ratio"], rel=0.01)
    assert sorted(open_tensors(first).header) == sorted(open_tensors(second).header)
    assert "fine-tuning" in second.with_suffix(".md").read_text()
    capsys.readouterr()
    assert d2s(first, "--compression", 8, "-o", second) == 2
    assert "these are factors, their patterns cannot be chosen again" in capsys.readouterr().err


@pytest.mark.slow
def test_the_card_tells_what_was_chosen_under_arrays(tmp_path):
    text, out = tmp_path / "text.txt", tmp_path / "made.safetensors"
    text.write_text("\n".join(LINES))
    options = ("--layers", 0, "--corpus", text, "--no-quantise", "--threads", 1)
    assert d2s("minilm", "--arrays", 8, *options, "-o", out) == 0
    found = json.loads(out.with_suffix(".json").read_text())["codesign"]
    assert found["arrays"] <= found["uniform"]["arrays"] <= 8
    assert found["expected_loss"] <= found["uniform"]["expected_loss"]
    assert "## Under a number of arrays" in out.with_suffix(".md").read_text()
