"""Checkpoint files as named tensors: safetensors (also in shards) and GGUF; ONNX is in `mapper.onnxfile`.

A file is opened for its header; values are read one tensor at a time, as float32. Nothing is
unpickled: a file that is not of its format is an error.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rtl.spec.params import ConfigError

from .models import checkpoint_file

#: Types that are real numbers: IEEE and brain floats, and the block formats of GGUF.
_REAL = re.compile(r"BF16|F16|F32|F64|I?Q\d\w*|TQ\d\w*|MXFP4|NVFP4")

Header = dict[str, tuple[tuple[int, ...], str]]


@dataclass(frozen=True)
class TensorFile:
    """An open checkpoint.

    `read(name)` gives a tensor's values, in any float type, and may raise what its library does.
    """

    path: Path
    header: Header  #: tensor -> (shape in torch's order, dtype as "F32", "Q4_1", "I8", ...)
    read: Callable[[str], Tensor]
    metadata: dict[str, Any] = field(default_factory=dict)

    def tensor(self, name: str) -> Tensor:
        """The values of a tensor, float32, a copy of the file's.

        Raises `ConfigError` for values that are missing from the file, NaN or infinite.
        """
        try:
            tensor = self.read(name).to(torch.float32)
        except (ValueError, IndexError, OSError, SafetensorError) as error:
            raise ConfigError(f"{self.path}: tensor {name}: {_first(error)}") from None
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise ConfigError(f"{self.path}: tensor {name}: {bad} values are NaN or infinite")
        return tensor


def real(dtype: str) -> bool:
    """Whether a dtype of a header stands for real numbers."""
    return _REAL.fullmatch(dtype) is not None


def open_tensors(path: Path) -> TensorFile:
    """The tensors of a .safetensors, .gguf or .onnx file, or of a folder with one.

    A folder stands for its `model.safetensors` or `model.safetensors.index.json`. Raises
    `ConfigError`, one line that names the file, for a file that cannot be read and for a reader
    that is not installed.
    """
    path = checkpoint_file(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    if path.name.endswith(".safetensors.index.json"):
        return _open_shards(path)
    if path.suffix == ".onnx":
        # Here, since it is the only reader that needs protobuf.
        from .onnxfile import open_onnx

        return open_onnx(path)
    readers = {".safetensors": _open_safetensors, ".gguf": _open_gguf}
    if path.suffix not in readers:
        raise ConfigError(f"{path}: not a .safetensors, .gguf or .onnx file")
    return readers[path.suffix](path)


def unreadable(path: Path, form: str, error: Exception) -> ConfigError:
    """The error for a file that is not of its format, in one line."""
    return ConfigError(f"{path}: not a readable {form} file: {_first(error)}")


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _open_safetensors(path: Path) -> TensorFile:
    try:
        file = safe_open(path, "pt")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        header = {name: (tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
    except (SafetensorError, OSError) as error:
        raise unreadable(path, "safetensors", error) from None
    return TensorFile(path, header, file.get_tensor, dict(file.metadata() or {}))


def _open_shards(path: Path) -> TensorFile:
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = {name: _open_safetensors(path.with_name(name)) for name in set(places.values())}
        header = {name: files[place].header[name] for name, place in places.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise unreadable(path, "safetensors index", error) from None
    return TensorFile(path, header, lambda name: files[places[name]].read(name))


def _open_gguf(path: Path) -> TensorFile:
    try:
        from gguf import GGUFReader
        from gguf.quants import dequantize
    except ImportError:
        raise ConfigError(f"{path}: package gguf is not installed (pip install gguf)") from None
    try:
        reader = GGUFReader(path)
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        metadata = {name: entry.contents() for name, entry in reader.fields.items()}
        # GGUF lists the fastest axis first.
        header = {
            name: (tuple(int(n) for n in reversed(t.shape)), t.tensor_type.name)
            for name, t in tensors.items()
        }
    # The reader indexes and reshapes whatever the bytes say: no one type of error.
    except Exception as error:
        raise unreadable(path, "GGUF", error) from None

    def read(name: str) -> Tensor:
        tensor = tensors[name]
        # Float32 comes back as a view of the read-only file.
        return torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type)))

    return TensorFile(path, header, read, metadata)
