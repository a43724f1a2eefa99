"""DMA where there is no memory, on Amaranth's simulator."""

import pytest
from amaranth.sim import Simulator

from rtl.dma import NoMemory


@pytest.mark.parametrize("channel", ["read", "write"])
@pytest.mark.parametrize("words, stop", [(1, 0), (7, 0), (0, 0), (7, 1)])
def test_a_channel_that_is_to_move_words_ends_with_its_error(channel, words, stop):
    dma = NoMemory(4)
    names = (
        "read_error",
        "write_error",
        "reading",
        "writing",
        "wb_cyc",
        "give_valid",
        "take_ready",
    )
    seen = []

    async def bench(ctx):
        for name, value in {"start": 1, "words": words, "stop": stop}.items():
            ctx.set(getattr(dma, f"{channel}_{name}"), value)
        await ctx.tick()
        ctx.set(getattr(dma, f"{channel}_start"), 0)
        for _ in range(3):
            seen.append([name for name in names if ctx.get(getattr(dma, name))])
            await ctx.tick()

    simulator = Simulator(dma)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    busy = {"read": "reading", "write": "writing"}[channel]
    assert seen == [[f"{channel}_error", busy] if words and not stop else [], [], []]
