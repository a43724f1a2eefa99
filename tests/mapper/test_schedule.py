import numpy as np
import pytest

from mapper.bounds import efficiency, latency_bound, throughput_bound
from mapper.compile import UNROLL_TOKENS, Compiler
from mapper.lower import lower
from mapper.placement import place
from mapper.schedule import Policy, Scheduler, regions, replay
from mapper.workload import shapes
from rtl.spec.isa import Op, make
from rtl.spec.params import ConfigError, Params
from tests.mapper import programs

SMALL = Params(rows=16, cols=16, granule=4, lanes=8, act_depth=2, const_depth=2, prog_depth=2)
GPT2 = Params.load("gpt2-medium")


def plan(strategy, policy, tokens):
    work = shapes("gpt2-medium", [0], policy=policy, tokens=tokens)[0]
    return work, Compiler(strategy, GPT2).plan(work)


def small(tokens, barrier=(), segments=3):
    rng = np.random.default_rng(5)
    mine = {
        f"s{i}": [programs.monarch(rng, SMALL, f"m{i}{j}", 8, 8, 4, 4) for j in range(1 + (i == 0))]
        for i in range(segments)
    }
    return programs.workload(rng, SMALL, mine, tokens, barrier)


@pytest.mark.parametrize(
    ("strategy", "policy", "least"),
    [("densemap", "pad", 0.90), ("sparsemap", "pad", 0.95), ("linear", "dense", 0.85)],
)
def test_streaming_efficiency(strategy, policy, least):
    _, made = plan(strategy, policy, 16)
    bound = throughput_bound(made.lowered, made.params, 16)
    assert efficiency(bound, made.cycles, 16) >= least


@pytest.mark.parametrize(
    ("strategy", "policy"), [("densemap", "pad"), ("sparsemap", "pad"), ("linear", "dense")]
)
def test_one_token_is_within_its_latency_bound(strategy, policy):
    work, made = plan(strategy, policy, 1)
    assert made.cycles <= 1.1 * latency_bound(work.segments, made.lowered, made.params)


def test_densemap_is_as_fast_as_sparsemap_for_one_token():
    assert plan("densemap", "pad", 1)[1].cycles <= 1.05 * plan("sparsemap", "pad", 1)[1].cycles


@pytest.mark.parametrize("tokens", [1, 3, UNROLL_TOKENS])
@pytest.mark.parametrize("strategy", ["sparsemap", "densemap"])
def test_programs_of_several_tokens_match_golden(strategy, tokens):
    program = Compiler(strategy, SMALL).compile(small(tokens))
    assert programs.run(program) == program.report["cycles_predicted"]
    assert not any(i.op == Op.LOOP for i in program.instructions)


def test_long_runs_loop_and_finish_with_the_rest():
    tokens = 2 * UNROLL_TOKENS + 3
    program = Compiler("densemap", SMALL).compile(small(tokens))
    assert [i.times for i in program.instructions if i.op == Op.LOOP] == [2]
    assert programs.run(program) == program.report["cycles_predicted"]


def test_a_short_program_memory_makes_a_loop():
    program = Compiler("densemap", SMALL.replace(prog_depth=64), {"prog_depth"}).compile(small(12))
    assert any(i.op == Op.LOOP for i in program.instructions)
    assert len(program.instructions) <= 64
    assert programs.run(program) == program.report["cycles_predicted"]


def test_a_barrier_waits_for_all_tokens():
    program = Compiler("sparsemap", SMALL).compile(small(4, barrier={"s1"}))
    out = {p.token: p for p in program.output_packets if p.segment == "s0"}
    last = max(p.first + p.words for p in program.output_packets if p.segment == "s0")
    assert len(out) == 4
    for packet in program.input_packets:
        if packet.segment == "s1":
            assert program.after[packet.first] == last
    programs.run(program)


