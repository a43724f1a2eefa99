"""What networks are judged by: losses against the dense network, and batches of text."""

import math

import pytest
import torch

from mapper import objective
from mapper.objective import Language, Similarity
from mapper.precision import product_dtype
from rtl.spec.params import ConfigError
from tests.mapper import networks

TEXT = networks.sentences(60)


def similarity(marks=True, **options):
    return Similarity(networks.tokenizer(marks), **options)


def test_objectives_of_the_architectures():
    for known in networks.ARCHITECTURES.values():
        has_logits = "LM" in known.model
        assert known.objective == ("language" if has_logits else "similarity"), known.name


@pytest.mark.parametrize("architecture", ["bert", "bart"])
def test_padding_does_not_change_an_embedding(architecture):
    module, made = networks.tiny(architecture), similarity()
    ids = made.encode(TEXT[:8])
    together = made.embed(module, ids)
    alone = torch.cat([made.embed(module, [one]) for one in ids])
    assert len({len(one) for one in ids}) > 1
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(8))
    assert (together @ together.mT).fill_diagonal_(0).max() < 1 - 1e-5


@pytest.mark.parametrize("seed", range(3))
def test_every_piece_once_an_epoch(seed):
    module, made = networks.tiny("bert"), similarity(batch_tokens=40)
    made.prepare(TEXT)
    found = list(made.epoch(module, seed))
    ids = [
        row[mask.bool()].tolist() for b, _ in found for row, mask in zip(*b.values(), strict=True)
    ]
    assert sorted(ids) == sorted(made.encode(TEXT))
    for batch, wanted in found:
        assert batch["input_ids"].numel() <= 40
        # Computed in bfloat16, kept in float16.
        exact = made.output(module, batch).detach()
        torch.testing.assert_close(wanted, exact, atol=6e-2, rtol=2e-2)
        assert torch.equal(wanted.any(-1), batch["attention_mask"].bool())
        torch.testing.assert_close(
            objective.embeddings(exact),
            made.embed(
                module, [r[m.bool()].tolist() for r, m in zip(*batch.values(), strict=True)]
            ),
        )
        with torch.autocast("cpu", torch.bfloat16):
            assert made.output(module, batch).dtype == torch.float32


def test_epochs_are_seeded():
    module, made = networks.tiny("bert"), similarity(batch_tokens=40)
    made.prepare(TEXT)
    first, again, other = (
        [b["input_ids"].tolist() for b, _ in made.epoch(module, seed)] for seed in (0, 0, 1)
    )
    assert first == again != other


def test_batches_for_calibration():
    found = similarity().batches(TEXT, tokens=50)
    assert sum(len(b["input_ids"]) for b in found) == len(TEXT)
    assert all(b["input_ids"].shape == b["attention_mask"].shape for b in found)


def test_bucketed_sorts_by_length():
    lengths = [len(t.split()) for t in TEXT]
    found = objective.bucketed(lengths, 30, seed=0)
    assert sorted(n for b in found for n in b) == list(range(60))
    spread = [max(lengths[n] for n in b) - min(lengths[n] for n in b) for b in found]
    assert max(spread) <= 2
    assert objective.bucketed([100, 3], 30, 0) in ([[1], [0]], [[0], [1]])


@pytest.mark.parametrize("marks", [True, False])
def test_long_pieces_are_cut(marks):
    """An end mark stays; without one the piece keeps its beginning and nothing of its end."""
    text = " ".join(f"w{n}" for n in range(10, 30))
    found = similarity(marks, longest=6).encode([text, "w5"])
    assert found[0] == ([1, 10, 11, 12, 13, 2] if marks else [10, 11, 12, 13, 14, 15])
    assert found[1] == ([1, 5, 2] if marks else [5])


