"""`DATASHEET.md`: parameters, ports, registers, memories, area and cycles of a configuration.

Area figures are counts of datapath elements by formula, not of cells: they hold for every
technology.
`python -m sim verify DIR` counts the cells of an emitted bundle.
"""

from dataclasses import dataclass

from gen.describe import derived, hash_text, member_docs, table
from gen.docs import register_table
from gen.ports import tops
from rtl.spec import isa, numeric
from rtl.spec.params import ISA_VERSION, Params, clog2

#: What the ports of a bus top are, by the prefix of their names (rtl/bus.py).
INTERFACES = {
    "s_axi_": "registers: AXI4-Lite slave, byte addresses; SLVERR for what a register refuses, DECERR without one",
    "s_wb_": "registers: Wishbone B4 slave, word addresses, classic (`stall` open) or pipelined",
    "s_axis_": "input: AXI4-Stream, `tlast` ends the packet of a run (MODE check_last)",
    "m_axis_": "output: AXI4-Stream, `tlast` ends the output of a SEND",
    "m_wb_": "DMA: Wishbone B4 pipelined master, word addresses (byte address / 4), at most 16 transfers under way",
}


@dataclass(frozen=True)
class Memory:
    """A memory of a core: `count` equal ones of `depth` words of `width` bits."""

    name: str
    count: int
    depth: int
    width: int

    @property
    def bits(self) -> int:
        """Bits of all of them together."""
        return self.count * self.depth * self.width


def memories(params: Params) -> list[Memory]:
    """The memories of one core."""
    p = params
    return [
        Memory("weights (a bank a column group of a tile)", p.tiles * p.col_groups, p.rows,
               p.granule * p.weight_bits),
        Memory("activation buffer", 1, p.act_depth, p.word_bits),
        Memory("requantisation constants", 1, p.const_depth, p.lanes * numeric.CONST_BITS),
        Memory("program", 1, p.prog_depth, isa.width(p)),
    ]  # fmt: skip


def area(params: Params) -> dict[str, tuple[int, int, str]]:
    """Datapath elements: count in a tile, count in a core outside the tiles, what one is."""
    p = params
    fan_in = p.granule if p.tree == "shared" else p.rows
    requantisers = p.multipliers * p.drain_ports
    bits = 1 if p.analog else p.weight_bits
    emulated = {
        "converters, emulated": (p.cols, 0, f"{p.adc_bits} bits; {p.adcs} in the array meant")
    }
    return {
        "weight multipliers": (p.cols * fan_in, 0, f"{p.dac_bits} x {bits} bits"),
        "tree adders": (p.cols * (fan_in - 1), 0, f"{fan_in} products a column"),
        **(emulated if p.analog else {}),
        "shift-and-add accumulators": (p.cols, 0, f"{p.acc_bits} bits"),
        "requantisation multipliers": (
            0,
            requantisers,
            f"{numeric.ACC_BITS} x {numeric.MULT_BITS // p.multiply_cycles} bits",
        ),
        "accumulator register bits": (2 * p.cols * p.acc_bits, 0, "two banks"),
        "row register bits": (2 * p.rows * p.act_bits, 0, "two banks"),
    }


