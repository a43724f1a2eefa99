"""Layers that are executed for the study: against runs in this process, averages by hand, failures in one line."""

import dataclasses

import numpy as np
import pytest

from mapper import layercost, models, study
from mapper.compile import Compiler
from mapper.cost import cost, load
from mapper.events import Events
from mapper.layercost import Layer, Layers, Mapping, Run, layers, simulate
from mapper.models import MODELS, Model
from mapper.workload import build
from rtl.spec.params import ConfigError, Params
from sim.execute import run_iss

TINY = Params.load("tiny")
LINEAR, DENSEMAP = Mapping("linear", "dense"), Mapping("densemap", "pad")
SMALL = Model("small", 3, 16, 32, 2, "tiny")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(models.MODELS, "small", SMALL)
    return layers("small")[0]


def test_equal_layers_are_one():
    assert [(one.index, one.count) for one in layers("bert-large")] == [(0, 24)]
    assert [(one.index, one.count) for one in layers("bart-large")] == [(0, 12), (12, 12)]
    bert, gpt2 = layers("bert-large")[0], layers("gpt2-medium")[0]
    assert bert.shape == gpt2.shape and bert.model != gpt2.model


def program(strategy: str = "densemap", tokens: int = 2):
    policy = "dense" if strategy == "linear" else "pad"
    (work,) = build("small", [0], params=TINY, policy=policy, tokens=tokens)
    return Compiler(strategy, TINY).compile(work)


def test_a_run_counts_what_the_iss_counts(small):
    made = program()
    run = Layers().run(small, DENSEMAP, TINY, 2)
    assert run.events == run_iss(made).events and run.events.macs > 0
    assert (run.arrays, run.tokens) == (made.report["arrays"], 2)
    assert run.params == made.params
    table = load("digital-sram")
    assert run.cost(table) == cost(run.events, table, made.params)


def test_equal_runs_are_executed_once(small, monkeypatch):
    calls = []

    def fake(program, simulator):
        calls.append((program.report["strategy"], program.report["tokens"], simulator))
        return {"arrays": 1, "events": Events(macs=len(calls)).as_dict()}

    monkeypatch.setattr(layercost, "simulate", fake)
    runner = Layers("icarus")
    twin = dataclasses.replace(small, count=5)
    first = runner.run(small, LINEAR, TINY, 1)
    assert runner.run(twin, LINEAR, TINY, 1) is first
    assert runner.run(small, LINEAR, TINY, 2) is not first
    assert runner.run(small, DENSEMAP, TINY, 1) is not first
    assert calls == [("linear", 1, "icarus"), ("linear", 2, "icarus"), ("densemap", 1, "icarus")]


def test_failures_are_one_line(small, monkeypatch):
    made = program()
    with pytest.raises(
        ConfigError, match=r"^small layer 0 on spice: simulator: 'spice' is not one"
    ):
        simulate(made, "spice")
    made.constants = made.constants ^ np.uint64(1 << 20)  # of the bias
    with pytest.raises(
        ConfigError, match=r"^small layer 0 on iss: first difference: token 0"
    ) as error:
        simulate(made, "iss")
    assert "\n" not in str(error.value)


def test_means_weigh_layers_and_tokens():
    def one(count, tokens, macs):
        return Layer("m", 0, count, ()), Run(1, tokens, TINY, Events(macs=macs))

    runs = [one(3, 2, 20), one(1, 4, 200)]
    assert layercost.mean(runs, lambda run: run.events.macs) == pytest.approx((3 * 10 + 50) / 4)


def test_figure_7(monkeypatch):
    """Gains are quotients of what the rows before say; the paper's numbers stand beside all of them."""
    made = {}

    def fake(self, layer, mapping, params, tokens):
        n = len(made) + 1
        events = Events(cycles=1000 * n * tokens, bit_macs=10**6 * n * tokens)
        return made.setdefault((layer.index, mapping, tokens), Run(n, tokens, params, events))

    monkeypatch.setattr(Layers, "run", fake)
    rows = {row.what: row for row in study.cost_rows(["bart-large"], study.Setup())}
    assert len(made) == 2 * 2 * 4
    for mode, tokens in study.MODES.items():
        for strategy in study.GAINS:
            for what, unit, paper in zip(
                ("latency", "energy"), ("ns", "nJ"), study.GAINS[strategy], strict=True
            ):
                gain = rows[f"{what}, linear / {strategy}, {mode}"]
                ours = [rows[f"{unit} a token, {s}, {mode}"].ours for s in ("linear", strategy)]
                assert gain.ours == pytest.approx(ours[0] / ours[1])
                assert gain.paper == paper and gain.note
        runs = [made[index, DENSEMAP, tokens] for index in (0, 12)]
        # Two kinds of layers, twelve each; 2 ns a cycle.
        mean = sum(run.events.cycles / tokens for run in runs) / 2 * 2
        assert rows[f"ns a token, densemap, {mode}"].ours == pytest.approx(mean)
        linear = [made[index, LINEAR, tokens] for index in (0, 12)]
        area = [sum(r.arrays * r.events.cycles for r in own) for own in (linear, runs)]
        found = rows[f"array-time, linear / densemap, {mode}"].ours
        assert found == pytest.approx(area[0] / area[1])


def test_a_decoded_token_of_gpt2_medium():
    """Cycles as the ISS counts them, MACs as the shapes say: the README's figures at 128 lanes."""
    (layer,), runner = layers("gpt2-medium"), Layers()
    params = Params.load(MODELS["gpt2-medium"].preset)
    linear, densemap = (runner.run(layer, m, params, 1) for m in (LINEAR, DENSEMAP))
    assert (linear.arrays, densemap.arrays) == (192, 20)
    assert linear.events.macs == 12 * 1024**2
    # Two factors of 32 blocks for 1024; for 4096, blocks and granules that see more than padding.
    assert densemap.events.macs == 4 * 2 * 32**3 + (16 * 64 * 64 + 64 * 32 * 64) + 64 * 64 * (
        64 + 32
    )
    assert linear.events.cycles / densemap.events.cycles == pytest.approx(1.20, abs=0.01)


def test_missing_prices_stop_before_the_first_layer(monkeypatch):
    """Converters of densemap have 3 bits."""
    monkeypatch.setattr(Layers, "run", lambda *_: pytest.fail("executed"))
    monkeypatch.setitem(study.ADC_BITS, "densemap", 7)
    with pytest.raises(ConfigError, match=r"energy\.adc_conversions\.7: is missing"):
        study.rows(["7"], ["gpt2-medium"], study.Setup(prices="analog-pcm"))


def test_analog_prices_are_of_analog_arrays(monkeypatch):
    seen = []
    monkeypatch.setattr(
        Layers,
        "run",
        lambda self, layer, mapping, params, tokens: (
            seen.append((mapping.strategy, params))
            or Run(1, tokens, params, Events(cycles=1, adc_conversions=1))
        ),
    )
    study.rows(["7"], ["gpt2-medium"], study.Setup(prices="analog-pcm", adcs=16))
    assert {(s, p.readout, p.adc_bits, p.adcs) for s, p in seen} == {
        ("linear", "adc", 8, 16),
        ("sparsemap", "adc", 5, 16),
        ("densemap", "adc", 3, 16),
    }
