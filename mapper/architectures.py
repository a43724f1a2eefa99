"""Transformer architectures as data: classes, names of tensors, and the matrices of a layer.

This is the one description of a layer: shapes, placement, loading and the integer chain read it.
It imports nothing heavy, so that shapes alone stay cheap.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: A language model's output matrix; outside of every prefix.
LM_HEAD = "lm_head"


@dataclass(frozen=True)
class MatrixOf:
    """One matrix multiply of a layer, and where its weights are.

    Several matrices may be one module of the library: `part` of `parts` equal ranges of its
    outputs, in order.
    """

    name: str  #: short name, unique in the layer
    module: str  #: path of the module below the layer
    n_in: str  #: attribute of `mapper.models.Model` that is its number of inputs
    n_out: str  #: likewise of outputs
    part: int = 0
    parts: int = 1


@dataclass(frozen=True)
class SegmentOf:
    """Matrices of a layer that read one input; `barrier` as in `mapper.graph.Workload`."""

    name: str
    matrices: tuple[MatrixOf, ...]
    barrier: bool = False


@dataclass(frozen=True)
class Stack:
    """Layers of one kind: where they are, and their segments in order."""

    path: str  #: of the ModuleList
    count: str  #: config key of the number of layers
    segments: tuple[SegmentOf, ...]


class Size(NamedTuple):
    """A size that a tensor tells: its `axis`, less rows that are no entries."""

    tensor: str
    axis: int
    less: int = 0


@dataclass(frozen=True)
class Architecture:
    """What it takes to load a checkpoint into a module of `transformers`, and to map its layers.

    Tensors have the names of the module's `state_dict`.
    """

    name: str  #: also `model_type` of a config.json and `general.architecture` of GGUF
    config: str  #: configuration class in `transformers`
    model: str  #: model class in `transformers`
    objective: str  #: what a network of it is judged by: "similarity" or "language"
    stacks: tuple[Stack, ...]
    prefix: str  #: what some files put before every name and others leave out
    prefixed: bool  #: whether the module's own names have the prefix (`LM_HEAD` never has)
    sizes: dict[str, Size]  #: config key -> what tells it in a file without a configuration
    hidden: str  #: config key of the hidden elements
    ffn: str  #: config key of the FFN's elements
    heads: tuple[str, ...]  #: config keys of the number of heads, the first counts
    positions: str  #: config key of the longest sequence
    kv_heads: str = ""  #: config key of the number of heads of keys and values
    head: str = ""  #: config key of the elements of a head
    eps: str = ""  #: config key of the epsilon of the norms
    head_size: int = 64  #: elements of a head when no configuration tells
    defaults: dict[str, Any] = field(default_factory=dict)  #: configuration unless the file tells
    options: dict[str, Any] = field(default_factory=dict)  #: arguments of the model class
    only: dict[str, tuple[str, ...]] = field(default_factory=dict)  #: config key -> what works here
    tied: dict[str, str] = field(
        default_factory=dict
    )  #: tensor -> the one it may share values with
    ignored: tuple[str, ...] = ()  #: first parts of names that are known and not used here
    ignored_ends: tuple[str, ...] = ()  #: last parts likewise: buffers that old versions saved

    def module_name(self, name: str) -> str:
        """The module's name of a tensor that a file may call with or without the prefix."""
        bare = name.removeprefix(self.prefix)
        if not self.prefixed or bare.startswith((LM_HEAD, *self.ignored)):
            return bare
        return self.prefix + bare

    def ignores(self, name: str) -> bool:
        """Whether a tensor, by its module's name, is known and not used here."""
        return name.startswith(self.ignored) or name.endswith(self.ignored_ends)


def _square(names: dict[str, str]) -> tuple[MatrixOf, ...]:
    """Matrices from hidden to hidden, by short name and module."""
    return tuple(MatrixOf(name, module, "hidden", "hidden") for name, module in names.items())


