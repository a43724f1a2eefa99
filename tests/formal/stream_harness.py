"""Harnesses of the streams: nothing is lost, doubled or reordered, and packets begin and end where they should."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from rtl.spec.params import Params
from rtl.words import WORD
from tests.formal.bus_harness import assume, check, constant, stays

#: Beats of two words; two beats make a buffer word.
PARAMS = Params.load("tiny").replace(lanes=16, stream_width=64)
#: Cycles in which what nobody holds back has come through.
THROUGH = 6


class _Numbered:
    """Of a stream of 32-bit words one, of arbitrary number and value, is watched; `count` have moved at an end."""

    def __init__(self, number, value):
        self.number, self.value = number, value

    def end(self, m, moved, words, verify):
        """The words that move together at an end: the watched one, if among them, has its value there."""
        count = Signal(6)
        with m.If(moved):
            m.d.sync += count.eq(count + len(words))
        for i, word in enumerate(words):
            verify(m, word == self.value, when=moved & (count + i == self.number))
        return count


class Words(wiring.Component):
    """The mover with its FIFOs: words to beats for the core, and beats of the core to words, DMA at rest."""

    def __init__(self, module):
        self.mover = module.Mover(PARAMS)
        sizes = {
            "push": 1,
            "push_data": WORD,
            "in_ready": 1,
            "out_valid": 1,
            "out_data": 64,
            "pop": 1,
        }
        sizes |= {"number": 6, "value": WORD}
        super().__init__({name: In(bits) for name, bits in sizes.items()})

    def elaborate(self, platform):
        m = Module()
        m.submodules.mover = d = self.mover
        for name in ("push_data", "in_ready", "out_valid", "out_data", "pop"):
            m.d.comb += getattr(d, name).eq(getattr(self, name))
        m.d.comb += d.push.eq(self.push & (d.in_free != 0))
        constant(m, self.number)
        constant(m, self.value)
        stays(m, d.out_valid, d.out_ready, d.out_data, verify=assume)
        stays(m, d.in_valid, d.in_ready, d.in_data)
        watch = _Numbered(self.number, self.value)
        pushed = watch.end(m, d.push, [d.push_data], assume)
        given = watch.end(m, d.in_valid & d.in_ready, self._halves(d.in_data), check)
        self._comes_through(m, ~d.push & d.in_ready, given == pushed & ~1)
        taken = watch.end(m, d.out_valid & d.out_ready, self._halves(d.out_data), assume)
        popped = watch.end(m, d.pop & (d.out_level != 0), [d.out_word], check)
        # The beat that is offered gives its words before it is taken.
        self._comes_through(m, ~d.out_valid & d.pop, popped == taken)
        return m

    def _halves(self, beat):
        return [beat[:WORD], beat[WORD:]]

    def _comes_through(self, m, at_rest, equal):
        waited = Signal(range(THROUGH + 1))
        m.d.sync += waited.eq(Mux(at_rest, Mux(waited == THROUGH, waited, waited + 1), 0))
        check(m, equal, when=waited == THROUGH)


class PacketIn(wiring.Component):
    """The check at the input: a run takes beats from the first one of a packet to its last; the rest is dropped."""

    def __init__(self, module):
        self.check = module.PacketCheck(PARAMS)
        names = [
            "enable",
            "start",
            "halted",
            "in_busy",
            "reset",
            "in_valid",
            "in_last",
            "out_ready",
        ]
        super().__init__({name: In(1) for name in names})

    def elaborate(self, platform):
        m = Module()
        m.submodules.check = d = self.check
        for name in ("enable", "halted", "in_busy", "reset", "in_valid", "in_last", "out_ready"):
            m.d.comb += getattr(d, name).eq(getattr(self, name))
        constant(m, self.enable)
        stays(m, self.in_valid, d.in_ready, self.in_last, verify=assume)
        running = Signal()  # as of a core: from `start` to its end or a reset
        m.d.comb += [d.running.eq(running), d.start.eq(self.start & ~running)]
        m.d.sync += running.eq((running | self.start) & ~self.halted & ~self.reset)
        assume(m, running, when=self.halted)
        moved, taken = d.in_valid & d.in_ready, d.out_valid & d.out_ready
        inside, begun, ended, beats = Signal(), Signal(), Signal(), Signal()
        with m.If(moved & self.enable):
            m.d.sync += inside.eq(~self.in_last)
        with m.If(taken):
            m.d.sync += [begun.eq(1), ended.eq(ended | self.in_last), beats.eq(beats + 1)]
        with m.If(d.start | self.reset):
            m.d.sync += [begun.eq(0), ended.eq(0), beats.eq(0)]
        check(m, taken == moved, when=~self.enable)
        check(m, moved, when=taken)
        check(m, ~inside, when=self.enable & taken & ~begun)
        check(m, inside, when=self.enable & taken & begun)
        check(m, running & ~ended, when=self.enable & taken)
        check(m, inside & ~begun, when=moved & ~taken)
        # What this run has not finished is dropped; what belongs to the next one waits.
        check(m, d.in_ready, when=self.enable & inside & ~begun)
        check(m, d.short == (self.enable & ended & self.in_busy))
        now_ended, partly = ended | (taken & self.in_last), beats ^ taken
        wrong = (begun | taken) & (~now_ended | partly)
        check(m, d.long == (self.enable & self.halted & wrong))
        self._invariants(m, d, inside, begun, ended, beats)
        return m

    def _invariants(self, m, d, inside, begun, ended, beats):
        """Registers of the check, so that induction closes."""
        on = self.enable
        check(m, d.inside == (inside & on))
        check(m, d.flush == (inside & ~begun & on))
        check(m, d.ended == ended, when=on)
        check(m, d.beat == beats, when=on)
        check(m, begun & ~inside, when=on & ended)
        check(m, inside | ended, when=on & begun)


class PacketOut(wiring.Component):
    """The output: every beat of the core, and an end for each packet that a reset cuts."""

    def __init__(self, module):
        self.end = module.PacketEnd(PARAMS)
        sizes = {"reset": 1, "in_valid": 1, "in_data": 64, "in_last": 1, "out_ready": 1}
        super().__init__({name: In(bits) for name, bits in sizes.items()})

    def elaborate(self, platform):
        m = Module()
        m.submodules.end = d = self.end
        for name in ("reset", "in_valid", "in_data", "in_last", "out_ready"):
            m.d.comb += getattr(d, name).eq(getattr(self, name))
        inside, cut = Signal(), Signal()
        came = d.in_valid & d.in_ready & ~self.reset
        went = d.out_valid & d.out_ready
        with m.If(came):
            m.d.sync += inside.eq(~self.in_last)
        with m.If(went & cut):
            m.d.sync += [cut.eq(0), inside.eq(0)]
        with m.If(self.reset & inside & ~(went & cut)):
            m.d.sync += cut.eq(1)
        check(m, went == came, when=~cut)
        check(m, (d.out_data == self.in_data) & (d.out_last == self.in_last), when=came)
        check(m, ~came & d.out_valid & d.out_last & (d.out_data == 0), when=cut)
        check(m, d.inside == inside)
        check(m, d.cut == cut)
        check(m, inside, when=cut)
        return m
