"""ONNX files as named tensors: initializers under the names of the torch modules they came from.

Exporters keep the names of most parameters, and fold the transposed weight of a linear into an
initializer of their own (`onnx::MatMul_123`). Its module is known from the node that multiplies by
it, or from the bias that is added next.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rtl.spec.params import ConfigError

from .tensors import TensorFile, unreadable

#: Names of `onnx.TensorProto.DataType` to those of safetensors; others stay as they are.
_DTYPES = {"FLOAT": "F32", "FLOAT16": "F16", "BFLOAT16": "BF16", "DOUBLE": "F64"}
_DTYPES |= {
    f"{sign}INT{bits}": f"{sign or 'I'}{bits}" for sign in ("", "U") for bits in (8, 16, 32)
}
_DTYPES |= {"INT64": "I64", "UINT64": "U64"}

#: Nodes behind which a constant is the same matrix, as it is or transposed.
_THROUGH = ("Identity", "Transpose")


def open_onnx(path: Path) -> TensorFile:
    """Weights and biases of an ONNX file; every other initializer is a constant of the graph.

    A derived weight is (out, in), as torch stores it; a weight that kept its name is as in the
    file. Raises `ConfigError` for a file that cannot be read.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise ConfigError(f"{path}: package onnx is not installed (pip install onnx)") from None
    try:
        model = onnx.load(str(path))
    # Protobuf and the loader of external data have errors of their own.
    except Exception as error:
        raise unreadable(path, "ONNX", error) from None
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    if not initializers:
        raise ConfigError(f"{path}: not a readable ONNX file: no initializers")
    places = dict(_named(model.graph, initializers))
    header = {}
    for name, (tensor, transposed) in places.items():
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        shape = tuple(tensor.dims)
        header[name] = (shape[::-1] if transposed else shape, _DTYPES.get(kind, kind))

    def read(name: str) -> Tensor:
        tensor, transposed = places[name]
        values = np.array(numpy_helper.to_array(tensor), np.float32)
        return torch.from_numpy(values.T.copy() if transposed else values)

    return TensorFile(path, header, read, {p.key: p.value for p in model.metadata_props})


def _named(graph: Any, initializers: dict[str, Any]) -> Iterator[tuple[str, tuple[Any, bool]]]:
    """(torch name, (initializer, whether it is the transposed of torch's)) of every parameter."""
    for name, tensor in initializers.items():
        if _parameter(name):
            yield name, (tensor, False)
    makers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        # Equal tensors are stored once; the others are the Identity of it.
        if node.op_type == "Identity" and node.input[0] in initializers:
            if _parameter(node.output[0]):
                yield node.output[0], (initializers[node.input[0]], False)
        elif node.op_type in ("MatMul", "Gemm"):
            source, turned = _source(node.input[1], makers)
            if source in initializers and not _parameter(source):
                name = _module(node, graph, initializers)
                if name is not None:
                    turned ^= _flag(node, "transB")
                    yield f"{name}.weight", (initializers[source], not turned)


def _parameter(name: str) -> bool:
    """Whether an initializer's name is that of a torch parameter."""
    return name.endswith((".weight", ".bias")) and "/" not in name and "::" not in name


def _source(name: str, makers: dict[str, Any]) -> tuple[str, bool]:
    """Where a value comes from, and whether it was transposed an odd number of times."""
    turned = False
    while name in makers and makers[name].op_type in _THROUGH:
        turned ^= makers[name].op_type == "Transpose"
        name = makers[name].input[0]
    return name, turned


def _flag(node: Any, name: str) -> bool:
    return any(attribute.name == name and attribute.i for attribute in node.attribute)


def _module(node: Any, graph: Any, initializers: dict[str, Any]) -> str | None:
    """The torch module of a multiply: from its bias, or from the path in the node's own name."""
    following = [n for n in graph.node if n.op_type == "Add" and node.output[0] in n.input]
    for name in (*node.input[2:], *(i for n in following for i in n.input)):
        if name in initializers and _parameter(name):
            return name.removesuffix(".bias")
    path, _, _ = node.name.strip("/").rpartition("/")
    return path.replace("/", ".") or None
