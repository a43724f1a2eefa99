"""cocotb bench of the macro: random traffic into every view under the top, `q` compared each cycle.

Environment: `MACRO_CONFIGS` (JSON list of parameters, one test each), `MACRO_VIEWS` (JSON list), `MACRO_SEED`,
`MACRO_CYCLES`; `MACRO_WEIGHTS`, if set: the file that the back door loads, of which this is tile `MACRO_TILE`.
"""

import json
import os

import cocotb
import numpy as np
from cocotb.triggers import Timer

from rtl.spec.params import Params
from tests.cosim.macro_traffic import Traffic

CONFIGS = [Params.from_dict(values) for values in json.loads(os.environ["MACRO_CONFIGS"])]
VIEWS = json.loads(os.environ["MACRO_VIEWS"])
SEED, CYCLES = int(os.environ["MACRO_SEED"]), int(os.environ["MACRO_CYCLES"])
TILE = int(os.environ.get("MACRO_TILE", "0"))


def _weights(params: Params) -> np.ndarray | None:
    """Weights as the macro must see them: the low bits of each byte, sign-extended."""
    path = os.environ.get("MACRO_WEIGHTS")
    if not path:
        return None
    size, half = params.rows * params.cols, 1 << (params.weight_bits - 1)
    stored = np.fromfile(path, np.uint8, size, offset=TILE * size).astype(np.int64)
    return (stored + half) % (2 * half) - half


@cocotb.test()
@cocotb.parametrize(index=list(range(len(CONFIGS))))
async def random_traffic(dut, index: int):
    """Every view's `q` equals the model's after every cycle."""
    params = CONFIGS[index]
    ports = {
        name.removeprefix(f"c{index}_"): getattr(dut, name)
        for name in (handle._name for handle in dut)
        if name.startswith(f"c{index}_")
    }
    driven: dict[str, int] = {}
    ports["rst"].value = 0
    for cycle, (inputs, expected) in enumerate(Traffic(params, SEED, CYCLES, _weights(params))):
        ports["clk"].value = 0
        for name, value in (inputs | {"id": TILE}).items():
            if driven.get(name) != value:
                ports[name].value = driven[name] = value
        await Timer(1, "ns")
        ports["clk"].value = 1
        await Timer(1, "ns")
        for view in VIEWS:
            got = ports[f"q_{view}"].value
            assert got.is_resolvable and int(got) == expected, (
                f"{params}, seed {SEED}, cycle {cycle}: {view} q = {got}, model: {expected:#x}"
            )
    assert cycle + 1 >= CYCLES
