"""What a checkpoint is: its architecture, its configuration and the module's names of its tensors.

From the header of the file and `config.json` beside it (GGUF: its metadata); sizes that no
configuration tells come from the shapes.
"""

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtl.spec.params import ConfigError

from . import factors, llama_gguf
from .architectures import ARCHITECTURES, Architecture
from .models import MODELS, Model, checkpoint_path
from .tensors import TensorFile, open_tensors


@dataclass(frozen=True)
class Description:
    """A checkpoint with everything known about it except the values of its tensors."""

    file: TensorFile
    architecture: Architecture
    names: dict[str, str]  #: module's name of a tensor -> the file's
    values: dict[str, Any]  #: arguments of the configuration class
    source: Path  #: the file that errors about `values` name

    def find(self, name: str) -> str | None:
        """The file's name of a module's tensor or of one that it is tied to; None: neither."""
        tied = self.architecture.tied
        shared = {
            tied.get(name, name),
            *(t for t, of in tied.items() if of == tied.get(name, name)),
        }
        return next((self.names[n] for n in (name, *sorted(shared)) if n in self.names), None)


def describe(path: Path) -> Description:
    """The description of a checkpoint; only its header is read.

    Raises `ConfigError`, one line that names the file, for a file that cannot be read, an
    architecture that is not supported and a configuration that makes no sense.
    """
    file = open_tensors(path)
    if file.path.suffix == ".gguf":
        source, given = file.path, llama_gguf.configuration(file)
        file = llama_gguf.as_library(file, given)
        architecture = ARCHITECTURES[llama_gguf.ARCHITECTURE]
    else:
        source, given = file.path.with_name("config.json"), _config(file.path)
        architecture = _architecture(file, source, given)
    names = {architecture.module_name(name): name for name in file.header}
    result = Description(file, architecture, names, {}, source)
    result.values.update(_values(result, given))
    _check(result)
    return result


def inspect(path: Path) -> Model:
    """The shapes of a checkpoint; of a file of factors, those of its base.

    Raises `ConfigError` as `describe` does.
    """
    file = open_tensors(path)
    if factors.is_factors(file.metadata):
        base = factors.base_of(file)
        found = model_at(base)
        return dataclasses.replace(found, name=file.path.stem, policy="factors", base=base)
    return model_of(describe(path))


def model_at(model: str) -> Model:
    """The shapes of a model name or path. Raises `ConfigError` for neither."""
    return MODELS[model] if model in MODELS else inspect(checkpoint_path(model))


def model_of(description: Description) -> Model:
    """The shapes of a described checkpoint."""
    architecture, values = description.architecture, description.values
    path = description.file.path
    layers = tuple(values[stack.count] for stack in architecture.stacks)
    heads = values[architecture.heads[0]]
    return Model(
        name=path.resolve().parent.name if path.name.startswith("model.") else path.stem,
        layers=sum(layers),
        hidden=values[architecture.hidden],
        ffn=values[architecture.ffn],
        heads=heads,
        kv_heads=values.get(architecture.kv_heads) or heads,
        head=values.get(architecture.head) or values[architecture.hidden] // heads,
        stacks=layers,
        preset="minilm",
        policy="rect",
        tokens=16,
        architecture=architecture.name,
    )


def _config(path: Path) -> dict[str, Any]:
    """`config.json` beside the checkpoint, empty when there is none."""
    config = path.with_name("config.json")
    if not config.is_file():
        return {}
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConfigError(f"{config}: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{config}: not a JSON object")
    return values


def _architecture(file: TensorFile, config: Path, given: dict[str, Any]) -> Architecture:
    """What the configuration says, otherwise what the names of the tensors look like."""
    kind = given.get("model_type")
    if kind is not None:
        if not isinstance(kind, str) or kind not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise ConfigError(f"{config}: model_type = {kind!r} is not supported, only {known}")
        return ARCHITECTURES[kind]
    for architecture in ARCHITECTURES.values():
        first = f"{architecture.stacks[0].path}.0."
        if any(architecture.module_name(name).startswith(first) for name in file.header):
            return architecture
    raise ConfigError(f"{file.path}: its tensors are of none of {', '.join(ARCHITECTURES)}")


