"""A checkpoint as a module of the `transformers` library, and the names of its matrices.

The module is built without memory, compared with the file tensor by tensor, and then filled.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from rtl.spec.params import ConfigError

from . import factors, llama_gguf, sentences, surgery
from .architectures import Architecture, MatrixOf, SegmentOf
from .configuration import Description, describe, inspect, model_of
from .models import Model, locate, stack_of
from .surgery import Call, Joined, full_name
from .tensors import TensorFile, open_tensors, real

__all__ = [
    "Call",
    "Linear",
    "Network",
    "inspect",
    "linear_of",
    "linearised",
    "load",
    "part_of",
    "stacks",
]


@dataclass(frozen=True)
class Linear:
    """A matrix of one layer of a network."""

    layer: int  #: counted over all stacks
    segment: SegmentOf
    matrix: MatrixOf
    path: str  #: full name of its module


@dataclass(frozen=True)
class Network:
    """A loaded checkpoint: float32, on the CPU, in eval mode."""

    model: Model
    architecture: Architecture
    module: nn.Module
    tokenizer: Tokenizer | None
    path: Path
    base: Path | None = None  #: of Monarch factors: the dense checkpoint

    @property
    def longest(self) -> int:
        """The most tokens of a sequence."""
        return getattr(self._config, self.architecture.positions)

    @property
    def vocabulary(self) -> int:
        """The number of token ids."""
        return self._config.vocab_size

    @property
    def _config(self) -> Any:
        return self.module.config

    def layers(self) -> list[nn.Module]:
        """The layers of all stacks, in order."""
        return [
            layer
            for stack in self.architecture.stacks
            for layer in _children(self.module, stack.path)
        ]

    def segments(self, layer: int) -> tuple[SegmentOf, ...]:
        """The segments of a layer, in order. Raises `ConfigError` for a layer out of range."""
        return stack_of(self.model, layer)[0].segments

    def matrices(self, layer: int) -> list[Linear]:
        """The matrices of a layer, in the order of its segments."""
        stack, number = stack_of(self.model, layer)
        return [
            Linear(layer, segment, matrix, f"{stack.path}.{number}.{matrix.module}")
            for segment in stack.segments
            for matrix in segment.matrices
        ]

    def linear_names(self) -> list[str]:
        """Full names of the modules that are matrices of a layer, in order, each once."""
        names = (m.path for n in range(self.model.layers) for m in self.matrices(n))
        return list(dict.fromkeys(names))

    def weights(self, linear: Linear) -> tuple[Tensor, Tensor]:
        """Weight (n_out, n_in) and bias (n_out,) of a matrix, float32; no bias is zeros."""
        return part_of(self.module.get_submodule(linear.path), linear.matrix)

    def ids(self, tokens: list[int]) -> Tensor:
        """int64 (1, T) of token ids. Raises `ConfigError` on a length or id out of range."""
        if not 1 <= len(tokens) <= self.longest:
            raise ConfigError(
                f"tokens: {len(tokens)} is outside 1..{self.longest} of {self.model.name}"
            )
        if not 0 <= min(tokens) <= max(tokens) < self.vocabulary:
            raise ConfigError(
                f"token: {max(tokens)} is outside the {self.vocabulary} words of {self.model.name}"
            )
        return torch.tensor([tokens])

    @torch.no_grad()
    def calls(self, tokens: list[int], layers: Iterable[int]) -> dict[int, Call]:
        """What the layers are called with for one sequence of ids, which starts at position 0.

        Raises `ConfigError` on a length or id out of range.
        """
        wanted, modules = list(dict.fromkeys(layers)), self.layers()
        batch = {"input_ids": self.ids(tokens)}
        found = surgery.calls(self.module, [modules[n] for n in wanted], batch)
        return dict(zip(wanted, found, strict=True))


def part_of(module: nn.Module, matrix: MatrixOf) -> tuple[Tensor, Tensor]:
    """Weight (n_out, n_in) and bias (n_out,) that a module holds of a matrix; no bias is zeros."""
    if isinstance(module, Joined):
        return part_of(module.parts[matrix.part], dataclasses.replace(matrix, part=0, parts=1))
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    weight = weight.detach()
    if not isinstance(module, nn.Linear):
        # The library's Conv1D stores (in, out).
        weight = weight.T
    bias = bias.detach() if isinstance(bias, Tensor) else weight.new_zeros(len(weight))
    size = len(weight) // matrix.parts
    rows = slice(matrix.part * size, (matrix.part + 1) * size)
    return weight[rows].contiguous(), bias[rows]


def linearised(network: Network) -> Network:
    """The network, changed in place: every matrix of a layer is an `nn.Linear` of its own, same function.

    The library's Conv1D becomes a linear; a module of several matrices a `mapper.surgery.Joined` of as many. Nothing
    happens where that is so already.
    """
    parts: dict[str, list[Linear]] = {}
    for layer in range(network.model.layers):
        for one in network.matrices(layer):
            parts.setdefault(one.path, []).append(one)
    for path, group in parts.items():
        module = network.module.get_submodule(path)
        if isinstance(module, Joined) or (isinstance(module, nn.Linear) and len(group) == 1):
            continue
        made = [_own_linear(*network.weights(one)) for one in group]
        new = made[0] if len(made) == 1 else Joined(made)
        network.module.set_submodule(path, new.train(module.training))
    return network


def linear_of(network: Network, linear: Linear) -> str:
    """Full name of the `nn.Linear` that is one matrix of a linearised network."""
    if isinstance(network.module.get_submodule(linear.path), Joined):
        return f"{linear.path}.parts.{linear.matrix.part}"
    return linear.path


def stacks(network: Network) -> list[list[str]]:
    """Full names of the layers, stack by stack; within one, a layer's output is the next one's input."""
    return [
        [
            full_name(s.path, name)
            for name, _ in network.module.get_submodule(s.path).named_children()
        ]
        for s in network.architecture.stacks
    ]


def _own_linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A linear that holds copies of these tensors."""
    made = nn.Linear(weight.shape[1], weight.shape[0], device="meta")  # no random numbers drawn
    made.weight, made.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return made


