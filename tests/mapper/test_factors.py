import copy
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mapper import factors, network, workload
from mapper.compress import project_all
from mapper.configuration import inspect
from mapper.monarch import MonarchLinear
from mapper.tensors import open_tensors
from rtl.spec.params import ConfigError, Params

from .networks import loaded, outputs, patterns_of


@pytest.fixture
def compressed(tmp_path):
    """A tiny BERT with rank-2 factors, and the file of them."""
    net = loaded("bert", tmp_path)
    project_all(net.module, patterns_of(net, rank=2))
    norm = "encoder.layer.0.output.LayerNorm.weight"
    with torch.no_grad():
        net.module.get_parameter(norm).mul_(1.5)
    path = tmp_path / "made.safetensors"
    factors.save(path, net.module, {norm}, str(net.path), torch.float32)
    return net, path


def changed(path, change):
    """The file with its tensors and metadata changed in place."""
    with safe_open(path, "pt") as file:
        tensors, metadata = {n: file.get_tensor(n) for n in file.keys()}, file.metadata()  # noqa: SIM118
    change(tensors, metadata)
    save_file(tensors, path, metadata)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "bart", "llama"])
def test_round_trip(architecture, tmp_path):
    net = loaded(architecture, tmp_path)
    project_all(net.module, patterns_of(net, rank=1))
    path = tmp_path / "made.safetensors"
    factors.save(path, net.module, set(), str(net.path), torch.float32)
    again = network.load(path)
    assert again.model.name == "made" and again.base == net.path
    torch.testing.assert_close(outputs(again.module), outputs(net.module), rtol=0, atol=0)


def test_trained_norms_come_back(compressed):
    net, path = compressed
    torch.testing.assert_close(outputs(network.load(path).module), outputs(net.module))


def test_float16_is_near(compressed, tmp_path):
    net, _ = compressed
    path = tmp_path / "half.safetensors"
    factors.save(path, net.module, set(), str(net.path))
    assert {d for _, d in open_tensors(path).header.values()} == {"F16"}
    made = network.load(path).module
    layers = [m for m in made.modules() if isinstance(m, MonarchLinear)]
    wanted = [m for m in net.module.modules() if isinstance(m, MonarchLinear)]
    for got, want in zip(layers, wanted, strict=True):
        torch.testing.assert_close(got.R, want.R, rtol=1e-3, atol=1e-6)


def test_base_is_found_beside_the_file(compressed):
    net, path = compressed
    changed(path, lambda _, metadata: metadata.update(base=net.path.name))
    torch.testing.assert_close(outputs(network.load(path).module), outputs(net.module))
    assert inspect(path).hidden == 64


def test_factors_compile_as_they_are(compressed):
    _, path = compressed
    params = Params.load("minilm")
    (work,) = workload.build(str(path), [0], params=params, tokens=4)
    shapes = {m.name: m.factors[0].shape for s in work.segments for m in s.matrices}
    assert shapes["q"] == (8, 8, 16) and shapes["ffn2"] == (8, 16, 16)
    assert work.policy == "factors" and work.notes["cosine"] > 0
    with pytest.raises(
        ConfigError, match=r"policy: the factors of made have patterns of their own"
    ):
        workload.build(str(path), [0], params=params, policy="rect")


def _drop(tensors, _):
    del tensors["encoder.layer.0.attention.self.query.R"]


def _shorten(tensors, _):
    name = "encoder.layer.0.attention.self.query.L"
    tensors[name] = tensors[name][1:].clone()


def _poison(tensors, _):
    tensors["encoder.layer.1.output.dense.L"][0, 0, 0] = torch.nan


def _extra(tensors, _):
    tensors["encoder.layer.9.R"] = torch.zeros(2)


def _no_bias(tensors, _):
    del tensors["encoder.layer.0.intermediate.dense.bias"]


def _elsewhere(_, metadata):
    patterns = json.loads(metadata["patterns"])
    patterns["pooler"] = next(iter(patterns.values()))
    metadata["patterns"] = json.dumps(patterns)


def _other_size(_, metadata):
    patterns = json.loads(metadata["patterns"])
    patterns["encoder.layer.0.attention.self.query"]["n_in"] = 32
    metadata["patterns"] = json.dumps(patterns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, r"tensor encoder\.layer\.0\.attention\.self\.query\.R: missing"),
        (_shorten, r"query\.L: shape \(7, .*\), expected \(8,"),
        (_poison, r"output\.dense\.L: 1 values are NaN"),
        (_extra, r"tensor encoder\.layer\.9\.R: unknown in the base checkpoint"),
        (_no_bias, r"tensor encoder\.layer\.0\.intermediate\.dense\.bias: missing"),
        (_elsewhere, r"pooler: no linear of the base checkpoint"),
        (_other_size, r"query: 64 x 32, the base checkpoint has 64 x 64"),
        (lambda _, m: m.update(patterns="[]"), r"patterns: not readable"),
        (lambda _, m: m.update(base=""), r"base '' is no checkpoint"),
        (lambda _, m: m.update(base="gpt3"), r"'gpt3' is neither a checkpoint nor one of"),
    ],
)
def test_wrong_file(compressed, change, message):
    _, path = compressed
    changed(path, change)
    with pytest.raises(ConfigError, match=message) as error:
        network.load(path)
    assert "\n" not in str(error.value)


def test_values_beyond_float16(compressed, tmp_path):
    net, _ = compressed
    module = copy.deepcopy(net.module)
    with torch.no_grad():
        next(m for m in module.modules() if isinstance(m, MonarchLinear)).R[0, 0, 0] = 1e6
    with pytest.raises(ConfigError, match=r"query\.R: values do not fit torch\.float16"):
        factors.save(tmp_path / "no.safetensors", module, set(), "minilm")
    assert not (tmp_path / "no.safetensors").exists()
