"""Readers of checkpoint files: what they give, and files that must be refused."""

import builtins
import json
import pickle

import numpy as np
import onnx
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from onnx import TensorProto, helper, numpy_helper

from mapper.tensors import open_tensors, real
from rtl.spec.params import ConfigError
from tests.mapper.networks import written

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.standard_normal((3, 64)).astype(np.float32)
VECTOR = RANDOM.standard_normal(3).astype(np.float32)


def refused(path, message):
    with pytest.raises(ConfigError, match=message) as caught:
        file = open_tensors(path)
        for name in file.header:
            file.tensor(name)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def safetensors(folder):
    return written(folder, {"a": torch.from_numpy(MATRIX), "b": torch.from_numpy(VECTOR)})


def gguf(folder):
    path = folder / "tiny.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(7)
    writer.add_tensor("a", MATRIX)
    writer.add_tensor("b", VECTOR.astype(np.float16))
    packed = quantize(MATRIX, GGMLQuantizationType.Q4_1)
    writer.add_tensor("q", packed, raw_dtype=GGMLQuantizationType.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def graph(folder, nodes, tensors):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    constants = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    model = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], constants))
    path = folder / "tiny.onnx"
    onnx.save(model, str(path))
    return path


def multiply(folder):
    """The forms in which exporters leave a linear."""
    node = helper.make_node
    return graph(
        folder,
        [
            node("MatMul", ["x", "onnx::MatMul_9"], ["u"], "/encoder/layer.0/output/dense/MatMul"),
            node("MatMul", ["u", "onnx::MatMul_8"], ["v"], "MatMul_97"),
            node("Add", ["layer.1.dense.bias", "v"], ["w"], "Add_98"),
            node("Gemm", ["w", "fc.weight", "fc.bias"], ["z"], "/fc/Gemm", transB=1),
            node("Gemm", ["z", "val_3", "head.bias"], ["t"], "Gemm_1", transB=1),
            node("Transpose", ["val_4"], ["val_5"], "Transpose_1", perm=[1, 0]),
            node("MatMul", ["t", "val_5"], ["y"], "/last/MatMul"),
            node("Identity", ["layer.1.dense.bias"], ["same.bias"], "Identity_1"),
        ],
        {
            "onnx::MatMul_9": MATRIX.T,
            "onnx::MatMul_8": MATRIX.T,
            "layer.1.dense.bias": VECTOR,
            "fc.weight": MATRIX,
            "fc.bias": VECTOR,
            "val_3": MATRIX,
            "head.bias": VECTOR,
            "val_4": MATRIX,
            "/encoder/Constant_output_0": np.array(2, np.int64),
        },
    )


def test_safetensors(tmp_path):
    file = open_tensors(safetensors(tmp_path))
    assert file.header == {"a": ((3, 64), "F32"), "b": ((3,), "F32")}
    np.testing.assert_array_equal(file.tensor("a").numpy(), MATRIX)
    assert file.path == tmp_path / "tiny.safetensors"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_float_becomes_float32(tmp_path, dtype):
    value = torch.from_numpy(MATRIX).to(dtype)
    file = open_tensors(written(tmp_path, {"a": value}))
    assert file.tensor("a").dtype == torch.float32 and real(file.header["a"][1])
    torch.testing.assert_close(file.tensor("a"), value.float())


def test_a_folder_and_shards(tmp_path):
    for name, value in (("a", MATRIX), ("b", VECTOR)):
        written(tmp_path, {name: torch.from_numpy(value)}, f"part-{name}.safetensors")
    places = {name: f"part-{name}.safetensors" for name in "ab"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    file = open_tensors(tmp_path)
    assert file.path == index and set(file.header) == {"a", "b"}
    np.testing.assert_array_equal(file.tensor("b").numpy(), VECTOR)
    index.write_text(json.dumps({"weight_map": {**places, "c": places["a"]}}))
    refused(index, "not a readable safetensors index")
    written(tmp_path, {"a": torch.ones(2)}, "model.safetensors")
    assert open_tensors(tmp_path).path.name == "model.safetensors"


def test_gguf(tmp_path):
    file = open_tensors(gguf(tmp_path))
    assert file.header == {"a": ((3, 64), "F32"), "b": ((3,), "F16"), "q": ((3, 64), "Q4_1")}
    assert file.metadata["llama.block_count"] == 7
    np.testing.assert_array_equal(file.tensor("a").numpy(), MATRIX)
    np.testing.assert_array_equal(file.tensor("b").numpy(), VECTOR.astype(np.float16))
    assert real("Q4_1") and 0 < np.abs(file.tensor("q").numpy() - MATRIX).max() < 0.3


def test_onnx_names_and_orientation(tmp_path):
    file = open_tensors(multiply(tmp_path))
    linears = ("encoder.layer.0.output.dense", "layer.1.dense", "fc", "head", "last")
    biases = ("layer.1.dense", "fc", "head", "same")
    assert set(file.header) == {f"{n}.weight" for n in linears} | {f"{n}.bias" for n in biases}
    for name in linears:
        assert file.header[f"{name}.weight"] == ((3, 64), "F32")
        np.testing.assert_array_equal(file.tensor(f"{name}.weight").numpy(), MATRIX)
    np.testing.assert_array_equal(file.tensor("same.bias").numpy(), VECTOR)


def test_onnx_integers_are_known_as_such(tmp_path):
    path = graph(tmp_path, [], {"a.weight": np.ones((2, 2), np.int8)})
    assert open_tensors(path).header["a.weight"] == ((2, 2), "I8")


@pytest.mark.parametrize("dtype", ["I8", "I64", "U8", "BOOL", "F8_E4M3"])
def test_not_real(dtype):
    assert not real(dtype)


@pytest.mark.parametrize("make", [safetensors, gguf, multiply])
@pytest.mark.parametrize("keep", [0, 5, 100, -20])
def test_truncated(tmp_path, make, keep):
    path = make(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    refused(path, "not a readable (safetensors|GGUF|ONNX) file")


def test_a_pickle_is_not_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    for name in ("bomb.safetensors", "bomb.gguf", "bomb.onnx"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps(Bomb()))
        refused(path, "not a readable")


@pytest.mark.parametrize(("value", "bad"), [(np.nan, 1), (np.inf, 1), (-np.inf, 1)])
def test_values_that_are_not_finite(tmp_path, value, bad):
    tensor = torch.zeros(4, 4)
    tensor[1, 2] = value
    refused(written(tmp_path, {"a": tensor}), f"tensor a: {bad} values are NaN or infinite")


def test_wrong_suffix(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"")
    refused(path, r"not a \.safetensors, \.gguf or \.onnx file")


def test_no_such_file(tmp_path):
    refused(tmp_path / "none.gguf", "no such file")


@pytest.mark.parametrize(("make", "package"), [(gguf, "gguf"), (multiply, "onnx")])
def test_missing_package(tmp_path, monkeypatch, make, package):
    path = make(tmp_path)
    load = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(path, rf"package {package} is not installed \(pip install {package}\)")
