"""A chip: equal cores on a chain of links, one register port and one packet stream each way for all of them."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .link import beat_layout
from .spec.params import Params, index_bits
from .spec.regmap import ADDRESS_BITS
from .tile import ID_BITS


class Chip(wiring.Component):
    """`cores` cores, see rtl/core.py. Packets enter at core 0 and leave behind the last one, see rtl/link.py.

    Packets for one core must come in the order in which its program receives them. Whatever the mix of cores, nothing
    blocks for ever then: a core's own packets leave downstream of the one that waits for it.

    Members
    -------
    reg_core, reg_all, reg_addr, reg_we, reg_wdata : In; reg_rdata : Out. Registers of core `reg_core`; with `reg_all` a
        write goes to all cores, so that they can start in the same cycle
    in_valid, in_ready, in_data, in_core, in_last : packets for core `in_core`
    out_valid, out_ready, out_data, out_core, out_last : packets of core `out_core`
    irq, busy : Out, of any core; busy also while a beat is on the chain
    """

    def __init__(self, params: Params):
        self.params = p = params
        core = index_bits(p.cores)
        super().__init__(
            {
                "reg_core": In(core),
                "reg_all": In(1),
                "reg_addr": In(ADDRESS_BITS),
                "reg_we": In(1),
                "reg_wdata": In(32),
                "reg_rdata": Out(32),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(p.stream_bits),
                "in_core": In(core),
                "in_last": In(1),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(p.stream_bits),
                "out_core": Out(core),
                "out_last": Out(1),
                "irq": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        layout = beat_layout(p)
        # Between stations: [0] from outside, [cores] to the outside.
        valid = [Signal(name=f"valid{k}") for k in range(p.cores + 1)]
        ready = [Signal(name=f"ready{k}") for k in range(p.cores + 1)]
        beat = [Signal(layout, name=f"beat{k}") for k in range(p.cores + 1)]
        m.d.comb += [
            valid[0].eq(self.in_valid),
            beat[0].data.eq(self.in_data),
            beat[0].core.eq(self.in_core),
            beat[0].last.eq(self.in_last),
            self.in_ready.eq(ready[0]),
            self.out_valid.eq(valid[-1]),
            self.out_data.eq(beat[-1].data),
            self.out_core.eq(beat[-1].core),
            self.out_last.eq(beat[-1].last),
            ready[-1].eq(self.out_ready),
        ]
        reads, irqs, busy = [], [], []
        for k in range(p.cores):
            chain = {
                "i_in_valid": valid[k],
                "o_in_ready": ready[k],
                "i_in_beat": beat[k].as_value(),
                "o_out_valid": valid[k + 1],
                "i_out_ready": ready[k + 1],
                "o_out_beat": beat[k + 1].as_value(),
            }
            read, irq, active = self._core(m, k, chain)
            reads.append(read)
            irqs.append(irq)
            busy.append(active)
        m.d.comb += [self.irq.eq(Cat(irqs).any()), self.busy.eq(Cat(busy).any())]
        with m.Switch(self.reg_core):
            for k, read in enumerate(reads):
                with m.Case(k):
                    m.d.comb += self.reg_rdata.eq(read)
        return m

    def _core(self, m, k: int, chain: dict) -> tuple[Signal, Signal, Signal]:
        """Core `k` and its station; its read data, interrupt, and whether it or its station has something to do."""
        p = self.params
        clock = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        bits = {"valid": 1, "ready": 1, "data": p.stream_bits, "last": 1}
        give = {n: Signal(b, name=f"give{k}_{n}") for n, b in bits.items() if n != "last"}
        take = {n: Signal(b, name=f"take{k}_{n}") for n, b in bits.items()}
        read, irq = Signal(32, name=f"rdata{k}"), Signal(name=f"irq{k}")
        busy, waiting = Signal(name=f"busy{k}"), Signal(name=f"waiting{k}")
        m.submodules[f"link{k}"] = Instance(
            "blockcim_link",
            **clock,
            i_id=Const(k, index_bits(p.cores)),
            **chain,
            o_give_valid=give["valid"],
            i_give_ready=give["ready"],
            o_give_data=give["data"],
            i_take_valid=take["valid"],
            o_take_ready=take["ready"],
            i_take_data=take["data"],
            i_take_last=take["last"],
            o_waiting=waiting,
        )
        m.submodules[f"core{k}"] = Instance(
            "blockcim_core",
            **clock,
            i_first_tile=Const(k * p.tiles, ID_BITS),
            i_reg_addr=self.reg_addr,
            i_reg_we=self.reg_we & (self.reg_all | (self.reg_core == k)),
            i_reg_wdata=self.reg_wdata,
            o_reg_rdata=read,
            i_in_valid=give["valid"],
            o_in_ready=give["ready"],
            i_in_data=give["data"],
            o_out_valid=take["valid"],
            i_out_ready=take["ready"],
            o_out_data=take["data"],
            o_out_last=take["last"],
            o_irq=irq,
            o_busy=busy,
            i_soft_reset=Const(0),
        )
        return read, irq, busy | waiting
