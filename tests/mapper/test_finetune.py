"""Distillation: it learns, it can be repeated and interrupted, and it says what is wrong."""

import copy
import json
import os
import signal

import pytest
import torch
from safetensors import safe_open

from mapper import compress, finetune
from mapper.finetune import Recipe
from mapper.interrupt import undisturbed
from mapper.monarch import MonarchLinear
from mapper.network import stacks
from mapper.objective import Language, Similarity
from mapper.qat import fake_quantised
from rtl.spec.params import ConfigError, Params
from tests.mapper import networks

TEXT = networks.sentences(60)
ARCHITECTURES = ("bert", "llama")
#: 12 steps, of which 3 are layer by layer; there are 5 in an epoch of BERT.
RECIPE = Recipe(steps=12, layerwise=0.25)


@pytest.fixture(autouse=True)
def ctrl_c():
    """Python's own handler of SIGINT, which a shell's background jobs ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Case:
    """A tiny network, its projection, and training text."""

    def __init__(self, architecture, folder, text=TEXT):
        self.network = networks.loaded(architecture, folder)
        self.dense = self.network.module
        self.made = copy.deepcopy(self.dense)
        compress.project_all(self.made, networks.patterns_of(self.network, rank=2))
        self.layers = [name for stack in stacks(self.network) for name in stack]
        tokenizer = networks.tokenizer(marks=True)
        if self.network.architecture.objective == "language":
            self.objective = Language(tokenizer, context=8, batch_windows=4)
        else:
            self.objective = Similarity(tokenizer, batch_tokens=120)
        self.objective.prepare(text)

    def run(self, recipe=RECIPE, state=None, watch=None, roundings=None):
        return finetune.finetune(
            self.dense,
            self.made,
            self.layers,
            self.objective,
            recipe,
            state,
            watch,
            roundings=roundings,
        )

    @torch.no_grad()
    def loss(self):
        pairs = list(self.objective.epoch(self.dense, 99))
        losses = [
            self.objective.loss(self.objective.output(self.made, batch), wanted)
            for batch, wanted in pairs
        ]
        return float(torch.stack(losses).mean())


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize("architecture", list(networks.CONFIGS))
def test_the_loss_falls(architecture, tmp_path):
    case = Case(architecture, tmp_path)
    before = case.loss()
    at = case.run(Recipe(steps=60, rate=5e-3, layerwise=0.2), watch=lambda _: case.loss())
    assert case.loss() < 0.7 * before
    assert at.step == 60
    assert [h["step"] for h in at.history] == [8, 15, 23, 30, 38, 45, 53, 60]
    assert at.history[-1]["value"] == case.loss() < at.history[0]["value"]


@pytest.mark.parametrize("architecture", list(networks.CONFIGS))
def test_layer_by_layer_alone_brings_layers_nearer(architecture, tmp_path):
    case = Case(architecture, tmp_path)
    run = finetune._Run(case.dense, case.made, case.layers, case.objective, RECIPE)
    batch = networks.batches(1)[0]
    before = float(run._layerwise(batch).detach())
    case.run(Recipe(steps=40, layerwise=1.0, rate=5e-3))
    assert float(run._layerwise(batch).detach()) < 0.95 * before


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_monarch_layers_and_vectors_change(architecture, tmp_path):
    case = Case(architecture, tmp_path)
    kept = "lm_head" if architecture == "llama" else "encoder.layer.1.output.dense"
    made, dense = case.made, copy.deepcopy(case.dense)
    if architecture == "bert":  # a linear that is left dense
        made.set_submodule(kept, copy.deepcopy(case.dense.get_submodule(kept)))
    before = networks.values(made)
    case.run()
    monarchs = tuple(f"{n}." for n, m in made.named_modules() if isinstance(m, MonarchLinear))
    changed = {n for n, v in networks.values(made).items() if not torch.equal(v, before[n])}
    assert changed == {n for n, v in before.items() if n.startswith(monarchs) or v.ndim == 1}
    assert f"{kept}.weight" in before and f"{kept}.weight" not in changed
    assert same(case.dense, dense)
    assert not any(p.requires_grad for p in made.parameters())
    assert all(not m._forward_hooks for m in case.dense.modules())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_seeded_runs_are_bit_equal(architecture, tmp_path):
    first, again, other = (Case(architecture, tmp_path) for _ in range(3))
    torch.manual_seed(1)
    first.run()
    torch.manual_seed(2)
    again.run()
    other.run(Recipe(steps=12, layerwise=0.25, seed=1))
    assert same(first.made, again.made)
    assert not same(first.made, other.made)


class Interrupted(Exception):
    pass


def interrupting(objective, after):
    """Ctrl-C in the middle of the loss of one step."""
    original, calls = objective.loss, []

    def loss(*arguments):
        calls.append(1)
        if len(calls) == after:
            signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    objective.loss = loss


def stopping(case, at):
    """A watch that fails when the run has come to its evaluation number `at`."""
    calls = []

    def watch(_):
        calls.append(1)
        if len(calls) == at:
            raise Interrupted
        return 0.0

    return watch


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("at", [1, 3, 5, 8])
def test_stopped_and_resumed_equals_uninterrupted(architecture, at, tmp_path):
    """Within and between epochs, layer by layer, end to end, and at the last evaluation."""
    whole, broken, resumed = (Case(architecture, tmp_path) for _ in range(3))
    state = tmp_path / "state.safetensors"
    expected = whole.run(watch=lambda _: 0.0)
    with pytest.raises(Interrupted):
        broken.run(state=state, watch=stopping(broken, at))
    assert not same(whole.made, broken.made) or at == 8
    progress = resumed.run(state=state, watch=lambda _: 0.0)
    assert same(whole.made, resumed.made)
    for key in ("step", "epoch", "batch", "loss"):
        assert getattr(progress, key) == getattr(expected, key)
    rows = [[(h["step"], h["loss"]) for h in p.history] for p in (progress, expected)]
    assert rows[0] == rows[1]


def test_every_step_can_be_resumed(tmp_path, monkeypatch):
    """Ctrl-C after each single step, through all the ends of epochs; the state is saved on the way too."""
    whole, state = Case("bert", tmp_path), tmp_path / "state.safetensors"
    expected = whole.run()
    assert expected.epoch >= 2
    for _ in range(11):
        case = Case("bert", tmp_path)
        original = finetune._Run.step

        def step(run, share, original=original):
            original(run, share)
            signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(finetune._Run, "step", step)
            case.run(state=state)
    last = Case("bert", tmp_path)
    assert last.run(state=state).step == 12
    assert same(whole.made, last.made)


def test_interruption_in_the_middle_of_a_step(tmp_path):
    """It waits for the end of the step: nothing of it is lost, nothing done twice."""
    whole, broken, resumed = (Case("bert", tmp_path) for _ in range(3))
    state = tmp_path / "state.safetensors"
    whole.run()
    interrupting(broken.objective, after=4)
    with pytest.raises(KeyboardInterrupt):
        broken.run(state=state)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with safe_open(state, "pt") as file:
        assert json.loads(file.metadata()["progress"])["step"] == 3 + 4
    assert resumed.run(state=state).step == 12
    assert same(whole.made, resumed.made)


def test_a_step_that_fails_half_way_is_not_saved(tmp_path, monkeypatch):
    case, state = Case("bert", tmp_path), tmp_path / "state.safetensors"
    monkeypatch.setattr(finetune.BlockMuon, "step", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        case.run(state=state)
    assert not state.exists()


@pytest.mark.parametrize(("seconds", "saves"), [(0, 13), (1e9, 1)])
def test_saved_every_so_often_and_at_the_end(tmp_path, monkeypatch, seconds, saves):
    case, count = Case("bert", tmp_path), []
    original = finetune._Run.save
    monkeypatch.setattr(finetune, "SAVE_EVERY", seconds)
    monkeypatch.setattr(
        finetune._Run, "save", lambda run, path: (count.append(run.at.step), original(run, path))
    )
    case.run(state=tmp_path / "state.safetensors")
    assert len(count) == saves and count[-1] == 12


def rounding(case):
    batches = case.objective.batches(TEXT)
    return lambda module: fake_quantised(module, batches, Params())


@pytest.mark.parametrize("at", [4, 7, 8])
def test_the_last_part_computes_with_rounded_values(at, tmp_path):
    """Ranges are those of where rounding began, also for a run that was stopped behind that."""
    plain, whole, broken, resumed = (Case("bert", tmp_path) for _ in range(4))
    state, seen = tmp_path / "state.safetensors", []
    plain.run()
    whole.run(
        watch=lambda m: seen.append(any("forward" in vars(x) for x in m.modules())) or 0.0,
        roundings=rounding(whole),
    )
    assert seen == [False] * 6 + [True] * 2
    assert not same(plain.made, whole.made)
    with pytest.raises(Interrupted):
        broken.run(state=state, watch=stopping(broken, at), roundings=rounding(broken))
    resumed.run(state=state, watch=lambda _: 0.0, roundings=rounding(resumed))
    assert same(whole.made, resumed.made)
    assert not any("forward" in vars(m) for m in resumed.made.modules())


def test_a_finished_run_resumes_to_its_end(tmp_path):
    first, again = Case("bert", tmp_path), Case("bert", tmp_path)
    state = tmp_path / "state.safetensors"
    first.run(state=state)
    assert again.run(state=state).step == 12
    assert same(first.made, again.made)


def test_a_run_may_be_made_longer(tmp_path):
    state = tmp_path / "state.safetensors"
    Case("bert", tmp_path).run(state=state)
    assert Case("bert", tmp_path).run(Recipe(steps=15, layerwise=0.25), state).step == 15


def test_minutes_end_a_run(tmp_path):
    at = Case("bert", tmp_path).run(Recipe(minutes=0.002))
    assert at.step > 0 and at.seconds >= 0.12


@pytest.mark.parametrize(
    "other",
    [
        {"recipe": Recipe(steps=12, layerwise=0.25, seed=1)},
        {"recipe": Recipe(steps=12, layerwise=0.25, rate=1e-3)},
        {"text": TEXT[1:]},
    ],
    ids=["seed", "rate", "text"],
)
def test_state_of_another_run(tmp_path, other):
    state = tmp_path / "state.safetensors"
    Case("bert", tmp_path).run(state=state)
    case = Case("bert", tmp_path, other.get("text", TEXT))
    with pytest.raises(ConfigError, match=r"state.safetensors: is of another fine-tuning run;"):
        case.run(other.get("recipe", RECIPE), state)


@pytest.mark.parametrize("size", [0, 7, 200, -1])
def test_truncated_state(tmp_path, size):
    state = tmp_path / "state.safetensors"
    Case("bert", tmp_path).run(state=state)
    os.truncate(state, size % state.stat().st_size)
    with pytest.raises(
        ConfigError, match=r"state.safetensors: .*remove it to start anew"
    ) as caught:
        Case("bert", tmp_path).run(state=state)
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_not_finite(tmp_path):
    case, state = Case("bert", tmp_path), tmp_path / "state.safetensors"
    case.made.encoder.layer[1].output.dense.R.data[0, 0, 0] = torch.nan
    with pytest.raises(
        ConfigError, match=r"^fine-tuning: the loss is nan at step 0; lower --rate$"
    ):
        case.run(state=state)
    assert not state.exists()


def test_nothing_to_train(tmp_path):
    case = Case("bert", tmp_path)
    case.made = copy.deepcopy(case.dense)
    with pytest.raises(ConfigError, match=r"^fine-tuning: no matrix of the network is Monarch$"):
        case.run()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minutes": 0}, "minutes: 0 must be above 0"),
        ({"rate": float("nan")}, "rate: nan must be above 0"),
        ({"rate": float("inf")}, "rate: inf must be above 0"),
        ({"steps": -1}, "steps: -1 must be at least 0"),
    ],
)
def test_wrong_recipes(options, message):
    with pytest.raises(ConfigError, match=message):
        Recipe(**options)


def test_undisturbed_holds_ctrl_c_back():
    done = []
    with pytest.raises(KeyboardInterrupt), undisturbed():
        signal.raise_signal(signal.SIGINT)
        done.append(1)
    assert done
    with undisturbed():
        done.append(2)
    assert done == [1, 2] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
