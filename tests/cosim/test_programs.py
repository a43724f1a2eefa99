"""Compiled programs on RTL: outputs equal to golden, cycles equal to the ISS, through both doors and views."""

import pytest

from mapper import program as program_files
from mapper.compile import Compiler
from rtl.spec.params import ConfigError, Params
from sim.execute import execute
from sim.fuzz import random_case, run_case
from sim.verify import run_random

#: Seeds that were wrong once. 5038: the cycle model chose a drain port after it had freed those of the same cycle.
REGRESSIONS = (5038,)


def fitting(count: int, first: int = 1000):
    """Seeds of random cases that fit their arrays."""
    found = []
    seed = first
    while len(found) < count:
        try:
            strategy, params, work = random_case(seed)
            Compiler(strategy, params, seed=seed).compile(work)
            found.append(seed)
        except ConfigError:
            pass
        seed += 1
    return found


#: Random cases with converters that an event simulator gets through: strategy, seed, view of the macro.
ANALOG = (
    ("linear", 1023, "behavioural"),
    ("linear", 1021, "structural"),
    ("sparsemap", 1024, "behavioural"),
    ("sparsemap", 1014, "structural"),
    ("densemap", 1022, "behavioural"),
    ("densemap", 1039, "structural"),
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    strategy, params, work = random_case(fitting(1)[0])
    where = tmp_path_factory.mktemp("program") / "p"
    program_files.write(Compiler(strategy, params).compile(work), where)
    return where


@pytest.mark.icarus
@pytest.mark.parametrize("stalls", [False, True], ids=["free", "stalls"])
@pytest.mark.parametrize("seed", [*fitting(8), *REGRESSIONS])
def test_random_layer_on_icarus(need, seed, stalls):
    outcome = run_case(seed, need("icarus"), stalls=stalls)
    assert (outcome.mismatches, outcome.first) == (0, "")
    assert outcome.cycles == outcome.cycles_iss
    assert outcome.outputs_checked > 0
    # The hardware's counter of computing arrays against the events that energy follows from.
    counted = outcome.events.planes if random_case(seed)[1].busy_counters else 0
    assert outcome.busy["pass_tiles"] == counted and outcome.events.planes > 0


@pytest.mark.icarus
@pytest.mark.parametrize(("strategy", "seed", "view"), ANALOG)
def test_random_layer_on_analog_arrays_on_icarus(need, strategy, seed, view):
    assert random_case(seed, "adc")[0] == strategy
    stalls = view == "behavioural"
    outcome = run_case(seed, need("icarus"), stalls, "adc", view=view)
    assert outcome.good, outcome.first or f"{outcome.cycles} cycles, ISS {outcome.cycles_iss}"
    assert outcome.outputs_checked > 0


@pytest.mark.verilator
def test_random_layer_on_analog_arrays_on_verilator(need):
    _, seed, _ = ANALOG[-1]
    outcome = run_case(seed, need("verilator"), readout="adc")
    assert outcome.good, outcome.first or f"{outcome.cycles} cycles, ISS {outcome.cycles_iss}"


@pytest.mark.icarus
@pytest.mark.parametrize("view", ["behavioural", "structural"])
def test_front_door_gives_the_same(need, directory, view):
    outcome = execute(directory, need("icarus"), front_door=True, view=view)
    assert outcome.good, outcome.first


@pytest.mark.verilator
def test_verilator_runs_the_same_directory(need, directory):
    outcome = execute(directory, need("verilator"))
    assert outcome.good, outcome.first
    assert outcome.cycles_per_second > 0


@pytest.mark.icarus
def test_waves_are_written(need, directory, tmp_path):
    dump = tmp_path / "waves.fst"
    execute(directory, need("icarus"), dump=dump)
    assert dump.stat().st_size > 1000
    assert dump.with_suffix(".gtkw").read_text().startswith(f'[dumpfile] "{dump}"')


@pytest.mark.parametrize(
    "simulator",
    [
        pytest.param("icarus", marks=pytest.mark.icarus),
        pytest.param("verilator", marks=pytest.mark.verilator),
    ],
)
def test_listed_signals_are_in_the_dump(need, directory, tmp_path, simulator):
    dump = tmp_path / "waves.vcd"
    execute(directory, need(simulator), dump=dump)
    listed = {s for s in dump.with_suffix(".gtkw").read_text().split() if s.startswith("blockcim")}
    assert len(listed) > 15 and listed <= vcd_signals(dump.read_text())


def vcd_signals(text: str) -> set[str]:
    """Full names, with ranges, of the signals in a VCD file."""
    found, scope = set(), []
    for line in text.split("$enddefinitions")[0].splitlines():
        words = line.split()
        if words[:1] == ["$scope"]:
            scope.append(words[2])
        elif words[:1] == ["$upscope"]:
            scope.pop()
        elif words[:1] == ["$var"]:
            found.add(".".join([*scope, "".join(words[4:-1])]))
    return found


@pytest.mark.icarus
def test_broken_rtl_is_found(need):
    """A shift that rounds down instead of half up must show."""
    from gen.emit import emit

    params = Params.from_dict(
        {"rows": 16, "cols": 16, "granule": 4, "lanes": 8, "tiles": 4, "act_depth": 64}
        | {"const_depth": 32, "prog_depth": 256}
    )
    texts = emit(params, "behavioural")
    good = "{WIDE{product[i][WIDE-1]}}) + 1"
    assert good in texts["blockcim_requantise.v"]
    texts["blockcim_requantise.v"] = texts["blockcim_requantise.v"].replace(good, good[:-4])
    result = run_random(params, need("icarus"), 0, stalls=False, texts=texts)
    assert not result.good
    assert "output word" in result.detail
