"""`python -m mapper d2s`: a dense checkpoint becomes Monarch factors, step by step, each step judged.

Choose patterns, project, calibrate, fine-tune, quantise; then write factors and card. Everything that takes time
says so, and nothing is written before the end but what an interrupted fine-tuning goes on from.
"""

import copy
import json
import math
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from rtl.spec.params import ConfigError, Params

from . import allocate, card, codesign, compress, corpus, factors, finetune, integer, memory, qat
from .architectures import ARCHITECTURES, LM_HEAD
from .evaluate import LanguageJudge, SimilarityJudge, judge_of
from .models import MODELS, locate
from .monarch import MonarchLinear
from .network import Network, linear_of, linearised, load, stacks
from .objective import OBJECTIVES, Language, Similarity, digest
from .oracle import Oracle, sites_of
from .pattern import Pattern, common_blocks, pattern
from .prepared import Prepared
from .progress import pace
from .surgery import Batch, linears

#: Training pieces for calibration: sentences, or paragraphs.
CALIBRATION = {"similarity": 4000, "language": 200}
#: Batches, and tokens of each, on which sensitivities are measured: a forward pass a matrix.
SENSITIVITY = {"similarity": (3, 2048), "language": (1, 512)}
#: Batches of them on which ranges of activations are observed.
RANGE_BATCHES = 12
#: Block counts to choose from under a number of arrays.
ARRAY_BLOCKS = (8, 16, 32)
#: Blocks of R and of L by default, at most. MiniLM at 4x: 8 blocks lose as much as 16 at an equal number of training
#: steps, which take half the time, but need 1.8 times the cycles, since tall blocks drain few elements at a time.
#: At 2x, 2 blocks are ahead of 8 after calibration (0.833, 0.806) and behind after fine-tuning (0.907 after 10,413
#: steps, 0.924 after 4,513, by embeddings alone): few blocks of high rank are a matrix of low rank.
BLOCKS = 16

#: Steps that end with a float network, the last first.
FLOAT = ("fine-tuning", "given factors", "calibrated projection")


@dataclass(frozen=True)
class Job:
    """What to do; see the options of the command line."""

    model: str
    output: Path
    command: str = ""
    compression: float | None = None
    arrays: int | None = None
    policy: str = "blocks"
    blocks: tuple[int, int] | None = None
    rank: int | None = None
    granule: int | None = None  #: None: the largest, up to the hardware's, that leaves a choice
    layers: list[int] | None = None
    lm_head: bool = False  #: the LM head too
    corpus: str | None = None
    recipe: finetune.Recipe | None = None
    qat: bool = False
    params: Params = field(default_factory=Params)
    quantise: bool = True
    seed: int = 0
    show: bool = False


