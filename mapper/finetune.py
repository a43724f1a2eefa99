"""Fine-tuning of Monarch layers by distillation from the dense network, resumable and seeded.

First layer by layer (each compressed layer learns to map the dense network's states as the dense layer does), then
end to end on the network's objective. What learns: factors and biases of Monarch layers, and the norms around them.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from tqdm import tqdm

from rtl.spec.params import ConfigError

from .atomic import save_tensors
from .interrupt import undisturbed
from .monarch import MonarchLinear
from .muon import BlockMuon
from .objective import Language, Similarity, digest
from .precision import products
from .progress import pace
from .surgery import Batch, Call, forward, rows

#: Learning rates by objective. At 0.002, SmolLM2 (2x, calibrated) loses in 90 steps what the first 25 gained.
RATES = {"similarity": 1.5e-3, "language": 5e-4}
#: Steps over which the rate rises from zero.
WARM_UP = 50
#: Seconds between saved states.
SAVE_EVERY = 60
#: Largest norm of the gradient of all parameters together.
CLIP = 1.0
#: Times that a run is evaluated on the way, if at all.
WATCHED = 8

#: Share of a run after which it goes through the roundings, if it does: ranges are of a network that is nearly done.
ROUNDED = 0.75

#: Called on the way and at the end; what it returns is kept beside step and time.
Watch = Callable[[nn.Module], float]
#: Inside the context the network computes with rounded values; ranges follow from its parameters on entry.
Roundings = Callable[[nn.Module], AbstractContextManager]


@dataclass(frozen=True)
class Recipe:
    """How to fine-tune; the learning rate falls to zero, as a cosine, at the end of `minutes` or `steps`."""

    minutes: float = 50.0  #: of computing; pauses of an interrupted run do not count
    steps: int = 0  #: above 0: steps and not minutes, which can be repeated bit by bit
    rate: float = RATES["similarity"]
    layerwise: float = 0.05  #: share of the run that is layer by layer
    seed: int = 0

    def __post_init__(self):
        for name in ("minutes", "rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name}: {getattr(self, name)} must be above 0")
        if self.steps < 0:
            raise ConfigError(f"steps: {self.steps} must be at least 0")

    def done(self, step: int, seconds: float) -> float:
        """The share of the run that is behind, 0..1."""
        return step / self.steps if self.steps else seconds / (60 * self.minutes)


@dataclass
class Progress:
    """Where a run is; saved and resumed."""

    step: int = 0
    seconds: float = 0.0
    epoch: int = 0
    batch: int = 0  #: batches of the epoch that are behind
    loss: float | None = None  #: of the last step
    history: list[dict] = field(default_factory=list)  #: step, seconds, loss, value (of the watch)


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """What learns, by name: all of every Monarch layer, and vectors of other layers (norms)."""
    monarchs = [n for n, m in module.named_modules() if isinstance(m, MonarchLinear)]
    inside = tuple(f"{name}." for name in monarchs)
    return {
        name: parameter
        for name, parameter in module.named_parameters()
        if name.startswith(inside) or (parameter.ndim == 1 and inside)
    }


def finetune(
    dense: nn.Module,
    compressed: nn.Module,
    layers: list[str],
    objective: Similarity | Language,
    recipe: Recipe,
    state: Path | None = None,
    watch: Watch | None = None,
    show: bool = False,
    roundings: Roundings | None = None,
) -> Progress:
    """Train `compressed` in place. `objective` is prepared with the training text.

    `layers` has the full names of the layers. With `state`, a run is saved there every minute and however it ends, and
    goes on from there if the file is of the same run; the caller removes it. The last part of the run is inside
    `roundings` (`mapper.qat`); what is noted there is of the rounded network. Raises `ConfigError` if the state is of
    another run, and if the loss is no longer finite.
    """
    run = _Run(dense, compressed, layers, objective, recipe, roundings)
    if state is not None and state.exists():
        run.resume(state)
    try:
        _train(run, state, watch, show)
    finally:
        if state is not None and run.whole:
            run.save(state)
        run.roundings.close()
        for parameter in run.parameters.values():
            parameter.requires_grad_(False)
    return run.at


def _train(run: "_Run", state: Path | None, watch: Watch | None, show: bool) -> None:
    """All steps that are left."""
    saved = time.monotonic()
    bar = tqdm(
        total=100.0,
        initial=100 * run.share,
        disable=not show,
        bar_format=_BAR,
        mininterval=pace(),
    )
    with bar:
        while (share := run.share) < 1:
            if watch and share * WATCHED >= len(run.at.history) + 1:
                run.note(watch(run.compressed))
            if run.rounds and run.entry is None and share >= ROUNDED:
                run.begin_rounding()
            with undisturbed():
                run.step(share)
            bar.update(100 * share - bar.n)
            bar.set_postfix_str(f"step {run.at.step}, loss {run.at.loss:.4f}")
            if state is not None and time.monotonic() - saved >= SAVE_EVERY:
                run.save(state)
                saved = time.monotonic()
        bar.update(100 - bar.n)
    if watch and (not run.at.history or run.at.history[-1]["step"] < run.at.step):
        run.note(watch(run.compressed))


_BAR = "fine-tune {percentage:3.0f}% |{bar}| {elapsed} < {remaining}{postfix}"


class _Run:
    """A run's parameters, optimisers and place in the text."""

    def __init__(self, dense, compressed, layers, objective, recipe, rounds=None):
        self.dense, self.compressed, self.layers = dense, compressed, layers
        self.objective, self.recipe = objective, recipe
        self.at = Progress()
        self.whole = True  #: parameters, optimisers and place belong together
        self.rounds: Roundings | None = rounds
        self.roundings = ExitStack()
        self.entry: dict[str, Tensor] | None = None  #: parameters where rounding began
        for parameter in [*dense.parameters(), *compressed.parameters()]:
            parameter.requires_grad_(False)
        self.parameters = trainable(compressed)
        self.device = next(compressed.parameters()).device.type
        if not self.parameters:
            raise ConfigError("fine-tuning: no matrix of the network is Monarch")
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        blocks = [p for p in self.parameters.values() if p.ndim == 3]
        vectors = [p for p in self.parameters.values() if p.ndim != 3]
        self.optimisers: list[torch.optim.Optimizer] = [BlockMuon(blocks, recipe.rate)]
        if vectors:
            self.optimisers.append(
                torch.optim.AdamW(vectors, recipe.rate, betas=(0.9, 0.99), weight_decay=0)
            )
        self.key = self._key()
        self.data = self._stream()

    @property
    def share(self) -> float:
        """The share of the run that is behind, 0..1."""
        return self.recipe.done(self.at.step, self.at.seconds)

    def step(self, share: float) -> None:
        """One update."""
        self.whole, start = False, time.monotonic()
        self.at.loss = self._update(share)
        self.at.step += 1
        self.at.seconds += time.monotonic() - start
        self.whole = True

    def _update(self, share: float) -> float:
        """Move the parameters; the loss before that."""
        warm = min(1.0, (self.at.step + 1) / WARM_UP)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.recipe.rate * warm * (1 + math.cos(math.pi * share)) / 2
            optimiser.zero_grad()
        batch, wanted = next(self.data)
        # Rounded values (`qat`) are multiples of steps that bfloat16 would round once more.
        with products(self.device, self.entry is None):
            if share < self.recipe.layerwise:
                loss = self._layerwise(batch)
            else:
                loss = self.objective.loss(self.objective.output(self.compressed, batch), wanted)
        if not torch.isfinite(loss):
            raise ConfigError(
                f"fine-tuning: the loss is {loss.item()} at step {self.at.step}; lower --rate"
            )
        loss.backward()
        nn.utils.clip_grad_norm_(list(self.parameters.values()), CLIP)
        for optimiser in self.optimisers:
            optimiser.step()
        return loss.item()

    def begin_rounding(self) -> None:
        """From now on the network computes with rounded values."""
        assert self.rounds is not None
        self.entry = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.roundings.enter_context(self.rounds(self.compressed))

    def _layerwise(self, batch: Batch) -> Tensor:
        """Mean over layers of ||layer'(h) - layer(h)||^2 / ||layer(h) - mean||^2 on the dense network's states h."""
        seen: dict[str, tuple[Call, Tensor]] = {}

        def hook(name: str):
            def keep(_, args, kwargs, output):
                hidden = output[0] if isinstance(output, tuple) else output
                seen[name] = (Call(args, kwargs), hidden)

            return keep

        handles = [
            self.dense.get_submodule(name).register_forward_hook(hook(name), with_kwargs=True)
            for name in self.layers
        ]
        try:
            with torch.no_grad():
                forward(self.dense, batch)
        finally:
            for handle in handles:
                handle.remove()
        losses = []
        for name, (call, hidden) in seen.items():
            wanted = rows(hidden, batch)
            got = rows(call.run(self.compressed.get_submodule(name)), batch)
            losses.append((got - wanted).square().mean() / wanted.var().clamp_min(1e-12))
        return torch.stack(losses).mean()

    def _stream(self) -> Iterator[tuple[Batch, Tensor]]:
        """Batches for ever, from where the run is."""
        for epoch in count(self.at.epoch):
            self.at.epoch = epoch
            for batch in self.objective.epoch(self.dense, self.recipe.seed + epoch, self.at.batch):
                self.at.batch += 1
                yield batch
            self.at.batch = 0

    def note(self, value: float) -> None:
        """Keep what was evaluated."""
        self.at.history.append(
            {
                "step": self.at.step,
                "seconds": round(self.at.seconds, 1),
                "loss": self.at.loss,
                "value": value,
            }
        )

    def _key(self) -> str:
        """What must be the same for a saved state to fit."""
        recipe = {**asdict(self.recipe), "minutes": 0, "steps": 0}  # a run may be made longer
        shapes = [(name, tuple(p.shape)) for name, p in self.parameters.items()]
        return digest([recipe, shapes, self.objective.key(), self.rounds is not None])

    def save(self, path: Path) -> None:
        """Parameters, optimisers and place, in one file that is replaced as a whole."""
        tensors = {f"parameter.{n}": p.detach() for n, p in self.parameters.items()}
        tensors |= {f"entry.{n}": values for n, values in (self.entry or {}).items()}
        for number, optimiser in enumerate(self.optimisers):
            for index, values in optimiser.state_dict()["state"].items():
                tensors |= {
                    f"state.{number}.{index}.{key}": torch.as_tensor(value)
                    for key, value in values.items()
                }
        save_tensors(path, tensors, {"key": self.key, "progress": json.dumps(asdict(self.at))})

    def resume(self, path: Path) -> None:
        """Go on from a saved state. Raises `ConfigError` if it is of another run or not readable."""
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("key") != self.key:
                    raise ConfigError(
                        f"{path}: is of another fine-tuning run; remove it to start anew"
                    )
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ConfigError(
                f"{path}: {str(error).splitlines()[0]}; remove it to start anew"
            ) from None
        self.at = Progress(**json.loads(metadata["progress"]))
        if f"entry.{next(iter(self.parameters))}" in tensors:
            self._load(tensors, "entry")
            self.begin_rounding()
        self._load(tensors, "parameter")
        for number, optimiser in enumerate(self.optimisers):
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                if name.startswith(f"state.{number}."):
                    index, key = name.removeprefix(f"state.{number}.").split(".")
                    state.setdefault(int(index), {})[key] = value
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
        self.data = self._stream()

    @torch.no_grad()
    def _load(self, tensors: dict[str, Tensor], kind: str) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(tensors[f"{kind}.{name}"])