def load(path: Path) -> Network:
    """The network of a checkpoint.

    Raises `ConfigError`, one line with file and tensor, for what `inspect` refuses, for tensors
    that are missing, unknown, of the wrong shape or not floating point, and for NaN or infinite
    values. A file of factors (`mapper.factors`) is its base checkpoint with them in it.
    """
    file = open_tensors(path)
    if factors.is_factors(file.metadata):
        return _with_factors(file)
    description = describe(path)
    module = _build(description)
    _compare(description, module)
    _fill(description, module)
    return Network(
        model=model_of(description),
        architecture=description.architecture,
        module=module.eval(),
        tokenizer=_tokenizer(description),
        path=description.file.path,
    )


def _with_factors(file: TensorFile) -> Network:
    base = factors.base_of(file)
    found = locate(base) if base else None
    if found is None or factors.is_factors(open_tensors(found).metadata):
        raise ConfigError(f"{file.path}: base {base!r} is no checkpoint")
    network = linearised(load(found))
    factors.apply(file, network.module)
    model = dataclasses.replace(network.model, name=file.path.stem, policy="factors", base=base)
    return dataclasses.replace(network, model=model, path=file.path, base=found)


def _children(module: nn.Module, path: str) -> list[nn.Module]:
    return list(module.get_submodule(path).children())


def _build(description: Description) -> nn.Module:
    """The library's module, its tensors without memory."""
    # A second to import, and only needed here.
    import transformers

    architecture = description.architecture
    try:
        config = getattr(transformers, architecture.config)(
            **description.values, attn_implementation="sdpa"
        )
        with torch.device("meta"):
            return getattr(transformers, architecture.model)(config, **architecture.options)
    # The library checks types and combinations with errors of many kinds.
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConfigError(f"{description.source}: {' '.join(lines[:2])}") from None


def _compare(description: Description, module: nn.Module) -> None:
    """Raise `ConfigError` unless the file has just the tensors of the module."""
    architecture, header = description.architecture, description.file.header
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    problems = []
    for name, wanted in expected.items():
        source = description.find(name)
        shape, dtype = header.get(source or "", ((), ""))
        if source is None:
            problems.append(f"tensor {name}: missing")
        elif shape != wanted:
            problems.append(f"tensor {source}: shape {_by(shape)}, expected {_by(wanted)}")
        elif not real(dtype):
            problems.append(f"tensor {source}: dtype {dtype} is not floating point")
    problems += [
        f"tensor {source}: unknown in a {architecture.name} network"
        for name, source in description.names.items()
        if name not in expected and not architecture.ignores(name)
    ]
    # A tensor that several names are tied to has one problem, not several.
    problems = list(dict.fromkeys(problems))
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(f"{description.file.path}: {problems[0]}{more}")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "scalar"


def _fill(description: Description, module: Any) -> None:
    """Give the module the file's values; equal tied tensors become one."""
    sources = {name: str(description.find(name)) for name in module.state_dict()}
    values = {source: description.file.tensor(source) for source in dict.fromkeys(sources.values())}
    tensors = {name: values[source] for name, source in sources.items()}
    tied = {
        name: other
        for name, other in description.architecture.tied.items()
        if torch.equal(tensors[name], tensors[other])
    }
    module.load_state_dict(tensors, assign=True)
    for name, other in tied.items():
        _set_parameter(module, name, module.get_parameter(other))
    # So that the library, asked to tie again, does what was done here.
    module.config.tie_word_embeddings = len(tied) == len(description.architecture.tied) > 0
    _fill_buffers(module)


def _set_parameter(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
    owner, _, last = name.rpartition(".")
    setattr(module.get_submodule(owner), last, parameter)


@torch.no_grad()
def _fill_buffers(module: Any) -> None:
    """Positions and rotary frequencies, which no file holds, as the library computes them."""
    for child in module.modules():
        empty = {n: b for n, b in child._buffers.items() if b is not None and b.is_meta}
        if empty:
            child._buffers.update({n: torch.empty_like(b, device="cpu") for n, b in empty.items()})
            module._init_weights(child)
    left = [n for n, t in (*module.named_parameters(), *module.named_buffers()) if t.is_meta]
    assert not left, f"without values: {left}"


def _tokenizer(description: Description) -> Tokenizer | None:
    """`tokenizer.json` beside the checkpoint, otherwise what GGUF metadata describes."""
    file = description.file.path.with_name("tokenizer.json")
    if file.is_file():
        return sentences.load_tokenizer(file)
    if description.file.path.suffix == ".gguf":
        return llama_gguf.tokenizer(description.file.path, description.file.metadata)
    return None