class Pipeline:
    """One job, with what its steps share."""

    def __init__(self, job: Job):
        self.job = job
        found = locate(job.model)
        if found is None:
            raise ConfigError(f"{job.model}: has shapes only, no weights to project")
        network = load(found)
        self.base, self.given = job.model, None
        if network.base is not None:
            # Factors, to be trained on; the dense network is the one that they replace linears of.
            self.base, self.given = network.model.base, network.module
            network = load(network.base)
        self.network: Network = linearised(network)
        self.dense = self.network.module.requires_grad_(False)
        self.steps: list[dict] = []
        self.names = self._names()
        self.objective: Similarity | Language | None = None
        self.judge: SimilarityJudge | LanguageJudge | None = None
        self.text: corpus.Corpus | None = None
        self.batches: list[Batch] = []
        self.few: list[Batch] = []  #: for sensitivities
        self.choice: codesign.Choice | None = None
        self.lost = time.monotonic()

    def run(self) -> dict:
        """All steps; writes factors and card, and returns the card.

        Raises `ConfigError` on anything in the job, the checkpoint or the text that does not work.
        """
        job = self.job
        torch.manual_seed(job.seed)
        self._read_text()
        start = self._prepared()
        made, progress = start.module, finetune.Progress()
        if job.recipe is not None:
            progress = self._finetune(made)
            self._judge("fine-tuning", made)
        if job.quantise and self.judge is not None:
            self._quantised(made)
        result = self._card(start, progress)
        changed = job.recipe is not None or self.given is not None
        trained = set(finetune.trainable(made)) if changed else set()
        factors.save(job.output, made, trained, self.base)
        card.write(result, job.output.with_suffix(".json"))
        for kept in (self._beside("state"), self._beside("start")):
            kept.unlink(missing_ok=True)
        return result

    def _prepared(self) -> Prepared:
        """The network that fine-tuning starts from, or the result without it; kept for a job that is cut short."""
        if self.given is not None:
            self._judge("given factors", self.given)
            patterns = {
                n: m.pattern for n, m in self.given.named_modules() if isinstance(m, MonarchLinear)
            }
            return Prepared(self.given, patterns, {}, {}, self.steps)
        key = self._key()
        if self.job.recipe is not None:
            kept = Prepared.load(self._beside("start"), self.dense, key)
            if kept is not None:
                self._say("go on from the calibrated projection of before")
                self.steps = kept.steps
                return kept
        made = self._calibrated(self._patterns())
        if self.job.recipe is not None:
            made.save(self._beside("start"), self.base, key)
        return made

    def _key(self) -> str:
        """What must be the same for a kept start to fit."""
        other = ("output", "command", "recipe", "qat", "quantise", "show")
        job = {name: value for name, value in asdict(self.job).items() if name not in other}
        texts = [batch["input_ids"].tolist() for batch in (*self.batches, *self.few)]
        return digest([json.loads(json.dumps(job, default=str)), texts])

    def _calibrated(self, patterns: dict[str, Pattern]) -> Prepared:
        made = copy.deepcopy(self.dense)
        with self._bar("project", len(patterns)) as bar:
            weights = compress.project_all(made, patterns, bar)
        self._judge("plain projection", made)
        outputs: dict[str, float] = {}
        if self.objective is not None:
            made = copy.deepcopy(self.dense)
            with self._bar("calibrate", len(patterns)) as bar:
                outputs = compress.calibrate_all(
                    self.dense, made, self._stacks(), self.batches, patterns, bar
                )
            self._judge("calibrated projection", made)
        choice = _choice(self.choice) if self.choice else None
        return Prepared(made, patterns, weights, outputs, self.steps, choice)

    # -- steps -------------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        """Linears to replace, in order."""
        model, network = self.network.model, self.network
        chosen = range(model.layers) if self.job.layers is None else self.job.layers
        for layer in chosen:
            if not 0 <= layer < model.layers:
                raise ConfigError(
                    f"layers: {layer} is outside 0..{model.layers - 1} of {model.name}"
                )
        names = [linear_of(network, m) for layer in chosen for m in network.matrices(layer)]
        if not self.job.lm_head:
            return names
        if LM_HEAD not in linears(self.dense):
            raise ConfigError(f"--lm-head: {model.name} has no LM head")
        if self.job.arrays is not None:
            raise ConfigError("--lm-head: cannot be placed together with layers (--arrays)")
        return [*names, LM_HEAD]

    def _stacks(self) -> list[list[str]]:
        """Layers to calibrate, in order of execution."""
        head = [[LM_HEAD]] if self.job.lm_head else []
        return stacks(self.network) + head

    def _read_text(self) -> None:
        kind = ARCHITECTURES[self.network.model.architecture].objective
        if self.network.tokenizer is None:
            if self.job.recipe is not None or self.job.corpus or self.job.arrays:
                raise ConfigError(
                    f"{self.job.model}: no tokenizer beside the checkpoint, so text cannot be used; "
                    "without it there is plain projection alone (--blocks and --rank)"
                )
            return
        self._say("read text, judge the dense network ...")
        self.text = corpus.load(self.job.corpus or corpus.DEFAULT[kind])
        objective = OBJECTIVES[kind](self.network.tokenizer)
        self.judge = judge_of(objective, self.dense, self.text)
        if self.judge.doubt:
            # Of a model that is known to do better it means that something is broken.
            if self.base in MODELS:
                raise ConfigError(f"{self.base}: the dense network is not sane: {self.judge.doubt}")
            print(f"mapper: warning: odd dense network: {self.judge.doubt}", file=sys.stderr)
        pieces = corpus.sample(self.text.train, CALIBRATION[kind], self.job.seed)
        self.objective, self.batches = objective, objective.batches(pieces)
        number, tokens = SENSITIVITY[kind]
        self.few = objective.batches(pieces, tokens)[:number]
        if not self.batches:
            raise ConfigError(f"{self.text.name}: too short to calibrate with")

    def _patterns(self) -> dict[str, Pattern]:
        """The pattern of each linear, by full name."""
        job = self.job
        shapes = {n: (m.in_features, m.out_features) for n, m in self._linears().items()}
        if job.compression is None and job.arrays is None:
            return {n: self._uniform(n, *shape) for n, shape in shapes.items()}
        if self.objective is None:
            raise ConfigError(
                f"{job.model}: ranks are allocated by sensitivity, which needs text; "
                "give --blocks and --rank instead"
            )
        if job.arrays is not None:
            return self._for_arrays(job.arrays)
        assert job.compression is not None
        return self._for_compression(shapes, job.compression)

    def _linears(self) -> dict[str, nn.Linear]:
        found = linears(self.dense)
        return {name: found[name] for name in self.names}

    def _uniform(self, name: str, n_in: int, n_out: int) -> Pattern:
        job = self.job
        k, l_blocks = job.blocks or (None, None)
        policy = job.policy
        if policy == "blocks":
            k, l_blocks = self._blocks(n_in, n_out)
        return pattern(n_in, n_out, policy, k, l_blocks, job.rank or 1, name)

    def _blocks(self, n_in: int, n_out: int) -> tuple[int, int]:
        if self.job.blocks is not None:
            return self.job.blocks
        both = common_blocks(n_in, n_out, BLOCKS)
        return both, both

    def _options(self, shapes: dict, granule: int) -> dict[str, tuple[Pattern, ...]]:
        found = {}
        for name, (n_in, n_out) in shapes.items():
            k, l_blocks = self._blocks(n_in, n_out)
            step = allocate.rank_step(k, l_blocks, granule)
            found[name] = allocate.candidates(n_in, n_out, k, l_blocks, step, name)
        return found

    def _for_compression(self, shapes: dict, compression: float) -> dict[str, Pattern]:
        total = sum(n_in * n_out for n_in, n_out in shapes.values())
        if not 1 < compression < math.inf:
            raise ConfigError(f"compression: {compression} must be above 1")
        budget = total / compression
        options = self._options(shapes, self._granule(shapes, budget))
        curves = self._measure(options)
        return allocate.allocate(curves, budget, lambda shape: shape.weights)

    def _granule(self, shapes: dict, budget: float) -> int:
        """The largest granule, up to that of the arrays, whose cheapest ranks leave a quarter to choose with."""
        if self.job.granule is not None:
            return self.job.granule
        granule = self.job.params.granule
        while granule > 1:
            try:
                options = self._options(shapes, granule)
                if sum(o[0].weights for o in options.values()) <= 0.75 * budget:
                    break
            except ConfigError:
                pass
            granule //= 2
        return granule

    def _measure(self, options: dict[str, tuple[Pattern, ...]]) -> list[allocate.Curve]:
        assert self.objective is not None
        with self._bar("sensitivity", len(options)) as bar:
            return allocate.measure(self.dense, self.few, self.objective, options, bar)

    def _for_arrays(self, arrays: int) -> dict[str, Pattern]:
        """Blocks, ranks, placement and schedule together, under a number of arrays."""
        params = self.job.params
        sites = sites_of(self.network, self.names)
        blocks = (self.job.blocks[0],) if self.job.blocks else ARRAY_BLOCKS
        options = codesign.options(sites, blocks, self.job.granule or params.granule)
        curves = {count: self._measure(found) for count, found in options.items()}
        oracle = Oracle(params, seed=self.job.seed)
        with self._bar("search", 0) as bar:
            choice = codesign.choose(curves, sites, oracle, arrays, bar)
        self.choice = choice
        best = choice.uniform
        self._say(
            f"{choice.arrays} arrays, {choice.cycles_per_token:.0f} cycles a token, expected loss "
            f"{choice.expected_loss:.4f}"
            + (
                f" (best uniform, {best.label}: {best.arrays} arrays, {best.cycles_per_token:.0f} cycles, "
                f"{best.expected_loss:.4f})"
                if best
                else ""
            )
        )
        return choice.patterns

    def _finetune(self, made: nn.Module) -> finetune.Progress:
        assert self.objective is not None and self.text is not None and self.judge is not None
        assert self.job.recipe is not None
        self.objective.prepare(self.text.train)
        names = [name for stack in stacks(self.network) for name in stack]
        judge, few = self.judge, self.batches[:RANGE_BATCHES]

        def roundings(module: nn.Module):
            return qat.fake_quantised(module, few, self.job.params)

        return finetune.finetune(
            self.dense,
            made,
            names,
            self.objective,
            self.job.recipe,
            self._beside("state"),
            judge.glance,
            self.job.show,
            roundings if self.job.qat else None,
        )

    def _quantised(self, made: nn.Module) -> None:
        """Judge the integer model, step by step, at the bits of the hardware and with 4-bit weights."""
        batches = self.batches[:RANGE_BATCHES]
        for bits in dict.fromkeys((self.job.params.weight_bits, 4)):
            params = self.job.params.replace(weight_bits=bits)
            self._judge(f"weights {bits} bits", integer.weights_only(made, bits))
            whole = integer.integer_module(made, batches, params)
            self._judge(f"W{bits}A{params.act_bits}", whole)

    # -- report ------------------------------------------------------------------------------------

    def _judge(self, name: str, module: nn.Module) -> None:
        """Note the scores of a step, and the seconds since the step before."""
        seconds = time.monotonic() - self.lost
        if self.judge is not None:
            scores = self.judge.judge(module).values
            self.steps.append({"name": name, "scores": scores, "seconds": round(seconds, 1)})
            self._say(f"{name}: " + ", ".join(f"{k} {v:.4f}" for k, v in scores.items()))
        self.lost = time.monotonic()

    def _card(self, start: Prepared, progress: finetune.Progress) -> dict:
        job, patterns = self.job, start.patterns
        dense = sum(p.n_in * p.n_out for p in patterns.values())
        kept = sum(p.weights for p in patterns.values())
        steps = {step["name"]: step["scores"] for step in self.steps}
        headlines = {
            "spearman_heldout": _last(steps, "spearman", FLOAT),
            "spearman_w8a8": _last(steps, "spearman", ("W8A8",)),
            "perplexity_ratio": _last(steps, "ratio", FLOAT),
            "perplexity_ratio_w8a8": _last(steps, "ratio", ("W8A8",)),
        }
        return {
            "name": job.output.stem,
            "base": self.base,
            "compression": dense / kept,
            **{key: value for key, value in headlines.items() if value is not None},
            "weights_dense": dense,
            "weights_kept": kept,
            "steps": self.steps,
            "conditions": self.judge.conditions if self.judge else {},
            "history": progress.history,
            "finetuning": (asdict(job.recipe) if job.recipe else {})
            | {"steps": progress.step, "seconds": round(progress.seconds, 1)},
            "memory": [asdict(row) for row in self._memory(patterns)],
            "matrices": [_matrix(n, p, start) for n, p in patterns.items()],
            "codesign": start.codesign,
            "command": job.command,
            "seed": job.seed,
            "threads": torch.get_num_threads(),
            "versions": card.versions(),
        }

    def _memory(self, patterns: dict[str, Pattern]) -> list[memory.Row]:
        return memory.table(self.network, patterns, self.job.params)

    def _beside(self, kind: str) -> Path:
        """A file of a job that is not done."""
        return self.job.output.with_suffix(f".{kind}.safetensors")

    def _say(self, text: str) -> None:
        if self.job.show:
            tqdm.write(text, file=sys.stderr)

    @contextmanager
    def _bar(self, name: str, total: int):
        options = {"disable": not self.job.show, "mininterval": pace()}
        with tqdm(desc=name, total=total, leave=False, delay=1, **options) as bar:
            yield bar.update


def _choice(choice: codesign.Choice) -> dict:
    """What was chosen under a number of arrays, and the best uniform pattern beside it."""
    keys = ("arrays", "cycles_per_token", "expected_loss")
    best = choice.uniform
    return {
        **{key: getattr(choice, key) for key in keys},
        "uniform": {"label": best.label, **{key: getattr(best, key) for key in keys}}
        if best
        else None,
    }


def _last(steps: dict[str, dict], key: str, names: tuple[str, ...]) -> float | None:
    """The score `key` of the first of these steps that there is."""
    return next((steps[n][key] for n in names if n in steps and key in steps[n]), None)


def _matrix(name: str, shape: Pattern, start: Prepared) -> dict:
    fields = {key: getattr(shape, key) for key in ("n_in", "n_out", "k", "l", "rank", "weights")}
    return {
        "name": name,
        **fields,
        "error_weights": start.weights.get(name),
        "error_outputs": start.outputs.get(name),
    }
