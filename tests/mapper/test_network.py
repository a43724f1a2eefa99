"""Networks: the packaged ones, small ones of every architecture, and files that must be refused."""

import json

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from onnx import TensorProto, helper, numpy_helper, save

from mapper import chain, workload
from mapper.llama_gguf import NAMES, half_split
from mapper.models import MODELS, packaged_checkpoint
from mapper.network import inspect, linear_of, linearised, load, part_of, stacks
from mapper.sentences import load_tokenizer
from mapper.surgery import linears
from rtl.spec.params import ConfigError, Params
from tests.mapper import networks
from tests.mapper.networks import POSITIONS, WORDS, configured, outputs, tiny, values, written

ARCHITECTURES = ("bert", "gpt2", "bart", "llama")
QUERY = "encoder.layer.1.attention.self.query.weight"


@pytest.fixture(scope="module")
def minilm():
    return load(packaged_checkpoint(MODELS["minilm"]))


@pytest.fixture(scope="module")
def smollm2():
    return load(packaged_checkpoint(MODELS["smollm2"]))


@torch.inference_mode()
def embedding(network, text):
    """Mean over tokens of the last hidden state, normalised: (hidden,)."""
    ids = network.ids(network.tokenizer.encode(text).ids)
    return torch.nn.functional.normalize(network.module(ids)[0][0].mean(0), dim=0)


def everything_has_values(network):
    module = network.module
    assert not module.training
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        assert tensor.device.type == "cpu", name
        assert not tensor.is_floating_point() or tensor.dtype == torch.float32
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_minilm_has_the_shapes_of_its_entry(minilm):
    for key in ("layers", "hidden", "ffn", "heads", "kv", "architecture"):
        assert getattr(minilm.model, key) == getattr(MODELS["minilm"], key)
    assert (minilm.longest, minilm.vocabulary) == (512, 30522)
    everything_has_values(minilm)


def test_minilm_equals_the_reference_implementation(minilm):
    """First values of the embedding and of hidden states, from a forward pass written by hand."""
    text = "The train to the coast leaves at seven in the morning."
    ids = minilm.tokenizer.encode(text).ids
    assert ids == [101, 1996, 3345, 2000, 1996, 3023, 3727, 2012, 2698, 1999, 1996, 2851, 1012, 102]
    got = embedding(minilm, text)
    expected = [0.0133452, 0.0414082, 0.0325275, 0.1728454, 0.0917048, 0.1111257]
    np.testing.assert_allclose(got[:6].numpy(), expected, atol=2e-6)
    assert float(got.norm()) == pytest.approx(1, abs=1e-6)
    with torch.inference_mode():
        states = minilm.module(minilm.ids(ids), output_hidden_states=True).hidden_states
    for layer, expected in (
        (0, [-0.1413877, 0.0850763, 0.2236573, -0.0160592]),
        (1, [-0.0710802, -0.0019665, 0.3129868, 0.0747481]),
        (3, [0.7006969, -0.1279921, 0.1016971, 0.1474304]),
        (6, [0.2268980, 0.2221483, 0.0017396, 0.8059633]),
    ):
        np.testing.assert_allclose(states[layer][0, 3, :4].numpy(), expected, atol=1e-5)


def test_minilm_ranks_a_paraphrase_first(minilm):
    base, same, other = (
        embedding(minilm, text)
        for text in (
            "A man is playing a guitar on the street.",
            "Someone performs music with a guitar outdoors.",
            "The stock market fell sharply after the report.",
        )
    )
    assert float(base @ same) > 0.5 > 0.2 > float(base @ other)


def test_smollm2_continues_a_sentence(smollm2):
    ids = smollm2.tokenizer.encode("The capital of France is").ids
    with torch.inference_mode():
        logits = smollm2.module(smollm2.ids(ids)).logits
    assert smollm2.tokenizer.decode([int(logits[0, -1].argmax())]) == " Paris"


def test_smollm2_has_the_shapes_of_its_entry(smollm2):
    for key in ("layers", "hidden", "ffn", "heads", "kv", "architecture"):
        assert getattr(smollm2.model, key) == getattr(MODELS["smollm2"], key)
    assert (smollm2.longest, smollm2.vocabulary) == (8192, 49152)
    assert smollm2.module.lm_head.weight is smollm2.module.model.embed_tokens.weight
    everything_has_values(smollm2)


