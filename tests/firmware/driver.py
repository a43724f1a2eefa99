"""The driver as a shared library, its registers those of the model (sim/peripheral.py)."""

import ctypes
import os
import subprocess
from ctypes import CFUNCTYPE, POINTER, Structure, c_uint, c_uint32, c_void_p
from enum import IntEnum
from pathlib import Path

import numpy as np

from firmware.image import Image
from firmware.toolchain import DRIVER as SOURCE
from firmware.toolchain import WARNINGS
from rtl.spec.params import Params
from rtl.spec.regmap import ON_BUS
from sim.peripheral import BusError, Peripheral

ROOT = Path(__file__).parents[2]
#: Flags of `python -m firmware coverage`, for its own builds.
FLAGS = "BLOCKCIM_DRIVER_FLAGS"
UNDEFINED = "-O1 -g -fsanitize=undefined -fno-sanitize-recover=all"
COPY, DMA, INTERRUPT = 0, 1, 2
#: More than any run here takes, and few, for those that do not end.
POLLS, FEW = 20_000, 50
#: Where DMA finds the memory that the driver is given.
BASE = 0x2000_0000

Code = IntEnum(
    "Code",
    "OK PENDING BAD_ARGUMENT NO_CORE BAD_VERSION BAD_CONFIG IMAGE_NO_MAGIC IMAGE_BAD_VERSION "
    "IMAGE_TRUNCATED IMAGE_BAD_SIZE IMAGE_BAD_SUM PROGRAM_TOO_LONG BUSY RESULT_TOO_SMALL RESULT_SHORT "
    "INPUT_LEFT TIMEOUT CORE_ERROR FAULT",
    start=0,
)

Words = POINTER(c_uint32)
READ = CFUNCTYPE(c_uint32, c_void_p, c_uint32)
WRITE = CFUNCTYPE(None, c_void_p, c_uint32, c_uint32)
SLEEP = CFUNCTYPE(None, c_void_p)
ADDRESS = CFUNCTYPE(c_uint32, c_void_p, c_void_p)


def structure(name: str, **members) -> type[Structure]:
    return type(name, (Structure,), {"_fields_": list(members.items())})


def uints(names: str) -> dict:
    return dict.fromkeys(names.split(), c_uint32)


Platform = structure(
    "blockcim_platform",
    context=c_void_p,
    wait_for_interrupt=SLEEP,
    bus_address=ADDRESS,
)
Capabilities = structure(
    "blockcim_capabilities",
    **uints(
        "config_hash rows cols tiles lanes granule weight_bits act_bits act_depth const_depth "
        "prog_depth beat_words fifo_words"
    ),
)
Run = structure(
    "blockcim_run",
    input=Words,
    input_words=c_uint32,
    output=Words,
    output_words=c_uint32,
    length=c_uint32,
)
Core = structure(
    "blockcim",
    registers=Words,
    platform=POINTER(Platform),
    polls=c_uint32,
    has=Capabilities,
    error=c_uint,
    error_pc=c_uint32,
    fault=c_uint,
    interrupted=c_uint32,
    image=c_void_p,
    run=Run,
    how=c_uint,
)
Span = structure("blockcim_span", words=Words, count=c_uint32)
Opened = structure(
    "blockcim_image",
    **uints("config_hash length cycles instruction"),
    **dict.fromkeys(["boot", "boot_input", "program", "input", "output"], Span),
)
Counters = structure(
    "blockcim_counters",
    **uints("cycles busy_in busy_load busy_pass busy_drain busy_out pass_tiles issued"),
)
STRUCTURES = (Platform, Capabilities, Run, Core, Span, Opened, Counters)
#: Argument types of each function; all but two return a code.
FUNCTIONS = {
    "probe": (POINTER(Core),),
    "image_open": (POINTER(Opened), Words, c_uint32),
    "boot": (POINTER(Core), POINTER(Opened), c_uint),
    "run_image": (POINTER(Core), POINTER(Opened), Words, Words, c_uint32, c_uint),
    "load": (POINTER(Core), Words, c_uint32, c_uint),
    "start": (POINTER(Core), POINTER(Run), c_uint),
    "poll": (POINTER(Core),),
    "wait": (POINTER(Core),),
    "interrupt": (POINTER(Core),),
    "read_counters": (POINTER(Core), POINTER(Counters)),
    "reset": (POINTER(Core),),
}


