"""BERT-style checkpoints in safetensors files: shapes from the header, then weights, all checked.

Nothing is unpickled: a file that is not safetensors is an error.
"""

import json
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rtl.spec.params import ConfigError

from .encoder import Encoder, Layer, Linear, Norm
from .models import Model

#: Matrix name of `mapper.models.SEGMENTS` to the linear's name below `encoder.layer.N.`.
LINEARS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
    "ffn1": "intermediate.dense",
    "ffn2": "output.dense",
}
ATTENTION_NORM = "attention.output.LayerNorm"
OUTPUT_NORM = "output.LayerNorm"
WORDS, POSITIONS, TYPES, NORM = (
    f"embeddings.{name}"
    for name in (
        "word_embeddings.weight",
        "position_embeddings.weight",
        "token_type_embeddings.weight",
        "LayerNorm",
    )
)

#: What tasks put beside an encoder; known, and not used here.
IGNORED = ("embeddings.position_ids", "pooler.", "cls.", "classifier.", "qa_outputs.")
FLOATS = ("F32", "F16", "BF16", "F64")

#: Hidden elements of an attention head when no config.json says otherwise.
HEAD_SIZE = 32
DEFAULT_EPS = 1e-12

Shape = tuple[int | None, ...]


def inspect(path: Path) -> Model:
    """The shapes of a checkpoint, from the header of the file and `config.json` beside it.

    Raises `ConfigError`, one line with file and tensor, for a file that cannot be read and for
    tensors that are missing, unknown, of the wrong shape or not floating point.
    """
    return _inspect(path, _header(path))


def load(path: Path) -> Encoder:
    """The encoder of a checkpoint, float32.

    Raises `ConfigError` as `inspect` does, and for NaN or infinite values.
    """
    header = _header(path)
    model = _inspect(path, header)
    eps = _config(path).get("layer_norm_eps", DEFAULT_EPS)
    names = _expected(model)
    with safe_open(path, "pt") as file:
        tensors = {name: _tensor(path, file, header[name][0]) for name in names}

    def linear(name: str) -> Linear:
        return Linear(tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def norm(name: str) -> Norm:
        return Norm(tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps)

    layers = [
        Layer(
            linears={short: linear(f"encoder.layer.{n}.{long}") for short, long in LINEARS.items()},
            attention_norm=norm(f"encoder.layer.{n}.{ATTENTION_NORM}"),
            output_norm=norm(f"encoder.layer.{n}.{OUTPUT_NORM}"),
            heads=model.heads,
        )
        for n in range(model.layers)
    ]
    return Encoder(model, tensors[WORDS], tensors[POSITIONS], tensors[TYPES], norm(NORM), layers)


def _header(path: Path) -> dict[str, tuple[str, tuple[int, ...], str]]:
    """Tensors by name without the optional `bert.`: name in the file, shape, dtype."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        with safe_open(path, "np") as file:
            names = list(file.keys())
            slices = {name: file.get_slice(name) for name in names}
            return {
                name.removeprefix("bert."): (name, tuple(part.get_shape()), part.get_dtype())
                for name, part in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"{path}: not a readable safetensors file: {str(error).splitlines()[0]}"
        ) from None


def _inspect(path: Path, header: dict[str, tuple[str, tuple[int, ...], str]]) -> Model:
    first = f"encoder.layer.0.{LINEARS['ffn1']}.weight"
    for name in (WORDS, first):
        shape = header[name][1] if name in header else ()
        if len(shape) != 2 or 0 in shape:
            raise ConfigError(
                f"{path}: tensor {name}: missing or not a matrix; a BERT-style encoder has it"
            )
    numbers = {m[1] for name in header if (m := re.match(r"encoder\.layer\.(\d+)\.", name))}
    hidden, ffn = header[WORDS][1][1], header[first][1][0]
    model = Model(
        name=path.resolve().parent.name if path.stem == "model" else path.stem,
        layers=len(numbers),
        hidden=hidden,
        ffn=ffn,
        heads=_heads(path, hidden),
        preset="minilm",
        policy="rect",
        tokens=16,
    )
    _check(path, header, _expected(model))
    return model


def _expected(model: Model) -> dict[str, Shape]:
    """Every tensor that the encoder uses, with its shape; None is any size."""
    hidden, ffn = model.hidden, model.ffn
    names: dict[str, Shape] = dict.fromkeys((WORDS, POSITIONS, TYPES), (None, hidden))
    norms = [NORM]
    for n in range(model.layers):
        layer = f"encoder.layer.{n}."
        norms += [layer + ATTENTION_NORM, layer + OUTPUT_NORM]
        for short, long in LINEARS.items():
            n_out, n_in = (ffn if short == "ffn1" else hidden), (ffn if short == "ffn2" else hidden)
            names[f"{layer}{long}.weight"] = (n_out, n_in)
            names[f"{layer}{long}.bias"] = (n_out,)
    for norm in norms:
        names[f"{norm}.weight"] = names[f"{norm}.bias"] = (hidden,)
    return names


def _check(
    path: Path, header: dict[str, tuple[str, tuple[int, ...], str]], expected: dict[str, Shape]
) -> None:
    problems = [f"tensor {name}: missing" for name in expected if name not in header]
    for name, (_, shape, dtype) in header.items():
        if name not in expected:
            if not name.startswith(IGNORED):
                problems.append(f"tensor {name}: unknown in a BERT-style encoder")
            continue
        want = expected[name]
        if len(shape) != len(want) or any(
            w not in (None, s) for s, w in zip(shape, want, strict=True)
        ):
            wanted = " x ".join("any" if w is None else str(w) for w in want)
            problems.append(
                f"tensor {name}: shape {' x '.join(map(str, shape))}, expected {wanted}"
            )
        elif dtype not in FLOATS:
            problems.append(f"tensor {name}: dtype {dtype} is not one of {', '.join(FLOATS)}")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(f"{path}: {problems[0]}{more}")


def _tensor(path: Path, file: safe_open, name: str) -> Tensor:
    tensor = file.get_tensor(name).to(torch.float32)
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise ConfigError(f"{path}: tensor {name}: {bad} values are NaN or infinite")
    return tensor


def _config(path: Path) -> dict:
    """`config.json` beside the checkpoint, empty when there is none."""
    config = path.with_name("config.json")
    if not config.is_file():
        return {}
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConfigError(f"{config}: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{config}: not a JSON object")
    for key, only in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if values.get(key, only) != only:
            raise ConfigError(f"{config}: {key} = {values[key]!r} is not supported, only {only!r}")
    eps = values.get("layer_norm_eps", DEFAULT_EPS)
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise ConfigError(f"{config}: layer_norm_eps = {eps!r} is outside 0..1")
    return values


def _heads(path: Path, hidden: int) -> int:
    heads = _config(path).get("num_attention_heads", max(1, hidden // HEAD_SIZE))
    if not isinstance(heads, int) or heads < 1 or hidden % heads:
        config = path.with_name("config.json")
        raise ConfigError(f"{config}: num_attention_heads = {heads!r} does not divide {hidden}")
    return heads