def test_smollm2_tokenizer(smollm2):
    tokenizer = smollm2.tokenizer
    marked = tokenizer.encode("<|im_start|>user\nRoom 1984<|im_end|>")
    assert marked.ids[0] == 1 and marked.ids[-1] == 2
    # Digits one by one, the space a byte of its own word.
    assert marked.tokens[-6:-1] == ["Ġ", "1", "9", "8", "4"]
    text = "Größe: 12 °C, naïve  spaces\n"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_calls_run_the_layers_as_the_module_does(minilm):
    with torch.inference_mode():
        states = minilm.module(minilm.ids([101, 1996, 102]), output_hidden_states=True)[1]
    calls = minilm.calls([101, 1996, 102], [4, 2])
    assert set(calls) == {2, 4}
    for layer, call in calls.items():
        with torch.no_grad():
            got = call.run(minilm.layers()[layer])
        torch.testing.assert_close(got, states[layer + 1])


@pytest.mark.parametrize(
    ("ids", "message"),
    [([], "tokens: 0 is outside 1..512"), ([1] * 513, "tokens: 513"), ([30522], "token: 30522")],
)
def test_wrong_ids(minilm, ids, message):
    with pytest.raises(ConfigError, match=message):
        minilm.calls(ids, [0])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("prefix", [True, False])
