"""What a network is for, as a loss against the dense network and as batches of text: similarity or language."""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from rtl.spec.params import ConfigError

from .architectures import LM_HEAD
from .precision import products
from .surgery import Batch, forward

#: Weights of the errors of pairwise similarities and of tokens beside those of the embeddings themselves. An embedding
#: says little about a sentence of many tokens: 300 steps of MiniLM (2x, calibrated: 0.81) lead to a Spearman
#: correlation of 0.855 without tokens, 0.872 with weight 1, 0.881 with 4, 0.882 with 10.
PAIRS = 5.0
TOKENS = 10.0


def padded(ids: list[list[int]]) -> Batch:
    """Token sequences as a batch, (N, longest)."""
    longest = max(map(len, ids))
    tokens = torch.zeros(len(ids), longest, dtype=torch.long)
    mask = torch.zeros(len(ids), longest, dtype=torch.long)
    for n, sequence in enumerate(ids):
        tokens[n, : len(sequence)] = torch.tensor(sequence)
        mask[n, : len(sequence)] = 1
    return {"input_ids": tokens, "attention_mask": mask}


def bucketed(lengths: list[int], tokens: int, seed: int) -> list[list[int]]:
    """All sequences in batches of about `tokens` tokens and similar lengths, in an order drawn by `seed`."""
    draw = random.Random(seed)
    # Noise on the length: not the same neighbours in every epoch.
    order = sorted(range(len(lengths)), key=lambda n: lengths[n] + draw.random())
    batches: list[list[int]] = [[]]
    for n in order:
        if batches[-1] and (len(batches[-1]) + 1) * lengths[n] > tokens:
            batches.append([])
        batches[-1].append(n)
    draw.shuffle(batches)
    return batches


