"""Workloads by model name or checkpoint path: real weights, synthetic ones, or bare shapes.

torch is imported only where a checkpoint is involved.
"""

# ruff: noqa: E741 - l is the name of L's block count in the definition

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rtl.spec.params import ConfigError, Params

from .graph import Workload
from .models import MODELS, Model, check_layers, checkpoint_path, locate
from .pattern import POLICIES, Pattern, PatternOf, pattern
from .synthetic import random_workload, zero_workload


def resolve(model: str) -> Model:
    """Shapes and defaults of a model name or checkpoint path. Raises `ConfigError` for neither."""
    if model in MODELS:
        return MODELS[model]
    checkpoint_path(model)  # what is no path is an error before anything is imported
    from .configuration import model_at

    return model_at(model)


def build(
    model: str,
    layers: list[int] | None = None,
    *,
    params: Params,
    policy: str | None = None,
    k: int | None = None,
    l: int | None = None,
    rank: int = 1,
    tokens: int | None = None,
    seed: int = 0,
) -> list[Workload]:
    """Quantised workloads of the layers (None: all), with integer inputs for `tokens` tokens.

    `model` is a name of `mapper.models` or a checkpoint file. `policy` as in
    `mapper.pattern`, `dense` for no projection; policy and tokens default to the model's. `seed`
    picks the sentences (real) or weights and inputs (synthetic). Raises `ConfigError` on a model,
    layer, policy or length out of range.
    """
    shape = resolve(model)
    chosen = check_layers(shape, layers)
    policy = shape.policy if policy is None else policy
    patterns = _patterns(shape, policy, k, l, rank)
    tokens = shape.tokens if tokens is None else tokens
    if tokens < 1:
        raise ConfigError(f"tokens: {tokens} must be at least 1")
    path = locate(model)
    if path is not None:
        return _real(shape, path, chosen, policy, patterns, params, tokens, seed)
    return [
        random_workload(shape, layer, policy, patterns, params, tokens, seed) for layer in chosen
    ]


def only(workload: Workload, matrices: Sequence[str]) -> Workload:
    """A workload of some of its matrices, by name. Raises `ConfigError` for a name that it has not.

    Inputs stay those of the whole layer; float errors of its output are gone from the notes.
    """
    known = [matrix.name for segment in workload.segments for matrix in segment.matrices]
    for name in matrices:
        if name not in known:
            raise ConfigError(f"matrices: {name!r} is not one of {', '.join(known)}")
    kept = [
        replace(s, matrices=tuple(m for m in s.matrices if m.name in matrices))
        for s in workload.segments
    ]
    segments = [segment for segment in kept if segment.matrices]
    names = [segment.name for segment in segments]
    notes = {"matrices": [name for name in known if name in matrices]}
    if "token_source" in workload.notes:
        notes["token_source"] = workload.notes["token_source"]
    return replace(
        workload,
        segments=segments,
        inputs={name: workload.inputs[name] for name in names},
        # Nothing comes before the first one.
        barrier={name: workload.barrier.get(name, False) for name in names[1:]},
        notes=notes,
    )


def packed(workloads: list[Workload], count: int) -> list[Workload]:
    """Workloads of `count` layers each (the last may have fewer), for cores that hold several layers.

    Segments become `0.qkv`, `0.o`, .. `1.qkv`, by the position of their layer in the core, so that cores of equal
    shapes share a plan. Raises `ConfigError` on a count below 1.
    """
    if count < 1:
        raise ConfigError(f"pack: {count} must be at least 1")
    if count == 1:
        return workloads
    return [_joined(workloads[i : i + count]) for i in range(0, len(workloads), count)]


def _joined(workloads: list[Workload]) -> Workload:
    segments, inputs, barrier = [], {}, {}
    for position, work in enumerate(workloads):
        for segment in work.segments:
            name = f"{position}.{segment.name}"
            segments.append(replace(segment, name=name))
            inputs[name] = work.inputs[segment.name]
            barrier[name] = work.barrier.get(segment.name, False)
    notes = {"layers": {str(work.layer): work.notes for work in workloads}}
    return replace(workloads[0], segments=segments, inputs=inputs, barrier=barrier, notes=notes)


def shapes(
    model: str,
    layers: list[int] | None = None,
    *,
    policy: str | None = None,
    k: int | None = None,
    l: int | None = None,
    rank: int = 1,
    tokens: int = 1,
) -> list[Workload]:
    """Workloads shaped as `build` does, all zero, without memory behind: for placement alone.

    Raises `ConfigError` as `build` does.
    """
    shape = resolve(model)
    policy = shape.policy if policy is None else policy
    if shape.base:
        raise ConfigError(f"{model}: factors have patterns of their own; use `build`")
    patterns = pattern_of(policy, k, l, rank)
    return [
        zero_workload(shape, layer, policy, patterns, tokens)
        for layer in check_layers(shape, layers)
    ]


def _patterns(shape: Model, policy: str, k: int | None, l: int | None, rank: int) -> PatternOf:
    """`pattern_of`; factors are as they are, and what is not among them stays dense."""
    if not shape.base:
        return pattern_of(policy, k, l, rank)
    if policy != shape.policy or k is not None or l is not None or rank != 1:
        raise ConfigError(f"policy: the factors of {shape.name} have patterns of their own")
    return pattern_of("dense", None, None, 1)


def pattern_of(policy: str, k: int | None, l: int | None, rank: int) -> PatternOf:
    """Patterns by (name, n_in, n_out) under a policy with its options; None for `dense`."""
    if policy not in POLICIES:
        raise ConfigError(f"policy: {policy!r} is not one of {', '.join(POLICIES)}")
    if policy == "dense" and (k is not None or l is not None or rank != 1):
        raise ConfigError("policy: 'dense' takes no k, l or rank")

    def find(name: str, n_in: int, n_out: int) -> Pattern | None:
        return None if policy == "dense" else pattern(n_in, n_out, policy, k, l, rank, name)

    return find


def _real(
    shape: Model,
    path: Path,
    layers: list[int],
    policy: str,
    pattern_of: PatternOf,
    params: Params,
    tokens: int,
    seed: int,
) -> list[Workload]:
    from . import chain, network, sentences

    net = network.load(path)
    if tokens > net.longest:
        raise ConfigError(f"tokens: {tokens} is above the limit {net.longest} of {shape.name}")
    if net.tokenizer is not None:
        run = sentences.run_ids(net.tokenizer, tokens, seed)
        calibration = sentences.calibration_ids(net.tokenizer)
        source = "sentences"
    else:
        run, *calibration = sentences.random_ids(net.vocabulary, tokens, seed)
        source = "random tokens, no tokenizer.json beside the checkpoint"
    workloads = chain.build(net, layers, policy, pattern_of, params, run, calibration)
    for workload in workloads:
        workload.model = shape.name
        workload.notes["token_source"] = source
    return workloads
