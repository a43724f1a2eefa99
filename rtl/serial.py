"""A peripheral behind a serial line: a host drives the core without a bus and without a CPU."""

from amaranth.hdl import Module, Mux, Signal
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
from .words import WORD


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
        self.peripheral = Peripheral(params, alone=True)
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
        inside = bridge.adr[BUS_ADDRESS_BITS:] == 0
        asks = bridge.cyc & bridge.stb
        bus = {"asks": asks & inside, "we": bridge.we, "adr": bridge.adr, "dat_w": bridge.dat_w}
        served, outside = 1, Signal()
        if self.script is not None:
            m.submodules.test = test = SelfTest(self.script)
            own = {"asks": test.cyc & test.stb, "we": test.we, "adr": test.adr, "dat_w": test.dat_w}
            bus = {name: Mux(test.running, own[name], value) for name, value in bus.items()}
            served = ~test.running
            m.d.comb += [
                self.testing.eq(test.running),
                self.passed.eq(test.passed),
                self.failed.eq(test.failed),
            ]
        ack, err, dat_r = self._transfers(m, **bus)
        if self.script is not None:
            m.d.comb += [test.ack.eq(ack), test.err.eq(err), test.dat_r.eq(dat_r)]
        m.d.comb += [
            bridge.divisor.eq(self.divisor),
            bridge.rx.eq(self.rx),
            self.tx.eq(bridge.tx),
            self.irq.eq(peripheral.irq),
            self.busy.eq(peripheral.busy),
            bridge.dat_r.eq(dat_r),
            bridge.ack.eq(ack & served),
            bridge.err.eq((err | outside) & served),
        ]
        # A cycle later, and a cycle longer, in which the bridge asks for nothing.
        m.d.sync += outside.eq(asks & ~inside)
        return m

    def _transfers(self, m, asks, we, adr, dat_w):
        """Registers on the way to the peripheral and back, for a short clock period. Returns ack, err, dat_r.

        The address is there a cycle before the request.
        """
        m.submodules.slave = slave = WishboneSlave()
        connect_control(m, slave, self.peripheral)
        done, ack, err, dat_r = Signal(), Signal(), Signal(), Signal(WORD)
        answered = slave.wb_cyc & (slave.wb_ack | slave.wb_err)
        m.d.comb += [slave.wb_stb.eq(slave.wb_cyc), slave.wb_sel.eq(~0)]
        m.d.sync += [ack.eq(slave.wb_ack), err.eq(slave.wb_err), dat_r.eq(slave.wb_dat_r)]
        known = Signal()  # the address was there in the cycle before
        m.d.sync += [done.eq(answered), known.eq(asks & ~slave.wb_cyc & ~done)]
        with m.If(answered):
            m.d.sync += slave.wb_cyc.eq(0)
        with m.Elif(~slave.wb_cyc & ~done):
            m.d.sync += [slave.wb_cyc.eq(asks & known), slave.wb_we.eq(we)]
            m.d.sync += [slave.wb_adr.eq(adr), slave.wb_dat_w.eq(dat_w)]
        return ack, err, dat_r
