"""What a run costs: counted events times the prices of a table; time is cycles times the clock's period.

A price table is a TOML file: `readout`, and entries `[time.x]`, `[energy.EVENT]`, `[power.x]` of value, unit, source.
What happens and has no price costs nothing and is named in the result. Dynamic energy is a sum over events and knows no
clock; leakage is power times time.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rtl.spec.params import ConfigError, Params

from .events import ACTS, BITS, NOUNS, Events
from .units import Quantity, UnitError

#: Where the named tables are.
FOLDER = Path(__file__).parent / "costs"
#: The table of each readout, where none is chosen.
DEFAULTS = {"digital": "digital-sram", "adc": "analog-pcm"}
#: Times of a table; the clock's period is a must, the others are what units of analog hardware take.
TIMES = ("clock", "mvm", "communication")
#: Things that leak, and how many of them there are.
LEAKING = {"array": lambda p: p.tiles * p.cores, "core": lambda p: p.cores}

_FIELDS = ("value", "unit", "source")


@dataclass(frozen=True)
class Price:
    """One entry of a table; `source` says who published the number, or that it is an assumption."""

    quantity: Quantity
    source: str


@dataclass(frozen=True)
class Table:
    """Prices by name. `energy` is keyed by event; conversions have a price by resolution: `adc_conversions.5`."""

    name: str
    readout: str
    time: Mapping[str, Price]
    energy: Mapping[str, Price]
    power: Mapping[str, Price]

    def check(self, params: Params) -> None:
        """Raise `ConfigError` if this prices another kind of hardware, or other converters."""
        if self.readout != params.readout:
            raise ConfigError(
                f"{self.name}: readout: prices of {self.readout!r} do not fit a program of {params.readout!r}"
            )
        if self.readout == "adc" and self.price("adc_conversions", params) is None:
            raise ConfigError(
                f"{self.name}: energy.adc_conversions.{params.adc_bits}: is missing, and the converters "
                f"have {params.adc_bits} bits"
            )

    def cycles(self, time: str) -> int:
        """Clock cycles that one of its times takes, rounded up. Raises `ConfigError` if it has none such."""
        if time not in self.time:
            raise ConfigError(f"{self.name}: time.{time}: is missing")
        ratio = self.time[time].quantity.to("s") / self.time["clock"].quantity.to("s")
        # A quotient of decimal fractions may come out a hair above the whole number that it is.
        return math.ceil(ratio * (1 - 1e-12))

    def price(self, event: str, params: Params) -> Price | None:
        """The price of an event under some parameters; None: it has none."""
        if event != "adc_conversions":
            return self.energy.get(event)
        return self.energy.get(f"{event}.{params.adc_bits}")


@dataclass(frozen=True)
class Cost:
    """Time and energy of a run, energy by event and by what leaks."""

    table: str
    time: Quantity
    dynamic: Mapping[str, Quantity]
    leakage: Mapping[str, Quantity]
    unpriced: tuple[str, ...]  #: acts (`mapper.events.ACTS`) that happened and have no price

    @property
    def breakdown(self) -> dict[str, Quantity]:
        """All energies by name."""
        leaks = {f"leakage_{name}": energy for name, energy in self.leakage.items()}
        return {**self.dynamic, **leaks}

    @property
    def energy(self) -> Quantity:
        """The sum of the breakdown."""
        return _sum(self.breakdown)

    def as_dict(self) -> dict:
        """JSON values, as in report.json: ns and nJ."""
        return {
            "table": self.table,
            "time_ns": self.time.to("ns"),
            "energy_nj": self.energy.to("nJ"),
            "dynamic_nj": _sum(self.dynamic).to("nJ"),
            "leakage_nj": _sum(self.leakage).to("nJ"),
            "breakdown_nj": {name: energy.to("nJ") for name, energy in self.breakdown.items()},
            "unpriced": list(self.unpriced),
        }


def cost(events: Events, table: Table, params: Params) -> Cost:
    """What the counted events of a run on hardware with `params` cost. Raises `ConfigError`, see `Table.check`."""
    table.check(params)
    time = table.time["clock"].quantity * events.cycles
    counts = {name: count for name, count in events.as_dict().items() if name != "cycles"}
    prices = {name: table.price(name, params) for name in counts}
    dynamic = {
        name: price.quantity * _things(name, counts[name], price, params)
        for name, price in prices.items()
        if price is not None
    }
    leakage = {
        name: Quantity.of(LEAKING[name](params), name) * price.quantity * time
        for name, price in table.power.items()
    }
    priced = {ACTS[name] for name in dynamic}
    done = dict.fromkeys(ACTS[name] for name, count in counts.items() if count)
    return Cost(table.name, time, dynamic, leakage, tuple(act for act in done if act not in priced))


def _things(event: str, count: int, price: Price, params: Params) -> Quantity:
    """The count in what the price is per: things, or their bits."""
    bits = BITS[event]
    if bits is not None and price.quantity.measures("J/bit"):
        return Quantity.of(count * bits(params), "bit")
    return Quantity.of(count, NOUNS[event])


def _sum(energies: Mapping[str, Quantity]) -> Quantity:
    return sum(energies.values(), Quantity.of(0, "J"))


# -- reading a table ------------------------------------------------------------------------------


def load(name: str | Path) -> Table:
    """A table by name, or a TOML file by path. Raises `ConfigError` naming file and key."""
    named = {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}
    if str(name) not in named and Path(name).suffix != ".toml":
        raise ConfigError(
            f"cost: {str(name)!r} is neither a TOML file nor one of {', '.join(named)}"
        )
    path = named.get(str(name), Path(name))
    try:
        return _table(str(name), tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _table(name: str, values: dict) -> Table:
    unknown = set(values) - {"readout", "time", "energy", "power"}
    if unknown:
        raise ConfigError(f"{min(unknown)}: unknown key")
    if "readout" not in values:
        raise ConfigError("readout: is missing")
    readout = values["readout"]
    if readout not in DEFAULTS:
        raise ConfigError(f"readout: {readout!r} is not one of {', '.join(DEFAULTS)}")
    time = _section(values, "time", dict.fromkeys(TIMES, ("s",)))
    if "clock" not in time:
        raise ConfigError("time.clock: is missing")
    if time["clock"].quantity.value == 0:
        raise ConfigError("time.clock.value: 0 is no period")
    power = _section(values, "power", {name: (f"W/{name}",) for name in LEAKING})
    return Table(name, readout, time, _section(values, "energy", _energies(values)), power)


def _energies(values: dict) -> dict[str, tuple[str, ...]]:
    """Units that each energy may have."""
    units = {
        event: (f"J/{noun}", *(("J/bit",) if BITS[event] else ()))
        for event, noun in NOUNS.items()
        if event not in ("cycles", "adc_conversions")
    }
    return units | {f"adc_conversions.{bits}": ("J/conversion",) for bits in range(1, 17)}


def _section(values: dict, section: str, units: Mapping[str, tuple[str, ...]]) -> dict[str, Price]:
    """Prices of a section; `units`: what each may be written in, besides prefixes."""
    found = values.get(section, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{section}: must be a table of entries")
    entries = dict(found)
    by_bits = entries.pop("adc_conversions", {}) if section == "energy" else {}
    if not isinstance(by_bits, dict):
        raise ConfigError("energy.adc_conversions: must be a table of entries by bits")
    entries |= {f"adc_conversions.{bits}": entry for bits, entry in by_bits.items()}
    for name in entries:
        if name not in units:
            known = ", ".join(unit for unit in units if "." not in unit)
            raise ConfigError(f"{section}.{name}: unknown key, not one of {known}")
    return {name: _price(f"{section}.{name}", entries[name], units[name]) for name in entries}


def _price(key: str, entry: object, units: tuple[str, ...]) -> Price:
    if not isinstance(entry, dict):
        raise ConfigError(f"{key}: must have {', '.join(_FIELDS)}")
    for name in (*_FIELDS, *entry):
        if name not in _FIELDS:
            raise ConfigError(f"{key}.{name}: unknown key, not one of {', '.join(_FIELDS)}")
        if name not in entry:
            raise ConfigError(f"{key}.{name}: is missing")
    value, unit, source = (entry[name] for name in _FIELDS)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:
        raise ConfigError(f"{key}.value: {value!r} must be a number, at least 0")
    if not isinstance(source, str) or not source.strip():
        raise ConfigError(f"{key}.source: {source!r} must say where the value is from")
    return Price(_quantity(key, value, unit, units), source)


def _quantity(key: str, value: float, unit: object, units: tuple[str, ...]) -> Quantity:
    wanted = " or ".join(units)
    if not isinstance(unit, str):
        raise ConfigError(f"{key}.unit: {unit!r} must be a unit of {wanted}")
    try:
        quantity = Quantity.of(value, unit)
    except UnitError as error:
        raise ConfigError(f"{key}.unit: {error}") from None
    if not any(quantity.measures(known) for known in units):
        raise ConfigError(f"{key}.unit: {unit!r} does not measure {wanted}")
    return quantity