def _values(description: Description, given: dict[str, Any]) -> dict[str, Any]:
    """The configuration: what is given, then sizes and layers of the file, then defaults."""
    architecture, header = description.architecture, description.file.header
    values = dict(architecture.defaults)
    for key, size in architecture.sizes.items():
        name = description.find(size.tensor)
        shape = header[name][0] if name is not None else ()
        if len(shape) != 2 or 0 in shape:
            raise ConfigError(
                f"{description.file.path}: tensor {size.tensor}: missing or not a matrix; "
                f"a {architecture.name} network has it"
            )
        values[key] = shape[size.axis] - size.less
    for stack in architecture.stacks:
        pattern = re.compile(re.escape(stack.path) + r"\.(\d+)\.")
        values[stack.count] = len({m[1] for n in description.names if (m := pattern.match(n))})
    values.update(_heads(description, {**values, **given}))
    # A null size stands for a value that the library derives, as the shapes do.
    values.update({key: v for key, v in given.items() if v is not None or key not in values})
    for key in ("model_type", "torch_dtype", "dtype", "quantization_config"):
        values.pop(key, None)
    return values


def _heads(description: Description, values: dict[str, Any]) -> dict[str, int]:
    """Numbers of heads unless `values` has them: a guess from the usual size of a head.

    Nothing in the tensors tells the size of a head; a configuration should.
    """
    architecture = description.architecture
    hidden, size = values[architecture.hidden], architecture.head_size
    if not isinstance(hidden, int) or hidden < 1:
        return {}
    name = description.find(f"{architecture.stacks[0].path}.0.self_attn.k_proj.weight")
    rows = description.file.header[name][0][0] if name and architecture.kv_heads else hidden
    if architecture.kv_heads:
        size = math.gcd(size, rows)
    heads = values.get(architecture.heads[0])
    if not isinstance(heads, int) or heads < 1:
        heads = max(1, hidden // size)
    result = dict.fromkeys(architecture.heads, heads)
    if architecture.kv_heads:
        size = values.get(architecture.head) or max(1, hidden // heads)
        result[architecture.kv_heads] = max(1, rows // size) if isinstance(size, int) else 1
    return result


def _check(description: Description) -> None:
    """Raise `ConfigError` for a configuration that this package or the library cannot run."""
    architecture, values = description.architecture, description.values

    def wrong(key: str, why: str) -> ConfigError:
        return ConfigError(f"{description.source}: {key} = {values[key]!r} {why}")

    for key, known in architecture.only.items():
        if values.get(key, known[0]) not in known:
            raise wrong(key, f"is not supported, only {', '.join(map(repr, known))}")
    eps = values.get(architecture.eps, 1e-5)
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise wrong(architecture.eps, "is outside 0..1")
    counts = [stack.count for stack in architecture.stacks]
    for key in (*architecture.sizes, *counts):
        if not isinstance(values[key], int) or values[key] < 1:
            raise wrong(key, "is no size")
    hidden = values[architecture.hidden]
    separate = values.get(architecture.head)
    if separate is not None and (not isinstance(separate, int) or separate < 1):
        raise wrong(architecture.head, "is no size")
    for key in architecture.heads:
        heads = values[key]
        if not isinstance(heads, int) or heads < 1 or (not separate and hidden % heads):
            raise wrong(key, f"does not divide {hidden}")
    if architecture.kv_heads:
        heads, shared = values[architecture.heads[0]], values.get(architecture.kv_heads, 1)
        if not isinstance(shared, int) or shared < 1 or heads % shared:
            raise wrong(architecture.kv_heads, f"does not divide {heads}")
