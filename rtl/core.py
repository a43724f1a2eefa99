"""A core as a user connects it: the register file around the engine."""

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from . import fetch
from .engine import COUNTED
from .spec import isa
from .spec.isa import Error
from .spec.params import Params, clog2
from .spec.regmap import ADDRESS_BITS, BY_NAME, MAGIC
from .tile import ID_BITS


class Core(wiring.Component):
    """Registers (rtl/spec/regmap.py) and streams of one core.

    A register write takes effect at the clock edge with `reg_we`; a read returns the register of `reg_addr` in the
    following cycle. `irq` is high while done or error is set and interrupts are enabled.

    Members
    -------
    first_tile : In, constant: number of the first tile among all of a chip, 0 in a core alone (back door of weights)
    reg_addr, reg_we, reg_wdata : In; reg_rdata : Out
    in_valid, in_ready, in_data, out_valid, out_ready, out_data, out_last : streams, see rtl/stream.py
    irq, busy : Out
    soft_reset : In, as by CTRL
    in_busy, halted : Out, an instruction wants input; HALT is reached in this cycle
    """

    def __init__(self, params: Params):
        self.params = p = params
        super().__init__(
            {
                "first_tile": In(ID_BITS),
                "reg_addr": In(ADDRESS_BITS),
                "reg_we": In(1),
                "reg_wdata": In(32),
                "reg_rdata": Out(32),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(p.stream_bits),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(p.stream_bits),
                "out_last": Out(1),
                "irq": Out(1),
                "busy": Out(1),
                "soft_reset": In(1),
                "in_busy": Out(1),
                "halted": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        commanded = Signal()
        control = {"start": Signal(), "soft_reset": Signal()}
        clear = Signal()
        done, failed, irq_enable = Signal(), Signal(), Signal()
        length = Signal(16)
        error, error_pc = Signal(range(max(Error) + 1)), Signal(clog2(p.prog_depth) + 1)
        program, engine = self._engine(m, control, length)

        def written(name):
            return self.reg_we & (self.reg_addr == BY_NAME[name].address)

        ctrl = {name: first for name, first, _, _ in BY_NAME["CTRL"].bits}
        command = written("CTRL")
        asked = command & self.reg_wdata[ctrl["start"]] & ~engine["running"]
        stopped = command & self.reg_wdata[ctrl["reset"]]
        settling, waiting = Signal(fetch.settling(p)), Signal()
        m.d.comb += [
            clear.eq(command & self.reg_wdata[ctrl["clear"]]),
            control["start"].eq(waiting & ~settling.any()),
            self.busy.eq(engine["running"] | waiting),
            self.in_busy.eq(engine["in_busy"]),
            self.halted.eq(engine["halted"]),
            self.irq.eq(irq_enable & (done | failed)),
        ]
        # A start waits for the first instruction, which is fetched anew after a run and after a write of the program;
        # in any case it passes a register, for it goes far.
        m.d.sync += [
            settling.eq(Cat(engine["running"] | program["prog_we"], settling)),
            waiting.eq((asked | (waiting & settling.any())) & ~stopped & ~self.soft_reset),
            commanded.eq(stopped),
        ]
        m.d.comb += control["soft_reset"].eq(commanded | self.soft_reset)
        with m.If(clear | asked | control["soft_reset"]):
            m.d.sync += [done.eq(0), failed.eq(0), error.eq(0), error_pc.eq(0)]
        with m.If(engine["halted"]):
            m.d.sync += done.eq(1)
        with m.If(engine["failed"]):
            m.d.sync += [failed.eq(1), error.eq(engine["error"]), error_pc.eq(engine["pc"])]
        with m.If(written("IRQ_ENABLE")):
            m.d.sync += irq_enable.eq(self.reg_wdata[0])
        with m.If(written("LEN")):
            m.d.sync += length.eq(self.reg_wdata)
        self._program(m, written, program)
        values = {
            "ID": MAGIC,
            "CONFIG_HASH": p.config_hash,
            "STATUS": self.busy | done << 1 | failed << 2,
            "ERROR": error,
            "ERROR_PC": error_pc,
            "IRQ_ENABLE": irq_enable,
            "LEN": length,
            **self._counters(m, control["start"], engine),
        }
        with m.Switch(self.reg_addr):
            for name, value in values.items():
                with m.Case(BY_NAME[name].address):
                    m.d.sync += self.reg_rdata.eq(value)
            with m.Default():
                m.d.sync += self.reg_rdata.eq(0)
        return m

    def _engine(self, m, control, length):
        """The engine as an instance, so that a soft reset can drive its reset port."""
        p = self.params
        program = {
            "prog_we": Signal(),
            "prog_instr": Signal(clog2(p.prog_depth)),
            "prog_part": Signal(range(isa.width(p) // 32)),
            "prog_data": Signal(32),
        }
        outs = {
            name: Signal(name=name) for name in ("running", "halted", "failed", "issued", *COUNTED)
        }
        outs["error"] = Signal(range(max(Error) + 1), name="engine_error")
        outs["pc"] = Signal(clog2(p.prog_depth) + 1, name="engine_pc")
        outs["pass_tiles"] = Signal(clog2(p.tiles + 1))
        outs["drain_steps"] = Signal(clog2(p.drain_ports + 1))
        streams = {f"i_{n}": getattr(self, n) for n in ("in_valid", "in_data", "out_ready")}
        streams |= {
            f"o_{n}": getattr(self, n) for n in ("in_ready", "out_valid", "out_data", "out_last")
        }
        m.submodules.engine = Instance(
            "blockcim_engine",
            i_clk=ClockSignal(),
            i_rst=ResetSignal() | control["soft_reset"],
            i_first_tile=self.first_tile,
            i_start=control["start"],
            i_length=length,
            **{f"i_{name}": signal for name, signal in program.items()},
            **{f"o_{name}": signal for name, signal in outs.items()},
            **streams,
        )
        return program, outs

    def _program(self, m, written, program):
        """PROG_ADDR picks an instruction; PROG_DATA writes its words, low first, and moves on."""
        parts = isa.width(self.params) // 32
        instr, part = program["prog_instr"], program["prog_part"]
        m.d.comb += [
            program["prog_we"].eq(written("PROG_DATA")),
            program["prog_data"].eq(self.reg_wdata),
        ]
        with m.If(written("PROG_ADDR")):
            m.d.sync += [instr.eq(self.reg_wdata), part.eq(0)]
        with m.Elif(program["prog_we"]):
            m.d.sync += part.eq(part + 1)
            with m.If(part == parts - 1):
                m.d.sync += [part.eq(0), instr.eq(instr + 1)]

    def _counters(self, m, start, engine) -> dict:
        """Performance counters, running while the program does; its first cycle starts them anew."""
        first = Signal()
        m.d.sync += first.eq(start)
        sources = {
            "CYCLES": engine["running"],
            "ISSUED": engine["issued"],
        }
        if self.params.busy_counters:
            sources |= {
                "BUSY_IN": engine["in_busy"],
                "BUSY_LOAD": engine["load_busy"],
                "BUSY_PASS": engine["pass_busy"],
                "BUSY_OUT": engine["out_busy"],
                "BUSY_DRAIN": engine["drain_steps"],
                "PASS_TILES": engine["pass_tiles"],
            }
        counters = {}
        for name, step in sources.items():
            counters[name] = counter = Signal(32, name=name.lower())
            with m.If(engine["running"]):
                m.d.sync += counter.eq(Mux(first, 0, counter) + step)
        return counters
