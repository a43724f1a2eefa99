"""Axes of a sweep and the configurations that they span."""

# ruff: noqa: E741 - l is the name of L's block count in the definition

import dataclasses
import hashlib
import itertools
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rtl.spec.params import ConfigError, Params

from ..hardware import NAMES, limits
from ..models import Model
from ..pattern import POLICIES
from ..placement import STRATEGIES, monarch_strategy
from ..workload import resolve

#: Folders, relative to the root of the source tree, whose files decide what a configuration costs.
SOURCES = ("mapper", "rtl/spec")


@dataclass(frozen=True)
class Configuration:
    """A layer stack, a mapping and the hardware: one point of a sweep. Picklable, and needs no file any more."""

    model: Model
    strategy: str
    policy: str
    k: int | None
    l: int | None
    rank: int
    tokens: int
    layers: tuple[int, ...] | None  #: None: all
    seed: int
    hardware: tuple[tuple[str, int | str], ...]  #: every parameter; perhaps not a valid set
    fixed: tuple[str, ...]  #: parameters that are limits

    @property
    def blocks(self) -> str:
        """Block counts as they are given: `16`, `8x16`; empty where the policy decides."""
        return "" if self.k is None else str(self.k) if self.k == self.l else f"{self.k}x{self.l}"

    def key(self, version: str) -> str:
        """Hash of the configuration and of the program version that computes its cost."""
        text = json.dumps([version, dataclasses.asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def row(self) -> dict:
        """The configuration as a flat record."""
        return {
            "model": self.model.name,
            "strategy": self.strategy,
            "policy": self.policy,
            "blocks": self.blocks,
            "rank": self.rank,
            "tokens": self.tokens,
            "layers": self.model.layers if self.layers is None else len(self.layers),
            **dict(self.hardware),
        }


@cache
def version() -> str:
    """Hash of the sources that decide costs: a result of other sources is not used again."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


# -- axes ----------------------------------------------------------------------------------------


def _one_of(name: str, allowed: Iterable[str]) -> Callable[[str], str]:
    known = tuple(allowed)

    def check(text: str) -> str:
        if text not in known:
            raise ConfigError(f"{name}: {text!r} is not one of {', '.join(known)}")
        return text

    return check


def _integer(name: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            return int(text)
        except ValueError:
            raise ConfigError(f"{name}: {text!r} is not an integer") from None

    return read


def _pair(name: str) -> Callable[[str], tuple[int, int]]:
    def read(text: str) -> tuple[int, int]:
        first, _, second = text.partition("x")
        try:
            return int(first), int(second or first)
        except ValueError:
            raise ConfigError(f"{name}: {text!r} is neither N nor NxM") from None

    return read


def _field(name: str) -> Callable[[str], int | str]:
    (kind,) = (f.type for f in dataclasses.fields(Params) if f.name == name)
    return str if kind is str else _integer(name)


#: Axes that are no hardware parameter: name, what it is and how a value is read.
OTHER_AXES: dict[str, tuple[str, Callable[[str], object]]] = {
    "model": ("model names or paths of checkpoints, of which only the shapes are read", str),
    "config": ("presets or TOML files; default: the model's preset", str),
    "strategy": ("default: all", _one_of("strategy", STRATEGIES)),
    "policy": ("default: the model's", _one_of("policy", POLICIES[:-1])),
    "blocks": ("block counts N or KxL, for policies rect and blocks", _pair("blocks")),
    "rank": ("for policies rect and blocks; default: 1", _integer("rank")),
    "tokens": ("tokens of a run; default: 1", _integer("tokens")),
    "array": ("rows x cols: N or NxM", _pair("array")),
}
AXES: dict[str, Callable[[str], object]] = {
    **{name: read for name, (_, read) in OTHER_AXES.items()},
    **{name: _field(name) for name in NAMES},
}
#: Policies with block counts and a rank to choose.
FREE = ("rect", "blocks")


def parse(given: Mapping[str, Iterable]) -> dict[str, list]:
    """Values of each axis. Raises `ConfigError` on an axis that is none, has no value, or has one that is wrong."""
    axes = {}
    for name, values in given.items():
        if name not in AXES:
            raise ConfigError(f"{name}: not an axis, only {', '.join(AXES)}")
        axes[name] = list(dict.fromkeys(AXES[name](str(value)) for value in values))
        if not axes[name] or "" in axes[name]:
            raise ConfigError(f"{name}: an axis needs a value")
    if "array" in axes and {"rows", "cols"} & set(axes):
        raise ConfigError("array: stands for rows and cols, give one or the other")
    if not axes.get("model"):
        raise ConfigError("model: the sweep needs at least one")
    return axes


def read_file(path: str | Path) -> dict[str, list]:
    """Axes of a TOML file, `name = value` or `name = [values]`. Raises `ConfigError`, naming the file."""
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}: {reason}") from None
    axes = {}
    for name, values in found.items():
        values = values if isinstance(values, list) else [values]
        if name not in AXES:
            raise ConfigError(f"{path}: {name}: not an axis, only {', '.join(AXES)}")
        if not all(isinstance(v, str | int) and not isinstance(v, bool) for v in values):
            raise ConfigError(f"{path}: {name}: values must be numbers or strings")
        axes[name] = values
    return axes


# -- configurations ------------------------------------------------------------------------------


def expand(
    axes: Mapping[str, list], layers: list[int] | None = None, seed: int = 0
) -> list[Configuration]:
    """Every combination of values once, the last axis fastest.

    What a combination does not use is left out of it (`linear` has no policy, `pad` no block count), so several
    combinations may be one configuration. Raises `ConfigError` on a model, file or choice that does not exist; values
    that do not go together are for `mapper.sweep.cost` to find.
    """
    policies = _policies(axes)
    others = [name for name in axes if name not in ("model", "config", "strategy", "policy")]
    found: dict[Configuration, None] = {}
    for name in axes["model"]:
        model = resolve(name)
        for config in axes.get("config", [model.preset]):
            base = Params.load(config).as_dict()
            for strategy, policy, *values in itertools.product(
                axes.get("strategy", list(STRATEGIES)),
                [model.policy] if policies is None else policies,
                *(axes[name] for name in others),
            ):
                given = dict(zip(others, values, strict=True))
                made = _configuration(model, config, base, strategy, policy, given, layers, seed)
                found[made] = None
    return list(found)


def _policies(axes: Mapping[str, list]) -> list[str] | None:
    """Policies to sweep; None: those of the models."""
    chosen = [name for name in ("blocks", "rank") if name in axes]
    policies = axes.get("policy", ["blocks" if "blocks" in axes else "rect"] if chosen else None)
    if chosen and policies is not None and not set(FREE) & set(policies):
        raise ConfigError(f"{chosen[0]}: needs policy {' or '.join(FREE)}")
    return policies


def _configuration(
    model: Model,
    config: str,
    base: dict,
    strategy: str,
    policy: str,
    given: dict,
    layers: list[int] | None,
    seed: int,
) -> Configuration:
    if not monarch_strategy(strategy):
        policy = "dense"
    free = policy in FREE
    k, l = given.get("blocks", (None, None)) if free else (None, None)
    changes = {name: given[name] for name in NAMES if name in given}
    if "array" in given:
        changes["rows"], changes["cols"] = given["array"]
    return Configuration(
        model=model,
        strategy=strategy,
        policy=policy,
        k=k,
        l=l,
        rank=given.get("rank", 1) if free else 1,
        tokens=given.get("tokens", 1),
        layers=None if layers is None else tuple(layers),
        seed=seed,
        hardware=tuple({**base, **changes}.items()),
        fixed=tuple(sorted(limits(config, changes))),
    )
