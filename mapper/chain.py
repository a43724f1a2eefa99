"""A layer of a real checkpoint as a workload: project, calibrate, quantise, run real tokens.

The integer chain is the encoder's own layer code with integer linears in it: attention, GELU,
residuals and norms are float, each matrix multiply quantises what it gets and returns what the
hardware would, in real units.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from rtl.spec.params import Params

from . import d2s, quantise
from .encoder import Encoder, Layer, Linear
from .graph import Matrix, Segment, Workload
from .models import segments
from .pattern import PatternOf

#: `o` needs attention over the whole sentence, thus every token's q, k and v.
BARRIER = {"o": True}


@dataclass
class Observed:
    """A real-valued linear, dense or projected, that keeps the largest magnitudes it sees."""

    linear: Linear
    monarch: d2s.Monarch | None
    largest: dict[str, float] = field(
        default_factory=lambda: {"input": 0.0, "mid": 0.0, "output": 0.0}
    )

    def __call__(self, x: Tensor) -> Tensor:
        """y (T, n_out) of x (T, n_in)."""
        if self.monarch is None:
            y = self.linear(x)
        else:
            u = self.monarch.intermediate(x)
            self._see("mid", u)
            y = self.monarch.outputs(u) + self.linear.bias
        self._see("input", x)
        self._see("output", y)
        return y

    def _see(self, where: str, values: Tensor) -> None:
        self.largest[where] = max(self.largest[where], float(values.abs().max()))

    def quantised(self, name: str, layer: int, params: Params) -> Matrix:
        """The integer matrix for the ranges seen so far."""
        ranges, bias = quantise.Ranges(**self.largest), self.linear.bias.numpy().astype(np.float64)
        if self.monarch is None:
            weight = self.linear.weight.numpy().astype(np.float64)
            return quantise.dense(name, layer, weight, bias, ranges, params)
        return quantise.monarch(
            name, layer, self.monarch.pattern, self.monarch.stored(), bias, ranges, params
        )


@dataclass
class Integer:
    """The integer matrix as a real-valued linear; `x` keeps its last input, int8 (T, n_in)."""

    matrix: Matrix
    params: Params
    x: np.ndarray = field(init=False)

    def __call__(self, x: Tensor) -> Tensor:
        """y (T, n_out) of x (T, n_in)."""
        self.x = quantise.activations(x.numpy(), self.matrix.in_scale, self.params.act_bits)
        y = quantise.apply_matrix(self.matrix, self.x, self.params)
        return torch.from_numpy(y.astype(np.float32) * np.float32(self.matrix.out_scale))


@torch.inference_mode()
def build(
    encoder: Encoder,
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
    last = max(layers, default=0)
    longest = len(encoder.positions)
    states = [encoder.hidden(ids[:longest], last) for ids in calibration]
    inputs = encoder.hidden(run, last)
    return [
        _layer(encoder, n, policy, pattern_of, params, inputs[n], [state[n] for state in states])
        for n in layers
    ]


def _layer(
    encoder: Encoder,
    n: int,
    policy: str,
    pattern_of: PatternOf,
    params: Params,
    x: Tensor,
    calibration: list[Tensor],
) -> Workload:
    layer = encoder.layers[n]
    real = {name: _observed(name, n, linear, pattern_of) for name, linear in layer.linears.items()}
    for states in calibration:
        layer.forward(states, real)
    chain = {name: Integer(op.quantised(name, n, params), params) for name, op in real.items()}
    output = layer.forward(x, chain)
    shapes = segments(encoder.model)
    return Workload(
        model=encoder.model.name,
        layer=n,
        policy=policy,
        segments=[
            Segment(name, n, tuple(chain[matrix].matrix for matrix, _, _ in matrices))
            for name, matrices in shapes
        ],
        inputs={name: chain[matrices[0][0]].x for name, matrices in shapes},
        barrier={name: BARRIER.get(name, False) for name, _ in shapes},
        notes=_notes(layer, real, x, output),
    )


def _observed(name: str, n: int, linear: Linear, pattern_of: PatternOf) -> Observed:
    n_out, n_in = linear.weight.shape
    form = pattern_of(name, n_in, n_out)
    return Observed(linear, d2s.fit(linear.weight, form, f"layer {n} {name}") if form else None)


def _notes(layer: Layer, real: dict[str, Observed], x: Tensor, output: Tensor) -> dict:
    """Errors against the dense float layer, of the integers and of the projection alone."""
    reference = layer.forward(x)
    projected = layer.forward(
        x, {name: Observed(op.linear, op.monarch) for name, op in real.items()}
    )
    return {
        "relative_error": relative_error(output, reference),
        "cosine": cosine(output, reference),
        "relative_error_projected_float": relative_error(projected, reference),
        "cosine_projected_float": cosine(projected, reference),
        "projection_error": {
            name: op.monarch.error(op.linear.weight) if op.monarch else 0.0
            for name, op in real.items()
        },
    }


def relative_error(got: Tensor, reference: Tensor) -> float:
    """Frobenius norm of the difference over that of the reference."""
    return float(torch.linalg.norm(got - reference) / torch.linalg.norm(reference))


def cosine(got: Tensor, reference: Tensor) -> float:
    """Mean over tokens of the cosine between two (T, hidden) tensors."""
    return float(torch.nn.functional.cosine_similarity(got, reference, dim=-1).mean())
