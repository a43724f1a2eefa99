"""A peripheral behind a serial line: a host drives the core without a bus and without a CPU."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .bridge import Bridge
from .control import connect_control
from .peripheral import Peripheral
from .selftest import SelfTest, Step
from .spec.link import IDLE_BITS
from .spec.params import Params
from .spec.regmap import BUS_ADDRESS_BITS
from .uart import DIVISOR_BITS
from .wishbone import WishboneSlave


class OnSerial(wiring.Component):
    """A core whose registers (rtl/spec/regmap.py, words 0..63 from address 0) are reached by rtl/spec/link.py.

    With a `script` (rtl/selftest.py) that is carried out first, once after reset; the line is served when it is over.

    Addresses beyond are a bus error. Data goes through IN_DATA and OUT_DATA: there is no memory for DMA, which ends in
    faults READ and WRITE, and the stream ports are not connected.

    Members
    -------
    divisor : In, clock cycles of a bit, at least 8
    rx, tx : the line
    irq, busy : Out, as of the peripheral
    testing, passed, failed : Out, state of the self-test; without one it has passed
    """

    def __init__(
        self, params: Params, idle_bits: int = IDLE_BITS, script: list[Step] | None = None
    ):
        self.idle_bits, self.script = idle_bits, script
        self.peripheral = Peripheral(params)
        super().__init__(
            {
                "divisor": In(DIVISOR_BITS),
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "irq": Out(1),
                "busy": Out(1),
                "testing": Out(1),
                "passed": Out(1, init=1),
                "failed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.peripheral = peripheral = self.peripheral
        m.submodules.bridge = bridge = Bridge(self.idle_bits)
        m.submodules.slave = slave = WishboneSlave()
        connect_control(m, slave, peripheral)
        inside = bridge.adr[BUS_ADDRESS_BITS:] == 0
        request = bridge.cyc & bridge.stb
        m.d.comb += [
            bridge.divisor.eq(self.divisor),
            bridge.rx.eq(self.rx),
            self.tx.eq(bridge.tx),
            self.irq.eq(peripheral.irq),
            self.busy.eq(peripheral.busy),
            slave.wb_cyc.eq(request & inside),
            slave.wb_stb.eq(request & inside),
            slave.wb_we.eq(bridge.we),
            slave.wb_adr.eq(bridge.adr),
            slave.wb_sel.eq(~0),
            slave.wb_dat_w.eq(bridge.dat_w),
            bridge.dat_r.eq(slave.wb_dat_r),
            bridge.ack.eq(slave.wb_ack),
            bridge.err.eq(slave.wb_err | (request & ~inside)),
        ]
        # DMA: every transfer is answered with an error.
        m.d.sync += peripheral.dma_err.eq(peripheral.dma_cyc & peripheral.dma_stb)
        if self.script is not None:
            self._test(m, slave, bridge)
        return m

    def _test(self, m, slave, bridge):
        """The self-test has the bus while it runs; the bridge's transfers wait."""
        m.submodules.test = test = SelfTest(self.script)
        with m.If(test.running):
            for name in ("cyc", "stb", "we", "adr", "dat_w"):
                m.d.comb += getattr(slave, f"wb_{name}").eq(getattr(test, name))
            m.d.comb += [bridge.ack.eq(0), bridge.err.eq(0)]
        m.d.comb += [
            test.dat_r.eq(slave.wb_dat_r),
            test.ack.eq(slave.wb_ack),
            test.err.eq(slave.wb_err),
            self.testing.eq(test.running),
            self.passed.eq(test.passed),
            self.failed.eq(test.failed),
        ]