def test_round_trip(tmp_path, architecture, prefix):
    module = tiny(architecture)
    known = networks.ARCHITECTURES[architecture]
    tensors = {known.module_name(name): value for name, value in values(module).items()}
    if known.prefixed and not prefix:
        tensors = {name.removeprefix(known.prefix): value for name, value in tensors.items()}
    if prefix and not known.prefixed:
        tensors = {known.prefix + name: value for name, value in tensors.items()}
    configured(tmp_path, architecture)
    path = written(tmp_path, tensors)
    network = load(path)
    assert network.architecture.name == architecture
    assert network.model == inspect(path) and network.path == path
    everything_has_values(network)
    torch.testing.assert_close(outputs(network.module), outputs(module), rtol=0, atol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_without_a_configuration(tmp_path, architecture):
    """Shapes tell everything but the size of a head."""
    size = 32 if architecture in ("bert", "llama") else 64
    path = written(tmp_path, values(tiny(architecture)))
    known, model = networks.CONFIGS[architecture], inspect(path)
    assert model.hidden == 64 and model.heads == 64 // size
    assert model.layers == (3 if architecture == "bart" else networks.LAYERS)
    assert model.ffn == known.get("intermediate_size", 256 if architecture == "gpt2" else 96)
    assert model.kv == (32 if architecture == "llama" else 64)
    assert load(path).module.config.vocab_size == WORDS


@pytest.mark.parametrize("architecture", ["gpt2", "bart", "llama"])
@pytest.mark.parametrize("kept", [0, -1])
def test_tied_tensors_may_be_absent(tmp_path, architecture, kept):
    module = tiny(architecture, tie_word_embeddings=True)
    known = networks.ARCHITECTURES[architecture]
    group = [next(iter(known.tied.values())), *known.tied]
    tensors = {n: v for n, v in values(module).items() if n not in group or n == group[kept]}
    configured(tmp_path, architecture)
    network = load(written(tmp_path, tensors))
    torch.testing.assert_close(outputs(network.module), outputs(module), rtol=0, atol=0)
    parameters = {id(network.module.get_parameter(name)) for name in group}
    assert len(parameters) == 1 and network.module.config.tie_word_embeddings


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_floats_and_what_is_ignored(tmp_path, dtype):
    tensors = {name: value.to(dtype) for name, value in values(tiny("bert")).items()}
    tensors["cls.predictions.bias"] = torch.zeros(WORDS)
    tensors["embeddings.position_ids"] = torch.arange(POSITIONS)[None]
    configured(tmp_path, "bert", torch_dtype=str(dtype).removeprefix("torch."))
    network = load(written(tmp_path, tensors))
    everything_has_values(network)
    assert outputs(network.module).dtype == torch.float32


def test_buffers_of_old_gpt2_files(tmp_path):
    tensors = {
        f"transformer.{n.removeprefix('transformer.')}": v for n, v in values(tiny("gpt2")).items()
    }
    del tensors["transformer.lm_head.weight"]
    tensors["transformer.h.0.attn.bias"] = torch.ones(1, 1, POSITIONS, POSITIONS, dtype=torch.uint8)
    tensors["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    configured(tmp_path, "gpt2", n_inner=None)
    network = load(written(tmp_path, tensors))
    torch.testing.assert_close(outputs(network.module), outputs(tiny("gpt2")), rtol=0, atol=0)


@pytest.fixture(params=ARCHITECTURES)
def network(request, tmp_path):
    configured(tmp_path, request.param)
    return load(written(tmp_path, values(tiny(request.param))))


def all_matrices(network):
    return [m for n in range(network.model.layers) for m in network.matrices(n)]


def test_linearised_is_the_same_function(network):
    before = outputs(network.module)
    weights = [network.weights(m) for m in all_matrices(network)]
    again = linearised(network)
    assert again is network and not any(m.training for m in network.module.modules())
    torch.testing.assert_close(outputs(network.module), before, atol=1e-5, rtol=1e-5)
    for matrix, (weight, bias) in zip(all_matrices(network), weights, strict=True):
        found = network.weights(matrix)
        assert torch.equal(found[0], weight) and torch.equal(found[1], bias)


def test_every_matrix_is_a_linear_of_its_own(network):
    """Named by `linear_of`; nothing else is a linear but the LM head."""
    linearised(network)
    found = linears(network.module)
    names = [linear_of(network, m) for m in all_matrices(network)]
    assert len(set(names)) == len(names) and set(found) - {"lm_head"} == set(names)
    for matrix, name in zip(all_matrices(network), names, strict=True):
        weight, bias = network.weights(matrix)
        assert torch.equal(found[name].weight, weight)
        assert found[name].bias is None or torch.equal(found[name].bias, bias)
    storages = [p.untyped_storage().data_ptr() for n in names for p in found[n].parameters()]
    assert len(set(storages)) == len(storages)  # a file of them can be written


def test_linearised_changes_conv1d_only(network):
    before = dict(network.module.named_modules())
    linearised(network)
    after = dict(network.module.named_modules())
    linearised(network)
    assert dict(network.module.named_modules()) == after
    if network.architecture.name != "gpt2":
        assert before == after
    assert not any(type(m).__name__ == "Conv1D" for m in after.values())
    assert all(after[n] is m for n, m in before.items() if type(m).__name__ != "Conv1D")


def test_names_of_gpt2(tmp_path):
    configured(tmp_path, "gpt2")
    network = load(written(tmp_path, values(tiny("gpt2"))))
    first = network.matrices(1)[0]
    assert linear_of(network, first) == first.path == "transformer.h.1.attn.c_attn"
    linearised(network)
    names = {m.matrix.name: linear_of(network, m) for m in network.matrices(1)}
    layer = "transformer.h.1"
    assert names == {
        "q": f"{layer}.attn.c_attn.parts.0",
        "k": f"{layer}.attn.c_attn.parts.1",
        "v": f"{layer}.attn.c_attn.parts.2",
        "o": f"{layer}.attn.c_proj",
        "ffn1": f"{layer}.mlp.c_fc",
        "ffn2": f"{layer}.mlp.c_proj",
    }
    head = network.module.lm_head.weight
    assert (
        head is network.module.transformer.wte.weight
    ) == network.module.config.tie_word_embeddings


def test_linearised_workload_is_the_same(tmp_path):
    """The integer chain takes a linearised network as it takes any."""
    configured(tmp_path, "gpt2")
    network = linearised(load(written(tmp_path, values(tiny("gpt2")), "model.safetensors")))
    for matrix in network.matrices(0):
        weight, bias = part_of(network.module.get_submodule(matrix.path), matrix.matrix)
        assert weight.shape[0] == bias.shape[0]
    made = chain.exchanged(
        network,
        0,
        {
            m.matrix.name: linears(network.module)[linear_of(network, m)]
            for m in network.matrices(0)
        },
    )
    call = network.calls([3, 7, 11], [0])[0]
    with torch.no_grad():
        torch.testing.assert_close(call.run(made), call.run(network.layers()[0]))


def test_stacks(network):
    expected = {
        "bert": [["encoder.layer.0", "encoder.layer.1"]],
        "gpt2": [["transformer.h.0", "transformer.h.1"]],
        "bart": [["encoder.layers.0"], ["decoder.layers.0", "decoder.layers.1"]],
        "llama": [["model.layers.0", "model.layers.1"]],
    }
    assert stacks(network) == expected[network.architecture.name]
    modules = [network.module.get_submodule(name) for stack in stacks(network) for name in stack]
    assert modules == network.layers()


def gguf(folder, module, heads=4, kv_heads=2, skip=(), metadata=True):
    """A llama module as llama.cpp's converter writes it: q and k in pairs of neighbours."""
    path, config = folder / "tiny.gguf", module.config
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    if metadata:
        writer.add_head_count(heads)
        writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    tensors = module.state_dict()
    for ours, theirs in NAMES.items():
        for n in range(config.num_hidden_layers if "N" in ours else 1):
            value = tensors[f"{theirs.replace('N', str(n))}.weight"]
            if ours.endswith(("attn_q", "attn_k")):
                count = heads if ours.endswith("q") else kv_heads
                halves = value.reshape(count, 2, -1, value.shape[1])
                value = halves.swapaxes(1, 2).reshape(value.shape)
            name = f"{ours.replace('N', str(n))}.weight"
            if name not in skip:
                writer.add_tensor(name, value.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_gguf_round_trip(tmp_path):
    module = tiny("llama", rms_norm_eps=1e-5)
    network = load(gguf(tmp_path, module))
    assert network.model.name == "tiny" and network.model.kv == 32
    assert network.tokenizer is None
    torch.testing.assert_close(outputs(network.module), outputs(module), atol=1e-5, rtol=1e-5)


def test_gguf_without_an_output_matrix(tmp_path):
    module = tiny("llama", tie_word_embeddings=True)
    network = load(gguf(tmp_path, module, skip=("output.weight",)))
    torch.testing.assert_close(outputs(network.module), outputs(module), atol=1e-5, rtol=1e-5)


def test_half_split_pairs_the_right_rows():
    rows = torch.arange(8.0)[:, None]
    assert half_split(rows, 2).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_wrong_gguf(tmp_path):
    path = gguf(tmp_path, tiny("llama"), skip=("blk.1.ffn_up.weight",))
    refused(path, "tensor model.layers.1.mlp.up_proj.weight: missing$")
    refused(gguf(tmp_path, tiny("llama"), metadata=False), "llama.attention.head_count: missing")
    writer = GGUFWriter(path, "mamba")
    writer.add_tensor("a", np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    refused(path, "general.architecture = 'mamba' is not supported, only 'llama'")


def test_onnx_round_trip(tmp_path):
    """Linears as torch's exporter leaves them: transposed, under names of their own."""
    module = tiny("bert")
    constants, nodes, previous = [], [], "x"
    for number, (name, value) in enumerate(values(module).items()):
        linear = name.endswith("weight") and name.startswith("encoder") and "Norm" not in name
        stored = f"onnx::MatMul_{number}" if linear else name
        constants.append(numpy_helper.from_array((value.T if linear else value).numpy(), stored))
        if linear:
            path = "/" + name.removesuffix(".weight").replace(".", "/").replace("r/0", "r.0")
            nodes.append(
                helper.make_node("MatMul", [previous, stored], [f"y{number}"], f"{path}/MatMul")
            )
            bias = name.replace("weight", "bias")
            previous = f"z{number}"
            nodes.append(helper.make_node("Add", [bias, f"y{number}"], [previous], f"{path}/Add"))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", previous)]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], constants))
    save(model, str(tmp_path / "model.onnx"))
    network = load(tmp_path / "model.onnx")
    torch.testing.assert_close(outputs(network.module), outputs(module), rtol=0, atol=0)


def test_configuration_beside_the_checkpoint(tmp_path):
    path = written(tmp_path, values(tiny("bert")))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"num_attention_heads": 8, "layer_norm_eps": 1e-5}))
    network = load(path)
    assert network.model.heads == 8
    assert network.module.embeddings.LayerNorm.eps == 1e-5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"num_attention_heads": 7}', "num_attention_heads = 7 does not divide 64"),
        ('{"num_attention_heads": "x"}', "num_attention_heads = 'x' does not divide 64"),
        ('{"hidden_act": "relu"}', "hidden_act = 'relu' is not supported, only 'gelu'"),
        (
            '{"position_embedding_type": "relative_key"}',
            "position_embedding_type = 'relative_key' is not supported, only 'absolute'",
        ),
        ('{"layer_norm_eps": "tiny"}', "layer_norm_eps = 'tiny' is outside 0..1"),
        ('{"hidden_size": "64"}', "hidden_size = '64' is no size"),
        ('{"model_type": "mamba"}', "model_type = 'mamba' is not supported, only bert, gpt2"),
        ('{"pad_token_id": "x"}', "pad_token_id"),
        ("[1]", "not a JSON object"),
        ("{", ""),
    ],
)
def test_wrong_config(tmp_path, text, message):
    path = written(tmp_path, values(tiny("bert")))
    (tmp_path / "config.json").write_text(text)
    refused(path, f"config.json: .*{message}")


