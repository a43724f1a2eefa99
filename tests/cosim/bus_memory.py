"""A Wishbone memory for DMA, and masters for the register ports of both buses."""

import random
from collections import deque
from typing import ClassVar

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster
from cocotbext.wishbone.driver import WBOp, WishboneMaster


class Memory:
    """A pipelined Wishbone memory of 32-bit words, at word address `base`, behind the ports `m_wb_*`.

    It stalls in a fraction `stalls` of the cycles and answers after 1 to `latency` cycles, in order; a transfer outside
    the memory, or to an address in `bad`, is answered with `err`. It checks that an offered transfer stays as it is
    until it is accepted, and that no answer comes without a transfer. `cycles` of accepted transfers: (cycle, write).
    """

    def __init__(self, dut, words: int, base: int = 0, seed: int = 0):
        self.dut, self.base, self.words = dut, base, [0] * words
        self.random = random.Random(seed)
        self.stalls, self.latency = 0.0, 1
        self.bad: set[int] = set()
        self.cycle, self.accepted = 0, []
        dut.m_wb_ack.value = dut.m_wb_err.value = dut.m_wb_stall.value = 0
        dut.m_wb_dat_r.value = 0
        cocotb.start_soon(self._run())

    def write(self, address: int, words) -> None:
        """Put words at a byte address."""
        first = address // 4 - self.base
        assert first >= 0 and first + len(words) <= len(self.words)
        self.words[first : first + len(words)] = [int(w) for w in words]

    def read(self, address: int, count: int) -> list[int]:
        """Words from a byte address on."""
        first = address // 4 - self.base
        return self.words[first : first + count]

    async def _run(self) -> None:
        dut, queue, offered, stall = self.dut, deque(), None, 0
        while True:
            await RisingEdge(dut.clk)
            self.cycle += 1
            if int(dut.m_wb_cyc.value) and int(dut.m_wb_stb.value):
                we = int(dut.m_wb_we.value)
                transfer = (we, int(dut.m_wb_adr.value), int(dut.m_wb_dat_w.value) if we else 0)
                assert offered in (None, transfer), f"{offered} became {transfer} while stalled"
                assert int(dut.m_wb_sel.value) == 15
                offered = transfer if stall else None
                if not stall:
                    self.accepted.append((self.cycle, we))
                    due = self.cycle + self.random.randint(1, self.latency) - 1
                    queue.append((due, *transfer))
            else:
                assert offered is None, f"{offered} was withdrawn"
            ack = err = data = 0
            if queue and queue[0][0] <= self.cycle:
                assert int(dut.m_wb_cyc.value), "cyc fell before the answer"
                _, we, address, value = queue.popleft()
                ack, err, data = self._transfer(we, address, value)
            dut.m_wb_ack.value, dut.m_wb_err.value, dut.m_wb_dat_r.value = ack, err, data
            stall = int(self.random.random() < self.stalls)
            dut.m_wb_stall.value = stall

    def _transfer(self, we: int, address: int, value: int) -> tuple[int, int, int]:
        at = address - self.base
        if not 0 <= at < len(self.words) or address in self.bad:
            return 0, 1, 0
        if we:
            self.words[at] = value
        return 1, 0, 0 if we else self.words[at]


class AxiRegisters:
    """Registers through cocotbext-axi's AXI4-Lite master."""

    #: Answers by what happened.
    REFUSED, OUTSIDE = "SLVERR", "DECERR"

    def __init__(self, dut):
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk)

    async def read_word(self, address: int) -> tuple[int, str]:
        """The word at a word address, and the response."""
        answer = await self.master.read(4 * address, 4)
        return int.from_bytes(answer.data, "little"), answer.resp.name

    async def write_word(self, address: int, value: int, bytes_: int = 4) -> str:
        """Write the low `bytes_` bytes; the response."""
        data = value.to_bytes(4, "little")[:bytes_]
        return (await self.master.write(4 * address, data)).resp.name


class _Classic(WishboneMaster):
    """A classic master: one that has no stall."""

    _optional_signals = ("sel", "err")


class WishboneRegisters:
    """Registers through cocotbext-wishbone's master, classic or (with `stall`) pipelined, in turn."""

    REFUSED = OUTSIDE = "ERR"
    NAMES: ClassVar = {
        "cyc": "cyc",
        "stb": "stb",
        "we": "we",
        "adr": "adr",
        "datwr": "dat_w",
        "datrd": "dat_r",
    }

    def __init__(self, dut, pipelined: bool):
        kind = WishboneMaster if pipelined else _Classic
        names = self.NAMES | {"ack": "ack"}
        self.master = kind(dut, "s_wb", dut.clk, timeout=100, signals_dict=names)

    async def _transfer(self, **fields) -> tuple[int, str]:
        (answer,) = await self.master.send_cycle([WBOp(**fields)])
        return int(answer.datrd), {1: "OKAY", 2: "ERR"}[answer.ack]

    async def read_word(self, address: int) -> tuple[int, str]:
        """The word at a word address, and the response."""
        return await self._transfer(adr=address)

    async def write_word(self, address: int, value: int, bytes_: int = 4) -> str:
        """Write the low `bytes_` bytes; the response."""
        return (await self._transfer(adr=address, dat=value, sel=(1 << bytes_) - 1))[1]


def registers(dut, bus: str):
    """The register port of a top: `axi`, `wishbone` or `wishbone-classic`."""
    if bus == "axi":
        return AxiRegisters(dut)
    return WishboneRegisters(dut, pipelined=bus == "wishbone")
