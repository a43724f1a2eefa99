"""The SoC: a real layer by the C driver on the CPU, with DMA and with copies by the CPU."""

from collections.abc import Iterator

from firmware.image import pack
from firmware.soc import Outcome, run
from firmware.toolchain import driver_sizes
from mapper import workload as workloads
from mapper.compile import Compiler
from rtl.spec.params import Params

from .measure import Row

#: Bytes of code that the driver may have on RV32I.
CODE_LIMIT = 4096


def rows() -> Iterator[Row]:
    """Layer 0 of MiniLM, Monarch factors, densemap, 16 tokens, weights in place."""
    yield Row("driver, rv32i -Os, bytes of code", driver_sizes().text, "<=", CODE_LIMIT)
    outcome = _layer()
    for name, way in outcome.ways.items():
        yield Row(f"SoC, minilm-4x, {name}: mismatches", way.mismatches, "=", 0)
    dma, copy = outcome.ways["dma"], outcome.ways["cpu-copy"]
    note = f"{dma.cycles - dma.busy} cycles beside the core's {dma.busy}"
    yield Row("SoC, DMA: cycles outside the core's busy time / busy", dma.control, "<=", 0.2, note)
    note = f"{copy.cycles - copy.busy} cycles beside the core's {copy.busy}"
    yield Row("SoC, copies by the CPU: the same", copy.control, note=note)
    yield Row("SoC, copies by the CPU / DMA, cycles of a run", copy.cycles / dma.cycles)


def _layer() -> Outcome:
    params = Params.load("minilm")
    (layer,) = workloads.build("minilm-4x", [0], params=params)
    program = Compiler("densemap", params).compile(layer)
    return run(pack(program), program.params)