def cycles(params: Params) -> list[tuple[str, int, str]]:
    """Cycles that each unit is occupied by typical work: name, cycles, what it is."""
    p = params
    return [
        *(_analog_passes(p) if p.analog else _passes(p)),
        ("load of all row registers of a tile", -(-p.rows // p.lanes), "rows / lanes"),
        (
            "drain of all columns of a tile",
            -(-p.cols // p.lanes) * p.step_cycles,
            f"cols / lanes on one port, {p.step_cycles} a step",
        ),
        ("buffer word over the stream", p.beats_per_word, "beats"),
        ("constant word over the stream", p.const_words * p.beats_per_word, "beats"),
    ]


def _passes(p: Params) -> list[tuple[str, int, str]]:
    dense = p.planes * (p.row_groups if p.tree == "shared" else 1)
    return [
        ("step of a pass", p.planes, "act_bits / dac_bits bit planes"),
        ("block-diagonal pass", p.planes, "one step: all column groups, any row group each"),
        ("dense pass", dense, "every row group into every column group"),
    ]


def _analog_passes(p: Params) -> list[tuple[str, int, str]]:
    """The same in reads: of all columns at once, or of those that a row group is read into."""
    pairs = p.planes * p.weight_planes
    whole, part = (pairs * p.plane_cycles(n) for n in (p.cols, p.granule))
    planes = f"{pairs} pairs of bit planes, each {p.settle_cycles} cycles to settle"
    found = [("read of all columns", whole, f"{planes} and {-(-p.cols // p.adcs)} conversions")]
    if p.tree == "full":
        return [*found, ("any pass", whole, "one read")]
    return [
        *found,
        ("read of one column group", part, f"{planes} and {-(-p.granule // p.adcs)} conversions"),
        ("block-diagonal pass", p.row_groups * part, "one read a row group"),
        ("dense pass", p.row_groups * whole, "one read a row group, of all columns"),
    ]


def datasheet(params: Params, verilog: dict[str, str]) -> str:
    """The text, for a configuration and its Verilog files (text by file name)."""
    return "\n".join(
        [
            f"# Datasheet, configuration {hash_text(params)}\n",
            f"Block-diagonal compute-in-memory core, instruction set {ISA_VERSION}.\n",
            "## Parameters\n",
            _parameters(params),
            "## Ports\n",
            _ports(verilog),
            "## Registers\n",
            register_table(),
            "## Memories\n",
            _memories(params),
            "## Area\n",
            _area(params),
            "## Cycles\n",
            _cycles(params),
        ]
    )


def _parameters(params: Params) -> str:
    docs = member_docs(Params)
    rows = [(name, value, docs[name]) for name, value in params.as_dict().items()]
    return "\n".join(
        [
            table(("parameter", "value", "meaning"), rows),
            table(
                ("derived", "value", "meaning"),
                [(name, value, doc) for name, (value, doc) in derived(params).items()],
            ),
        ]
    )


def _ports(verilog: dict[str, str]) -> str:
    parts = []
    # The simulation top is a test bench around the hardware; of the macro's views, one hides what the other uses.
    inner = ("_sim.v", "_macro_structural.v", "_macro_behavioural.v")
    for module in tops([text for name, text in verilog.items() if not name.endswith(inner)]):
        rows = [(port.name, port.direction, port.width) for port in module.ports]
        parts.append(f"Module `{module.name}`:\n\n" + table(("port", "direction", "bits"), rows))
        names = [port.name for port in module.ports]
        used = [(p, d) for p, d in INTERFACES.items() if any(n.startswith(p) for n in names)]
        if used:
            parts.append(table(("ports", "interface"), [(f"`{p}*`", d) for p, d in used]))
    return "\n".join(parts)


def _kib(bits: int) -> str:
    return f"{bits / 8192:.1f}"


def _memories(params: Params) -> str:
    found = memories(params)
    rows: list[tuple] = [(m.name, m.count, m.depth, m.width, m.bits, _kib(m.bits)) for m in found]
    total = sum(m.bits for m in found)
    rows.append(("total of a core", "", "", "", total, _kib(total)))
    return (
        f"Per core, of {params.cores}:\n\n"
        + table(("memory", "count", "words", "width", "bits", "KiB"), rows)
        + f"\nAddresses: buffer 0..{params.act_depth - 1} (words of {params.lanes} elements), "
        f"constants 0..{params.const_depth - 1} (words of {params.lanes} entries), "
        f"program 0..{params.prog_depth - 1} (instructions), tiles 0..{params.tiles - 1}. "
        "None of them is on the bus; programs go through PROG_ADDR and PROG_DATA, "
        "weights, constants and activations through the stream.\n"
    )


def _area(params: Params) -> str:
    rows = []
    for name, (tile, core, size) in area(params).items():
        total = params.cores * (params.tiles * tile + core)
        rows.append((name, tile, core, total, size))
    head = ("element", "in a tile", "in a core, besides", "in the chip", "size of one")
    return "Datapath elements by formula, of the structural view:\n\n" + table(head, rows)


def _rate(work: int, took: int) -> str:
    """Work a cycle: an analog array takes more cycles than it has columns."""
    return f"{work / took:.0f}" if work >= 10 * took else f"{work / took:.2f}"


def _cycles(params: Params) -> str:
    p = params
    found = {name: count for name, count, _ in cycles(p)}
    every = found.get("any pass", 1)
    peak = _rate(p.cols * p.granule, found.get("block-diagonal pass", every))
    dense = _rate(p.cols * p.rows, found.get("dense pass", every))
    return "\n".join(
        [
            "Occupation of the units, without pipeline latency and stream stalls:\n",
            table(("work", "cycles", "what"), cycles(p)),
            f"Peak: {peak} multiply-accumulates a cycle and tile block-diagonal, {dense} dense; "
            f"{p.lanes} elements a cycle through each load and drain port. Accumulators have "
            f"{p.acc_bits} bits ({clog2(p.rows)} for the sum of {p.rows} products).\n",
        ]
    )
