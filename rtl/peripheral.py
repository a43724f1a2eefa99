"""The peripheral: a core with a 32-bit control port, data by stream, register and DMA, and faults."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from .control import control_ports
from .dma import connect_master, master_ports
from .mover import FIFO_WORDS, Mover, beat_words
from .packet import PacketCheck, PacketEnd
from .spec.params import ISA_VERSION, ConfigError, Params
from .spec.regmap import (
    ADDRESS_BITS,
    ON_BUS,
    PERIPHERAL_VERSION,
    Fault,
)
from .tile import ID_BITS
from .words import WORD


def _fields(register: str, **values):
    """A register's value from those of its fields."""
    bits = {name: (first, count) for name, first, count, _ in ON_BUS[register].bits}
    value = Const(0, WORD)
    for name, field in values.items():
        first, count = bits[name]
        value = value | (Value.cast(field)[:count] << first)
    return value[:WORD]


def capabilities(params: Params) -> dict[str, int]:
    """What the constant registers of a configuration read as, by name."""
    p = params
    fields = {
        "VERSION": {"isa": ISA_VERSION, "peripheral": PERIPHERAL_VERSION},
        "CAP_ARRAY": {"rows": p.rows, "cols": p.cols},
        "CAP_CORE": {"tiles": p.tiles, "lanes": p.lanes},
        "CAP_FORMAT": {"granule": p.granule, "weight_bits": p.weight_bits, "act_bits": p.act_bits},
        "CAP_BUFFERS": {"act": p.act_depth - 1, "const": p.const_depth - 1},
        "CAP_BEAT": {"words": beat_words(p), "fifo": FIFO_WORDS},
    }
    first = {r: {name: bit for name, bit, _, _ in ON_BUS[r].bits} for r in fields}
    return {
        **{r: sum(v << first[r][n] for n, v in values.items()) for r, values in fields.items()},
        "CAP_PROG": p.prog_depth,
    }


def check_params(params: Params) -> None:
    """Raise `ConfigError` unless a peripheral can have these: beats of whole words, and one core."""
    beat_words(params)
    if params.cores > 1:
        raise ConfigError(f"cores: {params.cores}, but a peripheral has one core")


