"""The committed factors are what their card says."""

import json

import pytest
import torch

from mapper.corpus import load as load_corpus
from mapper.evaluate import SimilarityJudge
from mapper.models import locate
from mapper.monarch import MonarchLinear
from mapper.network import load
from mapper.objective import Similarity

PATH = locate("minilm-4x")
CARD = json.loads(PATH.with_suffix(".json").read_text())


@pytest.fixture(scope="module")
def network():
    return load(PATH)


def test_card_counts_the_weights(network):
    layers = [m for m in network.module.modules() if isinstance(m, MonarchLinear)]
    assert len(layers) == len(CARD["matrices"]) == 36
    kept = sum(m.R.numel() + m.L.numel() for m in layers)
    assert kept == CARD["weights_kept"]
    assert (
        CARD["compression"] == pytest.approx(CARD["weights_dense"] / kept) and kept * 4 <= 10616832
    )


def test_file_is_small():
    assert PATH.stat().st_size < 10_000_000


@pytest.mark.slow
def test_card_tells_the_accuracy(network):
    dense = load(locate("minilm"))
    text = load_corpus(CARD["conditions"]["corpus"])
    judge = SimilarityJudge(Similarity(dense.tokenizer), dense.module, text, count=250)
    with torch.no_grad():
        scores = judge.judge(network.module).values
    # A quarter of the sentences: their correlation is a little off that of all.
    assert scores["spearman"] == pytest.approx(CARD["spearman_heldout"], abs=0.02)
    steps = {step["name"]: step["scores"] for step in CARD["steps"]}
    assert scores["cosine"] == pytest.approx(steps["fine-tuning"]["cosine"], abs=0.01)
