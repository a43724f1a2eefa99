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
    requantisers = p.lanes * p.drain_ports
    return {
        "weight multipliers": (p.cols * fan_in, 0, f"{p.dac_bits} x {p.weight_bits} bits"),
        "tree adders": (p.cols * (fan_in - 1), 0, f"{fan_in} products a column"),
        "shift-and-add accumulators": (p.cols, 0, f"{p.acc_bits} bits"),
        "requantisation multipliers": (
            0,
            requantisers,
            f"{numeric.ACC_BITS} x {numeric.MULT_BITS} bits",
        ),
        "accumulator register bits": (2 * p.cols * p.acc_bits, 0, "two banks"),
        "row register bits": (2 * p.rows * p.act_bits, 0, "two banks"),
    }


def cycles(params: Params) -> list[tuple[str, int, str]]:
    """Cycles that each unit is occupied by typical work: name, cycles, what it is."""
    p = params
    dense = p.planes * (p.row_groups if p.tree == "shared" else 1)
    return [
        ("step of a pass", p.planes, "act_bits / dac_bits bit planes"),
        ("block-diagonal pass", p.planes, "one step: all column groups, any row group each"),
        ("dense pass", dense, "every row group into every column group"),
        ("load of all row registers of a tile", -(-p.rows // p.lanes), "rows / lanes"),
        ("drain of all columns of a tile", -(-p.cols // p.lanes), "cols / lanes, on one port"),
        ("buffer word over the stream", p.beats_per_word, "beats"),
        ("constant word over the stream", p.const_words * p.beats_per_word, "beats"),
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
    # The simulation top is a test bench around the hardware, not a part of it.
    for module in tops([text for name, text in verilog.items() if not name.endswith("_sim.v")]):
        rows = [(port.name, port.direction, port.width) for port in module.ports]
        parts.append(f"Module `{module.name}`:\n\n" + table(("port", "direction", "bits"), rows))
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


def _cycles(params: Params) -> str:
    p = params
    peak = p.cols * p.granule // p.planes
    dense = peak if p.tree == "shared" else p.cols * p.rows // p.planes
    return "\n".join(
        [
            "Occupation of the units, without pipeline latency and stream stalls:\n",
            table(("work", "cycles", "what"), cycles(p)),
            f"Peak: {peak} multiply-accumulates a cycle and tile block-diagonal, {dense} dense; "
            f"{p.lanes} elements a cycle through each load and drain port. Accumulators have "
            f"{p.acc_bits} bits ({clog2(p.rows)} for the sum of {p.rows} products).\n",
        ]
    )
