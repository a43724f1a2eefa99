"""Draws the timing diagrams of docs/integration.md from simulations: `python -m docs.pictures`.

Core: the self-test of a bundle on Icarus. Buses: the slaves in Amaranth's simulator, in front of a control port that
answers as the peripheral does.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from amaranth.hdl import Module, Mux
from amaranth.sim import Simulator

from gen import selftest
from gen.emit import emit
from gen.waves import Wave, picture
from rtl.axi import AxiLiteSlave
from rtl.spec.params import Params
from rtl.spec.regmap import MAGIC, ON_BUS
from rtl.wishbone import WishboneSlave
from sim.tools import find_icarus

HERE = Path(__file__).parent
#: Two beats a buffer word, so that words and beats differ.
PARAMS = Params.load("tiny").replace(tiles=1, stream_width=32)

_REGISTER = ("reg_addr", "reg_we", "reg_wdata", "reg_rdata")
_INPUT = ("in_valid", "in_ready", "in_data")
_OUTPUT = ("out_valid", "out_ready", "out_data", "out_last")


# -- the core, on Icarus ---------------------------------------------------------------------------


def vcd(text: str) -> dict[str, Wave]:
    """Signals of the top of a VCD file as they are at each rising edge of `clk`, times of change excluded."""
    head, _, body = text.partition("$enddefinitions $end")
    top = head.split("$scope", 2)[1]
    signals = {n: (c, int(b)) for b, c, n in re.findall(r"\$var \w+ (\d+) (\S+) (\w+)", top)}
    now: dict[str, int | None] = {code: None for code, _ in signals.values()}
    history: dict[str, list[int | None]] = {code: [] for code in now}
    clock, _ = signals["clk"]
    for step in re.split(r"^#\d+$", body, flags=re.M):
        found = re.findall(r"^(?:b([01xz]+) |([01xz]))(\S+)$", step, re.M)
        values = {code: (long or short) for long, short, code in found if code in now}
        if values.get(clock) == "1":
            for code, value in now.items():
                history[code].append(value)
        now |= {c: int(v, 2) if re.fullmatch("[01]+", v) else None for c, v in values.items()}
    return {name: Wave(bits, history[code]) for name, (code, bits) in signals.items()}


def selftest_waves() -> dict[str, Wave]:
    """The ports of a core while it runs the self-test."""
    tool = find_icarus()
    texts = emit(PARAMS, "behavioural") | {"selftest.v": selftest.bench(PARAMS)}
    with tempfile.TemporaryDirectory() as scratch:
        names = [n for n in texts if n.endswith(".v") and n != "blockcim_sim.v"]
        for name in names:
            (Path(scratch) / name).write_text(texts[name])
        compile_ = [str(tool.path), "-g2012", "-o", "bench", *names]
        subprocess.run(compile_, cwd=scratch, check=True, capture_output=True)
        run = [str(tool.path.with_name("vvp")), "-n", "bench", "+dump"]
        subprocess.run(run, cwd=scratch, check=True, capture_output=True)
        return vcd((Path(scratch) / "selftest.vcd").read_text())


def window(
    waves: dict[str, Wave], names: tuple[str, ...], first: int, cycles: int
) -> dict[str, Wave]:
    """Some of the signals, and some of the cycles."""
    return {n: Wave(waves[n].bits, waves[n].values[first : first + cycles]) for n in names}


def core_pictures() -> dict[str, str]:
    """Register access, the start with input, and the end with output and interrupt."""
    waves = selftest_waves()
    reset, writes = waves["rst"].values.index(0), waves["reg_we"].values
    start = max(i for i, busy in enumerate(waves["busy"].values) if busy == 0 and writes[i])
    end = waves["irq"].values.index(1)
    beats = [i for i, valid in enumerate(waves["out_valid"].values[:end]) if valid]
    return {
        "registers": picture(
            window(waves, ("rst", *_REGISTER), reset - 1, 11),
            "Reset, two reads, two writes",
        ),
        "start": picture(
            window(waves, ("reg_addr", "reg_we", "reg_wdata", "busy", *_INPUT), start - 1, 14),
            "CTRL start, busy, input beats",
        ),
        "end": picture(
            window(waves, ("busy", *_OUTPUT, "irq"), beats[-6], end - beats[-6] + 3),
            "Output beats, the last of a SEND, the interrupt",
        ),
    }


# -- buses, in Amaranth's simulator ----------------------------------------------------------------


def behind(slave) -> Module:
    """The slave with a control port behind it that has ID to read and LEN to write."""
    m = Module()
    m.submodules.slave = slave
    known = Mux(slave.control_we, ON_BUS["LEN"].address, ON_BUS["ID"].address)
    unknown = slave.control_addr != known
    m.d.sync += [
        slave.control_ack.eq(slave.control_request),
        slave.control_err.eq(unknown),
        slave.control_outside.eq(unknown),
        slave.control_rdata.eq(Mux(unknown | slave.control_we, 0, MAGIC)),
    ]
    return m


def record(slave, bench, signals: dict[str, str], cycles: int) -> dict[str, Wave]:
    """The waves of `signals` (label: port) while `bench` drives the slave."""
    history: dict[str, list[int | None]] = {label: [] for label in signals}

    async def watch(ctx):
        ports = [getattr(slave, port) for port in signals.values()]
        for _ in range(cycles):
            for label, value in zip(signals, (await ctx.tick().sample(*ports))[2:], strict=True):
                history[label].append(int(value))

    simulator = Simulator(behind(slave))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench, background=True)
    simulator.add_testbench(watch)
    simulator.run()
    bits = {label: len(getattr(slave, port)) for label, port in signals.items()}
    return {label: Wave(bits[label], values) for label, values in history.items()}


def wishbone() -> dict[str, Wave]:
    """A read of ID, a write of LEN, a read where there is no register; a classic master."""
    slave = WishboneSlave()

    async def bench(ctx):
        await ctx.tick()
        for name, we in (("ID", 0), ("LEN", 1), (None, 0)):
            ctx.set(slave.wb_adr, ON_BUS[name].address if name else 63)
            ctx.set(slave.wb_we, we)
            ctx.set(slave.wb_sel, 15)
            ctx.set(slave.wb_dat_w, 3 if we else 0)
            ctx.set(slave.wb_cyc, 1)
            ctx.set(slave.wb_stb, 1)
            await ctx.tick().until(slave.wb_ack | slave.wb_err)
            ctx.set(slave.wb_cyc, 0)
            ctx.set(slave.wb_stb, 0)
            await ctx.tick()

    names = ("cyc", "stb", "we", "adr", "dat_w", "ack", "err", "dat_r")
    return record(slave, bench, {f"s_wb_{n}": f"wb_{n}" for n in names}, 11)


def axi() -> dict[str, Wave]:
    """A write of LEN with a response that waits, then a read of ID."""
    slave = AxiLiteSlave()

    async def bench(ctx):
        await ctx.tick()
        ctx.set(slave.axi_awaddr, 4 * ON_BUS["LEN"].address)
        ctx.set(slave.axi_wdata, 3)
        ctx.set(slave.axi_wstrb, 15)
        ctx.set(slave.axi_awvalid, 1)
        ctx.set(slave.axi_wvalid, 1)
        await ctx.tick()
        ctx.set(slave.axi_awvalid, 0)
        ctx.set(slave.axi_wvalid, 0)
        ctx.set(slave.axi_araddr, 4 * ON_BUS["ID"].address)
        ctx.set(slave.axi_arvalid, 1)
        await ctx.tick()
        ctx.set(slave.axi_arvalid, 0)
        ctx.set(slave.axi_rready, 1)
        await ctx.tick().until(slave.axi_bvalid)
        ctx.set(slave.axi_bready, 1)
        await ctx.tick()
        ctx.set(slave.axi_bready, 0)

    names = (
        "awvalid",
        "awready",
        "awaddr",
        "wvalid",
        "wready",
        "wdata",
        "bvalid",
        "bready",
        "bresp",
    )
    names += ("arvalid", "arready", "araddr", "rvalid", "rready", "rdata", "rresp")
    return record(slave, bench, {f"s_axi_{n}": f"axi_{n}" for n in names}, 11)


def pictures() -> dict[str, str]:
    """All pictures, by file name."""
    found = core_pictures()
    found["wishbone"] = picture(wishbone(), "Wishbone: a read, a write, an error")
    found["axi"] = picture(axi(), "AXI4-Lite: a write and a read")
    return {f"timing-{name}.svg": text for name, text in found.items()}


def main() -> int:
    """Write them beside this file."""
    for name, text in pictures().items():
        (HERE / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
