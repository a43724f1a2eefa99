"""Random configurations, shapes, policies and strategies: golden = ISS, and every so often = RTL."""

import random
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

from mapper import program as program_files
from mapper.compile import Compiler
from mapper.cycles import random_stalls
from mapper.models import Model
from mapper.placement import ALL_ROWS, STRATEGIES, monarch_strategy
from mapper.synthetic import random_workload
from mapper.workload import pattern_of
from rtl.spec.params import ConfigError, Params

from .execute import execute


def random_params(r: random.Random) -> Params:
    """A small random configuration: every parameter that changes hardware or program varies."""
    granule = r.choice([4, 4, 8, 6])
    rows, cols = granule * r.randint(1, 6), granule * r.randint(1, 6)
    act_bits = r.choice([8, 8, 4])
    lanes = granule * r.randint(1, cols // granule)
    params = {
        "granule": granule,
        "rows": rows,
        "cols": cols,
        "act_bits": act_bits,
        "weight_bits": r.choice([8, 8, 4, 2]),
        "dac_bits": r.choice([b for b in (1, 2, 4, 8) if act_bits % b == 0]),
        "tree": r.choice(["shared", "full"]),
        "lanes": lanes,
        "drain_ports": r.choice([1, 1, 2, 4]),
        "act_depth": 64,
        "const_depth": 64,
        "prog_depth": 256,
    }
    beats = [n for n in (1, 2, 4) if lanes * act_bits % (8 * n) == 0]
    params["stream_width"] = lanes * act_bits // r.choice(beats or [1])
    return Params.from_dict(params)


def random_pace(r: random.Random, params: Params) -> Params:
    """The same configuration, slower: requantisation by turns, digit by digit, cycles between instructions.

    Some have no counters of busy cycles.
    """
    turns = r.choice([n for n in (1, 1, 2, 3, 4) if params.lanes % n == 0])
    return params.replace(
        requantisers=params.lanes // turns,
        multiply_cycles=r.choice([1, 1, 1, 2, 16]),
        issue_cycles=r.choice([1, 1, 2, 3]),
        busy_counters=r.choice([1, 1, 1, 0]),
    )


def random_converters(r: random.Random, params: Params, strategy: str) -> Params:
    """The same configuration with an analog array: every parameter of the converters varies."""
    return params.replace(
        readout="adc",
        dac_bits=1,
        adc_bits=r.randint(1, 8),
        adcs=r.randint(1, params.cols),
        adc_settle=r.choice([0, 1, 7]),
        adc_cycles_per_bit=r.choice([0, 1, 2]),
        tree=r.choice(["full", "full", "shared"]) if strategy in ALL_ROWS else "shared",
    )


def random_case(seed: int, readout: str = "digital"):
    """(strategy, params, workload) of a seed. Raises `ConfigError` if the draw is not a legal one."""
    r = random.Random(seed)
    params = random_pace(random.Random(f"pace {seed}"), random_params(r))
    strategy = r.choice(sorted(STRATEGIES))
    if readout == "adc":
        params = random_converters(random.Random(f"adc {seed}"), params, strategy)
    hidden, ffn = r.randint(4, 48), r.randint(4, 64)
    policy, k, l_blocks, rank = "dense", None, None, 1
    if monarch_strategy(strategy):
        policy = r.choice(["pad", "trim", "rect", "blocks"])
    if policy in ("rect", "blocks"):
        k = l_blocks = r.choice([2, 3, 4, 6])
        hidden, ffn = k * r.randint(1, 8), k * r.randint(1, 10)
        rank = r.choice([1, 1, 2, 3])
    model = Model(f"random-{seed}", 1, hidden, ffn, 1, "tiny", policy, 1)
    pattern = pattern_of(policy, k, l_blocks, rank)
    work = random_workload(model, 0, policy, pattern, params, r.randint(1, 3), seed)
    work.barrier["o"] = r.random() < 0.3
    return strategy, params, work


def run_case(
    seed: int, simulator: str = "iss", stalls: bool = False, readout: str = "digital", **options
):
    """Compile the case of a seed and run it; the outcome. Raises `ConfigError` if it does not fit.

    `options` are those of `execute`.
    """
    strategy, params, work = random_case(seed, readout)
    fixed = {"tree"} if params.analog else set()
    program = Compiler(strategy, params, fixed, seed).compile(work)
    pattern = random_stalls(seed) | random_stalls(seed + 1) << 1 if stalls else None
    with tempfile.TemporaryDirectory(prefix="blockcim-") as scratch:
        where = Path(scratch) / "program"
        program_files.write(program, where)
        return execute(where, simulator, stalls=pattern, **options)


def fuzz(
    cases: int,
    first: int = 0,
    rtl_every: int = 10,
    simulator: str = "verilator",
    readout: str = "digital",
) -> dict:
    """Run `cases` seeds from `first` on; every `rtl_every`-th that fits also on RTL, with and without stalls."""
    total = {"cases": cases, "skipped": 0, "rtl": 0, "mismatches": 0, "cycle_differences": 0}
    failures, done = [], 0
    for seed in tqdm(range(first, first + cases), disable=not sys.stderr.isatty(), unit="case"):
        try:
            outcomes = [run_case(seed, readout=readout)]
        except ConfigError:
            total["skipped"] += 1
            continue
        done += 1
        if rtl_every and (done - 1) % rtl_every == 0:
            total["rtl"] += 1
            outcomes += [run_case(seed, simulator, s, readout) for s in (False, True)]
        for outcome in outcomes:
            total["mismatches"] += outcome.mismatches
            total["cycle_differences"] += outcome.cycles != outcome.cycles_iss
            if not outcome.good:
                failures.append(
                    f"seed {seed} {outcome.simulator}: {outcome.first or 'cycles differ'} "
                    f"(rerun: python -m sim fuzz -n 1 --seed {seed} --readout {readout} --rtl-every 1)"
                )
    return total | {"failures": failures}
