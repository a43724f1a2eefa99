"""The SoC without its hardware: an emulated RV32I CPU (unicorn), the model of the peripheral, a UART and a timer."""

import random

from unicorn import UC_ARCH_RISCV, UC_HOOK_MEM_INVALID, UC_MODE_RISCV32, Uc
from unicorn.riscv_const import UC_RISCV_REG_PC

from rtl.spec.params import Params
from rtl.spec.soc import CORE_BASE, RAM_BASE, TIMER_BASE, UART_BASE, Memory
from sim.peripheral import Peripheral

#: Instructions after which a program is given up.
LIMIT = 20_000_000
_PAGE = 0x1000


class Machine:
    """A SoC whose RAM begins with `ram`.

    Members
    -------
    printed : what came out of the UART
    model : the peripheral; its DMA reads and writes the same RAM
    """

    def __init__(self, params: Params, ram: bytes, memory: Memory, seed: int = 0):
        self.printed = ""
        self.random = random.Random(seed)
        self.time = 0
        self.uc = Uc(UC_ARCH_RISCV, UC_MODE_RISCV32)
        self.uc.mem_map(RAM_BASE, memory.ram)
        self.uc.mem_write(RAM_BASE, ram)
        self.model = Peripheral(params, _Ram(self.uc, memory.ram), RAM_BASE, pace=8, seed=seed)
        self._device(CORE_BASE, self.model.read, self.model.write)
        self._device(UART_BASE, self._uart_status, self._uart_send)
        self._device(TIMER_BASE, self._timer, self._refuse)
        self.uc.hook_add(UC_HOOK_MEM_INVALID, self._outside)
        self.problems: list[str] = []

    def _device(self, base: int, read, write) -> None:
        """Registers at `base`; what goes wrong is kept, since it cannot cross the emulator."""

        def guarded(function, default):
            def call(_uc, *arguments):
                offset, size, *rest = arguments[:-1]
                try:
                    if size != 4:
                        raise ValueError(f"0x{base + offset:x}: access of {size} bytes")
                    return function(offset, *rest) or default
                except Exception as error:
                    self.problems.append(str(error))
                    self.uc.emu_stop()
                    return default

            return call

        self.uc.mmio_map(base, _PAGE, guarded(read, 0), None, guarded(write, 0), None)

    def _uart_status(self, offset: int) -> int:
        return self.random.randint(0, 1) if offset == 4 else 0

    def _uart_send(self, offset: int, value: int) -> None:
        if offset:
            raise ValueError(f"UART: write of word {offset // 4}")
        self.printed += chr(value)
        if self.printed.endswith(("PASS\n", "FAIL\n")):
            self.uc.emu_stop()

    def _timer(self, offset: int) -> int:
        self.time += 100
        return self.time

    def _refuse(self, offset: int, value: int) -> None:
        raise ValueError(f"write of word {offset // 4}, which is read-only")

    def _outside(self, _uc, _access, address, _size, _value, _data) -> bool:
        self.problems.append(f"0x{address:x}: nothing is there")
        return False

    def run(self) -> str:
        """Run until PASS or FAIL; what was printed. Raises if the program does something else."""
        self.uc.emu_start(RAM_BASE, 0xFFFFFFF0, count=LIMIT)
        assert self.problems == [], self.problems
        assert self.printed.endswith(("PASS\n", "FAIL\n")), (
            f"stopped at pc 0x{self.uc.reg_read(UC_RISCV_REG_PC):x} after {self.printed!r}"
        )
        return self.printed


class _Ram:
    """The emulator's RAM as the buffer that DMA reads and writes."""

    def __init__(self, uc: Uc, size: int):
        self.uc, self.size = uc, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, at: slice) -> bytes:
        return bytes(self.uc.mem_read(RAM_BASE + at.start, at.stop - at.start))

    def __setitem__(self, at: slice, data: bytes) -> None:
        self.uc.mem_write(RAM_BASE + at.start, bytes(data))
