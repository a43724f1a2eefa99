"""The instruction set: formats as data, a checked encoder and its inverse, assembler text and back.

An instruction is one fixed-width word (`width(params)`, a multiple of 32 bits): the opcode in the
low bits, then the fields of its format in the order of the tables below. Field widths follow from
the parameters, so the same program text assembles for every configuration that can hold it.

Execution model
---------------
Instructions issue in order, at most one a cycle; each goes to a unit that then runs on its own:

    stream-in   RECV, LDW, LDC      one instruction at a time
    load        LOAD                one at a time
    tiles       PASS                one per tile, all tiles in parallel
    drains      DRAIN               one per drain port; the lowest free port takes it
    stream-out  SEND                one at a time

An instruction waits at issue until its unit is free and its hazards are clear, so results are those
of executing the program in order; timing is a function of the program and the stream stalls alone. With `issue_cycles`
above 1, instructions are at least so many cycles apart, and issue one cycle after they were found to be free to.

Tile state. Each tile has two banks of row registers: fills (LOAD, DRAIN to rows) write the fill
bank; `PASS fresh` first swaps the banks, then computes from what was filled. Each tile has two
banks of accumulators, used as a queue: `PASS first` opens a new result (at most two wait) and
remembers its `rot`, further passes add to it, DRAIN reads the oldest and `release` frees it.

Analog readout. With `readout = "adc"` a PASS is made of reads: the columns settle, then take turns at the converters,
for every pair of an input bit plane and a weight bit plane. Rows are on for the whole array. With `tree = full` a PASS
is one read with all its row groups on; a column also sums the rows that other columns select, and must hold zeros
there. With `tree = shared` each step has a read for every row group that an enabled column group selects.

Addresses. A buffer address is `addr + A[areg]`; A0 is always 0. After issue, A[areg] += inc, and
becomes its initial value again when it reaches `wrap` (both given by SETA).
"""

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .params import ConfigError, Params, clog2, index_bits


class Op(enum.IntEnum):
    """Opcodes. 16..27 are reserved: vector operations (16..23), run-time weight writes (24..27)."""

    NOP = 0
    HALT = 1
    LOOP = 2
    SETA = 3
    RECV = 4
    SEND = 5
    LOAD = 6
    PASS = 7
    DRAIN = 8
    LDW = 9
    LDC = 10


class Error(enum.IntEnum):
    """Sticky error codes; the error register holds one of these and the pc that raised it."""

    NONE = 0
    OPCODE = 1  #: unknown or reserved opcode
    TILE = 2  #: a tile range that leaves the core
    ADDRESS = 3  #: a buffer address out of range
    CONST = 4  #: a constant address out of range
    FIELD = 5  #: a count of zero, or a geometry that the array does not have
    LOOP = 6  #: a loop inside a loop
    PC = 7  #: execution ran past the program memory
    DEADLOCK = 8  #: the instruction waits, and nothing is running that could free it


#: Opcode bits.
OP_BITS = 5
#: Address registers, A0 (always zero) included.
AREGS = 8


@dataclass(frozen=True)
class Field:
    """One field: `count` values of `width(params)` bits, unsigned."""

    name: str
    width: Callable[[Params], int]
    doc: str
    count: Callable[[Params], int] = lambda p: 1


def _tile(p: Params) -> int:
    return index_bits(p.tiles)


def _tiles(p: Params) -> int:
    return clog2(p.tiles + 1)


def _row_group(p: Params) -> int:
    return index_bits(p.row_groups)


def _slots(p: Params) -> int:
    return clog2(p.slots + 1)


def _addr(p: Params) -> int:
    return clog2(p.act_depth)


def _words(p: Params) -> int:
    return clog2(p.act_depth + 1)


def _elems(p: Params) -> int:
    return clog2(p.act_depth * p.lanes + 1)


def _blocks(p: Params) -> int:
    """Blocks that a core can hold side by side."""
    return p.tiles * p.col_groups


def _const(bits: int) -> Callable[[Params], int]:
    return lambda p: bits


def _address(unit: str) -> tuple[Field, ...]:
    return (
        Field("addr", _addr, f"first buffer word {unit}"),
        Field("areg", _const(clog2(AREGS)), "address register added to addr; 0: none"),
        Field("inc", _addr, "added to the address register after issue"),
        Field("words", _words, "buffer words, at least 1"),
    )


