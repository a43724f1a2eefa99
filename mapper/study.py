"""`python -m mapper study`: figures of arXiv 2510.11192 from the mapper's own placements, beside the paper's numbers.

Figure 2b: parameters and FLOPs of dense models and of their Monarch form. Figure 6: arrays and utilisation of the
three strategies. What the paper says is tagged with where it comes from: A, its abstract; N, notes of others on it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rtl.spec.params import ConfigError, Params

from .compile import Compiler
from .models import MODELS
from .placement import STRATEGIES, monarch_strategy, place
from .workload import shapes

#: The models of the paper and the tokens that it runs them with.
TOKENS = {"bert-large": 512, "bart-large": 1024, "gpt2-medium": 1024}
#: Parameters outside the layers' matrices: embeddings of words, positions and types; an LM head is tied to them.
EMBEDDINGS = {
    "bert-large": (30522 + 512 + 2) * 1024,
    "bart-large": (50265 + 2 * 1026) * 1024,
    "gpt2-medium": (50257 + 1024) * 1024,
}
#: The policy of the paper.
POLICY = "pad"
#: Bits of the converters that the paper gives each strategy.
ADC_BITS = {"linear": 8, "sparsemap": 5, "densemap": 3}


@dataclass(frozen=True)
class Row:
    """One number of a figure; `paper` is None where the paper has none, `note` says why the two differ."""

    figure: str
    model: str
    what: str
    ours: float
    paper: float | None = None
    note: str = ""

    @property
    def deviation(self) -> float | None:
        """ours / paper - 1."""
        return self.ours / self.paper - 1 if self.paper else None


@dataclass(frozen=True)
class Size:
    """Weights of all layers of a model, dense and stored, and multiplications of attention."""

    dense: int
    stored: int
    attention: int  #: multiplications a token of QK^T and AV for each token that it attends to
    embeddings: int

    def parameters(self) -> float:
        """Dense / Monarch parameters of the whole model."""
        return (self.dense + self.embeddings) / (self.stored + self.embeddings)

    def flops(self, context: float) -> float:
        """Dense / Monarch multiplications of a token that attends to `context` tokens on average."""
        other = self.attention * context
        return (self.dense + other) / (self.stored + other)


def size(name: str) -> Size:
    """The size of a model under the paper's policy."""
    model = MODELS[name]
    matrices = [
        m for work in shapes(name, policy=POLICY) for s in work.segments for m in s.matrices
    ]
    attentions = sum(m.name.split("_")[-1] == "q" for m in matrices)
    return Size(
        dense=sum(m.n_in * m.n_out for m in matrices),
        stored=sum(m.weights for m in matrices),
        attention=2 * model.attention * attentions,
        embeddings=EMBEDDINGS[name],
    )


@dataclass(frozen=True)
class Arrays:
    """Arrays of all layers of a model under a strategy, and the elements stored on them."""

    arrays: int
    stored: int
    cells: int

    @property
    def utilization(self) -> float:
        """Stored elements, padding of the policy included, over the cells of the arrays."""
        return self.stored / self.cells


def arrays(name: str, strategy: str, params: Params) -> Arrays:
    """One core a layer; equal layers are placed once. Raises `ConfigError` for what cannot be placed."""
    policy = POLICY if monarch_strategy(strategy) else "dense"
    placed: dict[tuple, tuple[int, int]] = {}
    tiles = stored = 0
    for work in shapes(name, policy=policy):
        key = tuple((m.n_in, m.n_out) for s in work.segments for m in s.matrices)
        if key not in placed:
            found = place(strategy, work.segments, params)
            weights = sum(m.weights for s in work.segments for m in s.matrices)
            placed[key] = found.used_tiles, weights
        tiles, stored = tiles + placed[key][0], stored + placed[key][1]
    return Arrays(tiles, stored, tiles * params.rows * params.cols)


def analog_cycles(
    name: str, strategy: str, adcs: int, tokens: int = 1, params: Params | None = None
) -> int:
    """Cycles of the first layer on arrays with `adcs` converters of the paper's bits, as compiled: ISS = RTL.

    With 16 tokens or more they follow each other as closely as the arrays allow. `params`: the rest of the
    configuration; by default the model's preset. Raises `ConfigError` for what cannot be compiled.
    """
    base = params or Params.load(MODELS[name].preset)
    analog = base.replace(readout="adc", adc_bits=ADC_BITS[strategy], adcs=adcs)
    policy = POLICY if monarch_strategy(strategy) else "dense"
    work = shapes(name, [0], policy=policy, tokens=tokens)[0]
    return Compiler(strategy, analog).plan(work).cycles


def sizes_rows(models: Iterable[str]) -> Iterator[Row]:
    """Figure 2b."""
    told = {"bert-large": (8.0, 5.7)}
    for name in models:
        found, tokens = size(name), TOKENS[name]
        parameters, flops = told.get(name, (None, None))
        yield Row(
            "2b",
            name,
            "parameters, dense / Monarch",
            found.parameters(),
            parameters,
            "with embeddings, which stay dense; the paper does not say what it counts",
        )
        yield Row("2b", name, "linear weights, dense / Monarch", found.dense / found.stored)
        yield Row(
            "2b",
            name,
            f"FLOPs, dense / Monarch, {tokens} tokens",
            found.flops(tokens),
            flops,
            "each token attends to all",
        )
        if MODELS[name].architecture == "gpt2":
            note = "a causal prompt attends to half of it on average"
            yield Row(
                "2b", name, f"FLOPs, prefill of {tokens}", found.flops((tokens + 1) / 2), None, note
            )
            yield Row("2b", name, f"FLOPs, decode at {tokens}", found.flops(tokens))


def arrays_rows(models: Iterable[str]) -> Iterator[Row]:
    """Figure 6."""
    fills = {strategy: [] for strategy in STRATEGIES}
    saved: dict[str, list[float]] = {"linear": [], "sparsemap": []}
    for name in models:
        params = Params.load(MODELS[name].preset)
        found = {strategy: arrays(name, strategy, params) for strategy in STRATEGIES}
        for strategy, one in found.items():
            yield Row("6", name, f"arrays, {strategy}", one.arrays)
            yield Row("6", name, f"utilisation, {strategy}", one.utilization)
            fills[strategy].append(one.utilization)
        for strategy, values in saved.items():
            values.append(1 - found["densemap"].arrays / found[strategy].arrays)

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    note = "arrays are full here; 25.4 arrays a layer would explain the paper's figure"
    yield Row("6", "mean", "utilisation, densemap", mean(fills["densemap"]), 0.788, note)
    more = mean(fills["densemap"]) / mean(fills["sparsemap"])
    yield Row("6", "mean", "gain in utilisation, densemap / sparsemap", more, 3.0, note)
    for strategy, paper in (("linear", 0.87), ("sparsemap", 0.73)):
        yield Row(
            "6", "mean", f"arrays saved, against {strategy}", mean(saved[strategy]), paper, note
        )


#: Rows by figure.
FIGURES = {"2b": sizes_rows, "6": arrays_rows}


def rows(figures: Iterable[str], models: Iterable[str]) -> list[Row]:
    """All rows. Raises `ConfigError` for an unknown figure, and a model that is none of the paper's."""
    for figure in figures:
        if figure not in FIGURES:
            raise ConfigError(f"figures: {figure!r} is not one of {', '.join(FIGURES)}")
    for name in models:
        if name not in TOKENS:
            raise ConfigError(f"models: {name!r} is not one of {', '.join(TOKENS)}")
    return [row for figure in figures for row in FIGURES[figure](models)]
