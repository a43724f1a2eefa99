"""Files of Monarch factors: what replaces linears of a base checkpoint, and whatever else was trained.

Safetensors. Of every Monarch layer `NAME.R` (k, q, p), `NAME.L` (l, s, rank * k) in the order of DESIGN section 3 and
maybe `NAME.bias`; other trained parameters under their own names. Metadata: `format`, `base` (a model name, or the
path of a checkpoint, looked for as it is and beside the file) and `patterns`, a JSON object of pattern fields.
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from rtl.spec.params import ConfigError

from . import surgery
from .atomic import save_tensors
from .d2s import Monarch
from .monarch import MonarchLinear
from .pattern import Pattern
from .tensors import TensorFile

FORMAT = "blockcim-factors-1"


def is_factors(metadata: dict) -> bool:
    """Whether a file with this metadata holds factors."""
    return metadata.get("format") == FORMAT


def save(
    path: Path,
    module: nn.Module,
    trained: set[str],
    base: str,
    dtype: torch.dtype = torch.float16,
    more: dict[str, str] | None = None,
) -> None:
    """Write all Monarch layers of a module, the parameters named in `trained`, and `more` metadata.

    Raises `ConfigError` if a value does not fit `dtype` or the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    patterns: dict[str, dict] = {}
    for name, layer in module.named_modules():
        if isinstance(layer, MonarchLinear):
            patterns[name] = asdict(layer.pattern)
            tensors |= {f"{name}.{n}": p for n, p in layer.named_parameters()}
    tensors |= {name: p for name, p in module.named_parameters() if name in trained}
    stored = {name: tensor.detach().to(dtype) for name, tensor in tensors.items()}
    for name, tensor in stored.items():
        if not torch.isfinite(tensor).all():
            raise ConfigError(f"{path}: tensor {name}: values do not fit {dtype}")
    metadata = {"format": FORMAT, "base": base, "patterns": json.dumps(patterns)}
    save_tensors(path, stored, metadata | (more or {}))


def base_of(file: TensorFile) -> str:
    """Name or path of the checkpoint that the factors belong to."""
    base = file.metadata.get("base", "")
    beside = file.path.parent / base
    return str(beside) if base and not Path(base).exists() and beside.exists() else base


def apply(file: TensorFile, module: nn.Module) -> None:
    """Put the factors into a module of the base checkpoint, in place.

    Raises `ConfigError`, one line with file and tensor, for what does not fit the module.
    """
    try:
        patterns = {n: Pattern(**p) for n, p in json.loads(file.metadata["patterns"]).items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ConfigError(f"{file.path}: patterns: not readable") from None
    rest = dict.fromkeys(file.header)
    for name, shape in patterns.items():
        linear = _linear(file, module, name, shape)
        right = _tensor(file, f"{name}.R", (shape.k, shape.q, shape.p), rest)
        left = _tensor(file, f"{name}.L", (shape.l, shape.s, shape.r), rest)
        has_bias = f"{name}.bias" in file.header
        bias = _tensor(file, f"{name}.bias", (shape.n_out,), rest) if has_bias else None
        if linear.bias is not None and bias is None:
            raise ConfigError(f"{file.path}: tensor {name}.bias: missing")
        surgery.replace(module, name, MonarchLinear.of(Monarch(right, left, shape), bias))
    parameters = dict(module.named_parameters())
    for name in list(rest):
        if name not in parameters:
            raise ConfigError(f"{file.path}: tensor {name}: unknown in the base checkpoint")
        value = _tensor(file, name, tuple(parameters[name].shape), rest)
        parameters[name].data = value


def _linear(file: TensorFile, module: nn.Module, name: str, shape: Pattern) -> nn.Linear:
    try:
        linear = surgery.linear(module, name)
    except ConfigError:
        raise ConfigError(f"{file.path}: {name}: no linear of the base checkpoint") from None
    if (linear.in_features, linear.out_features) != (shape.n_in, shape.n_out):
        raise ConfigError(
            f"{file.path}: {name}: {shape.n_out} x {shape.n_in}, the base checkpoint has "
            f"{linear.out_features} x {linear.in_features}"
        )
    return linear


def _tensor(file: TensorFile, name: str, shape: tuple[int, ...], rest: dict[str, None]) -> Tensor:
    """A tensor of the file, float32, taken off `rest`."""
    if name not in file.header:
        raise ConfigError(f"{file.path}: tensor {name}: missing")
    found = file.header[name][0]
    if found != shape:
        raise ConfigError(f"{file.path}: tensor {name}: shape {found}, expected {shape}")
    rest.pop(name)
    return file.tensor(name)
