"""How good a network still is, on held-out text: similarities of sentences, perplexity of prose.

Baselines must be sane before anything is compared with them: a broken loader would otherwise only show as a bad
compression. What is odd about one is its judge's `doubt`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .corpus import Corpus, sample
from .objective import Language, Similarity

#: Held-out sentences whose pairwise similarities are compared, by default.
SENTENCES = 1000
#: Tokens of held-out prose for a perplexity, by default.
TOKENS = 32768
#: One window of them in so many is enough to watch a fine-tuning by.
GLANCED = 4

#: Sentences by falling similarity to the first of each group.
KNOWN_ORDER = (
    (
        "A man is playing a guitar on stage.",
        "Someone performs music in front of an audience.",
        "A woman is cooking soup in her kitchen.",
    ),
    (
        "The stock market fell sharply today.",
        "Shares lost a lot of value this afternoon.",
        "The cat sleeps on the warm sofa.",
    ),
    (
        "How do I reset my password?",
        "I forgot my login and want to change it.",
        "The mountain is covered with snow.",
    ),
)
#: A prompt and what a language model of any worth goes on with.
KNOWN_TEXT = ("The capital of France is", " Paris")


@dataclass(frozen=True)
class Scores:
    """What an evaluation found; `headline` is the one number to compare."""

    values: dict[str, float]
    headline: str

    @property
    def value(self) -> float:
        """The headline number."""
        return self.values[self.headline]


class SimilarityJudge:
    """Spearman correlation of all pairwise similarities with the dense network's, and mean cosine."""

    def __init__(
        self, objective: Similarity, dense: nn.Module, corpus: Corpus, count: int = SENTENCES
    ):
        self.doubt = ""
        for group in KNOWN_ORDER:
            found = objective.embed(dense, objective.encode(list(group)))
            near, far = (found[0] @ found[1:].T).tolist()
            if near <= far:
                self.doubt = f"{group[0]!r} is nearer to {group[2]!r} than to {group[1]!r}"
        self.objective = objective
        self.ids = objective.encode(sample(corpus.heldout, count))
        self.wanted = objective.embed(dense, self.ids)
        tokens = sum(map(len, self.ids))
        self.conditions = {
            "corpus": corpus.name,
            "sentences": len(self.ids),
            "tokens": tokens,
            "pairs": len(self.ids) * (len(self.ids) - 1) // 2,
        }

    def judge(self, module: nn.Module) -> Scores:
        """`spearman` and `cosine` of a network's embeddings."""
        from scipy.stats import spearmanr

        found = self.objective.embed(module, self.ids)
        rows, columns = torch.triu_indices(len(found), len(found), 1)
        pairs = [(e @ e.mT)[rows, columns].numpy() for e in (self.wanted, found)]
        spearman = float(spearmanr(pairs[0], pairs[1])[0])  # pyright: ignore[reportArgumentType]
        cosine = float((self.wanted * found).sum(-1).mean())
        return Scores({"spearman": spearman, "cosine": cosine}, "spearman")

    def glance(self, module: nn.Module) -> float:
        """The headline number, to watch a network by while it learns."""
        return self.judge(module).value


class LanguageJudge:
    """Perplexity of held-out prose in windows of the objective's context, and its ratio to the dense network's.

    Raises `ConfigError` when the text is shorter than a window (`Language.windows`).
    """

    def __init__(self, objective: Language, dense: nn.Module, corpus: Corpus, tokens: int = TOKENS):
        prompt, expected = KNOWN_TEXT
        found = greedy(objective, dense, prompt)
        self.doubt = "" if found == expected else f"{prompt!r} goes on with {found!r}"
        self.objective = objective
        windows = objective.windows(corpus.heldout)
        self.windows = windows[: max(1, tokens // objective.context)]
        self.few = self.windows[::GLANCED]
        wanted = losses(dense, self.windows)
        self.dense, self.few_dense = _exp_mean(wanted), _exp_mean(wanted[::GLANCED])
        self.conditions = {
            "corpus": corpus.name,
            "context": objective.context,
            "tokens": self.windows.numel(),
            "tokens_on_the_way": self.few.numel(),
            "perplexity_dense": self.dense,
        }

    def judge(self, module: nn.Module) -> Scores:
        """`perplexity`, and `ratio` to the dense one."""
        found = perplexity(module, self.windows)
        return Scores({"perplexity": found, "ratio": found / self.dense}, "ratio")

    def glance(self, module: nn.Module) -> float:
        """The headline number on a part of the text, to watch a network by while it learns."""
        return perplexity(module, self.few) / self.few_dense


def perplexity(module: nn.Module, windows: Tensor, batch: int = 4) -> float:
    """exp of the mean negative log-likelihood of each token but the first in windows (N, context)."""
    return _exp_mean(losses(module, windows, batch))


@torch.no_grad()
def losses(module: nn.Module, windows: Tensor, batch: int = 4) -> Tensor:
    """Mean negative log-likelihood of each token but the first, for each of the windows (N, context): (N,), float64."""
    found = []
    for ids in windows.split(batch):
        logits = module(input_ids=ids, use_cache=False).logits[:, :-1]
        each = nn.functional.cross_entropy(
            logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
        )
        found.append(each.double().view(len(ids), -1).mean(-1))
    return torch.cat(found)


def _exp_mean(values: Tensor) -> float:
    return float(values.mean().exp())


@torch.no_grad()
def greedy(objective: Language, module: nn.Module, prompt: str, tokens: int = 1) -> str:
    """The most likely continuation of a prompt, `tokens` tokens long."""
    ids = objective.tokenizer.encode(prompt, add_special_tokens=False).ids
    start = len(ids)
    for _ in range(tokens):
        logits = module(input_ids=torch.tensor([ids]), use_cache=False).logits
        ids.append(int(logits[0, -1].argmax()))
    return objective.tokenizer.decode(ids[start:])


def judge_of(
    objective: Similarity | Language, dense: nn.Module, corpus: Corpus
) -> SimilarityJudge | LanguageJudge:
    """The judge of an objective."""
    if isinstance(objective, Similarity):
        return SimilarityJudge(objective, dense, corpus)
    return LanguageJudge(objective, dense, corpus)
