"""Hardware of a run: a preset or file, changed by what is given, and which of its parameters are limits."""

import dataclasses
from collections.abc import Iterable

from rtl.spec.params import PRESETS, Params

#: Names of all hardware parameters.
NAMES = tuple(field.name for field in dataclasses.fields(Params))


def limits(config: str, given: Iterable[str]) -> frozenset[str]:
    """Parameters that are limits: what is given, and everything that a file says; presets may grow."""
    return frozenset(NAMES if config not in PRESETS else given)
