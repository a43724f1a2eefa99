"""The instruction set simulator: executes an encoded program, bit- and cycle-exact.

Data and time are apart: instructions act on numpy state in program order, which is what the interlocks of the
hardware guarantee; `mapper.cycles.CycleModel` says when each of them issues.
"""

from dataclasses import dataclass, field

import numpy as np

from mapper.analog import product
from mapper.cycles import CycleModel, drain_values, fields, pass_reads
from mapper.events import Events
from mapper.program import pack_elements
from rtl.spec.isa import Error, Instr, Op, decode
from rtl.spec.numeric import signed_range
from rtl.spec.params import ConfigError, Params

from .slots import Landing, drain_landing, drain_plan, load_landing, load_slots


@dataclass
class Result:
    """What a run leaves: output words (n, lanes) of elements, cycles, error and its pc, busy counters, events."""

    outputs: np.ndarray
    cycles: int
    error: Error
    pc: int
    busy: dict[str, int] = field(default_factory=dict)
    issued: int = 0
    events: Events = field(default_factory=Events)
    spans: list = field(default_factory=list)  #: of `sim.timeline`, if they were recorded


def wrap(values: np.ndarray, bits: int) -> np.ndarray:
    """Two's complement wrap of int64 values to `bits` bits."""
    half = np.int64(1) << (bits - 1)
    return ((values + half) & ((np.int64(1) << bits) - 1)) - half


