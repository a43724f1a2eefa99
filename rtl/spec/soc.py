"""The SoC's memory map: what the CPU sees where; for the hardware, the linker script and the C header.

Byte addresses, 32-bit registers. The image that the demo boots lies in RAM, behind the program.
"""

from dataclasses import dataclass

from .params import ConfigError
from .regmap import BUS_ADDRESS_BITS, Register

#: First byte of each region.
RAM_BASE = 0x0000_0000
CORE_BASE = 0x8000_0000
UART_BASE = 0x8000_1000
TIMER_BASE = 0x8000_2000

#: Bytes of the core's registers (rtl/spec/regmap.py: REGISTERS, then PERIPHERAL).
CORE_SIZE = 4 << BUS_ADDRESS_BITS

#: Registers of the UART, by word address from its base.
UART: tuple[Register, ...] = (
    Register("DATA", 0, "rw", "write: send a byte; read: the byte received, which is then gone"),
    Register(
        "STATUS",
        1,
        "ro",
        "state",
        (
            ("tx_ready", 0, 1, "DATA takes a byte"),
            ("rx_valid", 1, 1, "DATA has a byte"),
        ),
    ),
    Register("IRQ_ENABLE", 2, "rw", "bit 0: interrupt while DATA has a byte"),
)

#: Registers of the timer, by word address from its base.
TIMER: tuple[Register, ...] = (
    Register("CYCLES", 0, "ro", "low 32 bits of a free-running cycle counter"),
    Register(
        "BUS_ERROR",
        1,
        "rw",
        "the first transfer of the CPU that nothing answered or that was refused; a write clears it",
        (
            ("error", 0, 1, "there was one; it read as 0"),
            ("write", 1, 1, "it was a write"),
            ("word", 2, 30, "its word address: the bits above make the byte address"),
        ),
    ),
)


@dataclass(frozen=True)
class Memory:
    """Sizes of the SoC: bytes of RAM, and the byte address at which the image lies in it.

    What is below `image` holds program, data and stack; what is behind the image holds results.
    """

    ram: int = 0x0008_0000
    image: int = 0x0001_0000

    def __post_init__(self) -> None:
        if self.ram % 4 or not 0 < self.ram <= CORE_BASE - RAM_BASE:
            raise ConfigError(
                f"ram: {self.ram} is not a multiple of 4 in 4..{CORE_BASE - RAM_BASE}"
            )
        if self.image % 4 or not 0 < self.image < self.ram:
            raise ConfigError(f"image: {self.image} is not a multiple of 4 in 4..{self.ram - 4}")
