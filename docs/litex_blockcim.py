"""The core as a LiteX module: registers and DMA on Wishbone, data on streams, one interrupt.

In a SoC (`bundle`: what `python -m gen --top wishbone -o build/gen` wrote):

    self.cim = BlockCim(platform, "build/gen", stream_bits=64)
    self.bus.add_slave("cim", self.cim.bus, SoCRegion(size=0x100, cached=False))
    self.bus.add_master("cim_dma", self.cim.dma)
    self.irq.add("cim", use_loc_if_exists=True)
"""

from pathlib import Path

from litex.gen import LiteXModule
from litex.soc.interconnect import stream, wishbone
from litex.soc.interconnect.csr_eventmanager import EventManager, EventSourceLevel
from migen import ClockSignal, Instance, ResetSignal, Signal


class BlockCim(LiteXModule):
    """`bus`: registers, 256 bytes; `dma`: master; `sink`, `source`: streams; `ev`: the interrupt."""

    def __init__(self, platform, bundle: str, stream_bits: int):
        self.bus = bus = wishbone.Interface(data_width=32, addressing="word")
        self.dma = dma = wishbone.Interface(data_width=32, addressing="word")
        self.sink = sink = stream.Endpoint([("data", stream_bits)])
        self.source = source = stream.Endpoint([("data", stream_bits)])
        self.ev = EventManager()
        self.ev.done = EventSourceLevel()
        self.ev.finalize()
        stall = Signal()
        # LiteX has no pipelined Wishbone: a request waits until the cycle of its answer.
        self.comb += stall.eq(~(dma.ack | dma.err))
        self.specials += Instance(
            "blockcim_wishbone",
            i_clk=ClockSignal("sys"),
            i_rst=ResetSignal("sys"),
            # Registers. A classic master needs no stall.
            i_s_wb_cyc=bus.cyc,
            i_s_wb_stb=bus.stb,
            i_s_wb_we=bus.we,
            i_s_wb_adr=bus.adr[:6],
            i_s_wb_sel=bus.sel,
            i_s_wb_dat_w=bus.dat_w,
            o_s_wb_stall=Signal(),
            o_s_wb_ack=bus.ack,
            o_s_wb_err=bus.err,
            o_s_wb_dat_r=bus.dat_r,
            # DMA.
            o_m_wb_cyc=dma.cyc,
            o_m_wb_stb=dma.stb,
            o_m_wb_we=dma.we,
            o_m_wb_adr=dma.adr,
            o_m_wb_sel=dma.sel,
            o_m_wb_dat_w=dma.dat_w,
            i_m_wb_stall=stall,
            i_m_wb_ack=dma.ack,
            i_m_wb_err=dma.err,
            i_m_wb_dat_r=dma.dat_r,
            # Streams.
            i_s_axis_tvalid=sink.valid,
            o_s_axis_tready=sink.ready,
            i_s_axis_tdata=sink.data,
            i_s_axis_tlast=sink.last,
            o_m_axis_tvalid=source.valid,
            i_m_axis_tready=source.ready,
            o_m_axis_tdata=source.data,
            o_m_axis_tlast=source.last,
            o_irq=self.ev.done.trigger,
        )
        hidden = {"blockcim_sim.v", "blockcim_macro_behavioural.v"}
        for path in sorted(Path(bundle).glob("blockcim_*.v")):
            if path.name not in hidden:
                platform.add_source(str(path))
