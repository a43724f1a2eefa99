"""Look into a torch module and exchange its linear layers; works on any module in memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

#: A batch as the keyword arguments of a module; `attention_mask` (N, T) is 1 where there is a token.
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

    with _hooked(inner.register_forward_pre_hook(hook)):
        run()
    return seen[0]


def calls(module: nn.Module, layer: nn.Module, batches: list[Batch]) -> list[Call]:
    """How `module` calls `layer` for each batch; nothing behind is computed."""
    seen: list[Call] = []

    def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
        seen.append(Call(args, kwargs))
        raise _Stop

    with _hooked(layer.register_forward_pre_hook(hook, with_kwargs=True)):
        for batch in batches:
            with suppress(_Stop):
                module(**batch)
    return seen


@contextmanager
def _hooked(handle: Any) -> Iterator[None]:
    try:
        yield
    except _Stop:
        pass
    finally:
        handle.remove()


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
