"""Random legal programs: what `sim verify` and the fuzzers run on ISS and RTL.

A program loads constants and weights through the front door, then mixes every instruction with random
geometry, tracking only what it must to keep from deadlock (results queued per tile), and at the end sends the
whole activation buffer. `illegal` puts one random bad instruction near the end.
"""

import random
from dataclasses import dataclass

import numpy as np

from mapper.cycles import fields as fields_of
from mapper.cycles import random_stalls
from mapper.program import unpack_elements
from rtl.spec.isa import Error, Instr, Op, decode, encode, make, offsets
from rtl.spec.numeric import pack_const
from rtl.spec.params import ConfigError, Params

from .iss import legality
from .slots import clashes


@dataclass
class RandomProgram:
    """A program with its input: words, int8 (n, lanes) input, per-word conditions, stall patterns, LEN."""

    words: list[int]
    inputs: np.ndarray
    after: np.ndarray
    stalls: np.ndarray
    length: int

    @property
    def stall_in(self) -> np.ndarray:
        """Pattern of the source."""
        return self.stalls & 1

    @property
    def stall_out(self) -> np.ndarray:
        """Pattern of the sink."""
        return self.stalls >> 1 & 1


class _Generator:
    def __init__(self, params: Params, seed: int):
        self.p, self.r = params, random.Random(seed)
        self.bits = np.random.default_rng(seed)
        self.program: list[Instr] = []
        self.input: list[np.ndarray] = []
        self.results = [0] * params.tiles
        self.kept = False

    def emit(self, op: Op, **fields) -> bool:
        self.program.append(make(op, **fields))
        return True

    def fill(self, op: Op, **given) -> bool:
        """Emit a fill to a random destination; whether one was found where its slots do not clash."""
        for _ in range(20):
            fields = given | self.destination()
            if op == Op.DRAIN:
                fields |= {
                    "d_part": self.r.choice([0, 0, 1]),
                    "d_off": self.r.choice([0, self.r.randrange(self.p.granule)]),
                }
            if not clashes(make(op, **fields), self.p):
                self.emit(op, **fields)
                return True
        return False

    def stream(self, words: int) -> None:
        low = -(1 << (self.p.act_bits - 1))
        values = self.bits.integers(low, -low, (words, self.p.lanes))
        self.input.append(values.astype(np.int8))

    def constants(self) -> None:
        """Constants whose outputs are spread over the range of an activation."""
        p, words = self.p, self.p.const_depth
        entries = np.zeros((words, p.lanes), np.uint64)
        for index in np.ndindex(entries.shape):
            shift = self.r.randint(8, 31) if self.r.random() < 0.9 else self.r.randint(1, 31)
            bias = self.r.randint(-200, 200)
            if self.r.random() < 0.02:
                bias = self.r.choice([-(1 << 31), (1 << 31) - 1])
            mult = min(65535, int(self.r.random() * 2 ** max(0, shift - 4)) + self.r.randint(0, 3))
            entries[index] = pack_const(bias, mult, shift)
        data = entries.view(np.uint8).reshape(words * p.const_words, -1)
        self.input.append(unpack_elements(data, p))
        self.emit(Op.LDC, const=0, words=words)

    def weights(self, tile: int, rows: int | None = None) -> None:
        p = self.p
        rows = rows or self.r.randint(1, p.rows)
        slots = rows * p.col_groups * p.weight_slots
        self.stream(-(-slots // p.slots))
        self.emit(Op.LDW, tile=tile, row=self.r.randint(0, p.rows - rows), rows=rows)

    def address(self, words_limit: int | None = None) -> dict:
        p, r = self.p, self.r
        words = r.randint(1, min(words_limit or 6, p.act_depth))
        fields = {"words": words}
        if r.random() < 0.3:
            fields |= {"areg": r.randint(1, 3), "inc": r.choice([0, 1, 2])}
            fields["addr"] = r.randint(0, p.act_depth // 2 - 20)
        else:
            fields["addr"] = r.randint(0, p.act_depth - words)
        return fields

    def destination(self) -> dict:
        p, r = self.p, self.r
        span = r.randint(1, p.tiles)
        blocks = r.randint(1, p.row_groups)
        return {
            "d_tile": r.randrange(p.tiles),
            "d_span": span,
            "d_copies": r.randint(1, p.tiles // span),
            "d_blocks": blocks,
            "d_m0": r.randrange(blocks) if r.random() < 0.2 else 0,
            "d_tstride": r.choice([0, 1, 1, min(2, p.tiles)]),
            "d_tpart": r.choice([0, 1]),
            "d_row": r.choice([0, 0, r.randrange(p.row_groups)]),
            "d_rpart": r.choice([0, r.randrange(p.row_groups)]),
        }

    def load(self) -> None:
        p, r = self.p, self.r
        fields = self.address()
        words = fields["words"]
        skip = r.choice([0, 0, r.randrange(p.lanes)])
        low = max(1, (words - 1) * p.lanes + 1 - skip)
        high = words * p.lanes - skip
        if high < low:
            skip, low = 0, (words - 1) * p.lanes + 1
            high = words * p.lanes
        parts = r.randint(1, 3)
        self.fill(
            Op.LOAD,
            **fields,
            skip=skip,
            elems=r.choice([high, r.randint(low, high)]),
            parts=parts,
            tail=r.choice([p.granule, r.randint(1, p.granule)]),
            part_lo=r.choice([0, 0, r.randrange(parts)]),
            part_n=r.randint(1, parts),
        )

    def tiles(self, tile: int, span: int) -> list[int]:
        return [(tile + i) % self.p.tiles for i in range(span)]

    def compute(self) -> None:
        p, r = self.p, self.r
        tile, span = r.randrange(p.tiles), r.randint(1, p.tiles)
        first = r.random() < 0.75
        touched = self.tiles(tile, span)
        if first and any(self.results[t] == 2 for t in touched):
            return
        if first:
            for t in touched:
                self.results[t] += 1
        self.emit(
            Op.PASS,
            tile=tile,
            span=span,
            fresh=r.randint(0, 1),
            first=int(first),
            rot=r.randrange(p.col_groups),
            steps=r.choice([1, 1, r.randint(1, p.row_groups)]),
            stride=r.randrange(p.row_groups),
            mask=tuple(int(r.random() < 0.8) for _ in range(p.col_groups)),
            sel=tuple(r.randrange(p.row_groups) for _ in range(p.col_groups)),
        )

    def drain(self, loop: bool = False) -> None:
        p, r = self.p, self.r
        chain = r.choice([1, 1, r.randint(1, p.tiles)])
        groups = r.randint(1, p.tiles // chain)
        tile = r.randrange(p.tiles)
        touched = self.tiles(tile, groups * chain)
        if any(self.results[t] == 0 for t in touched):
            return
        release = int(r.random() < 0.7)
        per_tile = p.col_groups // p.drain_chunk
        blocks = r.randint(1, per_tile)
        size = blocks * p.drain_chunk
        most = min(groups * size + 2, p.tiles * p.col_groups)
        count = r.choice([groups * size, r.randint(1, most)])
        column = r.choice([0, r.randrange(p.granule)])
        columns = r.randint(1, p.granule - column)
        raw, rows = int(r.random() < 0.15), int(r.random() < 0.5)
        slots = min(p.slots, -(-count // p.granule))
        steps = -(-count // p.lanes)
        pieces = 1 if raw or steps > 1 else r.randint(1, p.slots // slots)
        fields = {}
        if rows:
            raw = 0
        else:
            keep = int(r.random() < 0.2)
            fields = self.address(12) | {
                "elems": r.choice([p.act_depth * p.lanes, r.randint(1, 3 * p.lanes)]),
                "flush": r.randint(0, 1),
                "keep": keep,
            }
        constants = -(-columns // pieces) * steps
        if constants > p.const_depth:
            return
        emit = self.fill if rows else self.emit
        done = emit(
            Op.DRAIN,
            tile=tile,
            groups=groups,
            chain=chain,
            blocks=blocks,
            col=r.choice([0, r.randrange(p.col_groups)]),
            count=count,
            column=column,
            columns=columns,
            slots=slots,
            pieces=pieces,
            steps=steps,
            release=release,
            raw=raw,
            const=r.randint(0, p.const_depth - constants),
            rows=rows,
            **fields,
        )
        if done:
            for t in touched:
                self.results[t] -= release

    def recv(self) -> None:
        fields = self.address()
        self.stream(fields["words"])
        self.emit(Op.RECV, **fields)

    def loop(self, use_len: int, length: int) -> int:
        """A loop over harmless instructions; returns nothing that later code depends on."""
        times = self.r.randint(1, 3)
        body = []
        count = length if use_len else times
        for _ in range(self.r.randint(1, 3)):
            kind = self.r.choice([self.send, self.recv_fixed, self.nop])
            before = len(self.program)
            kind()
            body += self.program[before:]
            del self.program[before:]
        words = sum(i.fields["words"] for i in body if i.op == Op.RECV)
        self.stream(words * max(0, count))
        self.emit(Op.LOOP, body=len(body), times=times, use_len=use_len)
        self.program += body
        return count

    def recv_fixed(self) -> None:
        words = self.r.randint(1, 3)
        self.emit(
            Op.RECV, addr=self.r.randint(0, self.p.act_depth // 2 - 20), words=words, areg=4, inc=1
        )

    def nop(self) -> None:
        self.emit(Op.NOP)

    def send(self) -> None:
        self.emit(Op.SEND, **self.address())

    def seta(self) -> None:
        self.emit(
            Op.SETA,
            areg=self.r.randint(0, 4),
            value=self.r.randint(0, 8),
            wrap=self.r.choice([0, self.r.randint(1, 12)]),
        )


def random_program(
    params: Params, seed: int, *, size: int = 120, stalls: bool = False, illegal: bool = False
) -> RandomProgram:
    """A random program of about `size` instructions; reproducible from parameters and seed."""
    g = _Generator(params, seed)
    r, length = g.r, g.r.randint(0, 3)
    g.constants()
    for tile in range(params.tiles):
        g.weights(tile, params.rows)
    for _ in range(4):
        g.recv()
    for a in range(1, 5):
        g.emit(Op.SETA, areg=a, value=0, wrap=10)
    while len(g.program) < size:
        kind = r.choices(
            [g.recv, g.load, g.compute, g.drain, g.send, g.seta, g.nop],
            [2, 5, 8, 10, 1, 1, 0.3],
        )[0]
        kind()
        if r.random() < 0.02:
            g.loop(r.randint(0, 1), length)
        if r.random() < 0.01:
            g.weights(r.randrange(params.tiles))
    g.emit(Op.SEND, addr=0, words=params.act_depth)
    g.emit(Op.HALT)
    words = [encode(i, params) for i in g.program]
    if illegal:
        words[-2] = _bad_word(g, words)
    inputs = np.concatenate(g.input)
    after = np.zeros(len(inputs), np.int64)
    pattern = np.zeros(1, np.uint8)
    if stalls:
        rate = r.choice([0.1, 0.5, 0.8])
        pattern = random_stalls(seed, rate=rate) | random_stalls(seed + 1, rate=rate) << 1
    return RandomProgram(words, inputs, after, pattern, length)


def _bad_word(g: _Generator, words: list[int]) -> int:
    """An illegal word, with random field bits. A legal one could wait for an input that never comes."""
    r = g.r
    while True:
        op = r.choice([o for o in Op if o not in (Op.HALT, Op.LOOP)])
        fields = offsets(op, g.p)
        word = int(op) if r.random() < 0.8 else r.randint(11, 31)
        candidates = [w for w in words if w & 31 == op]
        if candidates and word < 11:
            word = r.choice(candidates)
        for name in r.sample(sorted(fields), min(2, len(fields))):
            at, size = fields[name]
            word &= ~(((1 << size) - 1) << at)
            word |= r.choice([0, (1 << size) - 1, r.getrandbits(size)]) << at
        if _illegal(word, g.p):
            return word


def _illegal(word: int, params: Params) -> bool:
    """Whether a word cannot issue outside a loop, whatever its address register holds."""
    try:
        instr = decode(word, params)
    except ConfigError:
        return True
    f = fields_of(instr)
    return legality(f, instr.op, f["addr"], False, params) != Error.NONE
