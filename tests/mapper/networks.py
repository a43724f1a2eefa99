"""Tiny networks of the library with random weights, and their checkpoint files."""

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn

from mapper.architectures import ARCHITECTURES

WORDS, POSITIONS, LAYERS = 50, 24, 2
IDS = [3, 7, 11, 4, 49]

#: Configurations by architecture; sizes differ, so that no two are confused.
CONFIGS = {
    "bert": {
        "vocab_size": WORDS,
        "max_position_embeddings": POSITIONS,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
    },
    "gpt2": {
        "vocab_size": WORDS,
        "n_positions": POSITIONS,
        "n_embd": 64,
        "n_layer": LAYERS,
        "n_head": 4,
        "bos_token_id": None,
        "eos_token_id": None,
    },
    "bart": {
        "vocab_size": WORDS,
        "max_position_embeddings": POSITIONS,
        "d_model": 64,
        "encoder_layers": 1,
        "decoder_layers": LAYERS,
        "encoder_ffn_dim": 96,
        "decoder_ffn_dim": 96,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
    },
    "llama": {
        "vocab_size": WORDS,
        "max_position_embeddings": POSITIONS,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "bos_token_id": None,
        "eos_token_id": None,
    },
}


def tiny(architecture: str, **changes) -> nn.Module:
    """A module in eval mode; every tensor is random, norms and biases included."""
    known = ARCHITECTURES[architecture]
    config = getattr(transformers, known.config)(**{**CONFIGS[architecture], **changes})
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        module = getattr(transformers, known.model)(config, **known.options).eval()
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return module


def values(module: nn.Module) -> dict[str, Tensor]:
    """The module's tensors; none shares memory with another."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def written(folder: Path, tensors: dict[str, Tensor], name: str = "tiny.safetensors") -> Path:
    """A safetensors file."""
    path = folder / name
    save_file(tensors, path)
    return path


def configured(folder: Path, architecture: str, **changes) -> None:
    """`config.json` with the tiny configuration."""
    given = {**CONFIGS[architecture], "model_type": architecture, **changes}
    (folder / "config.json").write_text(json.dumps(given))


@torch.inference_mode()
def outputs(module: nn.Module) -> Tensor:
    """Logits or hidden states of one short sequence, (1, T, ...)."""
    return module(torch.tensor([IDS]), use_cache=False)[0]
