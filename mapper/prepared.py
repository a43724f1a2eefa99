"""What fine-tuning starts from, kept beside its state: an interrupted job need not project and calibrate again."""

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from rtl.spec.params import ConfigError

from . import factors
from .pattern import Pattern
from .tensors import open_tensors


@dataclass
class Prepared:
    """A compressed network, and what its card says about how it came to be."""

    module: nn.Module
    patterns: dict[str, Pattern]  #: by full name of the linear
    weights: dict[str, float]  #: relative errors of plain projection
    outputs: dict[str, float]  #: relative errors of the calibrated outputs
    steps: list[dict]  #: what was judged, with its scores
    codesign: dict | None = None

    def save(self, path: Path, base: str, key: str) -> None:
        """Write the factors, float32. Raises `ConfigError` as `factors.save` does."""
        about = {
            "patterns": {name: asdict(p) for name, p in self.patterns.items()},
            "weights": self.weights,
            "outputs": self.outputs,
            "steps": self.steps,
            "codesign": self.codesign,
        }
        more = {"key": key, "about": json.dumps(about)}
        factors.save(path, self.module, set(), base, torch.float32, more)

    @classmethod
    def load(cls, path: Path, dense: nn.Module, key: str) -> "Prepared | None":
        """What was saved with this key, in a copy of `dense`; None if there is nothing of that kind."""
        try:
            file = open_tensors(path)
            if file.metadata.get("key") != key:
                return None
            about = json.loads(file.metadata["about"])
            module = copy.deepcopy(dense)
            factors.apply(file, module)
        except (ConfigError, KeyError, ValueError):
            return None
        patterns = {name: Pattern(**p) for name, p in about.pop("patterns").items()}
        return cls(module, patterns, **about)
