"""Counters of busy cycles: their registers, their names in the cycle model, and whether a core has them."""

from rtl.spec.params import Params

#: Name in the cycle model by register.
BUSY = {
    "BUSY_IN": "in",
    "BUSY_LOAD": "load",
    "BUSY_PASS": "pass",
    "BUSY_DRAIN": "drain",
    "BUSY_OUT": "out",
    "PASS_TILES": "pass_tiles",
}


def busy_registers(busy: dict[str, int], params: Params) -> dict[str, int]:
    """What the registers read as after a run with these counts of the cycle model."""
    return {name: busy[key] if params.busy_counters else 0 for name, key in BUSY.items()}


def busy_counts(registers: dict[str, int]) -> dict[str, int]:
    """The counters of a core by the names of the cycle model."""
    return {key: registers[name] for name, key in BUSY.items()}
