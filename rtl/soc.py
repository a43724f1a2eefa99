"""A system: RISC-V CPU, memory, UART, timer, and a core with its peripheral registers and DMA."""

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .control import connect_control
from .peripheral import Peripheral
from .spec.params import ConfigError, Params, clog2, index_bits
from .spec.regmap import Register
from .spec.soc import CORE_BASE, CORE_SIZE, TIMER, TIMER_BASE, UART, UART_BASE, Memory
from .uart import DIVISOR_BITS, Receiver, Transmitter
from .wishbone import WishboneSlave
from .words import WORD

#: Bytes that the UART keeps each way.
UART_FIFO = 16


def _address(registers: tuple[Register, ...], name: str) -> int:
    return next(register.address for register in registers if register.name == name)


class UartPort(wiring.Component):
    """The registers `UART` of rtl/spec/soc.py, a FIFO each way, and the line.

    Received bytes without room, and those without a stop bit, are lost; so is a byte that is written while STATUS says
    that there is no room.

    Members
    -------
    request, write, addr, wdata : In, high for one cycle; rdata : Out, one cycle later
    irq : Out, high while a byte is there and the interrupt is enabled
    divisor : In, clock cycles of a bit
    rx, tx : the line
    """

    request: In(1)
    write: In(1)
    addr: In(index_bits(len(UART)))
    wdata: In(WORD)
    rdata: Out(WORD)
    irq: Out(1)
    divisor: In(DIVISOR_BITS)
    rx: In(1, init=1)
    tx: Out(1, init=1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = Receiver()
        m.submodules.transmitter = transmitter = Transmitter()
        m.submodules.received = received = SyncFIFOBuffered(width=8, depth=UART_FIFO)
        m.submodules.sent = sent = SyncFIFOBuffered(width=8, depth=UART_FIFO)
        enable = Signal()
        m.d.comb += [
            receiver.divisor.eq(self.divisor),
            receiver.rx.eq(self.rx),
            received.w_en.eq(receiver.valid & ~receiver.framing),
            received.w_data.eq(receiver.data),
            transmitter.divisor.eq(self.divisor),
            transmitter.data.valid.eq(sent.r_rdy),
            transmitter.data.payload.eq(sent.r_data),
            sent.r_en.eq(transmitter.data.ready),
            sent.w_data.eq(self.wdata),
            self.tx.eq(transmitter.tx),
            self.irq.eq(enable & received.r_rdy),
        ]
        with m.If(self.request), m.Switch(self.addr):
            with m.Case(_address(UART, "DATA")):
                m.d.comb += [sent.w_en.eq(self.write), received.r_en.eq(~self.write)]
                m.d.sync += self.rdata.eq(Mux(received.r_rdy, received.r_data, 0))
            with m.Case(_address(UART, "STATUS")):
                m.d.sync += self.rdata.eq(Cat(sent.w_rdy, received.r_rdy))
            with m.Case(_address(UART, "IRQ_ENABLE")):
                m.d.sync += self.rdata.eq(enable)
                with m.If(self.write):
                    m.d.sync += enable.eq(self.wdata[0])
            with m.Default():
                m.d.sync += self.rdata.eq(0)
        return m


def _cpu():
    """The CPU: RV32I, one transfer at a time, starts at address 0. Raises `ConfigError` if it is not installed."""
    try:
        from sentinel_cpu.top import Top
    except ImportError:
        raise ConfigError("soc: needs sentinel-cpu; pip install 'blockcim[soc]'") from None
    return Top()


class Soc(wiring.Component):
    """The system that rtl/spec/soc.py describes.

    Every transfer of the CPU is answered in its second cycle. Nothing hangs: one that nothing answers, or that the
    peripheral refuses, reads as 0 (an illegal instruction, a trap), and BUS_ERROR keeps the address of the first. DMA
    has a port of memory of its own, a word a cycle beside the CPU; beyond memory it gets a bus error. The interrupt of
    the CPU is that of the peripheral or of the UART.

    Members
    -------
    divisor : In, clock cycles of a bit of the UART, at least 8
    rx, tx : the line
    busy : Out, a program runs on the core
    """

    def __init__(self, params: Params, memory: Memory | None = None):
        self.memory = memory or Memory()
        self.peripheral, self.cpu = Peripheral(params), _cpu()
        super().__init__(
            {
                "divisor": In(DIVISOR_BITS),
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.cpu, m.submodules.peripheral = self.cpu, self.peripheral
        self.bus = bus = self.cpu.bus
        self.here = {
            "ram": bus.adr < self.memory.ram // 4,
            "core": self._within(CORE_BASE, CORE_SIZE // 4),
            "uart": self._within(UART_BASE, 1 << clog2(len(UART))),
            "timer": self._within(TIMER_BASE, 1 << clog2(len(TIMER))),
        }
        # The two cycles of a transfer.
        self.first, self.second = Signal(), Signal()
        m.d.sync += self.second.eq(self.first)
        m.d.comb += [
            self.first.eq(bus.cyc & bus.stb & ~self.second),
            bus.ack.eq(self.second),
            self.busy.eq(self.peripheral.busy),
        ]
        self._ram(m)
        self._core(m)
        self._uart(m)
        self._timer(m)
        return m

    def _within(self, base: int, words: int):
        """Whether the CPU's address is one of `words`, a power of two, from byte address `base`."""
        bits = clog2(words)
        return self.bus.adr[bits:] == base >> (2 + bits)

    def _answer(self, m, region: str, value):
        with m.If(self.here[region]):
            m.d.comb += self.bus.dat_r.eq(value)

    def _ram(self, m):
        """Memory: port a for the CPU, port b for DMA."""
        bus, dma, words = self.bus, self.peripheral, self.memory.ram // 4
        bits = index_bits(words)
        asked, inside = Signal(), dma.dma_adr < words
        read, dma_read = Signal(WORD), Signal(WORD)
        m.submodules.ram = Instance(
            "blockcim_ram",
            p_WORDS=words,
            p_ADDR=bits,
            i_clk=ClockSignal(),
            i_a_en=self.first & self.here["ram"],
            i_a_we=Mux(bus.we, bus.sel, 0),
            i_a_addr=bus.adr[:bits],
            i_a_wdata=bus.dat_w,
            o_a_rdata=read,
            i_b_en=asked & inside,
            i_b_we=Mux(dma.dma_we, dma.dma_sel, 0),
            i_b_addr=dma.dma_adr[:bits],
            i_b_wdata=dma.dma_dat_w,
            o_b_rdata=dma_read,
        )
        m.d.comb += [asked.eq(dma.dma_cyc & dma.dma_stb), dma.dma_dat_r.eq(dma_read)]
        m.d.sync += [dma.dma_ack.eq(asked & inside), dma.dma_err.eq(asked & ~inside)]
        self._answer(m, "ram", read)

    def _core(self, m):
        """The registers of the peripheral, which answers in the second cycle too."""
        m.submodules.slave = self.slave = slave = WishboneSlave()
        connect_control(m, slave, self.peripheral)
        bus = self.bus
        m.d.comb += [
            slave.wb_cyc.eq(bus.cyc & self.here["core"]),
            slave.wb_stb.eq(bus.stb),
            slave.wb_we.eq(bus.we),
            slave.wb_adr.eq(bus.adr),
            slave.wb_sel.eq(bus.sel),
            slave.wb_dat_w.eq(bus.dat_w),
        ]
        self._answer(m, "core", Mux(slave.wb_err, 0, slave.wb_dat_r))

    def _uart(self, m):
        m.submodules.uart = uart = UartPort()
        m.d.comb += [
            uart.request.eq(self.first & self.here["uart"]),
            uart.write.eq(self.bus.we),
            uart.addr.eq(self.bus.adr),
            uart.wdata.eq(self.bus.dat_w),
            uart.divisor.eq(self.divisor),
            uart.rx.eq(self.rx),
            self.tx.eq(uart.tx),
            self.cpu.irq.eq(self.peripheral.irq | uart.irq),
        ]
        self._answer(m, "uart", uart.rdata)

    def _timer(self, m):
        """The cycle counter, and the first bus error."""
        bus, here = self.bus, self.here["timer"]
        cycles, error, value = Signal(WORD), Signal(WORD), Signal(WORD)
        registers = {_address(TIMER, "CYCLES"): cycles, _address(TIMER, "BUS_ERROR"): error}
        nowhere = self.second & ~Cat(*self.here.values()).any()
        m.d.sync += cycles.eq(cycles + 1)
        with m.If(self.first), m.Switch(bus.adr[: index_bits(len(TIMER))]):
            for address, register in registers.items():
                with m.Case(address):
                    m.d.sync += value.eq(register)
        with m.If(~error[0] & (nowhere | self.slave.wb_err)):
            m.d.sync += error.eq(Cat(1, bus.we, bus.adr))
        cleared = bus.adr[: index_bits(len(TIMER))] == _address(TIMER, "BUS_ERROR")
        with m.If(self.first & here & bus.we & cleared):
            m.d.sync += error.eq(0)
        self._answer(m, "timer", value)
