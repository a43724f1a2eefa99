"""Hardware parameters: a frozen, validated record, read from TOML or a preset."""

import dataclasses
import hashlib
import json
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

#: Version of the instruction set and of the program file format; part of the configuration hash.
ISA_VERSION = 2
#: Parameters that say how fast converters are.
ANALOG_TIMES = ("adc_settle", "adc_cycles_per_bit")
#: Parameters that only `readout = "adc"` has.
ANALOG = ("adc_bits", "adcs", *ANALOG_TIMES)
#: Cycles for the columns to settle: with one cycle a bit, densemap (3 bits) and sparsemap (5 bits) on 256 columns
#: then change places between 16 and 32 converters, where the paper has them do so.
DEFAULT_SETTLE = 4


class ConfigError(ValueError):
    """A parameter, field or file breaks a rule: one line with key, value and limit."""


def clog2(value: int) -> int:
    """Bits needed to number `value` things: ceil(log2(value)), 0 for one thing."""
    return max(0, (value - 1).bit_length())


def index_bits(things: int) -> int:
    """Bits of a port or field that numbers `things` things; one thing still has a one-bit port."""
    return max(1, clog2(things))


@dataclass(frozen=True)
class Params:
    """One configuration of the hardware. Raises `ConfigError` on a value out of its domain.

    An array holds `rows x cols` weights, cut into granules of `granule x granule`. `lanes` elements
    move through a buffer, load or drain port in a cycle, as `slots` granule-wide slots.
    """

    rows: int = 256  #: weights per column of an array
    cols: int = 256  #: weights per row of an array
    granule: int = 32  #: B, the segmentation of the array; divides rows, cols and lanes
    weight_bits: int = 8  #: 2, 4 or 8, two's complement
    act_bits: int = 8  #: 4 or 8, two's complement
    dac_bits: int = 1  #: input bits a cycle; a step of a pass takes act_bits / dac_bits cycles
    tree: str = "shared"  #: `shared`: one adder tree a column; `full`: one segment per row group
    readout: str = "digital"  #: `digital`: exact; `adc`: an analog array, emulated
    adc_bits: int = 0  #: bits of a converter, 1..12, only with `readout = "adc"`
    adcs: int = 0  #: converters that the columns of an array share, only with `readout = "adc"`
    adc_settle: int = 0  #: cycles until columns settle, only with `readout = "adc"`; 0: 4
    adc_cycles_per_bit: int = 0  #: of a conversion, only with `readout = "adc"`; 0: 1
    tiles: int = 1  #: arrays per core
    cores: int = 1  #: cores per chip
    lanes: int = 32  #: elements a cycle through a buffer, load or drain port
    drain_ports: int = 1  #: drains at the same time: 1, 2 or 4
    requantisers: int = 0  #: multipliers that the lanes of a drain share; 0: one a lane
    multiply_cycles: int = 1  #: of a requantisation, 1, 2, 4, 8 or 16; more: smaller multipliers
    issue_cycles: int = 1  #: from one instruction to the next, 1..3; more: a faster clock
    busy_counters: int = 1  #: 0: the counters of busy cycles, a tenth of a small core, read as 0
    chunk: int = 0  #: column groups a drain selects together; 0: gcd of G, H and granule
    act_depth: int = 1024  #: activation buffer, words of `lanes` elements
    const_depth: int = 1024  #: requantisation constants, words of `lanes` entries
    prog_depth: int = 1024  #: instructions
    stream_width: int = 0  #: bits of a stream beat; 0: one buffer word, lanes * act_bits

    def __post_init__(self) -> None:
        for name, kind in (("tree", str), ("readout", str)):
            if not isinstance(getattr(self, name), kind):
                raise ConfigError(f"{name}: {getattr(self, name)!r} must be a string")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is int and (isinstance(value, bool) or not isinstance(value, int)):
                raise ConfigError(f"{field.name}: {value!r} must be an integer")
        self._one_of("weight_bits", (2, 4, 8))
        self._one_of("act_bits", (4, 8))
        self._one_of("dac_bits", (1, 2, 4, 8))
        self._one_of("tree", ("shared", "full"))
        self._one_of("readout", ("digital", "adc"))
        self._one_of("drain_ports", (1, 2, 4))
        self._one_of("multiply_cycles", (1, 2, 4, 8, 16))
        self._one_of("busy_counters", (0, 1))
        self._between("issue_cycles", 1, 3)
        self._between("rows", 2, 2048)
        self._between("cols", 2, 2048)
        self._check_readout()
        self._between("granule", 2, 256)
        self._between("tiles", 1, 4096)
        self._between("cores", 1, 64)
        self._between("act_depth", 2, 1 << 16)
        self._between("const_depth", 2, 1 << 16)
        self._between("prog_depth", 2, 1 << 20)
        for name in ("rows", "cols", "lanes"):
            value = getattr(self, name)
            if value < self.granule or value % self.granule:
                raise ConfigError(f"granule: {self.granule} does not divide {name} = {value}")
        if self.lanes > self.cols:
            raise ConfigError(f"lanes: {self.lanes} is above the limit cols = {self.cols}")
        if self.lanes % (32 // self.act_bits):
            raise ConfigError(
                f"lanes: {self.lanes} must be a multiple of {32 // self.act_bits} (int32 output)"
            )
        if self.requantisers < 0 or (self.requantisers and self.lanes % self.requantisers):
            raise ConfigError(
                f"requantisers: {self.requantisers} does not divide lanes = {self.lanes}"
            )
        if self.act_bits % self.dac_bits:
            raise ConfigError(
                f"dac_bits: {self.dac_bits} does not divide act_bits = {self.act_bits}"
            )
        limit = 64
        for name in ("row_groups", "col_groups"):
            if getattr(self, name) > limit:
                raise ConfigError(
                    f"granule: {self.granule} gives {getattr(self, name)} {name}, limit {limit}"
                )
        widest = math.gcd(self.row_groups, self.col_groups, self.granule)
        if self.chunk < 0 or (self.chunk and widest % self.chunk):
            raise ConfigError(
                f"chunk: {self.chunk} does not divide {widest}, "
                "the gcd of row groups, column groups and granule"
            )
        if self.stream_width < 0 or (self.stream_width and self.word_bits % self.stream_width):
            raise ConfigError(
                f"stream_width: {self.stream_width} does not divide "
                f"lanes * act_bits = {self.word_bits}"
            )
        if self.acc_bits > 32:
            raise ConfigError(
                f"rows: {self.rows} needs accumulators of {self.acc_bits} bits, limit 32"
            )

    def _check_readout(self) -> None:
        """Parameters of converters: needed with `readout = "adc"`, and of no use without."""
        if not self.analog:
            for name in ANALOG:
                if getattr(self, name):
                    raise ConfigError(f"{name}: {getattr(self, name)} needs readout = 'adc'")
            return
        if self.dac_bits != 1:
            raise ConfigError(f"dac_bits: {self.dac_bits} must be 1 with readout = 'adc'")
        self._between("adc_bits", 1, 12)
        self._between("adcs", 1, self.cols)
        self._between("adc_settle", 0, 1024)
        self._between("adc_cycles_per_bit", 0, 64)

    def _one_of(self, name: str, allowed: tuple) -> None:
        if getattr(self, name) not in allowed:
            raise ConfigError(
                f"{name}: {getattr(self, name)!r} is not one of {', '.join(map(str, allowed))}"
            )

    def _between(self, name: str, low: int, high: int) -> None:
        if not low <= getattr(self, name) <= high:
            raise ConfigError(f"{name}: {getattr(self, name)} is outside {low}..{high}")

    # -- derived values ----------------------------------------------------------------------------

    @property
    def row_groups(self) -> int:
        """G, row groups of an array."""
        return self.rows // self.granule

    @property
    def col_groups(self) -> int:
        """H, column groups of an array."""
        return self.cols // self.granule

    @property
    def slots(self) -> int:
        """Granule-wide slots of a buffer word, a load or a drain: lanes / granule."""
        return self.lanes // self.granule

    @property
    def planes(self) -> int:
        """Input bit planes of a step of a pass: act_bits / dac_bits, LSB first, the top one signed."""
        return self.act_bits // self.dac_bits

    @property
    def analog(self) -> bool:
        """Whether columns are summed by an analog array and read by converters."""
        return self.readout == "adc"

    @property
    def weight_planes(self) -> int:
        """Bit planes of weights that are read one after the other: 1 (digital), weight_bits (adc)."""
        return self.weight_bits if self.analog else 1

    @property
    def settle_cycles(self) -> int:
        """Cycles until the columns have settled, once for each pair of bit planes; 0 with digital readout."""
        return (self.adc_settle or DEFAULT_SETTLE) if self.analog else 0

    @property
    def conversion_cycles(self) -> int:
        """Cycles of a conversion, in proportion to its bits; 0 with digital readout."""
        return self.adc_bits * (self.adc_cycles_per_bit or 1)

    def plane_cycles(self, columns: int) -> int:
        """Cycles of one input bit plane against one weight bit plane, for that many columns.

        digital: 1. adc: the columns settle, then take turns at the converters.
        """
        if not self.analog:
            return 1
        return self.settle_cycles + -(-columns // self.adcs) * self.conversion_cycles

    @property
    def drain_chunk(self) -> int:
        """Column groups that a drain selects together; counts in a DRAIN are multiples of it."""
        return self.chunk or math.gcd(self.row_groups, self.col_groups, self.granule)

    @property
    def step_cycles(self) -> int:
        """Cycles of a drain step: lanes take turns at the multipliers of the requantisation."""
        return self.lanes // self.multipliers * self.multiply_cycles

    @property
    def multipliers(self) -> int:
        """Multipliers of the requantisation of a drain."""
        return self.requantisers or self.lanes

    @property
    def acc_bits(self) -> int:
        """Width of a tile's accumulators: exact for a fan-in of `rows`, wraps beyond."""
        return self.act_bits + self.weight_bits + clog2(self.rows)

    @property
    def word_bits(self) -> int:
        """Bits of a buffer word: lanes * act_bits."""
        return self.lanes * self.act_bits

    @property
    def stream_bits(self) -> int:
        """Bits of a stream beat."""
        return self.stream_width or self.word_bits

    @property
    def beats_per_word(self) -> int:
        """Stream beats that make a buffer word."""
        return self.word_bits // self.stream_bits

    @property
    def raw_elements(self) -> int:
        """Elements that one raw int32 output takes: 32 / act_bits."""
        return 32 // self.act_bits

    @property
    def weight_slots(self) -> int:
        """Slots that a granule row of weights takes in a stream word.

        2 only for 8-bit weights and 4-bit activations.
        """
        return max(1, self.weight_bits // self.act_bits)

    @property
    def const_words(self) -> int:
        """Stream words that make one constant word: 64 bits a lane."""
        return 64 // self.act_bits

    # -- in and out --------------------------------------------------------------------------------

    def as_dict(self) -> dict:
        """All parameters by name."""
        return dataclasses.asdict(self)

    def replace(self, **changes) -> "Params":
        """A copy with some parameters changed, validated."""
        unknown = set(changes) - {f.name for f in dataclasses.fields(self)}
        if unknown:
            raise ConfigError(f"{sorted(unknown)[0]}: unknown parameter")
        return dataclasses.replace(self, **changes)

    @property
    def config_hash(self) -> int:
        """32-bit hash of parameters and ISA version; hardware and program must carry the same."""
        values = self.as_dict()
        text = json.dumps([ISA_VERSION, values], sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")

    def to_toml(self) -> str:
        """TOML text, one parameter a line, which `from_toml` reads back."""
        return "".join(f"{k} = {json.dumps(v)}\n" for k, v in self.as_dict().items())

    @classmethod
    def from_dict(cls, values: dict) -> "Params":
        """Parameters from a mapping; unknown names raise `ConfigError`."""
        return cls().replace(**values)

    @classmethod
    def from_toml(cls, path: str | Path) -> "Params":
        """Parameters from a TOML file; errors name the file."""
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from None
        try:
            return cls.from_dict(values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @classmethod
    def load(cls, name: str) -> "Params":
        """A preset by name, or a TOML file by path."""
        if name in PRESETS:
            return cls.from_dict(PRESETS[name])
        if name.endswith(".toml") or "/" in name:
            return cls.from_toml(name)
        raise ConfigError(
            f"config: {name!r} is neither a TOML file nor a preset ({', '.join(PRESETS)})"
        )


#: Named configurations: what differs from the defaults.
PRESETS: dict[str, dict] = {
    "default": {},
    "tiny": {
        "rows": 16,
        "cols": 16,
        "granule": 4,
        "lanes": 8,
        "tiles": 4,
        "act_depth": 256,
        "const_depth": 256,
    },
    "small": {"rows": 64, "cols": 64, "lanes": 32, "tiles": 4},
    "minilm": {"lanes": 128, "act_depth": 8192, "const_depth": 2048, "prog_depth": 4096},
    "gpt2-medium": {
        "lanes": 128,
        "tiles": 20,
        "act_depth": 4096,
        "const_depth": 2048,
        "prog_depth": 4096,
    },
}
#: What fits the boards of gen/fpga/boards.py. One slot a word: lanes = granule.
PRESETS["ulx3s"] = {
    "rows": 16,
    "cols": 16,
    "granule": 4,
    "lanes": 4,
    "act_depth": 512,
    "const_depth": 256,
    "prog_depth": 256,
    "stream_width": 32,
    "issue_cycles": 3,
}
PRESETS["tangnano9k"] = PRESETS["ulx3s"] | {
    "rows": 4,
    "cols": 4,
    "act_depth": 256,
    "requantisers": 1,
    "busy_counters": 0,
}
PRESETS["icebreaker"] = PRESETS["tangnano9k"] | {
    "act_depth": 128,
    "const_depth": 128,
    "prog_depth": 64,
}
PRESETS["hx8k"] = PRESETS["icebreaker"] | {"multiply_cycles": 8}  # it has no multipliers
PRESETS["chip-gpt2-medium"] = PRESETS["gpt2-medium"] | {"cores": 24}
