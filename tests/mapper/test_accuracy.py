import json

import pytest

from mapper.cli import main

SCORES = {"plain projection": 0.4, "calibrated projection": 0.7, "fine-tuning": 0.9, "W8A8": 0.89}


def card(path, compression, score="spearman", base="minilm", **more):
    steps = [{"name": n, "scores": {score: v}, "seconds": 1} for n, v in SCORES.items()]
    made = {
        "name": path.stem,
        "base": base,
        "compression": compression,
        "steps": steps,
        "conditions": {"corpus": "made"},
        "history": [{"seconds": 60, "value": 0.8}],
        "finetuning": {"steps": 100, "seconds": 120},
        "threads": 2,
        "command": f"python -m mapper d2s {base}",
        **more,
    }
    path.write_text(json.dumps(made))
    return str(path)


def test_page_and_plot(tmp_path, capsys):
    cards = [
        card(tmp_path / "b.json", 4.0),
        card(tmp_path / "a.json", 2.0),
        card(tmp_path / "c.json", 2.0, "ratio", "smollm2"),
    ]
    out = tmp_path / "accuracy.md"
    assert main(["accuracy", *cards, "-o", str(out)]) == 0
    text = out.read_text()
    assert "| a | 2.00x | 0.400 | 0.700 | 0.900 | 0.890 | - | 2 min, 100 steps, 2 threads |" in text
    assert text.index("| a |") < text.index("| b |") and "## smollm2" in text
    assert "b, spearman against training time: 1 min 0.800" in text
    first = (tmp_path / "accuracy.svg").read_text()
    assert main(["accuracy", *cards, "-o", str(out)]) == 0
    assert (tmp_path / "accuracy.svg").read_text() == first and "<svg" in first


@pytest.mark.parametrize("content", ["[]", "{", '{"steps": 3}'])
def test_what_is_no_card(tmp_path, capsys, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    assert main(["accuracy", str(path), "-o", str(tmp_path / "a.md")]) == 2
    assert f"{path}: not a model card" in capsys.readouterr().err
    assert not (tmp_path / "a.md").exists()


def test_missing_card(tmp_path, capsys):
    assert main(["accuracy", str(tmp_path / "no.json"), "-o", str(tmp_path / "a.md")]) == 2
    assert "No such file" in capsys.readouterr().err
