"""Look into a torch module and exchange its linear layers; works on any module in memory."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rtl.spec.params import ConfigError

#: A batch as the keyword arguments of a module; `attention_mask` (N, T), if any, is 1 where there is a token.
Batch = dict[str, Tensor]


class _Stop(Exception):
    """Ends a forward pass."""


@dataclass(frozen=True)
class Call:
    """Arguments of a call of a layer: (hidden (N, T, n), ...), {...}."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self, layer: nn.Module) -> Tensor:
        """The layer's hidden output (N, T, n)."""
        result = layer(*self.args, **self.kwargs)
        return result[0] if isinstance(result, tuple) else result

    def after(self, layer: nn.Module) -> "Call":
        """The call of the next layer: as this one, with this layer's output for the input."""
        return Call((self.run(layer), *self.args[1:]), self.kwargs)


class Joined(nn.Module):
    """Several linears in place of one module: their outputs one after another."""

    def __init__(self, parts: Sequence[nn.Module]):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        """y (..., sum of n_out) of x (..., n_in)."""
        return torch.cat([part(x) for part in self.parts], -1)


def forward(module: nn.Module, batch: Batch) -> Any:
    """What a module returns for a batch, without a cache of keys and values.

    A layer that is run again with the arguments of an earlier call would append to the cache of that call.
    """
    cached = "use_cache" in inspect.signature(module.forward).parameters
    return module(**batch, use_cache=False) if cached else module(**batch)


def rows(x: Tensor, batch: Batch) -> Tensor:
    """The vectors of x (N, T, n) that belong to tokens, (tokens, n); of any x (..., n) all, if there is no mask."""
    mask = batch.get("attention_mask")
    return x.flatten(0, -2) if mask is None else x[mask.bool()]


def full_name(outer: str, inner: str) -> str:
    """The name below a module of what is called `inner` below its child `outer`; "" is the module itself."""
    return ".".join(filter(None, (outer, inner)))


def linear(module: nn.Module, name: str) -> nn.Linear:
    """The `nn.Linear` of a full name. Raises `ConfigError` if there is none."""
    try:
        found = module.get_submodule(name)
    except AttributeError:
        found = None
    if not isinstance(found, nn.Linear):
        raise ConfigError(f"{name}: the network has no linear layer of that name")
    return found


def linears(module: nn.Module) -> dict[str, nn.Linear]:
    """All `nn.Linear` below a module, by full name, in order of definition."""
    return {name: m for name, m in module.named_modules() if isinstance(m, nn.Linear)}


def replace(module: nn.Module, name: str, new: nn.Module) -> None:
    """Put `new` at the full name `name` below `module`."""
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, new)


@contextmanager
def observed(modules: dict[str, nn.Module], see: Callable[[str, Tensor, Tensor], object]):
    """Inside the context, `see(name, input, output)` is called for every call of the modules."""

    def hook(name: str) -> Callable[..., None]:
        def seen(_: nn.Module, args: Any, output: Any) -> None:
            see(name, args[0], output)

        return seen

    handles = [m.register_forward_hook(hook(name)) for name, m in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def inputs(inner: nn.Module, run: Callable[[], object]) -> Tensor:
    """The input of `inner` when `run` reaches it; nothing behind is computed."""
    seen: list[Tensor] = []

    def hook(_, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0])
        raise _Stop

    handle = inner.register_forward_pre_hook(hook)
    try:
        with suppress(_Stop):
            run()
    finally:
        handle.remove()
    return seen[0]


def calls(module: nn.Module, layers: Sequence[nn.Module], batch: Batch) -> list[Call]:
    """How `module` calls each of its `layers` for a batch; nothing behind the last call is computed."""
    seen: dict[nn.Module, Call] = {}

    def hook(layer: nn.Module, args: Any, kwargs: Any) -> None:
        seen[layer] = Call(args, kwargs)
        if len(seen) == len(layers):
            raise _Stop

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_pre_hook(hook, with_kwargs=True).remove)
        with suppress(_Stop):
            forward(module, batch)
    return [seen[layer] for layer in layers]


def sharing(layer: nn.Module, run: Callable[[], object]) -> list[list[str]]:
    """Names of the linears of a layer in order of execution; those that read the same tensor together."""
    groups: dict[int, list[str]] = {}
    alive: list[Tensor] = []  # an id is only unique while its tensor lives

    def see(name: str, x: Tensor, _: Tensor) -> None:
        alive.append(x)
        groups.setdefault(id(x), []).append(name)

    with torch.no_grad(), observed(dict(linears(layer)), see):
        run()
    return list(groups.values())
