"""The descriptions against the library's own modules: every matrix is there, and of its size."""

import pytest
from torch import nn

from mapper.architectures import ARCHITECTURES
from mapper.models import MODELS, segments, stack_of
from mapper.network import load
from rtl.spec.params import ConfigError
from tests.mapper import networks

EVERY = pytest.mark.parametrize("name", list(ARCHITECTURES))


@pytest.fixture(params=list(ARCHITECTURES))
def network(request, tmp_path):
    module = networks.tiny(request.param)
    networks.configured(tmp_path, request.param)
    return load(networks.written(tmp_path, networks.values(module)))


def test_matrices_cover_the_linears_of_the_layers(network):
    """All but what is not in a layer: embeddings and the output matrix."""
    prefixes = tuple(stack.path + "." for stack in network.architecture.stacks)
    linears = {
        name
        for name, module in network.module.named_modules()
        if name.startswith(prefixes)
        and (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D")
    }
    assert set(network.linear_names()) == linears
    assert len(network.linear_names()) == len(linears)


def test_sizes_are_those_of_the_weights(network):
    for layer in range(network.model.layers):
        shapes = {n: (i, o) for _, ms in segments(network.model, layer) for n, i, o in ms}
        assert len(shapes) == len(network.matrices(layer))
        for linear in network.matrices(layer):
            weight, bias = network.weights(linear)
            assert shapes[linear.matrix.name] == tuple(weight.shape)[::-1]
            assert bias.shape == weight.shape[:1]


def test_parts_make_up_their_module(network):
    for linear in network.matrices(0):
        module = network.module.get_submodule(linear.path)
        assert module.weight.numel() == linear.matrix.parts * network.weights(linear)[0].numel()


def test_tied_tensors_and_sizes_exist(network):
    names, known = set(network.module.state_dict()), network.architecture
    assert names >= {size.tensor for size in known.sizes.values()}
    assert names >= {*known.tied, *known.tied.values()}


@EVERY
def test_prefix_is_optional(name):
    known = ARCHITECTURES[name]
    for inner in (f"{known.stacks[0].path}.0.x.weight", next(iter(known.sizes.values())).tensor):
        bare = inner.removeprefix(known.prefix)
        assert known.module_name(bare) == known.module_name(known.prefix + bare) == inner


@EVERY
def test_short_names_are_unique(name):
    for stack in ARCHITECTURES[name].stacks:
        names = [m.name for segment in stack.segments for m in segment.matrices]
        assert len(set(names)) == len(names)


def test_barriers_are_those_of_attention_over_everything():
    barriers = {
        name: [[s.name for s in stack.segments if s.barrier] for stack in known.stacks]
        for name, known in ARCHITECTURES.items()
    }
    assert barriers == {"bert": [["o"]], "gpt2": [[]], "bart": [["o"], ["cross_o"]], "llama": [[]]}


def test_segments_of_models_without_a_checkpoint():
    expected = [
        ("qkv", [(name, 1024, 1024) for name in "qkv"]),
        ("o", [("o", 1024, 1024)]),
        ("ffn1", [("ffn1", 1024, 4096)]),
        ("ffn2", [("ffn2", 4096, 1024)]),
    ]
    assert segments(MODELS["gpt2-medium"]) == segments(MODELS["bert-large"]) == expected


def test_segments_with_fewer_keys_than_queries():
    qkv, o, ffn1, ffn2 = segments(MODELS["smollm2"], 29)
    assert qkv == ("qkv", [("q", 576, 576), ("k", 576, 192), ("v", 576, 192)])
    assert o == ("o", [("o", 576, 576)])
    assert ffn1 == ("ffn1", [("gate", 576, 1536), ("up", 576, 1536)])
    assert ffn2 == ("ffn2", [("down", 1536, 576)])


def test_layer_beyond_the_model():
    with pytest.raises(ConfigError, match="layers: 0 is beyond the layers of minilm"):
        stack_of(MODELS["minilm"], 6)
