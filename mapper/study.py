"""`python -m mapper study`: figures of arXiv 2510.11192 from the mapper's own placements, beside the paper's numbers.

Figure 2b: parameters and FLOPs of dense models and of their Monarch form. Figure 6: arrays and utilisation of the
three strategies. Figure 7: latency and energy, from layers that a simulator executes. What the paper says is tagged
with where it comes from: A, its abstract; N, notes of others on it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from rtl.spec.params import ConfigError, Params

from . import fill, layercost
from .bounds import STREAMING_TOKENS
from .compile import Compiler
from .cost import Table, load
from .layercost import Layer, Layers, Mapping, Run
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
#: Converters of an array that the paper sweeps, and the bits that it gives those of each strategy.
ADCS = (4, 8, 16, 32)
ADC_BITS = {"linear": 8, "sparsemap": 5, "densemap": 3}


#: Tokens of a run: pipelined, one after the other into the same layer; and one alone, R and L in series.
MODES = {"pipelined": STREAMING_TOKENS, "in series": 1}
#: Mappings that figure 7 compares: the paper's three, and rectangular Monarch without padding.
MAPPINGS = {
    **{s: Mapping(s, POLICY if monarch_strategy(s) else "dense") for s in STRATEGIES},
    "densemap rect": Mapping("densemap", "rect"),
}
#: The paper's gains over linear, latency and energy [N]; it has no rectangular Monarch.
GAINS = {"sparsemap": (1.59, 1.6), "densemap": (1.73, 1.74), "densemap rect": (None, None)}

_LATENCY = {
    "pipelined": "the paper gains conversion time, which goes with the converters' bits; digital arrays have none, and "
    "both mappings move the same vectors through the same lanes, factors also those between R and L",
    "in series": "no converters here: a dense array takes a step for each row group, a block one or two; loads, drains "
    "and streams are the same and hide most of that",
}
_ANALOG = {
    "sparsemap": "conversions of 5 instead of 8 bits; loads, drains and the fill of the pipeline, which the paper does "
    "not count, are the rest (in series R and L follow each other: 8 / 5 / 2 = 0.8)",
    "densemap": "its arrays hold several factors, which share their time, and one row group is read at a time: a tenth "
    "of the arrays has as many conversions to make; the paper's model seems to count one factor an array",
    "densemap rect": "as densemap",
}
_ANALOG_ENERGY = (
    "prices of array and conversions only; the array's is spread over the cells that compute (an assumption), so zero "
    "blocks cost nothing, while the paper's gain is the price of a conversion"
)
_CONVERTERS = (
    "densemap reads one row group at a time with 3 bits, sparsemap all rows with 5; the paper has densemap ahead with "
    "few converters and sparsemap with 32; blocks of 64 rows need two reads in densemap"
)
_ENERGY = (
    "digital arrays pay for multiplications, which factors save; analog ones for conversions, which cost 1.8 times "
    "(8 b / 5 b) or 1.6 times (8 b / 3 b) less each"
)
_ARRAY_TIME = "arrays x time, what a mapping costs in silicon"


@dataclass(frozen=True)
class Setup:
    """How figures are measured: simulator, prices (`mapper.cost`), and what wraps a slow loop to show progress."""

    simulator: str = "iss"
    prices: str = "digital-sram"
    progress: Callable[[list], Iterable] = iter
    adcs: int = 8  #: converters of an array in figure 7, where the prices are of the analog readout


@dataclass(frozen=True)
class Row:
    """One number of a figure; `paper` is None where the paper has none, `note` says why the two differ.

    Where the paper claims no number but a bound, `above` is that.
    """

    figure: str
    model: str
    what: str
    ours: float
    paper: float | None = None
    note: str = ""
    above: float | None = None

    @property
    def passes(self) -> bool | None:
        """Whether the claim holds; None without one."""
        return None if self.above is None else self.ours > self.above

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


def size(name: str, uses: Callable[[int, str], bool] = lambda layer, matrix: True) -> Size:
    """The size of a model under the paper's policy, of what `uses(layer, matrix)` alone."""
    model = MODELS[name]
    matrices = [
        m
        for work in shapes(name, policy=POLICY)
        for s in work.segments
        for m in s.matrices
        if uses(work.layer, m.name)
    ]
    attentions = sum(m.name.split("_")[-1] == "q" for m in matrices)
    return Size(
        dense=sum(m.n_in * m.n_out for m in matrices),
        stored=sum(m.weights for m in matrices),
        attention=2 * model.attention * attentions,
        embeddings=EMBEDDINGS[name],
    )


