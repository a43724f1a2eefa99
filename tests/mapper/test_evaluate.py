import copy
import math

import pytest
import torch

from mapper import evaluate
from mapper.corpus import Corpus
from mapper.evaluate import LanguageJudge, SimilarityJudge, perplexity
from mapper.models import MODELS, locate
from mapper.network import load
from mapper.objective import Language, Similarity
from rtl.spec.params import ConfigError

from .networks import loaded, tokenizer

TEXT = Corpus(
    "made", [f"w{n} w{n + 1} w{n + 2}" for n in range(40)], [f"w{n} w{2 * n}" for n in range(20)]
)


@pytest.fixture(scope="module")
def minilm():
    return load(locate("minilm"))


@pytest.fixture(scope="module")
def judge(minilm):
    text = Corpus(
        "rain",
        [],
        [f"It rained for {n} days in the north." for n in range(12)] + ["A cat.", "Tax law."],
    )
    return SimilarityJudge(Similarity(minilm.tokenizer), minilm.module, text)


def test_dense_network_scores_one(judge, minilm):
    scores = judge.judge(minilm.module)
    assert scores.value == scores.values["spearman"] == pytest.approx(1)
    assert scores.values["cosine"] == judge.glance(minilm.module) == pytest.approx(1)
    assert (
        not judge.doubt and judge.conditions["sentences"] == 14 and judge.conditions["pairs"] == 91
    )


def test_damage_lowers_the_score(judge, minilm):
    broken = copy.deepcopy(minilm.module)
    with torch.no_grad():
        broken.encoder.layer[3].output.dense.weight.mul_(-1)
    scores = judge.judge(broken)
    assert scores.values["spearman"] < 0.99 and scores.values["cosine"] < 0.95


def test_insane_similarity_shows(minilm):
    broken = copy.deepcopy(minilm.module)
    with torch.no_grad():
        for layer in broken.encoder.layer:
            layer.attention.output.dense.weight.zero_()
            layer.output.dense.weight.mul_(-3)
        broken.embeddings.word_embeddings.weight.copy_(
            broken.embeddings.word_embeddings.weight.flip(0)
        )
    assert " is nearer to " in SimilarityJudge(Similarity(minilm.tokenizer), broken, TEXT).doubt


def test_insane_language_shows(tmp_path):
    net = loaded("llama", tmp_path)
    judge = LanguageJudge(Language(tokenizer(False), context=8), net.module, TEXT)
    assert judge.doubt.startswith("'The capital of France is' goes on with ")


def test_perplexity_is_that_of_the_library(tmp_path):
    net = loaded("llama", tmp_path)
    ids = torch.randint(0, 50, (6, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = math.exp(float(net.module(input_ids=ids, labels=ids).loss))
    assert perplexity(net.module, ids, batch=4) == pytest.approx(wanted, rel=1e-5)


def test_language_judge(tmp_path, monkeypatch):
    net = loaded("llama", tmp_path)
    monkeypatch.setattr(evaluate, "greedy", lambda *_: evaluate.KNOWN_TEXT[1])
    objective = Language(tokenizer(False), context=8)
    judge = LanguageJudge(objective, net.module, TEXT, tokens=24)
    scores = judge.judge(net.module)
    assert scores.value == pytest.approx(1) and judge.conditions["tokens"] == 24
    assert judge.conditions["tokens_on_the_way"] == 8
    other = copy.deepcopy(net.module)
    with torch.no_grad():
        other.lm_head.weight.mul_(2)
    one = [perplexity(module, judge.windows[:1]) for module in (other, net.module)]
    assert judge.glance(other) == pytest.approx(one[0] / one[1])
    assert judge.glance(other) != pytest.approx(judge.judge(other).value)
    with pytest.raises(ConfigError, match=r"40 tokens of text are too few for a window of 500"):
        LanguageJudge(Language(tokenizer(False), context=500), net.module, TEXT)


def test_registered_models_say_what_they_are_judged_by():
    assert {MODELS[name].architecture for name in ("minilm", "smollm2")} == {"bert", "llama"}