def _one(name: str, module: str, n_in: str, n_out: str, barrier: bool = False) -> SegmentOf:
    """A segment of one matrix."""
    return SegmentOf(name, (MatrixOf(name, module, n_in, n_out),), barrier)


def _bart_self(barrier: bool) -> tuple[SegmentOf, ...]:
    names = {name: f"self_attn.{name}_proj" for name in "qkv"}
    out = _one("o", "self_attn.out_proj", "hidden", "hidden", barrier)
    return SegmentOf("qkv", _square(names)), out


_BART_FFN = (_one("ffn1", "fc1", "hidden", "ffn"), _one("ffn2", "fc2", "ffn", "hidden"))

#: Queries come from the decoder's state, keys and values from the encoder's output: two inputs.
_BART_CROSS = (
    SegmentOf("cross_q", _square({"cross_q": "encoder_attn.q_proj"})),
    SegmentOf("cross_kv", _square({f"cross_{n}": f"encoder_attn.{n}_proj" for n in "kv"})),
    _one("cross_o", "encoder_attn.out_proj", "hidden", "hidden", barrier=True),
)

BERT = Architecture(
    name="bert",
    config="BertConfig",
    model="BertModel",
    objective="similarity",
    stacks=(
        Stack(
            "encoder.layer",
            "num_hidden_layers",
            (
                SegmentOf(
                    "qkv",
                    _square(
                        {
                            "q": "attention.self.query",
                            "k": "attention.self.key",
                            "v": "attention.self.value",
                        }
                    ),
                ),
                # Attention over the whole sentence needs every token's q, k and v.
                _one("o", "attention.output.dense", "hidden", "hidden", barrier=True),
                _one("ffn1", "intermediate.dense", "hidden", "ffn"),
                _one("ffn2", "output.dense", "ffn", "hidden"),
            ),
        ),
    ),
    prefix="bert.",
    prefixed=False,
    sizes={
        "vocab_size": Size("embeddings.word_embeddings.weight", 0),
        "hidden_size": Size("embeddings.word_embeddings.weight", 1),
        "max_position_embeddings": Size("embeddings.position_embeddings.weight", 0),
        "type_vocab_size": Size("embeddings.token_type_embeddings.weight", 0),
        "intermediate_size": Size("encoder.layer.0.intermediate.dense.weight", 0),
    },
    hidden="hidden_size",
    ffn="intermediate_size",
    heads=("num_attention_heads",),
    positions="max_position_embeddings",
    eps="layer_norm_eps",
    head_size=32,
    options={"add_pooling_layer": False},
    only={"hidden_act": ("gelu",), "position_embedding_type": ("absolute",)},
    ignored=("pooler.", "cls.", "classifier.", "qa_outputs."),
    ignored_ends=("embeddings.position_ids", "embeddings.token_type_ids"),
)

GPT2 = Architecture(
    name="gpt2",
    config="GPT2Config",
    model="GPT2LMHeadModel",
    objective="language",
    stacks=(
        Stack(
            "transformer.h",
            "n_layer",
            (
                SegmentOf(
                    "qkv",
                    tuple(
                        MatrixOf(name, "attn.c_attn", "hidden", "hidden", part, 3)
                        for part, name in enumerate("qkv")
                    ),
                ),
                _one("o", "attn.c_proj", "hidden", "hidden"),
                _one("ffn1", "mlp.c_fc", "hidden", "ffn"),
                _one("ffn2", "mlp.c_proj", "ffn", "hidden"),
            ),
        ),
    ),
    prefix="transformer.",
    prefixed=True,
    sizes={
        "vocab_size": Size("transformer.wte.weight", 0),
        "n_embd": Size("transformer.wte.weight", 1),
        "n_positions": Size("transformer.wpe.weight", 0),
        # The library's Conv1D stores (in, out).
        "n_inner": Size("transformer.h.0.mlp.c_fc.weight", 1),
    },
    hidden="n_embd",
    ffn="n_inner",
    heads=("n_head",),
    positions="n_positions",
    eps="layer_norm_epsilon",
    # The class's own are ids of the full vocabulary.
    defaults={"bos_token_id": None, "eos_token_id": None},
    only={"activation_function": ("gelu_new", "gelu", "gelu_pytorch_tanh", "relu")},
    tied={"lm_head.weight": "transformer.wte.weight"},
    ignored=("score.", "classifier.", "multiple_choice_head.", "qa_outputs."),
    ignored_ends=(".attn.bias", ".attn.masked_bias"),
)