def test_wrong_number_of_key_heads(tmp_path):
    path = written(tmp_path, values(tiny("llama")))
    configured(tmp_path, "llama", num_key_value_heads=3)
    refused(path, "config.json: num_key_value_heads = 3 does not divide 4")


def test_a_configuration_of_another_size(tmp_path):
    path = written(tmp_path, values(tiny("llama")))
    configured(tmp_path, "llama", intermediate_size=128)
    refused(path, r"mlp.gate_proj.weight: shape 96 x 64, expected 128 x 64 \(and 5 more\)")


def refused(path, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load(path)
    assert str(path.parent) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(QUERY), f"tensor {QUERY}: missing$"),
        (lambda t: t.pop("embeddings.word_embeddings.weight"), "word_embeddings.weight: missing"),
        (lambda t: t.update(stray=torch.zeros(2)), "tensor stray: unknown in a bert network$"),
        (
            lambda t: t.update({QUERY: torch.zeros(64, 63)}),
            f"{QUERY}: shape 64 x 63, expected 64 x 64",
        ),
        (lambda t: t.update({QUERY: torch.zeros(64)}), f"{QUERY}: shape 64, expected 64 x 64"),
        (
            lambda t: t.update({QUERY: torch.zeros(64, 64, dtype=torch.int8)}),
            f"{QUERY}: dtype I8 is not floating point",
        ),
        (
            lambda t: t.update({"encoder.layer.7.output.dense.bias": torch.zeros(64)}),
            r"encoder.layer.2.attention.self.query.weight: missing \(and \d+ more\)",
        ),
        (lambda t: t[QUERY].__setitem__((0, 0), torch.nan), f"{QUERY}: 1 values are NaN"),
        (lambda t: t[QUERY].__setitem__(0, torch.inf), f"{QUERY}: 64 values are NaN or infinite"),
        (lambda t: [t.pop(n) for n in list(t) if "layer" in n], "its tensors are of none of bert"),
    ],
    ids=["missing", "first", "extra", "shape", "rank", "dtype", "layer", "nan", "inf", "unknown"],
)
def test_wrong_tensors(tmp_path, change, message):
    tensors = values(tiny("bert"))
    change(tensors)
    refused(written(tmp_path, tensors), f"tiny.safetensors: .*{message}")


