"""Simulates the SoC: the demo on the CPU boots an image, runs it, checks itself and says so on the UART."""

import functools
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gen.emit import line_simulation
from rtl.spec.params import ConfigError, Params
from rtl.spec.soc import Memory
from sim.runner import build, simulate
from sim.waves import format_of

from . import image as images
from .toolchain import demo, ram

#: Clock cycles of a bit of the simulated line: the fewest that the receiver takes.
DIVISOR = 8
#: Cycles after which a run is given up: of the CPU for each word of the image, and beside that.
CYCLES_A_WORD, CYCLES = 400, 2_000_000

_RUN = re.compile(
    r"^([a-z-]+): (\d+) mismatches of (\d+), (\d+) cycles, core busy (\d+), alone (\d+)$", re.M
)
_BOOT = re.compile(r"^([a-z-]+): boot (\d+) cycles$", re.M)


@dataclass(frozen=True)
class Way:
    """What the demo says about one way to move data."""

    mismatches: int  #: words of output that are wrong
    outputs: int  #: words of output
    cycles: int  #: of the CPU's call of the driver
    busy: int  #: of them, those in which the core ran
    alone: int  #: of the core when streams never wait
    boot: int  #: cycles to load constants, weights and program

    @property
    def control(self) -> float:
        """Control overhead: cycles outside the core's busy time, over that time."""
        return (self.cycles - self.busy) / self.busy

    @property
    def total(self) -> float:
        """All overhead: cycles beyond those of a core whose streams never wait, over these."""
        return (self.cycles - self.alone) / self.alone


@dataclass(frozen=True)
class Outcome:
    """A run of the demo: the text on the UART, and what it says, by way (`cpu-copy`, `dma`)."""

    text: str
    ways: dict[str, Way]

    @property
    def good(self) -> bool:
        """Whether the demo passed in both ways."""
        return (
            self.text.endswith("\nPASS\n")
            and len(self.ways) == 2
            and not any(way.mismatches for way in self.ways.values())
        )

    def as_dict(self) -> dict:
        """As JSON values."""
        ways = {
            name: asdict(way) | {"control_overhead": way.control, "total_overhead": way.total}
            for name, way in self.ways.items()
        }
        return {"good": self.good, "ways": ways, "text": self.text}


def parse(text: str) -> Outcome:
    """What the text of the demo says."""
    boots = {name: int(cycles) for name, cycles in _BOOT.findall(text)}
    ways = {}
    for name, *numbers in _RUN.findall(text):
        values = [*map(int, numbers), boots[name]]
        ways[name] = Way(*values)
    return Outcome(text, ways)


def memory_for(image_bytes: int) -> Memory:
    """The default memory, or the next power of two that holds image and results."""
    memory = Memory()
    need = memory.image + 2 * image_bytes
    return memory if need <= memory.ram else Memory(ram=1 << (need - 1).bit_length())


@functools.cache
def _hardware(params: Params, memory: Memory) -> dict[str, str]:
    return line_simulation(params, "soc", DIVISOR, memory=memory)


def run(
    image: images.Image,
    params: Params,
    simulator: str = "verilator",
    *,
    program: bytes | None = None,
    memory: Memory | None = None,
    dump: Path | None = None,
    quick: bool = False,
) -> Outcome:
    """Run the demo, or another `program` (ELF) that ends with a line PASS or FAIL, on an image.

    `quick` as of `sim.runner.build`.

    Raises `ConfigError` if the image does not fit, a tool is missing, or the text does not end in time.
    """
    data = image.to_bytes()
    memory = memory or memory_for(len(data))
    content = ram(program or demo(memory), data, memory)
    waves = format_of(dump) if dump else ""
    where = build(params, simulator, texts=_hardware(params, memory), waves=waves, quick=quick)
    with tempfile.TemporaryDirectory(prefix="blockcim-") as scratch:
        work = Path(scratch)
        words = np.frombuffer(content.ljust(-(-len(content) // 4) * 4, b"\0"), "<u4")
        (work / "ram").write_bytes(words.astype(">u4").tobytes())
        limit = CYCLES + CYCLES_A_WORD * len(data) // 4
        plusargs = [f"+ram={work / 'ram'}", f"+out={work / 'out'}", f"+timeout={limit}"]
        if dump is not None:
            plusargs.append(f"+dump={dump.absolute()}")
        simulate(simulator, where, work, plusargs, waves, module="firmware.tb_soc")
        text = (work / "out").read_bytes().decode("ascii", "replace")
    if not re.search(r"^(PASS|FAIL)\n", text, re.M):
        raise ConfigError(f"soc: no end after {limit} cycles; the UART said {text[-200:]!r}")
    return parse(text)