@dataclass(frozen=True)
class Phase:
    """Work of a model on a token: the matrices that it takes, and how many tokens it attends to on average."""

    what: str
    size: Size
    context: float
    note: str

    @property
    def ratio(self) -> float:
        """Dense / Monarch multiplications."""
        return self.size.flops(self.context)


def phases(name: str) -> list[Phase]:
    """What a model does with a text: all at once; prefill and decode of a decoder; encoding and decode with both."""
    model, tokens = MODELS[name], TOKENS[name]
    if model.stacks:
        encoder, once = model.stacks[0], ("cross_k", "cross_v")

        def encoding(layer: int, matrix: str) -> bool:
            return layer < encoder or matrix in once

        note = "a token attends to all; with keys and values for the decoder's cross-attention"
        behind = "decoder alone: attends to as many tokens of its own and of the encoder"
        return [
            Phase(f"encoding of {tokens}", size(name, encoding), tokens, note),
            Phase(
                f"decode at {tokens}",
                size(name, lambda layer, matrix: not encoding(layer, matrix)),
                tokens,
                behind,
            ),
        ]
    if model.architecture == "bert":
        return [Phase(f"all {tokens} tokens at once", size(name), tokens, "a token attends to all")]
    half, note = (tokens + 1) / 2, "a causal prompt attends to half of it on average"
    return [
        Phase(f"prefill of {tokens}", size(name), half, note),
        Phase(f"decode at {tokens}", size(name), tokens, "attends to all that is before"),
    ]


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


def with_converters(params: Params, strategy: str, adcs: int) -> Params:
    """Parameters with `adcs` converters an array, of the bits that the paper gives a strategy."""
    return params.replace(readout="adc", adc_bits=ADC_BITS[strategy], adcs=adcs)


def analog_cycles(
    name: str, strategy: str, adcs: int, tokens: int = 1, params: Params | None = None
) -> int:
    """Cycles of the first layer on arrays with `adcs` converters of the paper's bits, as compiled: ISS = RTL.

    With 16 tokens or more they follow each other as closely as the arrays allow. `params`: the rest of the
    configuration; by default the model's preset. Raises `ConfigError` for what cannot be compiled.
    """
    analog = with_converters(params or Params.load(MODELS[name].preset), strategy, adcs)
    policy = POLICY if monarch_strategy(strategy) else "dense"
    work = shapes(name, [0], policy=policy, tokens=tokens)[0]
    return Compiler(strategy, analog).plan(work).cycles


def sizes_rows(models: Iterable[str], setup: Setup) -> Iterator[Row]:
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
        if len(phases(name)) > 1:
            for phase in phases(name):
                yield Row("2b", name, f"FLOPs, {phase.what}", phase.ratio, None, phase.note)


def arrays_rows(models: Iterable[str], setup: Setup) -> Iterator[Row]:
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


def claims_rows(models: Iterable[str], setup: Setup) -> Iterator[Row]:
    """What the abstract claims: utilisation up by more than half, memory and FLOPs down by more than four times."""
    for name in models:
        params, found = Params.load(MODELS[name].preset), size(name)
        used = {s: arrays(name, s, params).utilization for s in ("sparsemap", "densemap")}
        gain = used["densemap"] / used["sparsemap"] - 1
        note = "densemap against sparsemap"
        yield Row("claims", name, "gain in utilisation", gain, None, note, above=0.5)
        note = "weights of the layers' matrices"
        yield Row("claims", name, "memory, matrices", found.dense / found.stored, None, note, 4)
        note = "with embeddings, which stay dense"
        yield Row("claims", name, "memory, whole model", found.parameters(), None, note, 4)
        for phase in phases(name):
            note = f"{phase.note}; attention itself stays dense"
            yield Row("claims", name, f"FLOPs, {phase.what}", phase.ratio, None, note, 4)


#: Executed layers by model, mode and mapping.
Executed = dict[tuple[str, str, str], list[tuple[Layer, Run]]]


def cost_rows(models: Iterable[str], setup: Setup) -> Iterator[Row]:
    """Figure 7, of a mean layer and a token."""
    table = load(setup.prices)
    models = list(models)
    for name in models:
        for mapping in MAPPINGS.values():
            table.check(_hardware(name, mapping, table, setup))
    executed = _execute(models, setup, table)
    for name in models:
        for mode in MODES:
            found = {mapping: executed[name, mode, mapping] for mapping in MAPPINGS}
            yield from _costs(name, mode, found, table)