def test_wrong_tokenizer(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"tokenizer.json: not a tokenizer"):
        load_tokenizer(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_workload_from_a_path(tmp_path, architecture):
    """Dense: what the integers give is near the float layer, in every layer of every stack."""
    written(tmp_path, values(tiny(architecture)), "model.safetensors")
    configured(tmp_path, architecture)
    made = workload.build(str(tmp_path), params=Params(), policy="dense", tokens=5)
    assert [one.layer for one in made] == list(range(3 if architecture == "bart" else 2))
    bare = workload.shapes(str(tmp_path), policy="dense", tokens=5)
    for one, shapes in zip(made, bare, strict=True):
        assert one.model == tmp_path.name and not one.synthetic
        assert [s.name for s in one.segments] == [s.name for s in shapes.segments]
        for segment, shape in zip(one.segments, shapes.segments, strict=True):
            sizes = [(m.name, m.n_in, m.n_out) for m in segment.matrices]
            assert sizes == [(m.name, m.n_in, m.n_out) for m in shape.matrices]
            assert one.inputs[segment.name].shape == (5, segment.n_in)
        assert one.notes["cosine"] > 0.99
        # A layer that follows another sees what the integers of that one gave.
        near = 1e-2 if one.layer else 1e-5
        assert one.notes["cosine_projected_float"] == pytest.approx(1, abs=near)
        assert "no tokenizer.json" in one.notes["token_source"]
    with pytest.raises(ConfigError, match="tokens: 25 is above the limit 24"):
        workload.build(str(tmp_path), params=Params(), tokens=25)
