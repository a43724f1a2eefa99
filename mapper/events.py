"""What a run does, counted: the events that the ISS counts and that a price table prices.

Every event is a number of things of one kind (`noun`), so a price is an energy per that noun; where a thing has
bits, also per bit.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rtl.spec.isa import width
from rtl.spec.params import ConfigError, Params

#: Bits of a requantisation constant: bias, multiplier, shift (`rtl.spec.numeric.pack_const`).
CONST_BITS = 64

Bits = Callable[[Params], int]


def _event(noun: str, what: str, bits: Bits | None = None, act: str = ""):
    meta = {"noun": noun, "what": what, "bits": bits, "act": act}
    return dataclasses.field(default=0, metadata=meta)


def _of_pass(noun: str, what: str):
    return _event(noun, what, act="passes")


def _word(p: Params) -> int:
    return p.word_bits


def _const_word(p: Params) -> int:
    return p.lanes * CONST_BITS


@dataclass
class Events:
    """Counts of a run. Steps, planes, groups and MACs count every array that a PASS spans."""

    cycles: int = _event("cycle", "clock cycles, waiting included")
    instructions: int = _event(
        "instruction", "instructions issued, those of a loop each time", width
    )
    passes: int = _of_pass("pass", "passes of arrays")
    steps: int = _of_pass("step", "steps of passes: one row group a column group")
    planes: int = _of_pass("plane", "bit planes of inputs put on an array")
    row_groups: int = _of_pass("group", "row groups that drive an array, step by step")
    column_groups: int = _of_pass("group", "column groups that compute, step by step")
    macs: int = _of_pass("mac", "cells that multiply an activation and add it up")
    bit_macs: int = _of_pass("bit_mac", "the same, by bits of weight and activation")
    adc_conversions: int = _event("conversion", "conversions of analog column sums")
    drains: int = _event("drain", "drains", act="drains")
    drained: int = _event("value", "accumulators read by drains", act="drains")
    const_reads: int = _event(
        "word", "reads of constants, a word of all lanes a drain step", _const_word
    )
    requantisations: int = _event("value", "values requantised")
    row_writes: int = _event("element", "elements written to row registers", lambda p: p.act_bits)
    buffer_reads: int = _event("word", "buffer words read", _word)
    buffer_writes: int = _event("word", "buffer words written", _word)
    stream_in: int = _event("word", "words of the input stream", _word)
    stream_out: int = _event("word", "words of the output stream", _word)
    weight_writes: int = _event("weight", "weights written to arrays", lambda p: p.weight_bits)
    const_writes: int = _event("word", "words of constants written", _const_word)

    def as_dict(self) -> dict[str, int]:
        """Counts by name."""
        return dataclasses.asdict(self)

    def __add__(self, other: "Events") -> "Events":
        mine, theirs = self.as_dict(), other.as_dict()
        return Events(**{name: mine[name] + theirs[name] for name in mine})

    @classmethod
    def from_dict(cls, values: Mapping[str, int]) -> "Events":
        """The inverse of `as_dict`. Raises `ConfigError` for an event that it does not know."""
        for name in values:
            if name not in NOUNS:
                raise ConfigError(f"events: {name!r} is unknown")
        return cls(**values)


_FIELDS = dataclasses.fields(Events)
#: By event: what one of it is called in units, what it counts, its bits (None: it has none).
NOUNS: dict[str, str] = {f.name: f.metadata["noun"] for f in _FIELDS}
MEANINGS: dict[str, str] = {f.name: f.metadata["what"] for f in _FIELDS}
BITS: dict[str, Bits | None] = {f.name: f.metadata["bits"] for f in _FIELDS}
#: By event: what the hardware does; events of one act measure the same work, and one price is enough.
ACTS: dict[str, str] = {f.name: f.metadata["act"] or f.name for f in _FIELDS}
