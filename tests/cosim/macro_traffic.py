"""Random legal traffic for the macro, and what `q` must be: a numpy model that shares no code with it."""

import numpy as np

from rtl.spec.params import Params, index_bits


def pack(values, bits: int) -> int:
    """Integers as one vector of `bits`-bit fields, the first in the low bits."""
    mask = (1 << bits) - 1
    return sum((int(value) & mask) << (i * bits) for i, value in enumerate(values))


def _signed(rng: np.random.Generator, bits: int, size) -> np.ndarray:
    """Random two's complement numbers, the extremes as likely as everything between them together."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    values = rng.integers(low, high, size, endpoint=True)
    return np.where(rng.random(size) < 0.5, values, rng.choice([low, high], size))


class MacroModel:
    """State of one array, stepped a cycle at a time with unpacked inputs."""

    def __init__(self, params: Params) -> None:
        p = self.params = params
        self.weights = np.zeros((p.row_groups, p.granule, p.cols), np.int64)
        self.rows = np.zeros((2, p.row_groups, p.granule), np.int64)
        self.accs = np.zeros((2, p.cols), np.int64)
        self.q = np.zeros((p.slots, p.col_groups), np.int64)

    def drain(self, bank: int, rot: int, col: int, pieces: int, chain: np.ndarray) -> None:
        """`q` after an edge with `drain_en`; `chain` is (S, H) and zero without `drain_add`."""
        p = self.params
        wrap = 1 << p.acc_bits
        accs = (self.accs[bank] + wrap // 2) % wrap - wrap // 2
        padded = np.zeros((p.col_groups, p.granule + p.slots), np.int64)
        padded[:, : p.granule] = accs.reshape(p.col_groups, p.granule)
        rotated = np.roll(padded, -rot, axis=0)
        self.q[:pieces] = rotated[:, col : col + pieces].T + chain[:pieces]

    def step(
        self, bank: int, row_bank: int, clear: bool, used: np.ndarray, mask: np.ndarray
    ) -> None:
        """A whole step; `used` is (H, G): the row groups that column group h multiplies."""
        p = self.params
        on = used[mask].any(axis=0)
        for h in np.flatnonzero(mask):
            cols = slice(h * p.granule, (h + 1) * p.granule)
            if p.analog:
                total = self.converted(row_bank, on, cols, int(used[h].sum()) * p.granule)
            else:
                total = np.einsum(
                    "ge,gec->c", self.rows[row_bank][used[h]], self.weights[used[h]][..., cols]
                )
            self.accs[bank, cols] = total + (0 if clear else self.accs[bank, cols])

    def converted(self, row_bank: int, on: np.ndarray, cols: slice, rows: int) -> np.ndarray:
        """What the converters of columns `cols` make of all row groups that are `on`, with the range of `rows` rows."""
        p = self.params
        x, weights = self.rows[row_bank][on].ravel(), self.weights[on][..., cols]
        weights = weights.reshape(len(x), p.granule)
        step, total = 1, np.zeros(p.granule, np.int64)
        while step << p.adc_bits < rows + 1:
            step *= 2
        for i in range(p.act_bits):
            for w in range(p.weight_bits):
                ones = (x >> i & 1) @ (weights >> w & 1)
                value = np.minimum(ones // step, (1 << p.adc_bits) - 1) * step << (i + w)
                negative = (i == p.act_bits - 1) != (w == p.weight_bits - 1)
                total = total - value if negative else total + value
        return total


class Traffic:
    """Cycles of random traffic that keeps to the macro's contract, with the `q` that follows each.

    Iterating yields `(inputs, q)`: port values for one cycle, and `q` after the edge that ends it.
    Every weight is written first, through the front door, unless `weights` are there already.
    """

    def __init__(
        self, params: Params, seed: int, cycles: int, weights: np.ndarray | None = None
    ) -> None:
        self.params, self.cycles = params, cycles
        self.rng = np.random.default_rng(seed)
        self.model = MacroModel(params)
        self.pairs = params.planes * params.weight_planes  #: cycles with `pass_en` of a step
        self.pair = 0  #: which of them comes next; 0 between steps
        self.pass_fields: dict = {}
        self.preloaded = weights is not None
        if weights is not None:
            self.model.weights[:] = weights.reshape(self.model.weights.shape)

    def __iter__(self):
        p, rng = self.params, self.rng
        if not self.preloaded:
            still = (
                self._idle_pass()
            )  # one set of selects: an event simulator need not redo the products
            for row in range(p.rows):
                for h in range(p.col_groups):
                    yield self._cycle(still, write=(row, h))
        for _ in range(self.cycles):
            if self.pair > 0 and p.analog and rng.random() < 0.2:  # converters take their time
                yield self._cycle(self._planes(self.pair) | self.pass_fields | {"pass_en": 0})
                continue
            running = self.pair > 0 or rng.random() < 0.7
            fields = self._running_pass() if running else self._idle_pass()
            yield self._cycle(fields)

    def _cycle(self, fields: dict, write: tuple[int, int] | None = None):
        """One cycle; the model takes what the cycle reads before what it writes."""
        pair = fields["_pair"]
        last = bool(fields["pass_en"]) and pair == self.pairs - 1
        busy = fields["_step"] and not last  # row bank and weights are in use beyond this cycle
        inputs = {"id": 0} | {k: v for k, v in fields.items() if not k.startswith("_")}
        started = fields["_step"] and pair > 0  # the accumulators hold partial sums
        inputs |= self._drain(self._other(fields["acc_bank"]) if started else None)
        if last:
            self.model.step(
                fields["acc_bank"],
                fields["pass_bank"],
                fields["pass_clear"],
                fields["_used"],
                fields["_mask"],
            )
        inputs |= self._fills(self._other(fields["pass_bank"]) if busy else None)
        inputs |= self._write(write, allowed=not busy)
        return inputs, pack(self.model.q.ravel(), 32)

    @staticmethod
    def _other(bank: int) -> int:
        return 1 - bank

    def _random_pass(self) -> dict:
        p, rng = self.params, self.rng
        mask = rng.random(p.col_groups) < rng.choice([0.2, 0.8, 1.0])
        if p.tree == "shared":
            sel = rng.integers(0, p.row_groups, p.col_groups)
            if p.analog:  # rows are on for the whole array: one row group a read
                sel[mask] = rng.integers(0, p.row_groups)
            offset = int(rng.integers(p.row_groups))
            used = np.eye(p.row_groups, dtype=bool)[(sel + offset) % p.row_groups]
            select = {"pass_sel": pack(sel, index_bits(p.row_groups)), "pass_offset": offset}
        else:
            used = rng.random((p.col_groups, p.row_groups)) < rng.choice([0.2, 0.8, 1.0])
            select = {"pass_rows": pack(used.ravel(), 1)}
        fields = {name: int(rng.integers(2)) for name in ("pass_clear", "pass_bank", "acc_bank")}
        return fields | select | {"pass_mask": pack(mask, 1), "_used": used, "_mask": mask}

    def _planes(self, pair: int) -> dict:
        """Planes of a cycle of a step: digital steps have no weight planes, analog ones count them faster."""
        plane, wplane = divmod(pair, self.params.weight_planes)
        fields = {"pass_plane": plane, "_pair": pair}
        return fields | ({"pass_wplane": wplane} if self.params.analog else {})

    def _idle_pass(self) -> dict:
        pair = int(self.rng.integers(self.pairs))
        return self._random_pass() | self._planes(pair) | {"pass_en": 0, "_step": False}

    def _running_pass(self) -> dict:
        if self.pair == 0:
            self.pass_fields = self._random_pass() | {"_step": True}
        fields = self.pass_fields | self._planes(self.pair) | {"pass_en": 1}
        self.pair = (self.pair + 1) % self.pairs
        return fields

    def _drain(self, bank: int | None) -> dict:
        p, rng = self.params, self.rng
        bank = int(rng.integers(2)) if bank is None else bank
        enable, add = int(rng.integers(2)), int(rng.integers(2))
        col, pieces = int(rng.integers(p.granule)), int(rng.integers(p.slots, endpoint=True))
        rot = int(rng.integers(p.col_groups))
        chain = _signed(rng, 32, (p.slots, p.col_groups))
        rot = int(rng.integers(p.col_groups))
        if enable:
            self.model.drain(bank, rot, col, pieces, chain * add)
        fields = {"drain_en": enable, "drain_col": col, "drain_pieces": pieces, "drain_bank": bank}
        fields |= {"drain_rot": rot, "drain_add": add}
        return fields | {"chain_in": pack(chain.ravel(), 32)}

    def _fills(self, bank: int | None) -> dict:
        """All fill ports; an element that an earlier slot writes is masked off in the later ones."""
        p, rng = self.params, self.rng
        bank = int(rng.integers(2)) if bank is None else bank
        rows, fields = self.model.rows[bank], {"fill_bank": bank}
        taken = np.zeros(rows.shape, bool)
        for k in range(1 + p.drain_ports):
            valid = rng.random(p.slots) < 0.4
            groups = rng.integers(0, p.row_groups, p.slots)
            mask = rng.random((p.slots, p.granule)) < rng.choice([0.3, 1.0])
            data = _signed(rng, p.act_bits, (p.slots, p.granule))
            for s in np.flatnonzero(valid):
                mask[s] &= ~taken[groups[s]]
                taken[groups[s]] |= mask[s]
                rows[groups[s]][mask[s]] = data[s][mask[s]]
            fields[f"fill{k}_valid"] = pack(valid, 1)
            fields[f"fill{k}_group"] = pack(groups, index_bits(p.row_groups))
            fields[f"fill{k}_mask"] = pack(mask.ravel(), 1)
            fields[f"fill{k}_data"] = pack(data.ravel(), p.act_bits)
        return fields

    def _write(self, write: tuple[int, int] | None, allowed: bool) -> dict:
        p, rng = self.params, self.rng
        row, h = write or (int(rng.integers(p.rows)), int(rng.integers(p.col_groups)))
        enable = write is not None or (allowed and rng.random() < 0.3)
        data = _signed(rng, p.weight_bits, p.granule)
        if enable:
            group, offset = divmod(row, p.granule)
            self.model.weights[group, offset, h * p.granule : (h + 1) * p.granule] = data
        return {
            "w_en": int(enable),
            "w_row": row,
            "w_group": h,
            "w_data": pack(data, p.weight_bits),
        }
