"""Between 32-bit words and stream beats of several words, low word first."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .spec.params import index_bits

WORD = 32  #: bits of a word of the bus


class WordsToBeats(wiring.Component):
    """Collects `words` words to a beat. The last word passes through: a beat is offered with it, a word a cycle.

    Members
    -------
    in_valid, in_ready, in_data : words
    out_valid, out_ready, out_data : beats
    """

    def __init__(self, words: int):
        self.words = words
        super().__init__(
            {
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(WORD),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(WORD * words),
            }
        )

    def elaborate(self, platform):
        m = Module()
        at, kept = Signal(index_bits(self.words)), Signal(WORD * (self.words - 1))
        final = at == self.words - 1
        m.d.comb += [
            self.out_valid.eq(self.in_valid & final),
            self.out_data.eq(Cat(kept, self.in_data)),
            self.in_ready.eq(~final | self.out_ready),
        ]
        with m.If(self.in_valid & self.in_ready):
            m.d.sync += at.eq(Mux(final, 0, at + 1))
            if self.words > 1:
                with m.If(~final):
                    m.d.sync += kept.word_select(at, WORD).eq(self.in_data)
        return m


class BeatsToWords(wiring.Component):
    """Gives the `words` words of each beat, a word a cycle; the beat is taken with the last of them.

    Members
    -------
    in_valid, in_ready, in_data : beats
    out_valid, out_ready, out_data : words
    """

    def __init__(self, words: int):
        self.words = words
        super().__init__(
            {
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(WORD * words),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(WORD),
            }
        )

    def elaborate(self, platform):
        m = Module()
        at = Signal(index_bits(self.words))
        final = at == self.words - 1
        m.d.comb += [
            self.out_valid.eq(self.in_valid),
            self.out_data.eq(self.in_data.word_select(at, WORD)),
            self.in_ready.eq(self.out_ready & final),
        ]
        with m.If(self.out_valid & self.out_ready):
            m.d.sync += at.eq(Mux(final, 0, at + 1))
        return m
