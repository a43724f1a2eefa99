"""cocotb bench of the macro: random traffic into every view under the top, `q` compared each cycle.

Environment: `MACRO_PAIRS`, JSON list with one test each: `params`, `views` and `tile`, whose weights come from
`MACRO_WEIGHTS`, the file that the back door loads; null: they are written through the front door.
`MACRO_SEED`, `MACRO_CYCLES`.
"""

import json
import os

import cocotb
import numpy as np
from cocotb.triggers import Timer

from rtl.spec.params import Params
from tests.cosim.macro_traffic import Traffic

PAIRS = json.loads(os.environ["MACRO_PAIRS"])
SEED, CYCLES = int(os.environ["MACRO_SEED"]), int(os.environ["MACRO_CYCLES"])


def _weights(params: Params, tile: int) -> np.ndarray:
    """Weights as the macro must see them: the low bits of each byte, sign-extended."""
    size, half = params.rows * params.cols, 1 << (params.weight_bits - 1)
    stored = np.fromfile(os.environ["MACRO_WEIGHTS"], np.uint8, size, offset=tile * size)
    return (stored.astype(np.int64) + half) % (2 * half) - half


@cocotb.test()
@cocotb.parametrize(index=list(range(len(PAIRS))))
async def random_traffic(dut, index: int):
    """Every view's `q` equals the model's after every cycle."""
    params, views, tile = (
        Params.from_dict(PAIRS[index]["params"]),
        PAIRS[index]["views"],
        PAIRS[index]["tile"],
    )
    weights = None if tile is None else _weights(params, tile)
    ports = {
        name.removeprefix(f"c{index}_"): getattr(dut, name)
        for name in (handle._name for handle in dut)
        if name.startswith(f"c{index}_")
    }
    driven: dict[str, int] = {}
    ports["rst"].value = 0
    for cycle, (inputs, expected) in enumerate(Traffic(params, SEED, CYCLES, weights)):
        ports["clk"].value = 0
        for name, value in (inputs | {"id": tile or 0}).items():
            if driven.get(name) != value:
                ports[name].value = driven[name] = value
        await Timer(1, "ns")
        ports["clk"].value = 1
        await Timer(1, "ns")
        for view in views:
            got = ports[f"q_{view}"].value
            assert got.is_resolvable and int(got) == expected, (
                f"{params}, seed {SEED}, cycle {cycle}: {view} q = {got}, model: {expected:#x}"
            )
    assert cycle + 1 >= CYCLES
