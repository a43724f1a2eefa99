"""Tiny networks of the library with random weights, and their checkpoint files."""

import json
import random
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

from mapper.architectures import ARCHITECTURES
from mapper.network import Network, linear_of, linearised, load
from mapper.pattern import Pattern, pattern
from mapper.surgery import Batch, linear

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


def loaded(architecture: str, folder: Path, **changes) -> Network:
    """The tiny network as `mapper.network.load` gives it, linearised."""
    configured(folder, architecture, **changes)
    return linearised(load(written(folder, values(tiny(architecture, **changes)))))


def patterns_of(network: Network, rank: int, blocks: int = 8) -> dict[str, Pattern]:
    """The same blocks and rank for every matrix of every layer, by full name."""
    names = [
        linear_of(network, m) for n in range(network.model.layers) for m in network.matrices(n)
    ]
    shapes = {n: linear(network.module, n).weight.shape for n in names}
    return {
        name: pattern(n_in, n_out, "blocks", blocks, blocks, rank)
        for name, (n_out, n_in) in shapes.items()
    }


def batches(count: int, seed: int = 0, longest: int = 12) -> list[Batch]:
    """Seeded random tokens with padding, 4 sequences a batch."""
    draw = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        lengths = torch.randint(longest // 2, longest + 1, (4, 1), generator=draw)
        mask = (torch.arange(longest) < lengths).long()
        ids = torch.randint(3, WORDS, (4, longest), generator=draw)
        made.append({"input_ids": ids * mask, "attention_mask": mask})
    return made


def tokenizer(marks: bool) -> Tokenizer:
    """Words w0, w1, ..., with ids up to `WORDS`; with `marks`, 1 before and 2 behind every text."""
    names = ["[PAD]", "[CLS]", "[SEP]", *(f"w{n}" for n in range(3, WORDS))]
    made = Tokenizer(WordLevel({name: n for n, name in enumerate(names)}, unk_token="[PAD]"))
    made.pre_tokenizer = Whitespace()
    if marks:
        made.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    return made


def sentences(count: int, seed: int = 0, longest: int = 10) -> list[str]:
    """Seeded random words of `tokenizer`."""
    draw = random.Random(seed)
    return [
        " ".join(f"w{draw.randrange(3, WORDS)}" for _ in range(draw.randint(3, longest)))
        for _ in range(count)
    ]
