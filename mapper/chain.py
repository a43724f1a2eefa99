"""A layer of a real checkpoint as a workload: project, calibrate, quantise, run real tokens.

The integer chain is a copy of the network's own layer with integer linears in it: attention,
activation functions, residuals and norms are float, each matrix multiply quantises what it gets
and returns what the hardware would, in real units.
"""

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from rtl.spec.params import Params

from . import d2s, quantise
from .graph import Matrix, Segment, Workload
from .network import Call, Linear, Network
from .pattern import PatternOf


class Observed(nn.Module):
    """A real-valued linear, dense or projected, that keeps the largest magnitudes it sees.

    `weight` (n_out, n_in) and `bias` (n_out,) are float32; with `monarch` its factors stand for
    the weight.
    """

    def __init__(self, weight: Tensor, bias: Tensor, monarch: d2s.Monarch | None):
        super().__init__()
        self.weight, self.bias, self.monarch = weight, bias, monarch
        self.largest = {"input": 0.0, "mid": 0.0, "output": 0.0}

    def forward(self, x: Tensor) -> Tensor:
        """y (..., n_out) of x (..., n_in)."""
        if self.monarch is None:
            y = nn.functional.linear(x, self.weight, self.bias)
        else:
            u = self.monarch.intermediate(x)
            self._see("mid", u)
            y = self.monarch.outputs(u) + self.bias
        self._see("input", x)
        self._see("output", y)
        return y

    def _see(self, where: str, values: Tensor) -> None:
        self.largest[where] = max(self.largest[where], float(values.abs().max()))

    def quantised(self, name: str, layer: int, params: Params) -> Matrix:
        """The integer matrix for the ranges seen so far."""
        ranges, bias = quantise.Ranges(**self.largest), self.bias.numpy().astype(np.float64)
        if self.monarch is None:
            weight = self.weight.numpy().astype(np.float64)
            return quantise.dense(name, layer, weight, bias, ranges, params)
        return quantise.monarch(
            name, layer, self.monarch.pattern, self.monarch.stored(), bias, ranges, params
        )


class Integer(nn.Module):
    """The integer matrix as a real-valued linear; `x` keeps its last input, int8 (T, n_in)."""

    def __init__(self, matrix: Matrix, params: Params):
        super().__init__()
        self.matrix, self.params = matrix, params
        self.x = np.zeros((0, matrix.n_in), np.int8)

    def forward(self, x: Tensor) -> Tensor:
        """y (..., n_out) of x (..., n_in)."""
        flat = x.flatten(0, -2).numpy()
        self.x = quantise.activations(flat, self.matrix.in_scale, self.params.act_bits)
        y = quantise.apply_matrix(self.matrix, self.x, self.params)
        real = torch.from_numpy(y.astype(np.float32) * np.float32(self.matrix.out_scale))
        return real.unflatten(0, x.shape[:-1])


class Joined(nn.Module):
    """Several linears in place of one module: their outputs one after another."""

    def __init__(self, parts: list[nn.Module]):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        """y (..., sum of n_out) of x (..., n_in)."""
        return torch.cat([part(x) for part in self.parts], -1)


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
    """One workload per layer; its input is the float model's hidden state for the ids in `run`.

    Ranges come from the projected float layer on `calibration`, a list of id sequences, since that
    is what the integer chain follows. A matrix without a pattern stays dense. Raises `ConfigError`
    for a matrix that the policy does not fit or lengths out of range.
    """
    states = [network.calls(ids[: network.longest], layers) for ids in calibration]
    calls = network.calls(run, layers)
    return [
        _layer(network, n, policy, pattern_of, params, calls[n], [state[n] for state in states])
        for n in layers
    ]


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
) -> Workload:
    real = {m.matrix.name: _observed(network, m, pattern_of) for m in network.matrices(n)}
    observed = exchanged(network, n, real)
    for call in calibration:
        call.run(observed)
    chain = {name: Integer(op.quantised(name, n, params), params) for name, op in real.items()}
    output = run.run(exchanged(network, n, chain))
    parts = network.segments(n)
    return Workload(
        model=network.model.name,
        layer=n,
        policy=policy,
        segments=[
            Segment(part.name, n, tuple(chain[m.name].matrix for m in part.matrices))
            for part in parts
        ],
        inputs={part.name: chain[part.matrices[0].name].x for part in parts},
        barrier={part.name: part.barrier for part in parts},
        notes=_notes(network.layers()[n], observed, real, run, output),
    )


def _observed(network: Network, linear: Linear, pattern_of: PatternOf) -> Observed:
    weight, bias = network.weights(linear)
    n_out, n_in = weight.shape
    name = linear.matrix.name
    form = pattern_of(name, n_in, n_out)
    monarch = d2s.fit(weight, form, f"layer {linear.layer} {name}") if form else None
    return Observed(weight, bias, monarch)


def _notes(
    layer: nn.Module, observed: nn.Module, real: dict[str, Observed], run: Call, output: Tensor
) -> dict:
    """Errors against the dense float layer, of the integers and of the projection alone."""
    reference, projected = run.run(layer), run.run(observed)
    return {
        "relative_error": relative_error(output, reference),
        "cosine": cosine(output, reference),
        "relative_error_projected_float": relative_error(projected, reference),
        "cosine_projected_float": cosine(projected, reference),
        "projection_error": {
            name: op.monarch.error(op.weight) if op.monarch else 0.0 for name, op in real.items()
        },
    }


def relative_error(got: Tensor, reference: Tensor) -> float:
    """Frobenius norm of the difference over that of the reference."""
    return float(torch.linalg.norm(got - reference) / torch.linalg.norm(reference))


def cosine(got: Tensor, reference: Tensor) -> float:
    """Mean over tokens of the cosine between two (..., hidden) tensors."""
    return float(torch.nn.functional.cosine_similarity(got, reference, dim=-1).mean())
