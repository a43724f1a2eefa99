"""Float forward pass of a BERT-style encoder, with every matrix multiply exchangeable.

The dense model, its Monarch projection and the integer chain run the same layer code and differ in
the linears they pass, so their results are comparable and each linear sees exactly what the one
before produced.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rtl.spec.params import ConfigError

from .models import Model

#: Anything that maps x (T, n_in) to y (T, n_out), float32.
LinearOp = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Linear:
    """y = x W^T + b with weight (n_out, n_in) and bias (n_out,), float32."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """y (T, n_out) of x (T, n_in)."""
        return functional.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class Norm:
    """Layer normalisation over the last axis."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """Normalised x, same shape."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class Layer:
    """One encoder layer; `linears` has the matrix names of `mapper.models.SEGMENTS`."""

    linears: dict[str, Linear]
    attention_norm: Norm
    output_norm: Norm
    heads: int

    def forward(self, x: Tensor, linears: Mapping[str, LinearOp] | None = None) -> Tensor:
        """Output (T, hidden) of one sequence x (T, hidden); `linears` replaces the layer's own."""
        op = self.linears if linears is None else linears
        context = attention(op["q"](x), op["k"](x), op["v"](x), self.heads)
        x = self.attention_norm(op["o"](context) + x)
        return self.output_norm(op["ffn2"](functional.gelu(op["ffn1"](x))) + x)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """softmax(q k^T / sqrt(d)) v per head; all (T, hidden), over one unmasked sequence."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(0, 1) for t in (q, k, v))
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


@dataclass(frozen=True)
class Encoder:
    """Embeddings and layers of a loaded checkpoint, float32."""

    model: Model
    words: Tensor  #: (vocabulary, hidden)
    positions: Tensor  #: (longest sequence, hidden)
    types: Tensor  #: (types, hidden); sentences are type 0
    norm: Norm
    layers: list[Layer]

    def embed(self, ids: list[int]) -> Tensor:
        """Input of layer 0, (T, hidden), for T token ids.

        Raises `ConfigError` on a length or id out of range.
        """
        if not 1 <= len(ids) <= len(self.positions):
            raise ConfigError(
                f"tokens: {len(ids)} is outside 1..{len(self.positions)} of {self.model.name}"
            )
        if not 0 <= min(ids) <= max(ids) < len(self.words):
            raise ConfigError(
                f"token: {max(ids)} is outside the {len(self.words)} words of {self.model.name}"
            )
        return self.norm(self.words[torch.tensor(ids)] + self.types[0] + self.positions[: len(ids)])

    def hidden(self, ids: list[int], layers: int | None = None) -> list[Tensor]:
        """The input of layer 0, 1, ... and the output of the last of `layers` (None: all) layers.

        Each is (T, hidden).
        """
        states = [self.embed(ids)]
        for layer in self.layers[:layers]:
            states.append(layer.forward(states[-1]))
        return states

    def sentence_embedding(self, ids: list[int]) -> Tensor:
        """Mean over tokens of the last hidden state, normalised: (hidden,)."""
        return functional.normalize(self.hidden(ids)[-1].mean(0), dim=0)
