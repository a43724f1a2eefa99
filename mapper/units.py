"""Quantities with units: energy, time, and things that are counted. Adding nanoseconds to nanojoules is an error.

A unit is written as in `pJ/bit`: a prefixed J, s or W, or the singular name of a counted thing (`mac`, `word`), or a
quotient of two of these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rtl.spec.params import ConfigError

#: Powers of the base dimensions; a counted thing is a dimension of its own. Zero powers are left out.
Dimensions = Mapping[str, int]

_PREFIXES = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0}
_BASES: dict[str, Dimensions] = {"J": {"J": 1}, "s": {"s": 1}, "W": {"J": 1, "s": -1}}
_PREFIXED = {
    p + base: (scale, dims) for base, dims in _BASES.items() for p, scale in _PREFIXES.items()
}


class UnitError(ConfigError):
    """A unit is unknown, or two quantities do not go together."""


@dataclass(frozen=True)
class Quantity:
    """A number of base units (J, s, counted things) and their powers."""

    value: float
    dimensions: Dimensions

    @classmethod
    def of(cls, value: float, unit: str) -> "Quantity":
        """`value` in `unit`. Raises `UnitError` for a unit that it does not know."""
        scale, dimensions = _parse(unit)
        return cls(value * scale, dimensions)

    def to(self, unit: str) -> float:
        """The number in `unit`. Raises `UnitError` if that measures something else."""
        one = Quantity.of(1, unit)
        self._same(one)
        return self.value / one.value

    def measures(self, unit: str) -> bool:
        """Whether it can be written in `unit`."""
        return self.dimensions == _parse(unit)[1]

    def __add__(self, other: "Quantity") -> "Quantity":
        self._same(other)
        return Quantity(self.value + other.value, self.dimensions)

    def __mul__(self, other: "Quantity | float") -> "Quantity":
        if not isinstance(other, Quantity):
            return Quantity(self.value * other, self.dimensions)
        powers = dict(self.dimensions)
        for name, power in other.dimensions.items():
            powers[name] = powers.get(name, 0) + power
        return Quantity(self.value * other.value, _clean(powers))

    def __str__(self) -> str:
        return f"{self.value:g} {_name(self.dimensions)}".rstrip()

    def _same(self, other: "Quantity") -> None:
        if self.dimensions != other.dimensions:
            raise UnitError(f"{_name(self.dimensions)} and {_name(other.dimensions)} do not add up")


def _parse(unit: str) -> tuple[float, Dimensions]:
    """Scale to base units, and dimensions."""
    above, slash, below = unit.partition("/")
    scale, powers = _factor(above, unit)
    powers = dict(powers)
    if slash:
        divisor, divided = _factor(below, unit)
        scale /= divisor
        for name, power in divided.items():
            powers[name] = powers.get(name, 0) - power
    return scale, _clean(powers)


def _factor(text: str, unit: str) -> tuple[float, Dimensions]:
    if text in _PREFIXED:
        return _PREFIXED[text]
    # Lower case only: `KJ` or `Bit` is a slip, no new thing to count.
    if text.isidentifier() and text.islower():
        return 1.0, {text: 1}
    raise UnitError(f"{unit!r} is no unit, such as ns, pJ/bit or uW/array")


def _clean(powers: dict[str, int]) -> Dimensions:
    return MappingProxyType({name: power for name, power in powers.items() if power})


def _name(dimensions: Dimensions) -> str:
    above = "*".join(n for n, power in dimensions.items() for _ in range(power))
    below = "/".join(n for n, power in dimensions.items() for _ in range(-power))
    return f"{above or '1'}/{below}" if below else above
