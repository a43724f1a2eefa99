"""The mover: data by register and by DMA, between 32-bit words and the beats of the core."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .dma import DMA_ADDRESS_BITS, Dma, NoMemory, connect_master, master_ports
from .spec.params import ConfigError, Params
from .words import WORD, BeatsToWords, WordsToBeats

#: Words that each of the FIFOs holds.
FIFO_WORDS = 32
#: Words of a beat at most: a wider one would need more registers than it is worth.
MAX_BEAT_WORDS = 64
#: The bits of DMA_START, DMA_BUSY and DMA_STOP.
INPUT, OUTPUT, PROGRAM = range(3)


def beat_words(params: Params) -> int:
    """32-bit words of a stream beat. Raises `ConfigError` if it is not a whole number of them, or too many."""
    words, rest = divmod(params.stream_bits, WORD)
    if rest or words > MAX_BEAT_WORDS:
        raise ConfigError(
            f"stream_width: a beat of {params.stream_bits} bits must, on a bus, be a multiple of {WORD}, "
            f"at most {MAX_BEAT_WORDS * WORD}"
        )
    return words


class Mover(wiring.Component):
    """A FIFO of words each way; DMA and registers fill the one and empty the other, a word a cycle.

    While DMA reads, `push` has no room; while it writes, `pop` gets nothing. The program channel rewinds the program
    memory, then moves words from the input FIFO into it, a word in each cycle that it is granted. Without
    `memory`, DMA that is to move words ends with an error.

    Members
    -------
    reset : In, stop both channels, forget everything
    push, push_data : In; in_free : Out, words that may be pushed. `push` only where there is room
    pop : In; out_level, out_word : Out, words that may be popped, and the first of them, 0 without one
    start, stop, busy : the channels of DMA, one bit each: registers DMA_START, DMA_STOP, DMA_BUSY
    in_addr, in_words, out_addr, out_words : In, words and word addresses of the channels, taken at `start`
    out_count : Out, words that memory has acknowledged
    wb_* : DMA, see rtl/dma.py; read_error, write_error, full : Out, its faults
    prog_rewind, prog_we, prog_data : Out, go to instruction 0, or write a word; prog_grant : In, done in this cycle
    in_valid, in_ready, in_data : beats for the core (out of here)
    out_valid, out_ready, out_data : beats of the core (into here)
    """

    def __init__(self, params: Params, memory: bool = True):
        self.words, self.memory = beat_words(params), memory
        super().__init__(
            {
                "reset": In(1),
                "push": In(1),
                "push_data": In(WORD),
                "in_free": Out(range(FIFO_WORDS + 1)),
                "pop": In(1),
                "out_level": Out(range(FIFO_WORDS + 2)),
                "out_word": Out(WORD),
                "start": In(3),
                "stop": In(3),
                "busy": Out(3),
                "in_addr": In(DMA_ADDRESS_BITS),
                "in_words": In(WORD),
                "out_addr": In(DMA_ADDRESS_BITS),
                "out_words": In(WORD),
                "out_count": Out(WORD),
                **master_ports("wb_"),
                "read_error": Out(1),
                "write_error": Out(1),
                "full": Out(1),
                "prog_rewind": Out(1),
                "prog_we": Out(1),
                "prog_data": Out(WORD),
                "prog_grant": In(1),
                "in_valid": Out(1),
                "in_ready": In(1),
                "in_data": Out(WORD * self.words),
                "out_valid": In(1),
                "out_ready": Out(1),
                "out_data": In(WORD * self.words),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dma = self.dma = (Dma if self.memory else NoMemory)(FIFO_WORDS)
        connect_master(m, self.dma, self, "wb_")
        for name in ("read_error", "write_error", "full"):
            m.d.comb += getattr(self, name).eq(getattr(self.dma, name))
        self.loading = Signal()  # the input FIFO feeds the program memory
        forget_in = self.reset | Mux(self.loading, self.stop[PROGRAM], self.stop[INPUT])
        forget_out = self.reset | self.stop[OUTPUT]
        self._input(m, ResetInserter(forget_in))
        self._output(m, ResetInserter(forget_out))
        self._channels(m, forget_in, forget_out)
        return m

    def _input(self, m, resets):
        # One more than is used: a buffered FIFO takes its last word only once the first has come through.
        self.fifo = fifo = SyncFIFOBuffered(width=WORD, depth=FIFO_WORDS + 1)
        gather, dma = WordsToBeats(self.words), self.dma
        m.submodules += resets(fifo), resets(gather)
        room = Signal.like(self.in_free)
        m.d.comb += [
            room.eq(FIFO_WORDS - fifo.level),
            self.in_free.eq(Mux(dma.reading, 0, room)),
            fifo.w_en.eq(dma.give_valid | self.push),
            fifo.w_data.eq(Mux(dma.give_valid, dma.give_data, self.push_data)),
            dma.room.eq(room),
            fifo.r_en.eq(Mux(self.loading, self.prog_we & self.prog_grant, gather.in_ready)),
            self.prog_data.eq(fifo.r_data),
            gather.in_valid.eq(fifo.r_rdy & ~self.loading),
            gather.in_data.eq(fifo.r_data),
            self.in_valid.eq(gather.out_valid),
            self.in_data.eq(gather.out_data),
            gather.out_ready.eq(self.in_ready),
        ]

    def _output(self, m, resets):
        fifo = SyncFIFOBuffered(width=WORD, depth=FIFO_WORDS)
        scatter, dma = BeatsToWords(self.words), self.dma
        m.submodules += resets(fifo), resets(scatter)
        for_pop = ~dma.writing & fifo.r_rdy
        m.d.comb += [
            scatter.in_valid.eq(self.out_valid),
            scatter.in_data.eq(self.out_data),
            self.out_ready.eq(scatter.in_ready),
            fifo.w_en.eq(scatter.out_valid),
            fifo.w_data.eq(scatter.out_data),
            scatter.out_ready.eq(fifo.w_rdy),
            dma.take_valid.eq(fifo.r_rdy),
            dma.take_data.eq(fifo.r_data),
            fifo.r_en.eq(dma.take_ready | (self.pop & for_pop)),
            self.out_word.eq(Mux(for_pop, fifo.r_data, 0)),
            self.out_level.eq(Mux(for_pop, fifo.level, 0)),
        ]

    def _channels(self, m, forget_in, forget_out):
        """Starts, stops and states; the input and the program channel share the reader."""
        dma, rewound = self.dma, Signal()
        idle = ~dma.read_running & ~self.loading
        load = self.start[PROGRAM] & ~self.start[INPUT] & idle
        m.d.comb += [
            dma.read_start.eq(load | (self.start[INPUT] & ~self.loading)),
            dma.read_stop.eq(forget_in),
            dma.read_addr.eq(self.in_addr),
            dma.read_words.eq(self.in_words),
            dma.write_start.eq(self.start[OUTPUT]),
            dma.write_stop.eq(forget_out),
            dma.write_addr.eq(self.out_addr),
            dma.write_words.eq(self.out_words),
            self.out_count.eq(dma.written),
            self.busy.eq(Cat(dma.reading & ~self.loading, dma.writing, self.loading)),
            self.prog_rewind.eq(self.loading & ~rewound),
            self.prog_we.eq(self.loading & rewound & self.fifo.r_rdy),
        ]
        with m.If(self.prog_grant):
            m.d.sync += rewound.eq(1)
        with m.If(rewound & ~dma.reading & (self.fifo.level == 0)):
            m.d.sync += self.loading.eq(0)
        with m.If(load):
            m.d.sync += [self.loading.eq(1), rewound.eq(0)]
        with m.If(forget_in):
            m.d.sync += self.loading.eq(0)
