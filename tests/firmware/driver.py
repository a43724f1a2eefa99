"""The driver as a shared library, its registers those of the model (sim/peripheral.py)."""

import ctypes
import os
import subprocess
from ctypes import CFUNCTYPE, POINTER, Structure, c_uint, c_uint32, c_void_p
from enum import IntEnum
from pathlib import Path

import numpy as np

from firmware.image import Image
from rtl.spec.params import Params
from rtl.spec.regmap import ON_BUS
from sim.peripheral import BusError, Peripheral

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "firmware/blockcim_driver.c"
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wpedantic"]
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
    read=READ,
    write=WRITE,
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
    run=Run,
    left=c_uint32,
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


def build(where: Path) -> ctypes.CDLL:
    """Compile the driver into a shared library, with a table of the sizes of its structures."""
    table = ", ".join(f"sizeof(struct {s.__name__})" for s in STRUCTURES)
    sizes = where / "sizes.c"
    sizes.write_text(
        f'#include "blockcim_driver.h"\nconst unsigned blockcim_sizes[] = {{{table}}};\n'
    )
    flags = os.environ.get(FLAGS, UNDEFINED).split()
    library = where / "driver.so"
    command = ["cc", *WARNINGS, *flags, "-shared", "-fPIC", f"-I{ROOT / 'firmware'}"]
    # One object after the other: coverage data is named after the object.
    subprocess.run([*command, str(SOURCE), str(sizes), "-o", str(library)], check=True, cwd=where)
    loaded = ctypes.CDLL(str(library))
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
        self.misuse: list[str] = []
        self.sleeps = 0
        self.access = [
            READ(lambda _, offset: self._try(self.model.read, offset)),
            WRITE(lambda _, offset, value: self._try(self.model.write, offset, value)),
            SLEEP(lambda _: self.sleep()),
            ADDRESS(lambda _, pointer: self.bus_address(pointer or 0)),
        ]
        self.platform = Platform(None, *self.access)
        self.core = Core(platform=ctypes.pointer(self.platform), polls=POLLS)

    def _try(self, function, *arguments) -> int:
        try:
            return function(*arguments) or 0
        except BusError as error:
            self.misuse.append(str(error))
            return 0

    def sleep(self) -> None:
        """Let time pass until the interrupt, and call the driver's handler."""
        self.sleeps += 1
        for _ in range(10_000):
            if self.model.irq:
                self("interrupt")
                assert not self.model.irq
                return
            self.model.tick()

    def bus_address(self, pointer: int) -> int:
        at = pointer - ctypes.addressof(self.memory)
        return BASE + at if 0 <= at < ctypes.sizeof(self.memory) else 0

    def __call__(self, name: str, *arguments):
        """Call a function of the driver on the core."""
        return getattr(self.library, f"blockcim_{name}")(ctypes.byref(self.core), *arguments)

    def place(self, words) -> ctypes.Array:
        """Words in memory that DMA reaches."""
        words = np.asarray(words, np.uint32)
        part = (c_uint32 * len(words)).from_buffer(self.memory, 4 * self.free)
        part[:] = words.tolist()
        self.free += len(words) + 2
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
