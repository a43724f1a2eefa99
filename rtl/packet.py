"""The packet check: one packet of input a run, its end where the program has taken its last beat."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .spec.params import Params, index_bits


class PacketCheck(wiring.Component):
    """Stands between the stream port and the core; combinational from one to the other, a beat a cycle.

    Without `enable` beats pass. With it they pass while a program runs, up to the end of the packet; the next packet
    waits for the next run. A packet that a run leaves unfinished is dropped up to its end: a run always starts with
    the first beat of a packet.

    Members
    -------
    enable : In, constant while a program runs
    start, running, halted, in_busy, reset : In, of the core: it starts, runs, halts, wants input, is reset
    in_valid, in_ready, in_last : In, Out, In; the stream (its data needs no check)
    out_valid, out_ready : to the core
    short, long : Out, the faults, in cycles in which they are found
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__(
            {
                "enable": In(1),
                "start": In(1),
                "running": In(1),
                "halted": In(1),
                "in_busy": In(1),
                "reset": In(1),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_last": In(1),
                "out_valid": Out(1),
                "out_ready": In(1),
                "short": Out(1),
                "long": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beats = self.params.beats_per_word
        inside = Signal()  # a packet has begun and not ended
        ended = Signal()  # the packet of this run has ended
        flush = Signal()  # what is left of a packet is dropped
        beat = Signal(index_bits(beats))  # of a buffer word: the core takes the first ones ahead
        gate, moved, taken = Signal(), Signal(), Signal()
        m.d.comb += [
            gate.eq(~self.enable | (self.running & ~ended & ~flush)),
            self.out_valid.eq(self.in_valid & gate),
            self.in_ready.eq(flush | (self.out_ready & gate)),
            moved.eq(self.enable & self.in_valid & self.in_ready),
            taken.eq(moved & ~flush),
        ]
        next_inside, next_ended, next_beat = Signal(), Signal(), Signal.like(beat)
        m.d.comb += [
            next_inside.eq(Mux(moved, ~self.in_last, inside)),
            next_ended.eq(ended | (taken & self.in_last)),
            next_beat.eq(Mux(taken, Mux(beat == beats - 1, 0, beat + 1), beat)),
            self.short.eq(self.enable & ended & self.in_busy),
            # In a cycle in which the core halts it may still take the first beats of a word.
            self.long.eq(
                self.enable & self.halted & ~flush & (next_inside | (next_ended & (next_beat != 0)))
            ),
        ]
        m.d.sync += [
            inside.eq(next_inside & self.enable),
            ended.eq(next_ended),
            beat.eq(next_beat),
            flush.eq(flush & next_inside & self.enable),
        ]
        with m.If(self.start | self.reset):
            m.d.sync += [ended.eq(0), beat.eq(0), flush.eq(next_inside & self.enable)]
        return m
