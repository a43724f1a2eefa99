"""Chips: when packets travel, who waits for whom, common parameters, directories and what is wrong with them."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest

from mapper import chip, workload
from mapper.chipcycles import ChipPacket, Host, run_chip
from mapper.cli import main
from mapper.compile import Compiler
from mapper.cycles import random_stalls
from mapper.schedule import replay
from rtl.spec.isa import Op, make
from rtl.spec.params import ConfigError, Params
from sim import chip as simulated
from sim.timeline import ChainRecorder, kind_of
from tests.mapper import chips, programs

PARAMS = Params(rows=16, cols=16, granule=4, lanes=8, cores=3)


@pytest.fixture(scope="module")
def made():
    return chips.random_chip(0, cores=3, tokens=2)


def test_each_input_waits_for_what_it_depends_on(made):
    """By the host's own numbers: every output needed is among the words that left before."""
    left, at = {}, 0
    for core, packet in made.outputs():
        at += packet.words
        left[core, packet.segment, packet.token] = at
    barriers = [core.workload.barrier for core in made.cores]
    for (core, packet), after in zip(made.packets(), made.timing.after, strict=True):
        names = [s.name for s in made.cores[core].workload.segments]
        position = names.index(packet.segment)
        if position == 0 and core == 0:
            assert after == 0
            continue
        source = (core, names[position - 1]) if position else (core - 1, "b")
        tokens = range(2) if barriers[core][packet.segment] else [packet.token]
        assert after >= max(left[(*source, token)] for token in tokens)


def test_every_packet_travels_once(made):
    for packets, count in ((made.timing.order, 4), (made.timing.sent, 6)):
        assert sorted(packets) == [(core, n) for core in range(3) for n in range(count)]
    assert len(made.inputs) == len(made.after) == len(made.route)
    assert (made.route >> 31).sum() == 12


def test_the_first_core_takes_as_long_as_alone():
    """RECV takes its first word in the cycle after it issues, and by then the word has passed the station."""
    params = PARAMS.replace(cores=1)
    program = [make(Op.RECV, words=3), make(Op.SEND, words=3)]
    timing = run_chip(params, [program], Host(params, [[ChipPacket(3)]]))
    assert timing.cores == [replay(params, program, [0, 0, 0])]


def test_packets_for_later_cores_pass_the_others():
    program = [make(Op.RECV, words=1), make(Op.SEND, words=1)]
    for core in range(3):
        programs_ = [program if k == core else [] for k in range(3)]
        packets = [[ChipPacket(1)] if k == core else [] for k in range(3)]
        timing = run_chip(PARAMS, programs_, Host(PARAMS, packets))
        # Each station takes a cycle, on the way in or on the way out.
        assert timing.cores == [6 + core if k == core else 1 for k in range(3)]
        assert timing.cycles == 7 + (core == 2)


def test_packets_are_not_interrupted():
    """Two cores send at once; the words of a packet stay together."""
    program = [make(Op.RECV, words=1), make(Op.SEND, words=40), make(Op.SEND, words=40)]
    timing = run_chip(
        PARAMS, [program, program, program], Host(PARAMS, [[ChipPacket(1)] for _ in range(3)])
    )
    assert sorted(timing.sent) == [(core, n) for core in range(3) for n in range(2)]


def test_a_packet_that_never_comes_is_named():
    program = [make(Op.RECV, words=1), make(Op.RECV, words=1)]
    with pytest.raises(ConfigError, match="core 1 waits for packet 1"):
        run_chip(PARAMS, [[], program, []], Host(PARAMS, [[], [ChipPacket(1)], []]))


def test_a_packet_too_many_is_named():
    with pytest.raises(ConfigError, match="a core that has halted"):
        run_chip(PARAMS, [[], [], []], Host(PARAMS, [[], [ChipPacket(1)], []]))


def test_all_cores_get_the_parameters_of_the_largest_layer():
    rng = np.random.default_rng(1)
    small = {"a": [programs.monarch(rng, PARAMS, "m", 4, 4, 4, 4)]}
    large = {"a": [programs.monarch(rng, PARAMS, f"m{n}", 4, 4, 4, 4) for n in range(9)]}
    works = [programs.workload(rng, PARAMS, parts) for parts in (small, large)]
    made = chip.compile_chip(Compiler("densemap", PARAMS), works)
    alone = Compiler("densemap", PARAMS).compile(works[1])
    assert made.params.tiles == alone.params.tiles > 1
    assert made.cores[0].params == made.cores[1].params
    assert made.cores[1].report["arrays"] == alone.report["arrays"]
    # The small layer spreads over arrays that are there anyway.
    assert made.cores[0].report["arrays"] >= 1
    assert all(
        (simulated.compare(c, w)[1] == 0)
        for c, w in zip(made.cores, simulated.run_cores(made)[0], strict=True)
    )


def test_more_layers_than_cores():
    rng = np.random.default_rng(1)
    works = [chips.random_work(rng, PARAMS, n, 1) for n in range(4)]
    with pytest.raises(ConfigError, match="cores: 3 are too few for 4 layers"):
        chip.compile_chip(Compiler("densemap", PARAMS), works)


