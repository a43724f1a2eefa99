"""A layer of a real checkpoint as a workload: project, calibrate, quantise, run real tokens.

The integer chain is a copy of the network's own layer with integer linears in it: attention,
activation functions, residuals and norms are float, each matrix multiply quantises what it gets
and returns what the hardware would, in real units.
"""

import copy
from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor, nn

from rtl.spec.params import Params

from . import d2s
from .graph import Segment, Workload
from .integer import Integer, Observer, Scheme
from .monarch import MonarchLinear
from .network import Call, Linear, Network, linear_of, load, stacks
from .pattern import PatternOf
from .surgery import Joined, observed


@torch.inference_mode()
def build(
    network: Network,
    layers: list[int],
    policy: str,
    pattern_of: PatternOf,
    params: Params,
    run: list[int],
    calibration: list[list[int]],
) -> list[Workload]:
    """One workload per layer, for the ids in `run`.

    The input of a layer is what the integer layer before it says, if that is among `layers` and of the same stack,
    otherwise the float model's hidden state; errors against the dense network add up in the first case.
    Ranges come from the projected float layer on `calibration`, a list of id sequences, since that
    is what the integer chain follows. A matrix that is Monarch in the network stays as it is; one without a pattern
    stays dense. Raises `ConfigError` for a matrix that the policy does not fit or lengths out of range.
    """
    states = [network.calls(ids[: network.longest], layers) for ids in calibration]
    calls = network.calls(run, layers)
    dense = load(network.base) if network.base else network
    wanted = {n: call.run(dense.layers()[n]) for n, call in dense.calls(run, layers).items()}
    first = set(accumulate((len(stack) for stack in stacks(network)), initial=0))
    outputs: dict[int, Tensor] = {}
    workloads = []
    for n in layers:
        call = calls[n]
        if n - 1 in outputs and n not in first:
            call = Call((outputs[n - 1], *call.args[1:]), call.kwargs)
        seen = [s[n] for s in states]
        workload, outputs[n] = _layer(network, n, policy, pattern_of, params, call, seen, wanted[n])
        workloads.append(workload)
    return workloads


def exchanged(network: Network, layer: int, linears: Mapping[str, nn.Module]) -> nn.Module:
    """A copy of a layer with `linears`, by the short names of its matrices, in place of its own."""
    result = copy.deepcopy(network.layers()[layer])
    parts: dict[str, list[nn.Module]] = {}
    for linear in network.matrices(layer):
        parts.setdefault(linear.matrix.module, []).append(linears[linear.matrix.name])
    for path, modules in parts.items():
        result.set_submodule(path, modules[0] if len(modules) == 1 else Joined(modules))
    return result


def _layer(
    network: Network,
    n: int,
    policy: str,
    pattern_of: PatternOf,
    params: Params,
    run: Call,
    calibration: list[Call],
    wanted: Tensor,
) -> tuple[Workload, Tensor]:
    """The workload of a layer, and the layer's output from integers."""
    real = {m.matrix.name: _projected(network, m, pattern_of) for m in network.matrices(n)}
    projected = exchanged(network, n, real)
    observers = {name: Observer(linear, Scheme()) for name, linear in real.items()}
    with observed(real, lambda name, x, y: observers[name].see(x, y)):
        for call in calibration:
            call.run(projected)
    chain = {name: Integer(o.matrix(name, n, params), params) for name, o in observers.items()}
    output = run.run(exchanged(network, n, chain))
    parts = network.segments(n)
    workload = Workload(
        model=network.model.name,
        layer=n,
        policy=policy,
        segments=[
            Segment(part.name, n, tuple(chain[m.name].matrix for m in part.matrices))
            for part in parts
        ],
        inputs={part.name: chain[part.matrices[0].name].x for part in parts},
        barrier={part.name: part.barrier for part in parts},
        notes=_notes(wanted, run.run(projected), output)
        | {"projection_error": _projection_errors(network, n, real)},
    )
    return workload, output


def _projected(network: Network, linear: Linear, pattern_of: PatternOf) -> nn.Module:
    """A matrix as a float module: Monarch where it is or has a pattern, otherwise as it is."""
    module = network.module.get_submodule(linear_of(network, linear))
    if isinstance(module, MonarchLinear):
        return module
    weight, bias = network.weights(linear)
    n_out, n_in = weight.shape
    name = linear.matrix.name
    form = pattern_of(name, n_in, n_out)
    if form is not None:
        return MonarchLinear.of(d2s.fit(weight, form, f"layer {linear.layer} {name}"), bias)
    made = nn.Linear(n_in, n_out, device="meta")
    made.weight, made.bias = nn.Parameter(weight), nn.Parameter(bias)
    return made


def _projection_errors(network: Network, n: int, real: Mapping[str, nn.Module]) -> dict[str, float]:
    """Relative errors of the weights, where this projection is what made them Monarch."""
    errors = {}
    for linear in network.matrices(n) if network.base is None else ():
        module = real[linear.matrix.name]
        weight = network.weights(linear)[0]
        monarch = isinstance(module, MonarchLinear)
        errors[linear.matrix.name] = module.monarch().error(weight) if monarch else 0.0
    return errors


def _notes(wanted: Tensor, real: Tensor, output: Tensor) -> dict:
    """Errors of a layer's output against the dense float network's, of the integers and of float factors alone."""
    return {
        "relative_error": relative_error(output, wanted),
        "cosine": cosine(output, wanted),
        "relative_error_projected_float": relative_error(real, wanted),
        "cosine_projected_float": cosine(real, wanted),
    }


def relative_error(got: Tensor, reference: Tensor) -> float:
    """Frobenius norm of the difference over that of the reference."""
    return float(torch.linalg.norm(got - reference) / torch.linalg.norm(reference))


def cosine(got: Tensor, reference: Tensor) -> float:
    """Mean over tokens of the cosine between two (..., hidden) tensors."""
    return float(torch.nn.functional.cosine_similarity(got, reference, dim=-1).mean())
