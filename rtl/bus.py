"""The peripheral with the ports of a bus: AXI or Wishbone."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .axi import AxiLiteSlave, axi_lite_ports
from .control import connect_control
from .dma import connect_master, master_ports
from .peripheral import Peripheral
from .spec.params import Params
from .wishbone import WishboneSlave, slave_ports


def _common_ports(params: Params) -> dict:
    """AXI4-Stream ports, the Wishbone master of DMA, the interrupt."""
    stream = {"tvalid": In(1), "tready": Out(1), "tdata": In(params.stream_bits), "tlast": In(1)}
    return {
        **{f"s_axis_{name}": port for name, port in stream.items()},
        **{f"m_axis_{name}": port.flip() for name, port in stream.items()},
        **master_ports("m_wb_"),
        "irq": Out(1),
    }


class _OnBus(wiring.Component):
    """A peripheral behind a slave; its other ports are those of `_common_ports`."""

    def __init__(self, params: Params, slave: wiring.Component, prefix: str, ports):
        self.slave, self.prefix = slave, prefix
        self.peripheral = Peripheral(params)
        self.bus = ports(f"s_{prefix}_")
        super().__init__(self.bus | _common_ports(params))

    def elaborate(self, platform):
        m = Module()
        m.submodules.slave, m.submodules.peripheral = slave, inner = self.slave, self.peripheral
        connect_control(m, slave, inner)
        connect_master(m, inner, self, "m_wb_", "dma_")
        for name, port in self.bus.items():
            outer = getattr(self, name)
            own = getattr(slave, name.removeprefix("s_"))
            m.d.comb += own.eq(outer) if port.flow == In else outer.eq(own)
        m.d.comb += [
            inner.in_valid.eq(self.s_axis_tvalid),
            inner.in_data.eq(self.s_axis_tdata),
            inner.in_last.eq(self.s_axis_tlast),
            self.s_axis_tready.eq(inner.in_ready),
            self.m_axis_tvalid.eq(inner.out_valid),
            self.m_axis_tdata.eq(inner.out_data),
            self.m_axis_tlast.eq(inner.out_last),
            inner.out_ready.eq(self.m_axis_tready),
            self.irq.eq(inner.irq),
        ]
        return m


class OnAxi(_OnBus):
    """The peripheral with AXI4-Lite registers.

    Members
    -------
    s_axi_* : AXI4-Lite slave, rtl/axi.py
    s_axis_tvalid, _tready, _tdata, _tlast : AXI4-Stream, input; m_axis_* : output
    m_wb_* : Wishbone master of DMA, rtl/dma.py
    irq : Out
    """

    def __init__(self, params: Params):
        super().__init__(params, AxiLiteSlave(), "axi", axi_lite_ports)


class OnWishbone(_OnBus):
    """The peripheral with Wishbone registers.

    Members
    -------
    s_wb_* : Wishbone slave, rtl/wishbone.py
    s_axis_*, m_axis_*, m_wb_*, irq : as of `OnAxi`
    """

    def __init__(self, params: Params):
        super().__init__(params, WishboneSlave(), "wb", slave_ports)
