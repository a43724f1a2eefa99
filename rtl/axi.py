"""AXI4-Lite to a control port."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.enum import Enum
from amaranth.lib.wiring import In, Out

from .control import control_ports
from .spec.regmap import BUS_ADDRESS_BITS
from .words import WORD

#: Bits of the byte address of a register.
AXI_ADDRESS_BITS = BUS_ADDRESS_BITS + 2


class Resp(Enum, shape=2):
    """Responses of AXI4-Lite."""

    OKAY = 0
    SLVERR = 2
    DECERR = 3


def axi_lite_ports(prefix: str) -> dict:
    """Ports of an AXI4-Lite slave of 32 bits; the two low bits of addresses are ignored."""
    ports = {
        "awaddr": In(AXI_ADDRESS_BITS),
        "awprot": In(3),
        "awvalid": In(1),
        "awready": Out(1),
        "wdata": In(WORD),
        "wstrb": In(WORD // 8),
        "wvalid": In(1),
        "wready": Out(1),
        "bresp": Out(2),
        "bvalid": Out(1),
        "bready": In(1),
        "araddr": In(AXI_ADDRESS_BITS),
        "arprot": In(3),
        "arvalid": In(1),
        "arready": Out(1),
        "rdata": Out(WORD),
        "rresp": Out(2),
        "rvalid": Out(1),
        "rready": In(1),
    }
    return {f"{prefix}{name}": port for name, port in ports.items()}


class _Slot:
    """A channel into the slave: one transfer waits in registers, so that nothing depends on another channel."""

    def __init__(self, m, valid, ready, payload, taken):
        self.full, self.data = Signal(), Signal.like(payload)
        m.d.comb += ready.eq(~self.full)
        with m.If(taken):
            m.d.sync += self.full.eq(0)
        with m.If(valid & ready):
            m.d.sync += [self.full.eq(1), self.data.eq(payload)]


class AxiLiteSlave(wiring.Component):
    """An AXI4-Lite slave in front of a control port.

    Address, data and read address wait in a register each, in any order of arrival; a write starts when both of its
    parts are there and its last response has been taken, a read when its last one has; both waiting, they take turns.
    A transfer every third cycle, its response two cycles after its turn came. Responses: OKAY, DECERR where there is no
    register, else SLVERR for what the control port refuses. All outputs come from registers.

    Members
    -------
    axi_* : the slave, see `axi_lite_ports`
    control_* : the control port, see rtl/control.py
    """

    def __init__(self):
        super().__init__(axi_lite_ports("axi_") | control_ports("control_", asks=True))

    def elaborate(self, platform):
        m = Module()
        write, read = Signal(), Signal()  # a request of this kind is made in this cycle
        turn, writing = Signal(), Signal()  # of the read; what the last request was
        pending = Signal()  # its answer comes in this cycle
        strobed = Signal(WORD + WORD // 8)
        m.d.comb += strobed.eq(self.axi_wdata | self.axi_wstrb << WORD)
        aw = _Slot(m, self.axi_awvalid, self.axi_awready, self.axi_awaddr, write)
        w = _Slot(m, self.axi_wvalid, self.axi_wready, strobed, write)
        ar = _Slot(m, self.axi_arvalid, self.axi_arready, self.axi_araddr, read)
        can_write = aw.full & w.full & ~self.axi_bvalid & ~pending
        can_read = ar.full & ~self.axi_rvalid & ~pending
        m.d.comb += [
            write.eq(can_write & ~(can_read & turn)),
            read.eq(can_read & ~write),
            self.control_request.eq(write | read),
            self.control_we.eq(write),
            self.control_addr.eq(Mux(write, aw.data, ar.data) >> 2),
            self.control_wdata.eq(w.data[:WORD]),
            self.control_strobe.eq(w.data[WORD:]),
        ]
        m.d.sync += pending.eq(write | read)
        with m.If(write | read):
            m.d.sync += [turn.eq(write), writing.eq(write)]
        self._respond(m, pending, writing)
        return m

    def _respond(self, m, pending, writing):
        """Responses stay until they are taken."""
        resp = Mux(self.control_outside, Resp.DECERR, Resp.SLVERR)
        resp = Mux(self.control_err, resp, Resp.OKAY)
        with m.If(self.axi_bready):
            m.d.sync += self.axi_bvalid.eq(0)
        with m.If(self.axi_rready):
            m.d.sync += self.axi_rvalid.eq(0)
        with m.If(pending & writing):
            m.d.sync += [self.axi_bvalid.eq(1), self.axi_bresp.eq(resp)]
        with m.If(pending & ~writing):
            m.d.sync += [self.axi_rvalid.eq(1), self.axi_rresp.eq(resp)]
            m.d.sync += self.axi_rdata.eq(self.control_rdata)