#: Sizes of the structures, and access to registers by functions that Python sets.
GLUE = f"""
#include "blockcim_driver.h"
const unsigned blockcim_sizes[] = {{{", ".join(f"sizeof(struct {s.__name__})" for s in STRUCTURES)}}};
#ifdef BLOCKCIM_EXTERNAL_ACCESS
uint32_t (*blockcim_read)(struct blockcim *core, uint32_t offset);
void (*blockcim_write)(struct blockcim *core, uint32_t offset, uint32_t value);
uint32_t blockcim_register_read(struct blockcim *core, uint32_t offset)
{{
    return blockcim_read(core, offset);
}}
void blockcim_register_write(struct blockcim *core, uint32_t offset, uint32_t value)
{{
    blockcim_write(core, offset, value);
}}
#endif
"""


def build(where: Path, external: bool = True) -> ctypes.CDLL:
    """Compile the driver into a shared library; `external`: registers are what Python says.

    The other build is not counted by gcov: it has the same code but for two lines.
    """
    glue, library = where / "glue.c", where / "driver.so"
    glue.write_text(GLUE)
    flags = os.environ.get(FLAGS, UNDEFINED) if external else UNDEFINED
    flags = [*flags.split(), *WARNINGS, "-shared", "-fPIC"]
    flags += ["-DBLOCKCIM_EXTERNAL_ACCESS"] if external else []
    command = ["cc", *flags, str(SOURCE), str(glue), "-o", str(library)]
    subprocess.run(command, check=True, cwd=where)
    return declare(ctypes.CDLL(str(library)))


def declare(loaded: ctypes.CDLL) -> ctypes.CDLL:
    """Tell ctypes what the driver's functions take and return."""
    for name, arguments in FUNCTIONS.items():
        function = getattr(loaded, f"blockcim_{name}")
        function.argtypes = arguments
        function.restype = None if name in ("interrupt", "read_counters") else Code
    return loaded


class Bench:
    """A driver and the model of its core; words given to the driver lie in memory that DMA reaches.

    Members
    -------
    core, model : the driver's structure, the peripheral
    memory : uint32 array, of which `place` gives parts
    misuse : what the driver did that the hardware does not define; tests end with none
    """

    def __init__(self, library: ctypes.CDLL, params: Params, words: int = 1 << 15, **options):
        self.library = library
        self.memory = (c_uint32 * words)()
        view = memoryview(self.memory).cast("B")
        self.model = Peripheral(params, view, BASE, **options)
        self.free = 1  # null is no address
        self.guards = [0]  # words that belong to nobody
        self.misuse: list[str] = []
        self.sleeps = self.woken = 0  # how often the driver slept, and an interrupt ended it
        self.access = {
            "blockcim_read": READ(lambda _, offset: self._try(self.model.read, offset)),
            "blockcim_write": WRITE(lambda _, *what: self._try(self.model.write, *what)),
        }
        self.platform = Platform(
            None, SLEEP(lambda _: self.sleep()), ADDRESS(lambda _, p: self.bus_address(p or 0))
        )
        self.core = Core(platform=ctypes.pointer(self.platform), polls=POLLS)

    def _try(self, function, *arguments) -> int:
        try:
            return function(*arguments) or 0
        except BusError as error:
            self.misuse.append(str(error))
            return 0

    def check(self) -> None:
        """Nothing was done that is not defined, and no word was written that belongs to nobody."""
        assert self.misuse == []
        assert [at for at in self.guards if self.memory[at]] == []

    def sleep(self) -> None:
        """Let time pass until the interrupt, and call the driver's handler."""
        self.sleeps += 1
        for _ in range(10_000):
            if self.model.irq:
                self.woken += 1
                self("interrupt")
                assert not self.model.irq
                return
            self.model.tick()

    def bus_address(self, pointer: int) -> int:
        at = pointer - ctypes.addressof(self.memory)
        return BASE + at if 0 <= at < ctypes.sizeof(self.memory) else 0

    def hook(self) -> None:
        """Let the library access this model."""
        for hook, function in self.access.items():
            c_void_p.in_dll(self.library, hook).value = ctypes.cast(function, c_void_p).value

    def __call__(self, name: str, *arguments):
        """Call a function of the driver on the core."""
        self.hook()
        return getattr(self.library, f"blockcim_{name}")(ctypes.byref(self.core), *arguments)

    def place(self, words) -> ctypes.Array:
        """Words in memory that DMA reaches."""
        words = np.asarray(words, np.uint32)
        part = (c_uint32 * len(words)).from_buffer(self.memory, 4 * self.free)
        part[:] = words.tolist()
        self.free += len(words) + 1
        self.guards.append(self.free - 1)
        return part

    def open(self, image: Image) -> Structure:
        """Probe the core and open an image for it."""
        assert self("probe") == Code.OK
        opened = Opened()
        words = self.place(image.words())
        assert self.library.blockcim_image_open(opened, words, len(words)) == Code.OK
        return opened

    def register(self, name: str) -> int:
        return self.model.read(4 * ON_BUS[name].address)
