"""Where a model's parameters are before and after: what stays dense, what becomes Monarch, on how many arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

from rtl.spec.params import ConfigError, Params

from .architectures import LM_HEAD
from .network import Network, linear_of
from .pattern import Pattern
from .placement import place
from .surgery import linear
from .synthetic import zero_workload

#: Bytes of a parameter that stays dense (float16), and of one on an array (int8).
DENSE_BYTES, ARRAY_BYTES = 2, 1


@dataclass(frozen=True)
class Row:
    """One part of a model. `arrays` are those of one core per layer; 0: not on arrays."""

    part: str
    parameters: int
    kept: int  #: parameters afterwards
    form: str  #: "dense" or "Monarch"
    bytes: int  #: afterwards
    arrays_dense: int = 0  #: `linear`
    arrays: int = 0  #: `densemap`


def table(network: Network, patterns: Mapping[str, Pattern], params: Params) -> list[Row]:
    """Rows for the layers' matrices, the LM head, embeddings, and norms and biases; they add up to the model.

    The network is the dense one, linearised; `patterns` by full name of the linear; a matrix without one stays dense.
    """
    matrices = {
        linear_of(network, m) for n in range(network.model.layers) for m in network.matrices(n)
    }
    sizes = {name: p.numel() for name, p in network.module.named_parameters()}
    weights = {f"{name}.weight" for name in matrices} | {f"{LM_HEAD}.weight"}
    rows = [_layers(network, patterns, params)]
    head = sizes.get(f"{LM_HEAD}.weight", 0)  # 0: tied, and counted with the embeddings
    shape = patterns.get(LM_HEAD)
    if shape:
        rows.append(_row("LM head", head, shape.weights, "Monarch"))
    elif head:
        rows.append(_row("LM head", head, head, "dense"))
    tables = {n for n, p in network.module.named_parameters() if p.ndim == 2 and n not in weights}
    rest = sum(s for n, s in sizes.items() if n not in tables and n not in weights)
    rows.append(_row("embeddings", sum(sizes[n] for n in tables), None, "dense"))
    rows.append(_row("norms and biases", rest, None, "dense"))
    return rows


def _row(part: str, parameters: int, kept: int | None, form: str) -> Row:
    kept = parameters if kept is None else kept
    each = ARRAY_BYTES if form == "Monarch" else DENSE_BYTES
    return Row(part, parameters, kept, form, kept * each)


def _layers(network: Network, patterns: Mapping[str, Pattern], params: Params) -> Row:
    before = after = stored = 0
    arrays = {"linear": 0, "densemap": 0}
    seen: dict[tuple, dict[str, int]] = {}
    for layer in range(network.model.layers):
        own = {m.matrix.name: patterns.get(linear_of(network, m)) for m in network.matrices(layer)}
        for matrix in network.matrices(layer):
            size = linear(network.module, linear_of(network, matrix)).weight.numel()
            shape = own[matrix.matrix.name]
            before, after = before + size, after + (shape.weights if shape else size)
            stored += shape.weights * ARRAY_BYTES if shape else size * DENSE_BYTES
        key = (*network.segments(layer), *own.values())
        if key not in seen:
            seen[key] = {s: _arrays(network, layer, own, params, s) for s in arrays}
        for strategy, count in seen[key].items():
            arrays[strategy] += count
    form = "Monarch" if patterns else "dense"
    name = "linear layers"
    return Row(name, before, after, form, stored, arrays["linear"], arrays["densemap"])


def _arrays(
    network: Network, layer: int, own: Mapping[str, Pattern | None], params: Params, strategy: str
) -> int:
    """Arrays of a layer; 0 if it cannot be placed."""
    dense = strategy == "linear"
    policy = "dense" if dense else "blocks"
    work = zero_workload(
        network.model, layer, policy, lambda name, i, o: None if dense else own[name], 1
    )
    try:
        return place(strategy, work.segments, params).params.tiles
    except ConfigError:
        return 0