def _hardware(name: str, mapping: Mapping, table: Table, setup: Setup) -> Params:
    """The model's preset, analog if the prices are."""
    params = Params.load(MODELS[name].preset)
    if table.readout == "digital":
        return params
    return with_converters(params, mapping.strategy, setup.adcs)


def _execute(models: list[str], setup: Setup, table: Table) -> Executed:
    runner = Layers(setup.simulator)
    jobs = [
        (name, mode, mapping, layer)
        for name in models
        for layer in layercost.layers(name)
        for mode in MODES
        for mapping in MAPPINGS
    ]
    done: Executed = {}
    for name, mode, mapping, layer in setup.progress(jobs):
        params = _hardware(name, MAPPINGS[mapping], table, setup)
        run = runner.run(layer, MAPPINGS[mapping], params, MODES[mode])
        done.setdefault((name, mode, mapping), []).append((layer, run))
    return done


def _costs(name: str, mode: str, found: dict[str, list[tuple[Layer, Run]]], table: Table):
    """Rows of one model: what a token costs in a mean layer, and what sparse mappings gain."""

    def mean(what: Callable[[Run], float]) -> dict[str, float]:
        return {mapping: layercost.mean(runs, what) for mapping, runs in found.items()}

    time = mean(lambda run: run.cost(table).time.to("ns"))
    energy = mean(lambda run: run.cost(table).energy.to("nJ"))
    array_time = mean(lambda run: run.arrays * run.cost(table).time.to("ns"))
    for mapping in found:
        yield Row("7", name, f"ns a token, {mapping}, {mode}", time[mapping])
    for mapping in found:
        yield Row("7", name, f"nJ a token, {mapping}, {mode}", energy[mapping])
    analog = table.readout == "adc"
    for mapping, (latency, power) in GAINS.items():
        for what, values, paper, note in (
            ("latency", time, latency, _ANALOG[mapping] if analog else _LATENCY[mode]),
            ("energy", energy, power, _ANALOG_ENERGY if analog else _ENERGY),
            ("array-time", array_time, None, _ARRAY_TIME),
        ):
            gain = values["linear"] / values[mapping]
            yield Row("7", name, f"{what}, linear / {mapping}, {mode}", gain, paper, note)


def converter_rows(models: Iterable[str], setup: Setup) -> Iterator[Row]:
    """Figure 8, on the first layer of BERT as in the paper, one token: cycles by converters of an array."""
    name = "bert-large"
    if name not in models:
        return
    cycles = {
        (adcs, strategy): analog_cycles(name, strategy, adcs)
        for adcs, strategy in setup.progress([(a, s) for a in ADCS for s in STRATEGIES])
    }
    for adcs in ADCS:
        for strategy in STRATEGIES:
            yield Row("8", name, f"cycles, {adcs} converters, {strategy}", cycles[adcs, strategy])
    for adcs in ADCS:
        ratio = cycles[adcs, "sparsemap"] / cycles[adcs, "densemap"]
        yield Row("8", name, f"sparsemap / densemap, {adcs} converters", ratio, None, _CONVERTERS)
    first = next((a for a in ADCS if cycles[a, "sparsemap"] < cycles[a, "densemap"]), None)
    if first is not None:
        what = "converters, the fewest with which sparsemap is faster"
        yield Row("8", name, what, first, 32, _CONVERTERS)


def fill_rows(models: Iterable[str], setup: Setup) -> Iterator[Row]:
    """Fill of densemap on awkward sizes, which the paper has none of; `models` are not asked for."""
    for model, what, found in fill.awkward():
        least = (
            f"at least {found.arrays_bound} by area, {found.strategy_bound} with densemap's shapes"
        )
        note = f"{found.arrays} arrays, {least}; {found.why()}"
        yield Row("fill", model, f"fill, {what}", found.fill, None, note)


#: Rows by figure; `fill` is a table of ours.
FIGURES = {
    "2b": sizes_rows,
    "6": arrays_rows,
    "7": cost_rows,
    "8": converter_rows,
    "fill": fill_rows,
    "claims": claims_rows,
}


def rows(figures: Iterable[str], models: Iterable[str], setup: Setup | None = None) -> list[Row]:
    """All rows. Raises `ConfigError` for an unknown figure, and a model that is none of the paper's."""
    setup = Setup() if setup is None else setup
    for figure in figures:
        if figure not in FIGURES:
            raise ConfigError(f"figures: {figure!r} is not one of {', '.join(FIGURES)}")
    for name in models:
        if name not in TOKENS:
            raise ConfigError(f"models: {name!r} is not one of {', '.join(TOKENS)}")
    return [row for figure in figures for row in FIGURES[figure](models, setup)]