BART = Architecture(
    name="bart",
    config="BartConfig",
    model="BartModel",  # no LM head: judged by the decoder's hidden states
    objective="similarity",
    stacks=(
        Stack("encoder.layers", "encoder_layers", (*_bart_self(barrier=True), *_BART_FFN)),
        Stack(
            "decoder.layers",
            "decoder_layers",
            (*_bart_self(barrier=False), *_BART_CROSS, *_BART_FFN),
        ),
    ),
    prefix="model.",
    prefixed=False,
    sizes={
        "vocab_size": Size("shared.weight", 0),
        "d_model": Size("shared.weight", 1),
        # The first two rows of the table are never looked up.
        "max_position_embeddings": Size("encoder.embed_positions.weight", 0, less=2),
        "encoder_ffn_dim": Size("encoder.layers.0.fc1.weight", 0),
        "decoder_ffn_dim": Size("decoder.layers.0.fc1.weight", 0),
    },
    hidden="d_model",
    ffn="encoder_ffn_dim",
    heads=("encoder_attention_heads", "decoder_attention_heads"),
    positions="max_position_embeddings",
    only={"activation_function": ("gelu", "relu")},
    tied={
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
    },
    ignored=(LM_HEAD, "final_logits_bias", "classification_head.", "qa_outputs."),
    ignored_ends=("coder.version",),
)

LLAMA = Architecture(
    name="llama",
    config="LlamaConfig",
    model="LlamaForCausalLM",
    objective="language",
    stacks=(
        Stack(
            "model.layers",
            "num_hidden_layers",
            (
                SegmentOf(
                    "qkv",
                    (
                        MatrixOf("q", "self_attn.q_proj", "hidden", "attention"),
                        MatrixOf("k", "self_attn.k_proj", "hidden", "kv"),
                        MatrixOf("v", "self_attn.v_proj", "hidden", "kv"),
                    ),
                ),
                _one("o", "self_attn.o_proj", "attention", "hidden"),
                SegmentOf(
                    "ffn1",
                    (
                        MatrixOf("gate", "mlp.gate_proj", "hidden", "ffn"),
                        MatrixOf("up", "mlp.up_proj", "hidden", "ffn"),
                    ),
                ),
                SegmentOf("ffn2", (MatrixOf("down", "mlp.down_proj", "ffn", "hidden"),)),
            ),
        ),
    ),
    prefix="model.",
    prefixed=True,
    sizes={
        "vocab_size": Size("model.embed_tokens.weight", 0),
        "hidden_size": Size("model.embed_tokens.weight", 1),
        "intermediate_size": Size("model.layers.0.mlp.gate_proj.weight", 0),
    },
    hidden="hidden_size",
    ffn="intermediate_size",
    heads=("num_attention_heads",),
    positions="max_position_embeddings",
    kv_heads="num_key_value_heads",
    head="head_dim",
    eps="rms_norm_eps",
    # The class's own are ids of its first models' vocabulary.
    defaults={"bos_token_id": None, "eos_token_id": None},
    only={"hidden_act": ("silu",)},
    tied={"lm_head.weight": "model.embed_tokens.weight"},
    ignored=("score.", "qa_outputs."),
    ignored_ends=("rotary_emb.inv_freq",),
)

ARCHITECTURES: dict[str, Architecture] = {a.name: a for a in (BERT, GPT2, BART, LLAMA)}