class Peripheral(wiring.Component):
    """A core (an instance of module `blockcim_core`) behind the registers of rtl/spec/regmap.py, words 0..63.

    Control port: see rtl/control.py. An access is refused (`err`) where there is no register (`outside` too), and a
    write to a read-only register, of less than all bytes, or to IN_DATA without room. Write-only registers read as 0.

    Stream ports: a beat a cycle each way, registered. `in_last` ends a packet of input (MODE check_last), `out_last`
    the output of a SEND. A beat that is offered stays, whatever happens to the core.

    DMA: rtl/dma.py, a word a cycle where memory never stalls. While it reads, IN_DATA has no room; while it writes,
    OUT_DATA has no words.

    A fault, like CTRL reset, resets the core, stops DMA and empties the FIFOs; STATUS shows an error then.
    Parameters must pass `check_params`.

    Parameters
    ----------
    params : hardware parameters
    alone : nothing but the control port is connected: MODE has no effect, DMA ends in faults READ and WRITE. `addr`
        must be there a cycle before `request` then: what follows from it alone may take that cycle

    Members
    -------
    request, addr, we, strobe, wdata, ack, err, outside, rdata : the control port
    in_valid, in_ready, in_data, in_last, out_valid, out_ready, out_data, out_last : stream ports
    dma_cyc, dma_stb, dma_we, dma_adr, dma_dat_w, dma_sel, dma_stall, dma_ack, dma_err, dma_dat_r : Wishbone master
    irq : Out, high while done, error or a fault is set and interrupts are enabled
    busy : Out, a program runs
    """

    def __init__(self, params: Params, alone: bool = False):
        self.params = p = params
        self.alone = alone
        check_params(p)
        super().__init__(
            {
                **control_ports(asks=False),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(p.stream_bits),
                "in_last": In(1),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(p.stream_bits),
                "out_last": Out(1),
                **master_ports("dma_"),
                "irq": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.mover = self.mover = Mover(self.params, memory=not self.alone)
        connect_master(m, self.mover, self, "dma_")
        self.granted = Signal()  # a write that is done
        self.reset = Signal()  # of core, DMA and FIFOs
        self.fault = Signal(Fault)
        self.mode = self._register(m, "MODE", 3)
        self.command = {
            name: self._written("CTRL") & self.wdata[bit] for name, bit, _, _ in ON_BUS["CTRL"].bits
        }
        self._core(m)
        if self.alone:
            self._words(m)
            self._faults(m)
        else:
            m.submodules.check = self.check = PacketCheck(self.params)
            self._data(m)
            self._faults(m, {Fault.LONG: self.check.long, Fault.SHORT: self.check.short})
            self._packets(m)
        values = {"MODE": self.mode, "FAULT": self.fault, **self._dma(m)}
        self._reply(m, capabilities(self.params) | values)
        return m

    def _written(self, name: str):
        return self.granted & (self.addr == ON_BUS[name].address)

    def _register(self, m, name: str, bits: int = WORD) -> Signal:
        """A register that software writes."""
        value = Signal(bits, name=name.lower())
        with m.If(self._written(name)):
            m.d.sync += value.eq(self.wdata)
        return value

    def _core(self, m):
        """The core; its registers belong to the control port, in other cycles to the program channel."""
        p, mover = self.params, self.mover
        inputs = {"in_valid": 1, "in_data": p.stream_bits, "out_ready": 1}
        inputs |= {"reg_addr": ADDRESS_BITS, "reg_we": 1, "reg_wdata": WORD}
        outputs = {"in_ready": 1, "out_valid": 1, "out_data": p.stream_bits, "out_last": 1}
        outputs |= {"reg_rdata": WORD, "in_busy": 1, "halted": 1, "irq": 1, "busy": 1}
        self.core = core = {n: Signal(b, name=f"core_{n}") for n, b in (inputs | outputs).items()}
        m.submodules.core = Instance(
            "blockcim_core",
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            i_first_tile=Const(0, ID_BITS),
            i_soft_reset=self.reset,
            **{f"i_{name}": core[name] for name in inputs},
            **{f"o_{name}": core[name] for name in outputs},
        )
        own = self.addr >= 1 << ADDRESS_BITS
        m.d.comb += [
            self.busy.eq(core["busy"]),
            core["reg_addr"].eq(self.addr),
            core["reg_we"].eq(self.granted & ~own),
            core["reg_wdata"].eq(self.wdata),
            mover.prog_grant.eq(~self.request & (mover.prog_rewind | mover.prog_we)),
        ]
        with m.If(mover.prog_grant):
            m.d.comb += core["reg_we"].eq(1)
            with m.If(mover.prog_rewind):
                m.d.comb += [core["reg_addr"].eq(ON_BUS["PROG_ADDR"].address)]
                m.d.comb += core["reg_wdata"].eq(0)
            with m.Else():
                m.d.comb += [core["reg_addr"].eq(ON_BUS["PROG_DATA"].address)]
                m.d.comb += core["reg_wdata"].eq(mover.prog_data)

    def _words(self, m):
        """Beats between the core and the mover."""
        core, mover = self.core, self.mover
        m.d.comb += [
            core["in_valid"].eq(mover.in_valid),
            core["in_data"].eq(mover.in_data),
            mover.in_ready.eq(core["in_ready"]),
            mover.out_valid.eq(core["out_valid"]),
            mover.out_data.eq(core["out_data"]),
            core["out_ready"].eq(mover.out_ready),
        ]

    def _data(self, m):
        """Beats between the core and the stream ports or the mover; a port keeps what it offers over a reset."""
        core, check, mover, width = self.core, self.check, self.mover, self.params.stream_bits + 1
        source, sink, checked = self.mode
        m.submodules.end = end = PacketEnd(self.params)
        m.submodules.in_port = in_port = SyncFIFO(width=width, depth=2)
        m.submodules.out_port = out_port = SyncFIFO(width=width, depth=2)
        m.d.comb += [
            in_port.w_en.eq(self.in_valid),
            in_port.w_data.eq(Cat(self.in_data, self.in_last)),
            self.in_ready.eq(in_port.w_rdy),
            check.enable.eq(checked & ~source),
            check.in_valid.eq(in_port.r_rdy & ~source),
            check.in_last.eq(in_port.r_data[-1]),
            check.out_ready.eq(core["in_ready"]),
            in_port.r_en.eq(check.in_ready & ~source),
            core["in_valid"].eq(Mux(source, mover.in_valid, check.out_valid)),
            core["in_data"].eq(Mux(source, mover.in_data, in_port.r_data)),
            mover.in_ready.eq(core["in_ready"] & source),
            end.in_valid.eq(core["out_valid"] & ~sink),
            end.in_data.eq(core["out_data"]),
            end.in_last.eq(core["out_last"]),
            end.reset.eq(self.reset),
            out_port.w_en.eq(end.out_valid),
            out_port.w_data.eq(Cat(end.out_data, end.out_last)),
            end.out_ready.eq(out_port.w_rdy),
            mover.out_valid.eq(core["out_valid"] & sink),
            mover.out_data.eq(core["out_data"]),
            core["out_ready"].eq(Mux(sink, mover.out_ready, end.in_ready)),
            self.out_valid.eq(out_port.r_rdy),
            Cat(self.out_data, self.out_last).eq(out_port.r_data),
            out_port.r_en.eq(self.out_ready),
        ]

    def _dma(self, m) -> dict:
        """The registers of the mover; what they read as."""
        mover, wdata = self.mover, self.wdata
        addresses, counts = (
            [self._register(m, f"DMA_{way}_{what}") for way in ("IN", "OUT")]
            for what in ("ADDR", "WORDS")
        )
        m.d.comb += [
            mover.in_addr.eq(addresses[0][2:]),
            mover.out_addr.eq(addresses[1][2:]),
            mover.in_words.eq(counts[0]),
            mover.out_words.eq(counts[1]),
            mover.start.eq(Mux(self._written("DMA_START"), wdata, 0)),
            mover.stop.eq(Mux(self._written("DMA_STOP"), wdata, 0)),
            mover.push.eq(self._written("IN_DATA")),
            mover.push_data.eq(wdata),
            mover.pop.eq(self.request & ~self.we & (self.addr == ON_BUS["OUT_DATA"].address)),
        ]
        return {
            "OUT_DATA": mover.out_word,
            "FIFO": _fields("FIFO", in_free=mover.in_free, out_level=mover.out_level),
            "DMA_IN_ADDR": addresses[0],
            "DMA_IN_WORDS": counts[0],
            "DMA_OUT_ADDR": addresses[1],
            "DMA_OUT_WORDS": counts[1],
            "DMA_OUT_COUNT": mover.out_count,
            "DMA_BUSY": mover.busy,
        }

    def _packets(self, m):
        """What the check of packets wants to know."""
        check = self.check
        m.d.comb += [
            check.reset.eq(self.reset),
            check.start.eq(self.command["start"] & ~self.busy),
            check.running.eq(self.busy),
            check.halted.eq(self.core["halted"]),
            check.in_busy.eq(self.core["in_busy"]),
        ]

    def _faults(self, m, more: dict | None = None):
        """The first fault stays until software has seen it; it resets the core a cycle later."""
        mover, command = self.mover, self.command
        found = Signal(Fault)
        for code, condition in {
            Fault.FULL: mover.full,
            Fault.WRITE: mover.write_error,
            Fault.READ: mover.read_error,
            **(more or {}),
        }.items():
            with m.If(condition & ~self.reset & (self.fault == Fault.NONE)):
                m.d.comb += found.eq(code)
        m.d.sync += self.reset.eq(command["reset"] | (found != Fault.NONE))
        with m.If(command["start"] | command["clear"] | command["reset"]):
            m.d.sync += self.fault.eq(Fault.NONE)
        with m.If(found != Fault.NONE):
            m.d.sync += self.fault.eq(found)
        enable = self._register(m, "IRQ_ENABLE", 1)
        m.d.comb += [
            mover.reset.eq(self.reset),
            self.irq.eq(self.core["irq"] | (enable & (self.fault != Fault.NONE))),
        ]

    def _reply(self, m, values: dict):
        """Grants requests and answers them; `values` are what the registers that are not the core's read as."""
        core, full = self.core, self.mover.in_free == 0
        known, writable, refused = Signal(), Signal(), Signal()
        with m.Switch(self.addr):
            with m.Case(*(r.address for r in ON_BUS.values() if r.access != "ro")):
                m.d.comb += [known.eq(1), writable.eq(1)]
            with m.Case(*(r.address for r in ON_BUS.values() if r.access == "ro")):
                m.d.comb += known.eq(1)
        no_room = Signal()
        m.d.comb += no_room.eq((self.addr == ON_BUS["IN_DATA"].address) & full)
        if self.alone:  # room only grows between two requests
            found = (known, writable, no_room)
            known, writable, no_room = (Signal(name=f"was_{signal.name}") for signal in found)
            m.d.sync += Cat(known, writable, no_room).eq(Cat(found))
        m.d.comb += [
            refused.eq(~known | (self.we & (~writable | ~self.strobe.all() | no_room))),
            self.granted.eq(self.request & self.we & ~refused),
        ]
        own, of_core, of_status = Signal(WORD), Signal(), Signal()
        m.d.sync += [
            self.ack.eq(self.request),
            self.err.eq(self.request & refused),
            self.outside.eq(self.request & ~known),
            of_core.eq(self.addr < 1 << ADDRESS_BITS),
            of_status.eq(self.addr == ON_BUS["STATUS"].address),
            own.eq(0),
        ]
        with m.Switch(self.addr):
            for name, value in values.items():
                with m.Case(ON_BUS[name].address):
                    m.d.sync += own.eq(value)
        failed = of_status & (self.fault != Fault.NONE)
        m.d.comb += self.rdata.eq(
            Mux(of_core, core["reg_rdata"] | _fields("STATUS", error=failed), own)
        )