def test_a_segment_is_offered_after_the_outputs_of_the_one_before():
    program = Compiler("densemap", SMALL).compile(small(3))
    ends = {}
    for packet in program.output_packets:
        key = packet.segment, packet.token
        ends[key] = max(ends.get(key, 0), packet.first + packet.words)
    for packet in program.input_packets:
        number = int(packet.segment[1:])
        want = ends[f"s{number - 1}", packet.token] if number else 0
        assert set(program.after[packet.first : packet.first + packet.words]) == {want}


@pytest.mark.parametrize("name", ["act_depth", "const_depth", "prog_depth"])
def test_a_depth_that_is_too_small_names_the_need(name):
    with pytest.raises(ConfigError, match=rf"{name}: 2 words are too few, the program needs \d+"):
        Compiler("densemap", SMALL, {name}).plan(small(2))


def test_fewer_tokens_in_flight_when_the_buffer_is_small():
    work = small(6)
    roomy = Compiler("densemap", SMALL).plan(work).params.act_depth
    need = regions(Compiler("densemap", SMALL).plan(work).lowered, 1).total
    program = Compiler("densemap", SMALL.replace(act_depth=need), {"act_depth"}).compile(work)
    assert need < roomy
    programs.run(program)


def test_equal_layers_share_a_plan():
    compiler = Compiler("densemap", GPT2)
    plans = [compiler.plan(w) for w in shapes("gpt2-medium")]
    assert len(plans) == 24 and len({id(p) for p in plans}) == 1


def test_regions_do_not_overlap():
    segments = shapes("gpt2-medium", [0], policy="pad")[0].segments
    lowered, _ = lower(segments, place("densemap", segments, GPT2))
    buffer = regions(lowered, 3)
    used = [
        range(start, start + words)
        for s, segment in enumerate(lowered)
        for r, words in enumerate(segment.regions)
        for start in [buffer.address(s, r, token) for token in range(3)]
    ]
    assert len({w for r in used for w in r}) == sum(map(len, used)) == buffer.total


class _OneAtATime:
    """A stand-in for the cycle model: every instruction takes three cycles, alone."""

    def __init__(self, params, after):
        self.after, self.cycle, self.left, self.out_words = after, 0, 0, 0
        self.order = []

    @property
    def idle(self):
        return self.left == 0

    def can_issue(self, instr):
        return self.left == 0

    def issue(self, instr):
        self.order.append(instr.op)
        self.left = 3
        if instr.op == Op.SEND:
            self.out_words += instr.words

    def tick(self):
        self.cycle += 1
        self.left = max(0, self.left - 1)

    wait = tick


def test_the_scheduler_needs_only_the_interface_of_the_model():
    segments = small(2).segments
    placement = place("sparsemap", segments, SMALL)
    lowered, _ = lower(segments, placement)
    scheduler = Scheduler(
        placement.params, lowered, regions(lowered, 2), 2, [False] * 3, Policy(), _OneAtATime
    )
    made = scheduler.run()
    assert len(made.program) == 2 * sum(len(s.tasks) for s in lowered)
    assert made.cycles == 3 * len(made.program)


def test_replay_reports_a_deadlock():
    drain = make(Op.DRAIN, tile=0, groups=1, chain=1, blocks=1, count=1, columns=1, slots=1)
    with pytest.raises(ConfigError, match="deadlock at DRAIN"):
        replay(SMALL, [drain], [])


@pytest.mark.parametrize(("tasks", "judged"), [(0, 1), (2000, 3)])
def test_the_search_for_a_placement_is_bounded(monkeypatch, tasks, judged):
    """What schedules long runs must not take minutes to compile."""
    runs = []

    class Counting(Scheduler):
        def run(self):
            runs.append(self.tokens)
            return super().run()

    monkeypatch.setattr("mapper.compile.Scheduler", Counting)
    monkeypatch.setattr("mapper.compile.JUDGED_TASKS", tasks)
    plan("densemap", "pad", 16)
    assert runs == [16] * judged