@pytest.mark.parametrize("strategy", ["densemap", "sparsemap"])
def test_layers_share_a_core(strategy, tmp_path):
    rng = np.random.default_rng(4)
    works = [chips.random_work(rng, PARAMS, n, 2) for n in range(5)]
    compiler = Compiler(strategy, PARAMS)
    packed = workload.packed(works, 2)
    assert [w.layers for w in packed] == [[0, 1], [2, 3], [4]]
    made = chip.compile_chip(compiler, packed)
    assert made.report["layers"] == list(range(5)) and made.report["cores"] == 3
    alone = [Compiler(strategy, PARAMS).compile(w).report["weights"] for w in works]
    assert made.report["weights"] == sum(alone)
    chip.write(made, tmp_path / "c")
    outcome = simulated.execute(tmp_path / "c", "iss")
    assert outcome.good and outcome.cycles == made.timing.cycles
    assert len(chip.load(tmp_path / "c").cores) == 3


@pytest.mark.parametrize("count", [0, -1])
def test_no_layer_a_core(count):
    with pytest.raises(ConfigError, match=f"pack: {count} must be at least 1"):
        workload.packed([], count)


def test_a_directory_holds_all(made, tmp_path):
    chip.write(made, tmp_path / "c")
    read = chip.load(tmp_path / "c")
    assert read.timing.order == made.timing.order and read.timing.sent == made.timing.sent
    for name in ("inputs", "after", "route"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name))
    outcome = simulated.execute(tmp_path / "c", "iss")
    assert outcome.good and outcome.cycles == made.timing.cycles
    report = json.loads((tmp_path / "c" / "report.json").read_text())
    assert report["mismatches"] == 0 and report["cycles"] == report["cycles_predicted"]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda d: shutil.rmtree(d / "core_01"), "core_01: no such program directory"),
        (lambda d: (d / "chip.json").write_text("{"), "chip.json"),
        (lambda d: (d / "chip.json").write_text("{}"), "chip.json: .cores. is missing"),
        (lambda d: chips.edit(d / "chip.json", "inputs", []), "chip.json: packet 0"),
        (lambda d: (d / "params.toml").write_text("tiles = 3"), "core_00: parameters are not"),
        (lambda d: (d / "stream/route.bin").write_bytes(b""), "route.bin"),
    ],
    ids=["core", "json", "empty", "packets", "params", "route"],
)
def test_damaged_directory(made, tmp_path, break_it, message):
    chip.write(made, tmp_path / "c")
    break_it(tmp_path / "c")
    with pytest.raises(ConfigError, match=message):
        chip.load(tmp_path / "c")


def test_a_core_alone_runs_on_the_iss_only(made, tmp_path, capsys):
    from sim.cli import main as sim

    chip.write(made, tmp_path / "c")
    core = str(tmp_path / "c" / "core_01")
    assert sim(["run", core, "--simulator", "iss"]) == 0
    assert sim(["run", core, "--simulator", "icarus"]) == 2
    assert "is one core of a chip" in capsys.readouterr().err
    assert sim(["report", core]) == 0


def test_what_a_chip_cannot(made, tmp_path, capsys):
    from sim.cli import main as sim

    chip.write(made, tmp_path / "c")
    assert sim(["run", str(tmp_path / "c"), "--simulator", "iss", "--front-door"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("seed", range(3))
def test_timeline_of_a_chip_adds_up_to_the_busy_counters(seed):
    """Passes, drains and streams of every core, with stalls; noting them changes no cycle."""
    made = chips.random_chip(seed, 3, 2)
    stalls = random_stalls(seed), random_stalls(seed + 1)
    plain, seen = chip.replay_chip(made, *stalls), chip.replay_chip(made, *stalls, ChainRecorder)
    assert plain == seen
    for core, model in zip(made.cores, seen.models, strict=False):
        assert isinstance(model, ChainRecorder)
        lengths = Counter()
        for span in model.spans:
            lengths[kind_of(span.unit)] += span.end - span.start
        busy = model.busy
        assert lengths["array"] == busy["pass_tiles"], core.workload.layer
        assert lengths["stream in"] == busy["in"] and lengths["load"] == busy["load"]
        assert lengths["drain"] == busy["drain"] and lengths["stream out"] == busy["out"]


def test_page_and_trace_of_a_chip(made, tmp_path):
    from sim.cli import main as sim

    where, trace = tmp_path / "c", tmp_path / "t.json"
    chip.write(made, where)
    assert sim(["run", str(where), "--simulator", "iss", f"--trace={trace}"]) == 0
    events = json.loads(trace.read_text())["traceEvents"]
    named = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert len(named) == len(made.cores) and named[0].startswith("core 0, layer ")
    assert max(e["ts"] + e["dur"] for e in events if e["ph"] == "X") <= made.timing.cycles
    assert sim(["report", str(where)]) == 0
    page = (where / "report.html").read_text()
    assert all(f">core {n}, layer" in page for n in range(len(made.cores)))
    assert f"{made.timing.cycles:,}" in page and "src=" not in page and "href=" not in page


def test_whole_model_from_the_command_line(tmp_path, capsys):
    where = str(tmp_path / "c")
    command = ["compile", "gpt2-medium", "--strategy", "densemap", "--policy", "rect"]
    assert main([*command, "--cores", "2", "--layers", "0-1", "--json", "-o", where]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["layers"], report["cores"], report["mismatches"]) == ([0, 1], 2, None)
    assert simulated.execute(where, "iss").good
    assert main([*command, "--cores", "2", "--layers", "0-3", "--pack", "2", "-o", where]) == 0
    assert "gpt2-medium, 4 layers on 2 cores" in capsys.readouterr().out
    assert simulated.execute(where, "iss").good
    assert main([*command, "--cores", "2", "-o", where]) == 2
    assert "cores: 2 are too few for 24 layers" in capsys.readouterr().err
