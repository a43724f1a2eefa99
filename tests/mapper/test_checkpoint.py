"""Checkpoints: the packaged one, small ones written here, and files that must be refused."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mapper import checkpoint, workload
from mapper.models import MODELS, packaged_checkpoint
from mapper.sentences import load_tokenizer
from rtl.spec.params import ConfigError, Params

HIDDEN, FFN, LAYERS, WORDS, POSITIONS = 64, 128, 2, 50, 24
QUERY = "encoder.layer.1.attention.self.query.weight"


def tiny_tensors(prefix=""):
    rng = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=rng) * 0.2

    tensors = {
        "embeddings.word_embeddings.weight": draw(WORDS, HIDDEN),
        "embeddings.position_embeddings.weight": draw(POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": draw(2, HIDDEN),
    }
    norms = ["embeddings.LayerNorm"]
    for n in range(LAYERS):
        layer = f"encoder.layer.{n}."
        norms += [layer + "attention.output.LayerNorm", layer + "output.LayerNorm"]
        for name, n_out, n_in in (
            ("attention.self.query", HIDDEN, HIDDEN),
            ("attention.self.key", HIDDEN, HIDDEN),
            ("attention.self.value", HIDDEN, HIDDEN),
            ("attention.output.dense", HIDDEN, HIDDEN),
            ("intermediate.dense", FFN, HIDDEN),
            ("output.dense", HIDDEN, FFN),
        ):
            tensors[f"{layer}{name}.weight"] = draw(n_out, n_in)
            tensors[f"{layer}{name}.bias"] = draw(n_out)
    for norm in norms:
        tensors[f"{norm}.weight"] = 1 + draw(HIDDEN)
        tensors[f"{norm}.bias"] = draw(HIDDEN)
    return {prefix + name: tensor for name, tensor in tensors.items()}


def written(folder, tensors, name="tiny.safetensors"):
    path = folder / name
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def minilm():
    path = packaged_checkpoint(MODELS["minilm"])
    return checkpoint.load(path), load_tokenizer(path.with_name("tokenizer.json"))


def test_minilm_has_the_shapes_of_its_entry(minilm):
    model, known = minilm[0].model, MODELS["minilm"]
    for key in ("layers", "hidden", "ffn", "heads"):
        assert getattr(model, key) == getattr(known, key)


def test_minilm_equals_the_reference_implementation(minilm):
    """First values of the embedding that the `transformers` 5 BertModel gives on these weights."""
    encoder, tokenizer = minilm
    ids = tokenizer.encode("The train to the coast leaves at seven in the morning.").ids
    assert ids == [101, 1996, 3345, 2000, 1996, 3023, 3727, 2012, 2698, 1999, 1996, 2851, 1012, 102]
    got = encoder.sentence_embedding(ids)
    expected = [0.0133452, 0.0414082, 0.0325275, 0.1728454, 0.0917048, 0.1111257]
    np.testing.assert_allclose(got[:6].numpy(), expected, atol=2e-6)
    assert float(got.norm()) == pytest.approx(1, abs=1e-6)


def test_minilm_ranks_a_paraphrase_first(minilm):
    encoder, tokenizer = minilm
    base, same, other = (
        encoder.sentence_embedding(tokenizer.encode(text).ids)
        for text in (
            "A man is playing a guitar on the street.",
            "Someone performs music with a guitar outdoors.",
            "The stock market fell sharply after the report.",
        )
    )
    assert float(base @ same) > 0.5 > 0.2 > float(base @ other)


def test_hidden_states_are_per_layer(minilm):
    encoder, _ = minilm
    states = encoder.hidden([101, 1996, 102], 3)
    assert len(states) == 4 and all(s.shape == (3, 384) for s in states)
    torch.testing.assert_close(encoder.layers[2].forward(states[2]), states[3])


@pytest.mark.parametrize(
    ("ids", "message"),
    [([], "tokens: 0 is outside 1..512"), ([1] * 513, "tokens: 513"), ([30522], "token: 30522")],
)
def test_embed_wrong_ids(minilm, ids, message):
    with pytest.raises(ConfigError, match=message):
        minilm[0].embed(ids)


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tiny_checkpoint(tmp_path, prefix, dtype):
    tensors = {name: t.to(dtype) for name, t in tiny_tensors(prefix).items()}
    tensors["cls.predictions.bias"] = torch.zeros(WORDS)
    path = written(tmp_path, tensors)
    model = checkpoint.inspect(path)
    assert (model.layers, model.hidden, model.ffn, model.heads) == (LAYERS, HIDDEN, FFN, 2)
    encoder = checkpoint.load(path)
    assert encoder.words.dtype == torch.float32
    assert encoder.hidden([1, 2, 3])[-1].shape == (3, HIDDEN)


def test_config_beside_the_checkpoint(tmp_path):
    path = written(tmp_path, tiny_tensors())
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"num_attention_heads": 8, "layer_norm_eps": 1e-5}))
    encoder = checkpoint.load(path)
    assert encoder.layers[0].heads == 8
    assert encoder.norm.eps == 1e-5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"num_attention_heads": 7}', "num_attention_heads = 7 does not divide 64"),
        ('{"hidden_act": "relu"}', "hidden_act = 'relu' is not supported, only 'gelu'"),
        ('{"layer_norm_eps": "tiny"}', "layer_norm_eps = 'tiny' is outside 0..1"),
        ("[1]", "not a JSON object"),
        ("{", "config.json: "),
    ],
)
def test_wrong_config(tmp_path, text, message):
    path = written(tmp_path, tiny_tensors())
    (tmp_path / "config.json").write_text(text)
    refused(path, f"config.json.*{message}" if message != "config.json: " else message)


def refused(path, message):
    with pytest.raises(ConfigError, match=message) as caught:
        checkpoint.load(path)
    assert str(path.parent) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(QUERY), f"tensor {QUERY}: missing$"),
        (lambda t: t.pop("embeddings.word_embeddings.weight"), "word_embeddings.weight: missing"),
        (lambda t: t.update(stray=torch.zeros(2)), "tensor stray: unknown"),
        (
            lambda t: t.update({QUERY: torch.zeros(64, 63)}),
            f"{QUERY}: shape 64 x 63, expected 64 x 64",
        ),
        (lambda t: t.update({QUERY: torch.zeros(64)}), f"{QUERY}: shape 64, expected 64 x 64"),
        (
            lambda t: t.update({QUERY: torch.zeros(64, 64, dtype=torch.int8)}),
            f"{QUERY}: dtype I8 is not one of F32",
        ),
        (
            lambda t: t.update({"encoder.layer.7.output.dense.bias": torch.zeros(64)}),
            r"encoder.layer.2.attention.self.query.weight: missing \(and \d+ more\)",
        ),
        (lambda t: t[QUERY].__setitem__((0, 0), torch.nan), f"{QUERY}: 1 values are NaN"),
        (lambda t: t[QUERY].__setitem__(0, torch.inf), f"{QUERY}: 64 values are NaN or infinite"),
    ],
    ids=["missing", "first", "extra", "shape", "rank", "dtype", "layer", "nan", "inf"],
)
def test_wrong_tensors(tmp_path, change, message):
    tensors = tiny_tensors()
    change(tensors)
    refused(written(tmp_path, tensors), f"tiny.safetensors: .*{message}")


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated_file(tmp_path, keep):
    path = written(tmp_path, tiny_tensors())
    path.write_bytes(path.read_bytes()[:keep])
    refused(path, "not a readable safetensors file")


def test_a_pickle_is_not_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    path = tmp_path / "bomb.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    refused(path, "not a readable safetensors file")


def test_no_such_file(tmp_path):
    refused(tmp_path / "none.safetensors", "no such file")


def test_wrong_tokenizer(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"tokenizer.json: not a tokenizer"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_workload_from_a_path(tmp_path):
    written(tmp_path, tiny_tensors(), "model.safetensors")
    (first, second) = workload.build(str(tmp_path), params=Params(), tokens=5)
    assert first.model == tmp_path.name and not first.synthetic
    assert (first.layer, second.layer) == (0, 1)
    assert first.inputs["qkv"].shape == (5, HIDDEN)
    assert "no tokenizer.json" in first.notes["token_source"]
    with pytest.raises(ConfigError, match="tokens: 25 is above the limit 24"):
        workload.build(str(tmp_path), params=Params(), tokens=25)
