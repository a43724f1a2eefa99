"""Llama models in GGUF: the library's names, the order of rotary rows, configuration and tokenizer.

GGUF stores the rows of q and k so that the two elements that rotate together are neighbours; the
library rotates element i of a head with element i + half.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor

from rtl.spec.params import ConfigError

from .tensors import TensorFile

ARCHITECTURE = "llama"

#: GGUF tensor -> the library's; N is a layer's number.
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "blk.N.attn_norm": "model.layers.N.input_layernorm",
    "blk.N.attn_q": "model.layers.N.self_attn.q_proj",
    "blk.N.attn_k": "model.layers.N.self_attn.k_proj",
    "blk.N.attn_v": "model.layers.N.self_attn.v_proj",
    "blk.N.attn_output": "model.layers.N.self_attn.o_proj",
    "blk.N.ffn_norm": "model.layers.N.post_attention_layernorm",
    "blk.N.ffn_gate": "model.layers.N.mlp.gate_proj",
    "blk.N.ffn_up": "model.layers.N.mlp.up_proj",
    "blk.N.ffn_down": "model.layers.N.mlp.down_proj",
}
#: Tensors with rotary rows, and the config key of their number of heads.
ROTARY = {
    ".q_proj.weight": "num_attention_heads",
    ".k_proj.weight": "num_key_value_heads",
}
#: Config key -> (metadata, type); the last three may be absent.
KEYS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "num_hidden_layers": ("block_count", int),
    "hidden_size": ("embedding_length", int),
    "intermediate_size": ("feed_forward_length", int),
    "num_attention_heads": ("attention.head_count", int),
    "rms_norm_eps": ("attention.layer_norm_rms_epsilon", float),
    "max_position_embeddings": ("context_length", int),
    "num_key_value_heads": ("attention.head_count_kv", int),
    "head_dim": ("attention.key_length", int),
    "rope_theta": ("rope.freq_base", float),
}
OPTIONAL = ("num_key_value_heads", "head_dim", "rope_theta")

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _bytes(words: bool = True) -> Any:
    """Bytes as printable characters; `words`: first split as GPT-2 does."""
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words)


#: `tokenizer.ggml.pre` -> what cuts a text before the merges.
PRE_TOKENIZERS: dict[str, Callable[[], list[Any]]] = {
    "gpt-2": lambda: [_bytes()],
    "default": lambda: [_bytes()],
    "smollm": lambda: [pre_tokenizers.Digits(individual_digits=True), _bytes()],
    "llama-bpe": lambda: [pre_tokenizers.Split(Regex(_LLAMA3), "isolated"), _bytes(False)],
}
#: `tokenizer.ggml.token_type`: what is never split; the first is also skipped when decoding.
CONTROL, USER_DEFINED = 3, 4


def configuration(file: TensorFile) -> dict[str, Any]:
    """The library's configuration, from GGUF metadata.

    Raises `ConfigError` for another architecture, scaled rotary frequencies and missing keys.
    """
    given = file.metadata.get("general.architecture")
    if given != ARCHITECTURE:
        raise ConfigError(
            f"{file.path}: general.architecture = {given!r} is not supported, only {ARCHITECTURE!r}"
        )
    scaling = file.metadata.get("llama.rope.scaling.type", "none")
    if scaling != "none":
        raise ConfigError(f"{file.path}: llama.rope.scaling.type = {scaling!r} is not supported")
    values = {}
    for key, (name, kind) in KEYS.items():
        value = file.metadata.get(f"llama.{name}")
        if value is not None:
            try:
                values[key] = kind(value)
            except (TypeError, ValueError):
                raise ConfigError(f"{file.path}: llama.{name} = {value!r} is no number") from None
        elif key not in OPTIONAL:
            raise ConfigError(f"{file.path}: llama.{name}: missing in the metadata")
    values.setdefault("num_key_value_heads", values["num_attention_heads"])
    theta = values.pop("rope_theta", 10000.0)
    values["rope_parameters"] = {"rope_type": "default", "rope_theta": theta}
    for key in ("bos_token_id", "eos_token_id"):
        value = file.metadata.get(f"tokenizer.ggml.{key}")
        values[key] = None if value is None else int(value)
    return values


def as_library(file: TensorFile, values: dict[str, Any]) -> TensorFile:
    """The same tensors under the library's names and in its order; unknown names stay."""
    sources = {library_name(name): name for name in file.header}

    def read(name: str) -> Tensor:
        tensor = file.read(sources[name])
        key = next((key for end, key in ROTARY.items() if name.endswith(end)), None)
        return tensor if key is None else half_split(tensor, values[key])

    header = {name: file.header[source] for name, source in sources.items()}
    return TensorFile(file.path, header, read, file.metadata)


def library_name(name: str) -> str:
    """The library's name of a GGUF tensor; an unknown one as it is."""
    stem, _, kind = name.rpartition(".")
    number = re.match(r"blk\.(\d+)\.", stem)
    general = re.sub(r"^blk\.\d+\.", "blk.N.", stem)
    if general not in NAMES:
        return name
    return NAMES[general].replace("N", number[1] if number else "N") + f".{kind}"


def half_split(weight: Tensor, heads: int) -> Tensor:
    """Rows (heads * head, n_in) from pairs of neighbours to the halves of each head.

    Raises `ValueError` when the heads do not divide the rows evenly.
    """
    rows, n_in = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, n_in)
    return pairs.transpose(1, 2).reshape(rows, n_in)


def tokenizer(path: Path, metadata: dict[str, Any]) -> Tokenizer | None:
    """The byte-level BPE tokenizer of GGUF metadata; None without one, or for another kind.

    Raises `ConfigError` for a table that is no tokenizer.
    """
    make = PRE_TOKENIZERS.get(metadata.get("tokenizer.ggml.pre", "default"))
    if metadata.get("tokenizer.ggml.model") != "gpt2" or make is None:
        return None
    try:
        tokens = metadata["tokenizer.ggml.tokens"]
        merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
        vocabulary = {token: number for number, token in enumerate(tokens)}
        result = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, fuse_unk=False))
    # The library raises bare Exception for merges that it does not know.
    except Exception as error:
        raise ConfigError(f"{path}: not a tokenizer: {str(error).splitlines()[0]}") from None
    result.pre_tokenizer = pre_tokenizers.Sequence(make())
    result.decoder = decoders.ByteLevel()
    types = metadata.get("tokenizer.ggml.token_type", [])
    for kind, special in ((CONTROL, True), (USER_DEFINED, False)):
        chosen = [token for token, t in zip(tokens, types, strict=False) if t == kind]
        added = [AddedToken(token, special=special, normalized=False) for token in chosen]
        (result.add_special_tokens if special else result.add_tokens)(added)
    _begin(result, metadata, tokens)
    return result


def _begin(result: Tokenizer, metadata: dict[str, Any], tokens: list[str]) -> None:
    """Let texts begin with the mark that the metadata asks for."""
    first = metadata.get("tokenizer.ggml.bos_token_id")
    if metadata.get("tokenizer.ggml.add_bos_token") and first is not None:
        result.post_processor = processors.TemplateProcessing(
            single=f"{tokens[first]} $A", special_tokens=[(tokens[first], int(first))]
        )
