"""Wishbone to a control port."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .control import control_ports
from .spec.regmap import BUS_ADDRESS_BITS
from .words import WORD


def slave_ports(prefix: str) -> dict:
    """Ports of a Wishbone B4 slave of 32 bits; `adr` is a word address."""
    ports = {
        "cyc": In(1),
        "stb": In(1),
        "we": In(1),
        "adr": In(BUS_ADDRESS_BITS),
        "sel": In(WORD // 8),
        "dat_w": In(WORD),
        "stall": Out(1),
        "ack": Out(1),
        "err": Out(1),
        "dat_r": Out(WORD),
    }
    return {f"{prefix}{name}": port for name, port in ports.items()}


class WishboneSlave(wiring.Component):
    """A Wishbone B4 slave in front of a control port; a transfer every other cycle, answered in its second cycle.

    A classic master leaves `stall` open; for a pipelined one it holds each transfer until the cycle of its answer.

    Members
    -------
    wb_* : the slave, see `slave_ports`
    control_* : the control port, see rtl/control.py
    """

    def __init__(self):
        super().__init__(slave_ports("wb_") | control_ports("control_", asks=True))

    def elaborate(self, platform):
        m = Module()
        here = self.wb_cyc & self.wb_stb
        m.d.comb += [
            self.control_request.eq(here & ~self.control_ack),
            self.control_addr.eq(self.wb_adr),
            self.control_we.eq(self.wb_we),
            self.control_strobe.eq(self.wb_sel),
            self.control_wdata.eq(self.wb_dat_w),
            self.wb_stall.eq(here & ~self.control_ack),
            self.wb_ack.eq(here & self.control_ack & ~self.control_err),
            self.wb_err.eq(here & self.control_ack & self.control_err),
            self.wb_dat_r.eq(self.control_rdata),
        ]
        return m