def test_similarity_loss():
    """Each of its three parts alone, against the definition."""
    made, error = similarity(), objective.TOKENS
    torch.manual_seed(0)
    a = torch.randn(5, 3, 8)
    assert float(made.loss(a, a)) == 0
    # Other tokens of the same embeddings.
    torch.testing.assert_close(made.loss(2 * a, a), torch.tensor(error), atol=1e-4, rtol=1e-5)
    # All similarities as before, other embeddings.
    turn = torch.linalg.qr(torch.randn(8, 8)).Q
    tokens = error * (a @ turn - a).square().sum() / a.square().sum()
    moved = objective.embeddings(a @ turn) - objective.embeddings(a)
    torch.testing.assert_close(made.loss(a @ turn, a), moved.square().sum(-1).mean() + tokens)
    b = torch.randn(5, 3, 8)
    x, y = objective.embeddings(a), objective.embeddings(b)
    pairs = objective.PAIRS * (x @ x.mT - y @ y.mT).square().mean()
    rest = (x - y).square().sum(-1).mean() + error * (a - b).square().sum() / a.square().sum()
    torch.testing.assert_close(made.loss(b, a), pairs + rest)


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_the_dense_network_is_asked_once(architecture):
    module = networks.tiny(architecture)
    made = (
        similarity(batch_tokens=40)
        if architecture == "bert"
        else Language(networks.tokenizer(marks=False), context=8, batch_windows=3)
    )
    made.prepare(TEXT)
    calls = []
    module.base_model.register_forward_hook(
        lambda *_: calls.append(torch.is_autocast_enabled("cpu"))
    )
    first = list(made.epoch(module, 0))
    assert len(calls) == len(first)
    assert set(calls) == {product_dtype("cpu") == torch.bfloat16}
    again = list(made.epoch(module, 0))
    assert len(calls) == len(first)
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(first, again, strict=True))


def test_language_windows():
    made = Language(networks.tokenizer(marks=True), context=7)
    found = made.windows(TEXT)
    ids = [int(word[1:]) for text in TEXT for word in text.split()]
    assert found.shape == (len(ids) // 7, 7)
    assert found.flatten().tolist() == ids[: found.numel()]
    batches = made.batches(TEXT, tokens=30)
    assert torch.equal(torch.cat([b["input_ids"] for b in batches]), found)
    assert all(b["attention_mask"].all() and len(b["input_ids"]) <= 4 for b in batches)
    with pytest.raises(ConfigError, match=r"^corpus: \d+ tokens of text are too few for a window"):
        Language(networks.tokenizer(marks=True), context=7).windows(["w3 w4"])


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_every_window_once_an_epoch(architecture):
    module = networks.tiny(architecture)
    made = Language(networks.tokenizer(marks=False), context=8, batch_windows=3)
    made.prepare(TEXT)
    found = list(made.epoch(module, 1))
    windows = [row for b, _ in found for row in b["input_ids"].tolist()]
    assert sorted(windows) == sorted(made.windows(TEXT).tolist()) != windows
    for batch, wanted in found[:2]:
        torch.testing.assert_close(wanted.exp().sum(-1), torch.ones(len(wanted), 4))
        at = batch["logits_to_keep"]
        assert len(at) == len(set(at.tolist())) == 4
        # Computed in bfloat16, kept in float16.
        logits = module(batch["input_ids"]).logits[:, at]
        torch.testing.assert_close(wanted, logits.log_softmax(-1), atol=2e-2, rtol=1e-2)
        assert made.loss(made.output(module, batch), wanted) < 1e-4
        with torch.autocast("cpu", torch.bfloat16):
            assert made.output(module, batch).dtype == torch.float32
    assert len({tuple(b["logits_to_keep"].tolist()) for b, _ in found}) > 1
    again = [b["input_ids"].tolist() for b, _ in made.epoch(module, 1)]
    other = [b["input_ids"].tolist() for b, _ in made.epoch(module, 2)]
    assert [row for b in again for row in b] == windows
    assert other != again


def test_divergence():
    """Of equal outputs zero; of a known pair what the definition says, in nats a token."""
    made = Language(networks.tokenizer(marks=False))
    same = torch.randn(2, 3, 50).log_softmax(-1)
    assert float(made.loss(same, same)) == pytest.approx(0, abs=1e-6)
    wanted = torch.tensor([0.5, 0.5]).log().expand(2, 3, 2)
    got = torch.tensor([0.9, 0.1]).log().expand(2, 3, 2)
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert float(made.loss(got, wanted)) == pytest.approx(expected, rel=1e-5)


def test_keys_tell_texts_apart():
    keys = []
    for made in (
        similarity(),
        similarity(),
        similarity(batch_tokens=99),
        Language(networks.tokenizer(marks=False), context=8),
        Language(networks.tokenizer(marks=False), context=9),
    ):
        made.prepare(TEXT)
        keys.append(made.key())
    assert keys[0] == keys[1] and len(set(keys)) == 4
    made = similarity()
    made.prepare(TEXT[1:])
    assert made.key() not in keys