#: Where a fill lands: slice n, part i goes to tile
#: (d_tile + ((d_m0 + n) // d_blocks) * d_tstride + i * d_tpart) modulo tiles,
#: row group d_row + (d_m0 + n) % d_blocks + i * d_rpart,
#: in each of d_copies copies, d_span tiles apart. Slots that pass in one cycle must not land on one element: what it
#: holds then is not defined, and nothing checks it (`sim.slots.clashes` tells).
_FILL = (
    Field("d_tile", _tile, "first tile of the destination"),
    Field("d_span", _tiles, "tiles that one copy covers, at least 1; slots beyond are dropped"),
    Field("d_copies", _tiles, "copies (multicast), d_span tiles apart, at least 1"),
    Field(
        "d_blocks", lambda p: clog2(p.row_groups + 1), "D, slices per group of tiles, 1..row groups"
    ),
    Field("d_m0", _row_group, "position of the first slice in its group, below d_blocks"),
    Field("d_tstride", _tiles, "tiles from one group of D slices to the next"),
    Field("d_tpart", _tiles, "tiles from one part of a slice to the next"),
    Field("d_row", _row_group, "row group of slice position 0"),
    Field(
        "d_rpart",
        _row_group,
        "row groups from one part of a slice to the next; slots beyond the array are dropped",
    ),
)

