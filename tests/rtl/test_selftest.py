"""The self-test on Amaranth's simulator, against a bus that does as a script of answers says."""

import pytest
from amaranth.sim import Simulator

from rtl import selftest
from rtl.board import EcpPll, IceCorePll, IcePll
from rtl.selftest import SelfTest, encode, expect, wait, write
from rtl.spec.params import ConfigError
from rtl.spec.regmap import ON_BUS

PROG_DATA, STATUS = ON_BUS["PROG_DATA"].address, ON_BUS["STATUS"].address


def play(script, reads, refuse=()):
    """Transfers (address, we, data) of a script, and how it ends; reads give `reads` in turn, writes `refuse` err."""
    test, done, end = SelfTest(script), [], None
    answers = iter(reads)

    async def bench(ctx):
        nonlocal end
        for _ in range(400):
            await ctx.tick()
            ctx.set(test.ack, 0)
            ctx.set(test.err, 0)
            states = [ctx.get(s) for s in (test.running, test.passed, test.failed)]
            assert sum(states) == 1
            if not states[0]:
                end = "passed" if states[1] else "failed"
                return
            if ctx.get(test.cyc) and ctx.get(test.stb):
                transfer = (ctx.get(test.adr), ctx.get(test.we), ctx.get(test.dat_w))
                wrong = len(done) in refuse
                done.append(transfer)
                ctx.set(test.err if wrong else test.ack, 1)
                if not transfer[1]:
                    ctx.set(test.dat_r, next(answers))
                await ctx.tick()
                ctx.set(test.ack, 0)
                ctx.set(test.err, 0)

    simulator = Simulator(test)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return done, end


def test_script_is_carried_out_in_order():
    script = [*write("PROG_DATA", 0x12345678, 9), *wait("STATUS", 6), *expect("STATUS", 2)]
    done, end = play(script, [1, 1, 4, 2])
    assert end == "passed"
    assert done[:2] == [(PROG_DATA, 1, 0x12345678), (PROG_DATA, 1, 9)]
    assert [d[:2] for d in done[2:]] == [(STATUS, 0)] * 4


def test_refused_write_is_repeated():
    done, end = play(write("PROG_DATA", 1, 2), [], refuse=(0, 1))
    assert end == "passed"
    assert [d[2] for d in done] == [1, 1, 1, 2]


def test_wrong_word_fails_and_ends():
    done, end = play([*expect("STATUS", 2), *write("PROG_DATA", 1)], [3])
    assert (end, len(done)) == ("failed", 1)


def test_what_never_comes_fails(monkeypatch):
    monkeypatch.setattr(selftest, "PATIENCE", 8)
    done, end = play(wait("STATUS", 2), [1] * 20)
    assert (end, len(done)) == ("failed", 8)


def test_long_steps_are_split():
    words = tuple(range(300))
    halves = encode(write("PROG_DATA", *words))
    assert len(halves) == 2 + 2 * 300 + 1
    assert (halves[0] & 255, halves[1 + 2 * 255] & 255, halves[-1]) == (255, 45, 0)


def test_word_of_more_than_32_bits_is_refused():
    with pytest.raises(ConfigError, match="4294967296 is no word of 32 bits"):
        encode(write("PROG_DATA", 1 << 32))


@pytest.mark.parametrize("target", [25, 40, 50, 60, 75, 80, 100])
def test_ecp5_pll_makes_the_clock(target):
    pll = EcpPll.find(25, target)
    assert 25 / pll.refer * pll.feedback == pytest.approx(target)
    assert 400 <= target * pll.output <= 800


@pytest.mark.parametrize("target", [18, 24, 36, 48])
def test_ice40_pll_makes_the_clock(target):
    pll = IcePll.find(12, target)
    assert 12 / (pll.refer + 1) * (pll.feedback + 1) / 2**pll.output == pytest.approx(target)
    assert 533 <= 12 * (pll.feedback + 1) <= 1066


@pytest.mark.parametrize("pll", [EcpPll, IcePll, IceCorePll])
def test_clock_that_no_divider_makes_is_refused(pll):
    with pytest.raises(ConfigError, match=r"clock: no PLL dividers make 33\.333 MHz"):
        pll.find(12, 33.333)
