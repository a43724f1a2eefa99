"""The top of a bitstream: clock, reset, the core behind its serial line, LEDs."""

import copy
from dataclasses import dataclass
from typing import ClassVar

from amaranth.build import Subsignal
from amaranth.hdl import ClockDomain, ClockSignal, Const, Elaboratable, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from .spec.params import ConfigError

#: Clock cycles of reset after power-up: block RAM of the iCE40 reads nothing useful for its first microseconds.
RESET_CYCLES = 1 << 12


@dataclass(frozen=True)
class EcpPll:
    """Dividers of an ECP5 PLL: output = input / `refer` * `feedback`, VCO = output * `output`."""

    #: Whether the PLL takes the place of the buffer of the clock pin.
    at_pin: ClassVar[bool] = False

    refer: int
    feedback: int
    output: int

    @classmethod
    def find(cls, source: float, target: float) -> "EcpPll":
        """Dividers that give `target` MHz from `source` MHz exactly. Raises `ConfigError` if there are none."""
        for refer in range(1, 9):
            feedback = round(target * refer / source)
            if not 1 <= feedback <= 80 or abs(source / refer * feedback - target) > 1e-6:
                continue
            fits = [n for n in range(1, 129) if 400 <= target * n <= 800]
            if fits:
                return cls(refer, feedback, fits[len(fits) // 2])
        raise ConfigError(f"clock: no PLL dividers make {target:g} MHz of {source:g} MHz")

    def instance(self, source, out, lock) -> Instance:
        """The PLL between two clock signals."""
        return Instance(
            "EHXPLLL",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=self.refer,
            p_CLKFB_DIV=self.feedback,
            p_CLKOP_DIV=self.output,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=self.output - 1,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_CLKI=source,
            i_CLKFB=out,
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=out,
            o_LOCK=lock,
        )


@dataclass(frozen=True)
class IcePll:
    """Dividers of an iCE40 PLL: output = input / (refer + 1) * (feedback + 1) / 2^output."""

    at_pin: ClassVar[bool] = True
    cell: ClassVar[str] = "SB_PLL40_PAD"
    source: ClassVar[str] = "PACKAGEPIN"

    refer: int
    feedback: int
    output: int

    @classmethod
    def find(cls, source: float, target: float) -> "IcePll":
        """Dividers that give `target` MHz from `source` MHz exactly. Raises `ConfigError` if there are none."""
        for output in range(1, 7):
            vco = target * 2**output
            feedback = round(vco / source)
            if 533 <= vco <= 1066 and 1 <= feedback <= 64 and abs(source * feedback - vco) < 1e-6:
                return cls(0, feedback - 1, output)
        raise ConfigError(f"clock: no PLL dividers make {target:g} MHz of {source:g} MHz")

    def instance(self, source, out, lock) -> Instance:
        """The PLL between the clock pin and a global clock."""
        return Instance(
            self.cell,
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=Const(self.refer, 4),
            p_DIVF=Const(self.feedback, 7),
            p_DIVQ=Const(self.output, 3),
            p_FILTER_RANGE=Const(1, 3),
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=out,
            o_LOCK=lock,
            **{f"i_{self.source}": source},
        )


class IceCorePll(IcePll):
    """The same, behind the buffer of a clock pin that is not the PLL's own."""

    at_pin = False
    cell = "SB_PLL40_CORE"
    source = "REFERENCECLK"


Pll = type[EcpPll] | type[IcePll]


def dividers(pll: Pll | None, source: float, target: float):
    """Dividers for a clock, None where the board's own will do. Raises `ConfigError` if it cannot be made."""
    if source == target:
        return None
    if pll is None:
        raise ConfigError(f"clock: this board runs at {source:g} MHz only")
    return pll.find(source, target)


class Board(Elaboratable):
    """Clock, reset, `blockcim_serial` (an instance; its Verilog comes as files), serial line and LEDs of a board.

    LEDs, as many as the board has: self-test passed, failed, a program runs, clock alive (blinks).

    Parameters
    ----------
    mhz : clock of the core; another one than the board's comes from a PLL of kind `pll` (None: there is none)
    baud : bits a second of the serial line
    leds : names of LED resources with their numbers, in the order above
    """

    def __init__(self, mhz: float, baud: int, leds, pll: Pll | None = None):
        self.mhz, self.baud, self.leds, self.pll = mhz, baud, leds, pll

    def elaborate(self, platform):
        m = Module()
        self._clock(m, platform)
        lines = [
            line.name for line in platform.lookup("uart", 0).ios if isinstance(line, Subsignal)
        ]
        uart = platform.request("uart", 0, dir=dict.fromkeys(lines, "-"))
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        states = {name: Signal(name=name) for name in ("passed", "failed", "busy")}
        m.submodules.serial = Instance(
            "blockcim_serial",
            i_clk=ClockSignal(),
            i_rst=self.reset,
            i_divisor=round(self.mhz * 1e6 / self.baud),
            i_rx=rx.i,
            o_tx=tx.o,
            **{f"o_{name}": signal for name, signal in states.items()},
        )
        blink = Signal(range(round(self.mhz * 1e6) // 2))
        m.d.sync += blink.eq(blink + 1)
        for (name, number), signal in zip(self.leds, [*states.values(), blink[-1]], strict=False):
            led = io.Buffer("o", platform.request(name, number, dir="-"))
            m.submodules[f"{name}{number}"] = led
            m.d.comb += led.o.eq(signal)
        return m

    def _clock(self, m, platform):
        """Domain `sync`, and `self.reset`, a register, high for the first `RESET_CYCLES` cycles."""
        m.domains.sync = domain = ClockDomain(reset_less=True)
        name, source = platform.default_clk, platform.default_clk_frequency / 1e6
        found = dividers(self.pll, source, self.mhz)
        at_pin = found is not None and found.at_pin
        if found is not None and not at_pin:
            # The pin drives the PLL alone: no global network, from which an iCE40 has no way back.
            # A copy: the board's description serves other builds too.
            platform.resources[name, 0] = resource = copy.deepcopy(platform.lookup(name))
            resource.attrs.pop("GLOBAL", None)
        pin = platform.request(name, dir="-")
        if not at_pin:
            m.submodules.clock = buffer = io.Buffer("i", pin)
        if found is None:
            locked = Signal(init=1)
            m.d.comb += domain.clk.eq(buffer.i)
        else:
            locked, out = Signal(), Signal(name="clk_core")
            m.submodules.pll = found.instance(pin.io if at_pin else buffer.i, out, locked)
            m.d.comb += domain.clk.eq(out)
            platform.add_clock_constraint(out, self.mhz * 1e6)
        left = Signal(range(RESET_CYCLES), init=RESET_CYCLES - 1)
        self.reset = Signal(init=1)
        steady = Signal()
        m.domains.wait = wait = ClockDomain(async_reset=True, local=True)
        m.d.comb += wait.clk.eq(domain.clk)
        m.submodules.steady = ResetSynchronizer(~locked, domain="wait")
        m.d.comb += steady.eq(~wait.rst)
        with m.If(~steady):
            m.d.sync += left.eq(RESET_CYCLES - 1)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.sync += self.reset.eq(left != 0)