def legality(f: dict, op: Op, ea: int, in_loop: bool, p: Params) -> Error:
    """The error that an instruction raises at decode; the rules of rtl/legal.py, stated again."""

    def bad_fill() -> bool:
        return (
            0 in (f["d_span"], f["d_copies"], f["d_blocks"])
            or f["d_blocks"] > p.row_groups
            or f["d_m0"] >= f["d_blocks"]
        )

    def bad_fill_tiles() -> bool:
        return f["d_tile"] >= p.tiles or f["d_span"] * f["d_copies"] > p.tiles

    def beyond() -> bool:
        return ea + f["words"] > p.act_depth

    if op == Op.LOOP:
        if in_loop:
            return Error.LOOP
        return Error.FIELD if not f["body"] or not (f["times"] or f["use_len"]) else Error.NONE
    if op in (Op.RECV, Op.SEND):
        return Error.FIELD if not f["words"] else Error.ADDRESS if beyond() else Error.NONE
    if op == Op.LOAD:
        total = f["skip"] + f["elems"]
        if (
            0 in (f["words"], f["elems"], f["parts"], f["tail"], f["part_n"])
            or f["skip"] >= p.lanes
            or f["tail"] > p.granule
            or not (f["words"] - 1) * p.lanes < total <= f["words"] * p.lanes
            or bad_fill()
        ):
            return Error.FIELD
        return Error.TILE if bad_fill_tiles() else Error.ADDRESS if beyond() else Error.NONE
    if op == Op.PASS:
        if (
            0 in (f["span"], f["steps"])
            or f["steps"] > p.row_groups
            or max(f["stride"], *_tuple(f["sel"], p)) >= p.row_groups
            or f["rot"] >= p.col_groups
        ):
            return Error.FIELD
        return Error.TILE if f["tile"] >= p.tiles or f["span"] > p.tiles else Error.NONE
    if op == Op.DRAIN:
        counts = ("groups", "chain", "blocks", "count", "columns", "slots", "pieces", "steps")
        if (
            any(not f[name] for name in counts)
            or f["blocks"] > p.col_groups // p.drain_chunk
            or f["col"] >= p.col_groups
            or f["column"] + f["columns"] > p.granule
            or f["slots"] * f["pieces"] > p.slots
            or (f["pieces"] > 1 and (f["steps"] > 1 or f["raw"]))
            or (f["steps"] > 1 and f["slots"] != p.slots)
            or (f["rows"] and (f["raw"] or f["d_off"] >= p.granule or bad_fill()))
            or (not f["rows"] and not (f["words"] and f["elems"]))
        ):
            return Error.FIELD
        tiles = f["groups"] * f["chain"] > p.tiles
        if f["tile"] >= p.tiles or tiles or (f["rows"] and bad_fill_tiles()):
            return Error.TILE
        if not f["rows"] and beyond():
            return Error.ADDRESS
        constants = -(-f["columns"] // f["pieces"]) * f["steps"]
        return Error.CONST if f["const"] + constants > p.const_depth else Error.NONE
    if op == Op.LDW:
        if not f["rows"] or f["row"] + f["rows"] > p.rows:
            return Error.FIELD
        return Error.TILE if f["tile"] >= p.tiles else Error.NONE
    if op == Op.LDC:
        if not f["words"]:
            return Error.FIELD
        return Error.CONST if f["const"] + f["words"] > p.const_depth else Error.NONE
    return Error.NONE


def _tuple(value, p: Params) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * p.col_groups


class Iss:
    """One core.

    Parameters
    ----------
    params : Params
    weights : int8 (tiles, rows, cols), optional
    constants : uint64 (const words, lanes), optional, see `rtl.spec.numeric.pack_const`
    """

    def __init__(self, params: Params, weights=None, constants=None):
        p = self.p = params
        t, g, h, b = p.tiles, p.row_groups, p.col_groups, p.granule
        self.weights = np.zeros((t, g, h, b, b), np.float32)
        if weights is not None:
            shaped = np.asarray(weights, np.int8).reshape(t, g, b, h, b)
            self.weights[:] = shaped.transpose(0, 1, 3, 2, 4)
        self.constants = np.zeros((p.const_depth, p.lanes), np.uint64)
        if constants is not None:
            self.constants[: len(constants)] = constants
        self.buffer = np.zeros((p.act_depth, p.lanes), np.int8)
        self.rows = np.zeros((2, t, g, b), np.int8)
        self.acc = np.zeros((2, t, h, b), np.int64)
        self._kept = np.zeros(0, np.int8)
        self.events = Events()  #: of the last run

    def run(
        self,
        program: list[int] | list[Instr],
        inputs: np.ndarray | None = None,
        after=None,
        *,
        stall_in=(),
        stall_out=(),
        length: int = 0,
        limit: int = 100_000_000,
        timing: type[CycleModel] = CycleModel,
    ) -> Result:
        """Run from pc 0 to HALT or an error.

        Parameters
        ----------
        program : instruction words, or decoded instructions
        inputs : int8 (n, lanes), the input stream in words
        after : per input word, see CycleModel
        stall_in, stall_out : stall patterns, see CycleModel
        length : register LEN
        timing : the cycle model; `sim.timeline.Recorder` keeps the spans of all units
        limit : cycles after which `ConfigError` says that the program waits for input that never comes
        """
        p = self.p
        self.inputs = np.zeros((0, p.lanes), np.int8) if inputs is None else inputs
        self._taken, self._outputs = 0, []
        self._kept = np.zeros(0, np.int8)
        self.events = Events()
        self.row_bank = np.zeros(p.tiles, np.int64)
        self.newest, self.oldest = np.ones(p.tiles, np.int64), np.zeros(p.tiles, np.int64)
        self.rot = np.zeros((2, p.tiles), np.int64)
        after = np.zeros(len(self.inputs), int) if after is None else after
        model = timing(p, after, stall_in, stall_out)
        error, pc, issued = self._execute(program, model, length, limit)
        model.end()
        outputs = (
            np.concatenate(self._outputs) if self._outputs else np.zeros((0, p.lanes), np.int8)
        )
        self.events.cycles, self.events.instructions = model.cycle, issued
        spans = getattr(model, "spans", [])
        return Result(outputs, model.cycle, error, pc, model.busy, issued, self.events, spans)

    def _execute(self, program, model, length, limit):
        """Issue instructions in order; returns (error, pc, issued)."""
        p, pc, loop, issued = self.p, 0, None, 0
        decoded: dict[int, Instr] = {}
        while True:
            model.settle()
            if pc >= min(len(program), p.prog_depth):
                beyond = p.prog_depth - pc  # memory beyond the program holds zeros, which are NOPs
                for _ in range(beyond * p.issue_cycles):
                    model.tick()
                return Error.PC, p.prog_depth, issued + beyond
            if pc not in decoded:
                try:
                    word = program[pc]
                    decoded[pc] = word if isinstance(word, Instr) else decode(word, p)
                except ConfigError:
                    return Error.OPCODE, pc, issued
            instr = decoded[pc]
            f = fields(instr)
            ea = model.address(f)
            error = legality(f, instr.op, ea, loop is not None, p)
            if error:
                return error, pc, issued
            while not model.can_issue(instr):
                if instr.op != Op.HALT and model.idle:
                    return Error.DEADLOCK, pc, issued
                model.wait()
                if model.cycle > limit:
                    raise ConfigError(f"pc {pc}: still waiting after {limit} cycles")
            if instr.op == Op.HALT:
                return Error.NONE, pc, issued
            self._act(instr.op, f, ea)
            model.issue(instr)
            model.tick()
            issued += 1
            pc, loop = self._next(instr, f, pc, loop, length)

    def _next(self, instr, f, pc, loop, length):
        """(next pc, loop state): the loop is (first, last, iterations left)."""
        if instr.op == Op.LOOP:
            times = length if f["use_len"] else f["times"]
            if times == 0:
                return min(pc + 1 + f["body"], self.p.prog_depth), None
            return pc + 1, (pc + 1, pc + f["body"], times)
        if loop and pc == loop[1]:
            first, last, left = loop
            return (pc + 1, None) if left == 1 else (first, (first, last, left - 1))
        return pc + 1, loop

    # -- what instructions do --------------------------------------------------------------------

    def _act(self, op: Op, f: dict, ea: int) -> None:
        if op == Op.RECV:
            self.buffer[ea : ea + f["words"]] = self._take(f["words"])
            self.events.buffer_writes += f["words"]
        elif op == Op.SEND:
            self._outputs.append(self.buffer[ea : ea + f["words"]].copy())
            self.events.buffer_reads += f["words"]
            self.events.stream_out += f["words"]
        elif op == Op.LOAD:
            self._load(f, ea)
        elif op == Op.PASS:
            self._pass(f)
        elif op == Op.DRAIN:
            self._drain(f, ea)
        elif op == Op.LDW:
            self._load_weights(f)
        elif op == Op.LDC:
            words = self._take(f["words"] * self.p.const_words)
            packed = pack_elements(words, self.p).reshape(f["words"], -1)
            self.constants[f["const"] : f["const"] + f["words"]] = packed.view("<u8")
            self.events.const_writes += f["words"]

    def _take(self, words: int) -> np.ndarray:
        """The next `words` words of the input stream; zeros behind its end (the run waits there forever)."""
        taken = self.inputs[self._taken : self._taken + words]
        self._taken += words
        self.events.stream_in += words
        if len(taken) < words:
            taken = np.concatenate([taken, np.zeros((words - len(taken), self.p.lanes), np.int8)])
        return taken

    def _load(self, f: dict, ea: int) -> None:
        p = self.p
        flat = self.buffer[ea : ea + f["words"]].reshape(-1)[f["skip"] :]
        self.events.buffer_reads += f["words"]
        slots = load_slots(p.granule, f["elems"], f["parts"], f["tail"])
        values = flat[np.minimum(slots.start[:, None] + np.arange(p.granule), len(flat) - 1)]
        self._fill(f, load_landing(f, p), values)

    def _fill(self, f: dict, landing: Landing, values: np.ndarray) -> None:
        """Write slots to row registers; values (slots, granule)."""
        keep = landing.keep
        if not keep.all():
            landing, values = Landing(*(each[keep] for each in landing)), values[keep]
        element = landing.first[:, None] + np.arange(self.p.granule)
        inside = (np.arange(self.p.granule) < landing.size[:, None]) & (element < self.p.granule)
        groups = np.broadcast_to(landing.group[:, None], inside.shape)[inside]
        elements, written = element[inside], values[inside]
        for copy in range(f["d_copies"]):
            tile = (f["d_tile"] + landing.offset + copy * f["d_span"]) % self.p.tiles
            tiles = np.broadcast_to(tile[:, None], inside.shape)[inside]
            self.rows[1 - self.row_bank[tiles], tiles, groups, elements] = written
        self.events.row_writes += f["d_copies"] * written.size

    def _pass(self, f: dict) -> None:
        p = self.p
        tiles = (f["tile"] + np.arange(f["span"])) % p.tiles
        if f["fresh"]:
            self.row_bank[tiles] ^= 1
        if f["first"]:
            self.newest[tiles] ^= 1
            self.rot[self.newest[tiles], tiles] = f["rot"]
        enabled = np.flatnonzero(_tuple(f["mask"], p))
        select = np.array(_tuple(f["sel"], p))[enabled]
        moves = [step * f["stride"] % p.row_groups for step in range(f["steps"])]
        if p.tree == "full":  # one step with a mask of row groups: each counts once
            moves = sorted(set(moves))
        sums = self._converted if p.analog else self._products
        total = sums(tiles, enabled, select, moves)
        at = (self.newest[tiles][:, None], tiles[:, None], enabled[None])
        base = 0 if f["first"] else self.acc[at]
        self.acc[at] = wrap(base + total, p.acc_bits)
        self._count_pass(f, len(tiles), select, moves)

    def _products(self, tiles, enabled, select, moves) -> np.ndarray:
        """int64 (tiles, enabled column groups, B): products summed over the selected row groups, moved by each move."""
        p = self.p
        total = np.zeros((len(tiles), len(enabled), p.granule), np.int64)
        x = self.rows[self.row_bank[tiles], tiles].astype(np.float32)
        for move in moves:
            group = (select + move) % p.row_groups
            w = self.weights[tiles[:, None], group, enabled]
            total += np.matmul(x[:, group, None, :], w)[:, :, 0].astype(np.int64)
        return total

    def _converted(self, tiles, enabled, select, moves) -> np.ndarray:
        """The same as the converters of an analog array read it: all rows at once (tree = full), or group by group."""
        p = self.p
        total = np.zeros((len(tiles), len(enabled), p.granule), np.int64)
        x = self.rows[self.row_bank[tiles], tiles]
        if p.tree == "full" and len(enabled):
            # Rows are on for all columns; each column group expects ones from its own.
            on = np.unique((select[:, None] + np.array(moves)) % p.row_groups)
            w = self.weights[tiles][:, on][:, :, enabled].transpose(0, 2, 1, 3, 4)
            w = w.reshape(*w.shape[:2], -1, p.granule)
            seen = x[:, None, on].reshape(len(tiles), 1, -1)
            return product(seen, w, len(moves) * p.granule, p)
        for move in moves:
            group = (select + move) % p.row_groups
            w = self.weights[tiles[:, None], group, enabled]
            total += product(x[:, group], w, p.granule, p)
        return total

    def _count_pass(self, f: dict, tiles: int, select: np.ndarray, moves: list[int]) -> None:
        """Events of a pass of `tiles` arrays; column groups add row groups `select` + each of `moves`."""
        p, events = self.p, self.events
        # tree = full sums all its row groups in one step.
        steps, planes = 1 if p.tree == "full" else len(moves), p.planes
        if p.analog:
            reads = pass_reads(f, p)
            steps, planes = len(reads), p.planes * p.weight_planes
            events.adc_conversions += tiles * planes * p.granule * sum(reads)
        groups = tiles * len(moves) * len(select)
        macs = groups * p.granule**2
        events.passes += tiles
        events.steps += tiles * steps
        events.planes += tiles * steps * planes
        events.row_groups += tiles * self._driven(select, moves)
        events.column_groups += groups
        events.macs += macs
        events.bit_macs += macs * p.act_bits * p.weight_bits

    def _driven(self, select: np.ndarray, moves: list[int]) -> int:
        """Row groups that drive an array, counted in each step in which they do."""
        own = set(select.tolist())
        if self.p.tree == "shared":  # a move shifts all of them alike
            return len(own) * len(moves)
        return len({(group + move) % self.p.row_groups for group in own for move in moves})

    def _drain(self, f: dict, ea: int) -> None:
        p = self.p
        sums = self._sums(f)
        plan = drain_plan(p, f["count"], f["columns"], f["slots"], f["pieces"], f["steps"])
        inside = plan.block < sums.shape[0]
        values = np.where(inside, sums[np.minimum(plan.block, len(sums) - 1), plan.column], 0)
        entries = self.constants[f["const"] : f["const"] + len(values)]
        bias = (entries & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.int32).astype(np.int64)
        total = wrap(values.reshape(entries.shape) + bias, 32)
        used = int(np.count_nonzero(inside & plan.valid))
        self.events.drains += 1
        self.events.drained += used * f["chain"]
        self.events.const_reads += len(entries)
        self.events.requantisations += 0 if f["raw"] else used
        if f["raw"]:
            elements = self._raw_elements(total)
        else:
            mult = (entries >> np.uint64(32) & np.uint64(0xFFFF)).astype(np.int64)
            shift = (entries >> np.uint64(48) & np.uint64(31)).astype(np.int64)
            scaled = (total * mult + ((np.int64(1) << shift) >> 1)) >> shift
            low, high = signed_range(p.act_bits)
            elements = np.clip(scaled, low, high).astype(np.int8)[..., None]
        if f["rows"]:
            slots = elements.reshape(-1, p.granule)
            self._fill(f, drain_landing(f, plan, p), slots)
        else:
            packed = elements.reshape(*plan.valid.shape, -1)[plan.valid].reshape(-1)
            self._write(f, ea, packed)
        if f["release"]:
            tiles = (f["tile"] + np.arange(f["groups"] * f["chain"])) % p.tiles
            self.oldest[tiles] ^= 1

    def _sums(self, f: dict) -> np.ndarray:
        """int64 (blocks, columns): accumulators of every block, added along the chains, rotation undone."""
        p = self.p
        size = f["blocks"] * p.drain_chunk
        tiles = (f["tile"] + np.arange(f["groups"] * f["chain"])) % p.tiles
        bank = self.oldest[tiles]
        first = self.rot[bank, tiles] + f["col"]
        groups = (first[:, None] + np.arange(size)) % p.col_groups
        columns = slice(f["column"], f["column"] + f["columns"])
        values = self.acc[bank[:, None], tiles[:, None], groups][..., columns]
        values = values.reshape(f["groups"], f["chain"], size, f["columns"]).sum(axis=1)
        return wrap(values.reshape(-1, f["columns"]), 32)

    def _raw_elements(self, total: np.ndarray) -> np.ndarray:
        """Each int32 as raw_elements elements, low first, as signed elements."""
        p = self.p
        places = np.arange(p.raw_elements) * p.act_bits
        pieces = (total[..., None] >> places) & ((1 << p.act_bits) - 1)
        return wrap(pieces, p.act_bits).astype(np.int8)

    def _write(self, f: dict, ea: int, values: np.ndarray) -> None:
        """Dense words from `ea` on; with keep the rest waits for the next drain to the buffer."""
        p = self.p
        values = np.concatenate([self._kept, values[: f["elems"]]])
        whole = len(values) // p.lanes
        rest = values[whole * p.lanes :]
        # A last step that completes a word has no cycle left to write what is behind it.
        if not f["keep"] and len(rest) and self._last_step(f) <= len(rest):
            values = np.concatenate([values, np.zeros(p.lanes - len(rest), np.int8)])
            whole += 1
        written = min(whole, f["words"])
        self.buffer[ea : ea + written] = values[: written * p.lanes].reshape(written, p.lanes)
        self._kept = rest if f["keep"] else np.zeros(0, np.int8)
        self.events.buffer_writes += written

    def _last_step(self, f: dict) -> int:
        """Elements of the last step of a drain to the buffer."""
        steps = [sum(lens) for lens in drain_values(f, self.p)]
        return max(0, min(steps[-1], f["elems"] - sum(steps[:-1])))

    def _load_weights(self, f: dict) -> None:
        p = self.p
        slots = f["rows"] * p.col_groups * p.weight_slots
        words = self._take(-(-slots // p.slots)).reshape(-1, p.granule)[:slots]
        parts = words.reshape(f["rows"], p.col_groups, p.weight_slots, p.granule).astype(np.int64)
        value = parts[:, :, 0]
        if p.weight_slots > 1:
            value = (parts[:, :, 0] & ((1 << p.act_bits) - 1)) | parts[:, :, 1] << p.act_bits
        value = wrap(value, p.weight_bits)
        for i in range(f["rows"]):
            group, row = divmod(f["row"] + i, p.granule)
            self.weights[f["tile"], group, :, row, :] = value[i]
        self.events.weight_writes += value.size