@dataclass
class Remembered:
    """The dense network's last hidden states of pieces of text, asked for once each, float16.

    For MiniLM and its default corpus, 2.2 million tokens, that grows to 1.7 GB.
    """

    kept: dict[int, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def states(
        self, chosen: list[int], ask: Callable[[list[int]], Iterable[Tensor]]
    ) -> list[Tensor]:
        """Of each chosen piece (its tokens, hidden); `ask` computes those of pieces that were not there before."""
        if missing := [n for n in chosen if n not in self.kept]:
            with products("cpu"):
                self.kept |= {n: x.half() for n, x in zip(missing, ask(missing), strict=True)}
        return [self.kept[n] for n in chosen]


def embeddings(states: Tensor) -> Tensor:
    """Sentence embeddings (N, hidden) of hidden states (N, T, hidden): mean over tokens, normalised."""
    return functional.normalize(states.sum(1), dim=-1)


@dataclass
class Similarity:
    """Sentence embeddings: mean over tokens of the last hidden state, normalised."""

    tokenizer: Tokenizer
    batch_tokens: int = 1024
    longest: int = 64
    _ids: list[list[int]] = field(default_factory=list, repr=False)
    _dense: Remembered = field(default_factory=Remembered, repr=False)

    def encode(self, pieces: list[str]) -> list[list[int]]:
        """Token ids of each piece, cut to `longest`."""
        return [cut(e, self.longest) for e in self.tokenizer.encode_batch(pieces)]

    def batches(self, pieces: list[str], tokens: int = 2048) -> list[Batch]:
        """Batches for calibration."""
        ids = self.encode(pieces)
        return [padded([ids[n] for n in b]) for b in bucketed([len(i) for i in ids], tokens, 0)]

    def output(self, module: nn.Module, batch: Batch) -> Tensor:
        """Last hidden states (N, T, hidden), zero where there is no token."""
        states = forward(module, batch).last_hidden_state.float()
        return states * batch["attention_mask"][..., None]

    @torch.no_grad()
    def embed(self, module: nn.Module, ids: list[list[int]]) -> Tensor:
        """Embeddings (len(ids), hidden)."""
        out: Tensor | None = None
        for chosen in bucketed([len(i) for i in ids], 4096, 0):
            found = embeddings(self.output(module, padded([ids[n] for n in chosen])))
            out = torch.zeros(len(ids), found.shape[1]) if out is None else out
            out[chosen] = found
        assert out is not None
        return out

    def loss(self, got: Tensor, wanted: Tensor) -> Tensor:
        """Squared errors of embeddings, of the similarities of all pairs in the batch, and of tokens (relative).

        Of `output`s.
        """
        tokens = (got - wanted).square().sum() / wanted.square().sum()
        got, wanted = embeddings(got), embeddings(wanted)
        pairs = (got @ got.mT - wanted @ wanted.mT).square().mean()
        return (got - wanted).square().sum(-1).mean() + PAIRS * pairs + TOKENS * tokens

    def prepare(self, pieces: list[str]) -> None:
        """Encode the training text; `epoch` asks the dense network about each piece when it comes up first."""
        self._ids, self._dense = self.encode(pieces), Remembered()

    def key(self) -> str:
        """Tells the training text and its batches from others."""
        return digest(["similarity", self.batch_tokens, self._ids])

    def epoch(self, dense: nn.Module, seed: int, first: int = 0) -> Iterator[tuple[Batch, Tensor]]:
        """Batches of training text with the dense network's outputs, each piece once; from batch `first` on."""

        def ask(missing: list[int]) -> Iterator[Tensor]:
            ids = [self._ids[n] for n in missing]
            for states, own in zip(self.output(dense, padded(ids)), ids, strict=True):
                yield states[: len(own)]

        for chosen in bucketed([len(i) for i in self._ids], self.batch_tokens, seed)[first:]:
            wanted = pad_sequence(self._dense.states(chosen, ask), batch_first=True)
            yield padded([self._ids[n] for n in chosen]), wanted.float()


def cut(encoding: Encoding, longest: int) -> list[int]:
    """At most `longest` ids; an end mark, if the tokenizer sets one, stays."""
    ids = encoding.ids
    if len(ids) <= longest:
        return ids
    return [*ids[: longest - 1], ids[-1]] if encoding.special_tokens_mask[-1] else ids[:longest]


def digest(value: object) -> str:
    """Short hash of what JSON can write."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


@dataclass
class Language:
    """Next-token distributions of windows of running text."""

    tokenizer: Tokenizer
    context: int = 256
    batch_windows: int = 4
    judged: float = (
        0.5  #: share of the positions that training looks at; the LM head is as dear as the layers
    )
    _windows: Tensor = field(default_factory=lambda: torch.zeros(0, 0), repr=False)
    _dense: Remembered = field(default_factory=Remembered, repr=False)  #: by window

    def windows(self, pieces: list[str]) -> Tensor:
        """Token ids (N, context) of the pieces, joined by line breaks; the rest is dropped.

        Raises `ConfigError` on a text shorter than one window.
        """
        ids = self.tokenizer.encode("\n".join(pieces), add_special_tokens=False).ids
        count = len(ids) // self.context
        if not count:
            raise ConfigError(
                f"corpus: {len(ids)} tokens of text are too few for a window of {self.context}"
            )
        return torch.tensor(ids[: count * self.context]).view(count, self.context)

    def batches(self, pieces: list[str], tokens: int = 2048) -> list[Batch]:
        """Batches for calibration."""
        return [self._batch(w) for w in self.windows(pieces).split(max(1, tokens // self.context))]

    @staticmethod
    def _batch(ids: Tensor) -> Batch:
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def output(self, module: nn.Module, batch: Batch) -> Tensor:
        """Log-probabilities (N, T, vocabulary)."""
        return forward(module, batch).logits.float().log_softmax(-1)

    def loss(self, got: Tensor, wanted: Tensor) -> Tensor:
        """Kullback-Leibler divergence from the dense network's distributions, nats a token."""
        return (
            functional.kl_div(got, wanted, reduction="sum", log_target=True) / got[..., 0].numel()
        )

    def prepare(self, pieces: list[str]) -> None:
        """Cut the training text into windows; `epoch` asks the dense network about each when it comes up first."""
        self._windows, self._dense = self.windows(pieces), Remembered()

    def _seen(self, dense: nn.Module, chosen: Tensor) -> Tensor:
        """What the dense network's LM head sees in some windows, float16 (N, context, hidden).

        Kept for later epochs; distributions would be too large.
        """
        body = dense.base_model
        assert isinstance(body, nn.Module)

        def ask(missing: list[int]) -> Tensor:
            return forward(body, self._batch(self._windows[missing])).last_hidden_state

        return torch.stack(self._dense.states(chosen.tolist(), ask))

    def key(self) -> str:
        """Tells the training text and its batches from others."""
        return digest(["language", self.batch_windows, self.judged, self._windows.tolist()])

    def epoch(self, dense: nn.Module, seed: int, first: int = 0) -> Iterator[tuple[Batch, Tensor]]:
        """Batches of training text, each window once, with the dense network's outputs at some of its positions.

        From batch `first` on.
        """
        draw, head = torch.Generator().manual_seed(seed), dense.get_submodule(LM_HEAD)
        judged = max(1, round(self.judged * self.context))
        order = torch.randperm(len(self._windows), generator=draw)
        for number, chosen in enumerate(order.split(self.batch_windows)):
            at = torch.randperm(self.context, generator=draw)[:judged].sort().values
            if number < first:
                continue
            with torch.no_grad():
                wanted = head(self._seen(dense, chosen)[:, at].float()).log_softmax(-1)
            yield self._batch(self._windows[chosen]) | {"logits_to_keep": at}, wanted


#: What a network may be judged by (`mapper.architectures`).
OBJECTIVES = {"similarity": Similarity, "language": Language}
