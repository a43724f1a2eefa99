"""A station of the chain that joins the cores of a chip: packets in, packets past, packets out."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from .spec.params import Params, index_bits

#: Beats that wait at a station at most: enough for one a cycle with registers both ways.
LINK_FIFO = 2


def beat_layout(params: Params) -> data.StructLayout:
    """What travels on the chain: `core` is where to, or, with `host`, where from on the way out of the chip."""
    return data.StructLayout(
        {"data": params.stream_bits, "core": index_bits(params.cores), "host": 1, "last": 1}
    )


class Link(wiring.Component):
    """Takes the packets for core `id` off the chain, lets others past, and puts the core's own packets on it.

    A beat is offered to the core, or to the next station, in the cycle after it came; a beat a cycle goes through. A
    packet is never interrupted by another; when both wait, the one that comes by goes first.

    Members
    -------
    id : In, number of this station's core
    in_*, out_* : the chain; a `beat` is valid, taken when ready, see `beat_layout`
    give_valid, give_ready, give_data : to the core's input stream
    take_valid, take_ready, take_data, take_last : from the core's output stream
    waiting : Out, a beat is here
    """

    def __init__(self, params: Params):
        self.params = p = params
        beat = beat_layout(p)
        super().__init__(
            {
                "id": In(index_bits(p.cores)),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_beat": In(beat),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_beat": Out(beat),
                "give_valid": Out(1),
                "give_ready": In(1),
                "give_data": Out(p.stream_bits),
                "take_valid": In(1),
                "take_ready": Out(1),
                "take_data": In(p.stream_bits),
                "take_last": In(1),
                "waiting": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layout = beat_layout(self.params)
        m.submodules.queue = queue = SyncFIFO(width=layout.size, depth=LINK_FIFO)
        head = data.View(layout, queue.r_data)
        mine, past, own = Signal(), Signal(), Signal()
        inside = Signal(2)  # a packet is on its way out: [0] one that comes by, [1] one of the core
        m.d.comb += [
            queue.w_en.eq(self.in_valid),
            queue.w_data.eq(self.in_beat.as_value()),
            self.in_ready.eq(queue.w_rdy),
            self.waiting.eq(queue.r_rdy),
            mine.eq(~head.host & (head.core == self.id)),
            past.eq(queue.r_rdy & ~mine & ~inside[1]),
            own.eq(~past & ~inside[0]),
            self.give_valid.eq(queue.r_rdy & mine),
            self.give_data.eq(head.data),
            self.take_ready.eq(own & self.out_ready),
            self.out_valid.eq(past | (own & self.take_valid)),
            self.out_beat.eq(head),
            queue.r_en.eq((mine & self.give_ready) | (past & self.out_ready)),
        ]
        with m.If(~past):
            m.d.comb += [
                self.out_beat.data.eq(self.take_data),
                self.out_beat.core.eq(self.id),
                self.out_beat.host.eq(1),
                self.out_beat.last.eq(self.take_last),
            ]
        with m.If(self.out_valid & self.out_ready):
            m.d.sync += inside.eq(Cat(past, ~past) & (~self.out_beat.last).replicate(2))
        return m