#: Fields of each opcode, lowest bits first (after the opcode).
FORMATS: dict[Op, tuple[Field, ...]] = {
    Op.NOP: (),
    Op.HALT: (),
    Op.LOOP: (
        Field("body", lambda p: clog2(p.prog_depth), "instructions in the body, at least 1"),
        Field("times", _const(16), "how often the body runs, at least 1 (ignored with use_len)"),
        Field(
            "use_len", _const(1), "1: take the count from register LEN; a count of 0 skips the body"
        ),
    ),
    Op.SETA: (
        Field("areg", _const(clog2(AREGS)), "address register to set; A0 stays zero"),
        Field("value", _addr, "initial value"),
        Field("wrap", _words, "value at which it becomes the initial value again; 0: never"),
    ),
    Op.RECV: _address("written"),
    Op.SEND: _address("read"),
    Op.LOAD: (
        *_address("read"),
        Field(
            "skip",
            lambda p: index_bits(p.lanes),
            "elements of the first word to ignore, below lanes",
        ),
        Field(
            "elems",
            _elems,
            "elements to load; (words - 1) * lanes < skip + elems <= words * lanes",
        ),
        Field("parts", _const(6), "granule-wide parts of a slice, at least 1"),
        Field(
            "tail",
            lambda p: clog2(p.granule + 1),
            "elements of the last part of a slice, 1..granule",
        ),
        Field(
            "part_lo",
            _const(6),
            "first part that is written; it counts as part 0 of the destination",
        ),
        Field(
            "part_n", _const(6), "parts that are written, at least 1; the others are passed over"
        ),
        *_FILL,
    ),
    Op.PASS: (
        Field(
            "rot",
            lambda p: index_bits(p.col_groups),
            "with `first`: the result's block 0 is in this column group; drains undo the rotation",
        ),
        Field("tile", _tile, "first tile"),
        Field("span", _tiles, "tiles, at least 1, consecutive modulo tiles"),
        Field("fresh", _const(1), "1: swap row banks first"),
        Field("first", _const(1), "1: open a new result; 0: add to the newest"),
        Field(
            "steps",
            lambda p: clog2(p.row_groups + 1),
            "row groups summed, 1..row groups: one step each (shared), the union in one step (full)",
        ),
        Field(
            "stride",
            _row_group,
            "added to every select from one step to the next, modulo row groups",
        ),
        Field("mask", _const(1), "column groups that compute", lambda p: p.col_groups),
        Field(
            "sel",
            _row_group,
            "row group that each column group reads in the first step, below row groups",
            lambda p: p.col_groups,
        ),
    ),
    Op.DRAIN: (
        Field("tile", _tile, "first tile of the source (first of its chain)"),
        Field("groups", _tiles, "groups of D blocks, at least 1; group i is at tile + i * chain"),
        Field(
            "chain",
            _tiles,
            "consecutive tiles whose partial sums are added, at least 1; groups * chain <= tiles",
        ),
        Field(
            "blocks",
            lambda p: clog2(p.col_groups // p.drain_chunk + 1),
            "D / drain_chunk: blocks per group, at least 1",
        ),
        Field(
            "col",
            lambda p: index_bits(p.col_groups),
            "column groups from the result's block 0 to the first block drained",
        ),
        Field(
            "count",
            lambda p: clog2(_blocks(p) + 1),
            "K, blocks: block k is column group (rot + col + k % D) mod H of group k // D; "
            "beyond: 0",
        ),
        Field("column", lambda p: index_bits(p.granule), "first column of the granule"),
        Field(
            "columns",
            lambda p: clog2(p.granule + 1),
            "columns, at least 1; column + columns <= granule",
        ),
        Field(
            "slots",
            _slots,
            "slots that one column takes in a step, 1..slots: min(slots, ceil(K / granule))",
        ),
        Field(
            "pieces",
            _slots,
            "columns in one step, at least 1; slots * pieces <= slots of a word; 1 if steps or raw",
        ),
        Field(
            "steps",
            lambda p: clog2(-(-_blocks(p) // p.lanes) + 1),
            "steps that one column takes: ceil(K / lanes), at least 1",
        ),
        Field("release", _const(1), "1: free the result after this drain"),
        Field(
            "raw",
            _const(1),
            "1: acc + bias as int32, raw_elements elements a value, low first; 0: requantise",
        ),
        Field(
            "const",
            lambda p: clog2(p.const_depth),
            "first constant word; one word a step, lane by lane",
        ),
        Field(
            "rows", _const(1), "destination: 1 row registers (d_ fields), 0 buffer (addr fields)"
        ),
        *_address("written"),
        Field("elems", _elems, "elements written at most (buffer)"),
        Field(
            "flush", _const(1), "1: one more step that writes the last, partly filled word (buffer)"
        ),
        Field("keep", _const(1), "1: leave the partly filled word to the next drain to the buffer"),
        *_FILL,
        Field(
            "d_part", _const(6), "part of the slice that the first slot of a column fills (rows)"
        ),
        Field(
            "d_off",
            lambda p: index_bits(p.granule),
            "element of the granule at which a slot starts (rows)",
        ),
    ),
    Op.LDW: (
        Field("tile", _tile, "tile whose weights are written"),
        Field("row", lambda p: clog2(p.rows), "first row"),
        Field(
            "rows",
            lambda p: clog2(p.rows + 1),
            "rows, at least 1; a row is col_groups granule rows of weight_slots slots, "
            "packed in stream words",
        ),
    ),
    Op.LDC: (
        Field("const", lambda p: clog2(p.const_depth), "first constant word"),
        Field(
            "words",
            lambda p: clog2(p.const_depth + 1),
            "constant words, at least 1; const_words stream words each",
        ),
    ),
}

#: One line on what each instruction does.
DOCS: dict[Op, str] = {
    Op.NOP: "Nothing, for one cycle.",
    Op.HALT: "Wait until every unit is idle, then raise done and the interrupt.",
    Op.LOOP: "Run the next `body` instructions `times` times, without overhead. Loops do not nest.",
    Op.SETA: "Set an address register and the value at which it wraps.",
    Op.RECV: "Write `words` words from the input stream to the buffer.",
    Op.SEND: "Send `words` words of the buffer to the output stream; the last carries `last`.",
    Op.LOAD: "Read a vector from the buffer, cut it into slices and parts, and write them to "
    "row registers.",
    Op.PASS: "Block-diagonal multiply: every enabled column group h of every tile adds its row "
    "group sel[h] times its weights.",
    Op.DRAIN: "Read column after column of a result over all blocks (the permuted order), add "
    "chained tiles, add bias, requantise, and write buffer or row registers.",
    Op.LDW: "Write weights of one tile from the input stream (front door).",
    Op.LDC: "Write requantisation constants from the input stream (front door).",
}


def field_bits(field: Field, params: Params) -> int:
    """Bits that a field takes in the word, all its values together."""
    return field.width(params) * field.count(params)


def width(params: Params) -> int:
    """Bits of an instruction word: the longest format, rounded up to a multiple of 32."""
    longest = max(sum(field_bits(f, params) for f in fields) for fields in FORMATS.values())
    return -(-(OP_BITS + longest) // 32) * 32


def offsets(op: Op, params: Params) -> dict[str, tuple[int, int]]:
    """Position and size in bits of each field of a format, by name."""
    result, at = {}, OP_BITS
    for field in FORMATS[op]:
        size = field_bits(field, params)
        result[field.name] = (at, size)
        at += size
    return result


@dataclass(frozen=True)
class Instr:
    """An instruction: opcode and field values (an int, or a tuple for a field with a count)."""

    op: Op
    fields: Mapping[str, int | tuple[int, ...]]

    def __getattr__(self, name: str):
        # copy and pickle ask for special methods before `fields` is there.
        if name == "fields" or name.startswith("__"):
            raise AttributeError(name)
        try:
            return self.fields[name]
        except KeyError:
            raise AttributeError(f"{self.op.name} has no field {name!r}") from None


def make(op: Op, **fields) -> Instr:
    """An instruction with the named fields; those left out are 0 (in all their values)."""
    known = {f.name for f in FORMATS[op]}
    for name in fields:
        if name not in known:
            raise ConfigError(f"{op.name}: unknown field {name!r}")
    return Instr(op, fields)


def encode(instr: Instr, params: Params) -> int:
    """The instruction word.

    Raises `ConfigError` with opcode, field, value and limit if a value does not fit.
    """
    word, at = int(instr.op), OP_BITS
    for field in FORMATS[instr.op]:
        bits, count = field.width(params), field.count(params)
        value = instr.fields.get(field.name, 0)
        values = value if isinstance(value, tuple) else (value,)
        if isinstance(value, tuple) and len(values) != count:
            raise ConfigError(
                f"{instr.op.name}: {field.name} needs {count} values, has {len(values)}"
            )
        for v in values:
            if not 0 <= v < 1 << bits:
                raise ConfigError(
                    f"{instr.op.name}: {field.name} = {v} does not fit {bits} bits "
                    f"(limit {(1 << bits) - 1})"
                )
        for i, v in enumerate(values):
            word |= v << (at + i * bits)
        at += bits * count
    return word


def decode(word: int, params: Params) -> Instr:
    """The inverse of `encode`. Raises `ConfigError` on an unknown opcode."""
    code = word & ((1 << OP_BITS) - 1)
    if code not in Op._value2member_map_:
        raise ConfigError(f"opcode {code} is unknown or reserved")
    op, at, fields = Op(code), OP_BITS, {}
    for field in FORMATS[op]:
        bits, count = field.width(params), field.count(params)
        values = tuple(word >> (at + i * bits) & ((1 << bits) - 1) for i in range(count))
        fields[field.name] = (
            values if field.count(params) != 1 or field.name in ("mask", "sel") else values[0]
        )
        at += bits * count
    return Instr(op, fields)


def to_text(instr: Instr) -> str:
    """One line of assembler: `PASS tile=0 span=4 sel=0,1,2,3`; fields that are 0 are left out."""
    words = [instr.op.name]
    for field in FORMATS[instr.op]:
        value = instr.fields.get(field.name, 0)
        if isinstance(value, tuple):
            if any(value):
                words.append(f"{field.name}={','.join(map(str, value))}")
        elif value:
            words.append(f"{field.name}={value}")
    return " ".join(words)


_TOKEN = re.compile(r"([a-z_0-9]+)=([0-9]+(?:,[0-9]+)*|diag\([0-9]+\)|all)")


def from_text(line: str, params: Params) -> Instr:
    """Parse one line of assembler, the inverse of `to_text`.

    Besides numbers, `sel=diag(d)` is diagonal d (sel[h] = (h + d) mod G) and `mask=all` enables
    every column group. Raises `ConfigError` naming the token.
    """
    head, *tokens = line.split()
    if head not in Op.__members__:
        raise ConfigError(f"{head}: unknown instruction")
    op, fields = Op[head], {}
    counted = {f.name: f.count(params) for f in FORMATS[op] if f.name in ("mask", "sel")}
    for token in tokens:
        match = _TOKEN.fullmatch(token)
        if not match:
            raise ConfigError(f"{head}: cannot read {token!r}")
        name, text = match.groups()
        if text.startswith("diag("):
            d = int(text[5:-1])
            fields[name] = tuple((h + d) % params.row_groups for h in range(params.col_groups))
        elif text == "all":
            fields[name] = (1,) * params.col_groups
        elif name in counted:
            fields[name] = tuple(map(int, text.split(",")))
        else:
            fields[name] = int(text)
    return make(op, **fields)


def assemble(text: str, params: Params) -> list[Instr]:
    """Parse a program, one instruction a line; `#` starts a comment. Errors name the line."""
    program = []
    for number, line in enumerate(text.splitlines(), 1):
        code = line.split("#")[0].strip()
        if code:
            try:
                program.append(from_text(code, params))
            except ConfigError as error:
                raise ConfigError(f"line {number}: {error}") from None
    return program


def listing(program: list[Instr]) -> str:
    """The program as assembler text with the pc of each instruction in a comment."""
    return "".join(f"{to_text(instr)}  # {pc}\n" for pc, instr in enumerate(program))
