"""The CIM macro: one array of weights that computes in place, in two views with the same ports and cycles.

- structural: Amaranth components, synthesizable. `structural_verilog` emits every distinct module once.
- behavioural: `rtl/views/macro_behavioural.v`, fast to simulate. `behavioural_verilog` fills it in.

Cycles, in both views: a fill or a weight write takes effect at its clock edge; a step of a pass occupies
`Macro.step_cycles` = planes cycles and its result is in the accumulators at the edge that ends the last of
them, so a drain may read it in the very next cycle; a drain is in `q` one edge after `drain_en`. With `issue_cycles`
above 1 no drain comes that early: the structural view then takes two cycles more, which shorten its paths.

With `readout = "adc"` a step is a read of the analog array: a strobe for each pair of an input bit plane and a weight
bit plane, in which all columns that are read have been converted. How long they settle and wait for converters is
for the tile to count (rtl/reads.py).
"""

import math

from amaranth.back import verilog
from amaranth.hdl import (
    Cat,
    ClockSignal,
    Const,
    Instance,
    Module,
    Mux,
    ResetSignal,
    Signal,
    signed,
    unsigned,
)
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.spec.numeric import adc_shift
from rtl.spec.params import Params, clog2, index_bits
from rtl.template import render

#: Module name of the macro in Verilog, in both views.
MODULE = "blockcim_macro"


def macro_inputs(params: Params) -> dict[str, int]:
    """Input ports of the macro by name, in order, with their widths in bits; clock and reset not included.

    Vectors are flattened, index 0 in the low bits: slots, lanes, column groups, pieces x column groups.
    """
    p, group = params, index_bits(params.row_groups)
    ports = {"id": 10}
    for k in range(1 + p.drain_ports):
        ports[f"fill{k}_valid"] = p.slots
        ports[f"fill{k}_group"] = p.slots * group
        ports[f"fill{k}_mask"] = p.lanes
        ports[f"fill{k}_data"] = p.word_bits
    ports |= {"fill_bank": 1, "pass_en": 1, "pass_plane": index_bits(p.planes), "pass_clear": 1}
    if p.analog:
        ports["pass_wplane"] = index_bits(p.weight_planes)
    ports |= {"pass_bank": 1, "acc_bank": 1, "pass_mask": p.col_groups}
    if p.tree == "shared":
        ports["pass_sel"] = p.col_groups * group
        ports["pass_offset"] = group
    else:
        ports["pass_rows"] = p.col_groups * p.row_groups
    ports |= {"w_en": 1, "w_row": clog2(p.rows), "w_group": index_bits(p.col_groups)}
    ports["w_data"] = p.granule * p.weight_bits
    ports |= {"drain_en": 1, "drain_col": index_bits(p.granule), "drain_pieces": clog2(p.slots + 1)}
    ports |= {"drain_bank": 1, "drain_rot": index_bits(p.col_groups), "drain_add": 1}
    ports["chain_in"] = q_bits(p)
    return ports


def q_bits(params: Params) -> int:
    """Width of `q` and `chain_in`: an int32 for each piece of each column group, piece-major."""
    return params.slots * params.col_groups * 32


class _Part(wiring.Component):
    """A part of the macro that Verilog emission turns into one module of its own.

    A parent places its parts with `_place`: as submodules in simulation, as instances of the once-emitted
    module where `linked` is set. `clocked` says whether the part has state.
    """

    name: str
    clocked = True

    def __init__(self, params: Params, linked: bool = False) -> None:
        self.params = params
        self.linked = linked
        super().__init__(self.ports(params))

    @classmethod
    def ports(cls, params: Params) -> wiring.Signature:
        """Signature for these parameters."""
        inputs, outputs = cls.inputs(params), cls.outputs(params)
        return wiring.Signature(
            {name: In(shape) for name, shape in inputs.items()}
            | {name: Out(shape) for name, shape in outputs.items()}
        )

    @staticmethod
    def inputs(params: Params) -> dict:
        """Shape of each input."""
        raise NotImplementedError

    @staticmethod
    def outputs(params: Params) -> dict:
        """Shape of each output."""
        raise NotImplementedError

    def _place(self, m: Module, label: str, part: type["_Part"]):
        """Place a part as `m.submodules[label]` and return the interface to drive it by."""
        if not self.linked:
            m.submodules[label] = component = part(self.params)
            return component
        signature = part.ports(self.params)
        interface = signature.create(path=(label,))
        ports = {"i_clk": ClockSignal(), "i_rst": ResetSignal()} if part.clocked else {}
        for name, member in signature.members.items():
            ports[("i_" if member.flow is In else "o_") + name] = getattr(interface, name)
        m.submodules[label] = Instance(part.name, **ports)
        return interface


def _segments(params: Params) -> int:
    """Adder trees a column."""
    return params.row_groups if params.tree == "full" else 1


def _total(params: Params):
    """Shape of an adder tree's total; with adc, of the ones that a column of B cells sums."""
    if params.analog:
        return unsigned(clog2(params.granule + 1))
    digit = params.dac_bits if params.dac_bits > 1 else 0
    return signed(params.weight_bits + digit + clog2(params.granule))


def _sum(terms: list):
    """The sum of terms by a tree of adders."""
    while len(terms) > 1:
        pairs = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[len(pairs) * 2 :]
    return terms[0]


class AdderTree(_Part):
    """B digits times B weights, summed by a tree of B - 1 adders. Combinational.

    Ports: `digits` (B x dac_bits), `weights` (B x weight_bits, signed), `last`: the digits hold the sign bit;
    `total`, signed. With one-bit digits the product is a gate and `total` ignores `last`: the column negates.
    """

    name = "blockcim_tree"
    clocked = False

    @staticmethod
    def inputs(params: Params) -> dict:
        p = params
        return {"digits": p.granule * p.dac_bits, "weights": p.granule * p.weight_bits, "last": 1}

    @staticmethod
    def outputs(params: Params) -> dict:
        return {"total": _total(params)}

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.comb += self.total.eq(_sum([self._product(e) for e in range(self.params.granule)]))
        return m

    def _product(self, e: int):
        p = self.params
        weight = self.weights.word_select(e, p.weight_bits).as_signed()
        digit = self.digits.word_select(e, p.dac_bits)
        if p.dac_bits == 1:
            return Mux(digit, weight, 0)
        return weight * Cat(digit, self.last & digit[-1]).as_signed()


def _places(params: Params) -> int:
    """Place values that a column adds at: one each digit, and with adc each sum of two planes."""
    return params.planes + params.weight_planes - 1


def _pair(params: Params) -> dict:
    """Ports of a granule that say which planes multiply: `last` for digits, `wplane` for bits."""
    return {"wplane": index_bits(params.weight_planes)} if params.analog else {"last": 1}


class BitLine(_Part):
    """What a column of B cells sums: the ones among B inputs times B bits of weights (adc). Combinational."""

    name = "blockcim_bit_line"
    clocked = False

    @staticmethod
    def inputs(params: Params) -> dict:
        return {"digits": params.granule, "bits": params.granule}

    @staticmethod
    def outputs(params: Params) -> dict:
        return {"total": _total(params)}

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.comb += self.total.eq(_sum(list(self.digits & self.bits)))
        return m


class Granule(_Part):
    """B x B weights that multiply where they are stored, and an adder tree for each of the B columns.

    Ports: `digits` and `last` as in `AdderTree`; `w_en`, `w_offset`, `w_data`: write row `w_offset`; `totals`,
    one for each column. With tree = shared this holds G words of B x B weights: `sel` is the word that
    multiplies, `w_group` the one written. Weights are read without a clock: those selected feed the
    multipliers all through a step. With adc the trees are bit lines, and `wplane` takes the place of `last`: the
    bit of the weights that multiplies.
    """

    name = "blockcim_granule"

    @staticmethod
    def inputs(params: Params) -> dict:
        p = params
        ports = {"digits": p.granule * p.dac_bits} | _pair(p)
        ports |= {"w_en": 1, "w_offset": index_bits(p.granule), "w_data": p.granule * p.weight_bits}
        if p.tree == "shared":
            ports |= {"sel": index_bits(p.row_groups), "w_group": index_bits(p.row_groups)}
        return ports

    @staticmethod
    def outputs(params: Params) -> dict:
        return {"totals": params.granule * _total(params).width}

    def elaborate(self, platform) -> Module:
        m, p = Module(), self.params
        words = [self._row(m, e) for e in range(p.granule)]
        for c in range(p.granule):
            weights = [word.word_select(c, p.weight_bits) for word in words]
            tree = self._line(m, c, weights) if p.analog else self._tree(m, c, weights)
            m.d.comb += self.totals.word_select(c, len(tree.total)).eq(tree.total)
        return m

    def _tree(self, m: Module, c: int, weights: list):
        tree = self._place(m, f"tree{c}", AdderTree)
        m.d.comb += [
            tree.digits.eq(self.digits),
            tree.weights.eq(Cat(weights)),
            tree.last.eq(self.last),
        ]
        return tree

    def _line(self, m: Module, c: int, weights: list):
        line = self._place(m, f"line{c}", BitLine)
        bits = Cat(weight.bit_select(self.wplane, 1) for weight in weights)
        m.d.comb += [line.digits.eq(self.digits), line.bits.eq(bits)]
        return line

    def _row(self, m: Module, e: int):
        """Weights of row `e`: a memory of G words, or one register where all are read at once."""
        p = self.params
        write_en = self.w_en & (self.w_offset == e)
        if p.tree == "full":
            word = Signal(p.granule * p.weight_bits, name=f"weights{e}", reset_less=True)
            with m.If(write_en):
                m.d.sync += word.eq(self.w_data)
            return word
        memory = Memory(shape=unsigned(p.granule * p.weight_bits), depth=p.row_groups, init=[])
        m.submodules[f"weights{e}"] = memory
        write, read = memory.write_port(), memory.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(self.w_group),
            write.data.eq(self.w_data),
            write.en.eq(write_en),
            read.addr.eq(self.sel),
        ]
        return read.data


def _enabled(totals, rows, params: Params):
    """The totals of the enabled row groups, summed."""
    shape = _total(params)
    each = [totals.word_select(g, shape.width) for g in range(_segments(params))]
    if shape.signed:
        each = [total.as_signed() for total in each]
    terms = [Mux(row, total, 0) for row, total in zip(rows, each, strict=True)]
    return sum(terms[1:], terms[0])


def _deep(params: Params) -> bool:
    """Whether a result is read three cycles after its last plane at the earliest: `issue_cycles` see to that."""
    return params.issue_cycles > 1


def _accumulators(params: Params) -> list:
    return [
        Signal(signed(params.acc_bits), name=f"acc{bank}", reset_less=True) for bank in range(2)
    ]


class Column(_Part):
    """Two accumulators of a column, and the sum of a step on its way to one of them.

    Ports: `totals` of its adder trees and `rows`, which of them count; `enable`, `open`, `last`: a plane of a step,
    the first, the last; `close`: the step ended in the cycle before, so its sum goes to accumulator `acc_bank`, which
    it replaces with `load`; `drain_bank`, the accumulator shown at `value`. One plane a cycle, LSB first: the sum
    moves down by a digit and the new total comes on top, so no total needs a variable shift. `value` holds a
    step from the cycle after its last plane on: it shows what the accumulator is about to hold.

    Where a drain cannot follow that fast (`_deep`) totals pass a register, all the others come a cycle later, and
    `value` is that of the accumulator.
    """

    name = "blockcim_column"

    @staticmethod
    def inputs(params: Params) -> dict:
        segments = _segments(params)
        ports = {"totals": segments * _total(params).width, "rows": segments}
        ports |= dict.fromkeys(("enable", "open", "last", "close", "load"), 1)
        return ports | {"acc_bank": 1, "drain_bank": 1}

    @staticmethod
    def outputs(params: Params) -> dict:
        return {"value": signed(params.acc_bits)}

    def elaborate(self, platform) -> Module:
        m, p = Module(), self.params
        accs = _accumulators(p)
        new = Signal(signed(p.acc_bits))
        m.d.comb += new.eq(Mux(self.load, 0, Mux(self.acc_bank, accs[1], accs[0])) + self._step(m))
        for bank, acc in enumerate(accs):
            due = self.close & (self.acc_bank == bank)
            # What the accumulator holds next: proofs compare it with the other view's.
            result = Signal(signed(p.acc_bits), name=f"result{bank}")
            m.d.comb += result.eq(Mux(due, new, acc))
            with m.If(due):
                m.d.sync += acc.eq(result)
        shown = Mux(self.drain_bank, accs[1], accs[0])
        early = self.close & (self.acc_bank == self.drain_bank) & ~_deep(p)
        m.d.comb += self.value.eq(Mux(early, new, shown))
        return m

    def _step(self, m: Module):
        """The sum of the planes so far; with one-bit digits the sign plane is subtracted."""
        p = self.params
        total = _enabled(self.totals, self.rows, p)
        if _deep(p):
            kept = Signal(total.shape(), reset_less=True)
            m.d.sync += kept.eq(total)
            total = kept
        low = p.act_bits - p.dac_bits  # places below the newest total
        high = signed(len(total) + 1)
        step = Signal(low + high.width, reset_less=True)
        above, top = Signal(high), Signal(high)
        m.d.comb += above.eq(Mux(self.open, 0, step[low:].as_signed() >> p.dac_bits))
        if p.dac_bits == 1:
            # a - b = a + ~b + 1, with the 1 carried in from a place below: one adder does both.
            inverted = Signal(high)
            m.d.comb += inverted.eq(total ^ self.last.replicate(len(total)).as_signed())
            m.d.comb += top.eq((Cat(self.last, above) + Cat(self.last, inverted))[1:])
        else:
            m.d.comb += top.eq(above + total)
        with m.If(self.enable):
            m.d.sync += step.eq(Cat(step[p.dac_bits : p.dac_bits + low], top))
        return step.as_signed()


class AnalogColumn(_Part):
    """Two accumulators of a column of an analog array, the adder they share, and a converter.

    Ports: `totals` of its bit lines and `rows`, which of them count; `plane`, the sum of two planes, and `last`: one
    of them is a sign plane; `load`: overwrite; `enable`; `acc_bank`, the accumulator added to; `drain_bank`, the one
    shown at `value`. The converter drops `shift` bits. One pair of planes a cycle; `value` holds the sum from the next
    cycle on.
    """

    name = "blockcim_column"

    @staticmethod
    def inputs(params: Params) -> dict:
        segments = _segments(params)
        ports = {"totals": segments * _total(params).width, "rows": segments}
        ports |= {"plane": index_bits(_places(params)), "last": 1, "load": 1, "enable": 1}
        return ports | {"shift": index_bits(_shifts(params)), "acc_bank": 1, "drain_bank": 1}

    @staticmethod
    def outputs(params: Params) -> dict:
        return {"value": signed(params.acc_bits)}

    def elaborate(self, platform) -> Module:
        m, p = Module(), self.params
        accs = _accumulators(p)
        old = Mux(self.load, 0, Mux(self.acc_bank, accs[1], accs[0]))
        new = Signal(signed(p.acc_bits))
        m.d.comb += [
            new.eq(old + self._addend(m)),
            self.value.eq(Mux(self.drain_bank, accs[1], accs[0])),
        ]
        for bank, acc in enumerate(accs):
            with m.If(self.enable & (self.acc_bank == bank)):
                m.d.sync += acc.eq(new)
        return m

    def _addend(self, m: Module):
        """The converted total at the place value of its planes; what a sign plane gives is negative."""
        p = self.params
        total = self._converted(m, _enabled(self.totals, self.rows, p))
        total = Mux(self.last, -total, total)
        shifted = Signal(signed(p.acc_bits))
        with m.Switch(self.plane):
            for plane in range(_places(p)):
                with m.Case(plane):
                    m.d.comb += shifted.eq(total << plane)
        return shifted

    def _converted(self, m: Module, total):
        """What a converter makes of a total: steps of 2^shift, no more than it has codes for."""
        top = (1 << self.params.adc_bits) - 1
        value = Signal(len(total))
        with m.Switch(self.shift):
            for shift in range(_shifts(self.params)):
                with m.Case(shift):
                    code = total >> shift
                    m.d.comb += value.eq(Mux(code > top, top, code) << shift)
        return value


def _shifts(params: Params) -> int:
    """Shifts that converters of an array need: 0 up to that of the widest range."""
    rows = params.rows if params.tree == "full" else params.granule
    return 1 + adc_shift(rows, params)


class ColumnGroup(_Part):
    """B columns with their weights, and their share of the drain.

    Ports: `digits` of all rows, of the first plane, and `later`, of the plane after this one: they are kept for it,
    so that only the first plane waits for the choice of a row (with adc, `digits` are those of this plane); `sel`
    (tree = shared: the row group multiplied) or `rows` (tree = full: a mask of them); step controls as in `Column`;
    `w_en`, `w_group`, `w_offset`, `w_data`: write row `w_offset` of row group `w_group`; `drain_col`, `drain_bank`:
    columns `shown`, sign-extended, one for each piece. With adc and tree = full, `rows_on` are the row groups that
    are on, for all columns of the array, and `rows` those that this group has weights in: they set the range of its
    converters.
    """

    name = "blockcim_column_group"

    @staticmethod
    def inputs(params: Params) -> dict:
        p = params
        ports = {"digits": p.rows * p.dac_bits}
        ports |= {} if p.analog else {"later": p.rows * p.dac_bits}
        ports |= {"sel": index_bits(p.row_groups)} if p.tree == "shared" else {"rows": p.row_groups}
        if p.analog:
            ports |= {"rows_on": p.row_groups} if p.tree == "full" else {}
            ports |= _pair(p)
        ports |= {"plane": index_bits(_places(p))} if p.analog else {"open": 1}
        ports |= {"last": 1, "load": 1, "enable": 1, "acc_bank": 1}
        ports |= {"w_en": 1, "w_group": index_bits(p.row_groups), "w_offset": index_bits(p.granule)}
        ports |= {"w_data": p.granule * p.weight_bits}
        return ports | {"drain_col": index_bits(p.granule), "drain_bank": 1}

    @staticmethod
    def outputs(params: Params) -> dict:
        return {"shown": params.slots * 32}

    def elaborate(self, platform) -> Module:
        m, p = Module(), self.params
        granules, rows = self._one_granule(m) if p.tree == "shared" else self._all_granules(m)
        (pair,) = _pair(p)
        for granule in granules:
            m.d.comb += [
                getattr(granule, pair).eq(getattr(self, pair)),
                granule.w_offset.eq(self.w_offset),
                granule.w_data.eq(self.w_data),
            ]
        controls = self._analog_controls(m) if p.analog else self._controls(m)
        width, values = _total(p).width, []
        for c in range(p.granule):
            column = self._place(m, f"column{c}", AnalogColumn if p.analog else Column)
            m.d.comb += [
                column.totals.eq(Cat(granule.totals.word_select(c, width) for granule in granules)),
                column.rows.eq(rows),
            ]
            for name, signal in controls.items():
                m.d.comb += getattr(column, name).eq(signal)
            values.append(column.value)
        self._drain(m, values)
        return m

    def _controls(self, m: Module) -> dict:
        """What the columns do in this cycle: a plane, and the end of the step before."""
        close, load, bank = (
            Signal(name=f"close{name}", reset_less=True) for name in ("", "_load", "_bank")
        )
        given = {n: getattr(self, n) for n in ("enable", "open", "last", "load", "acc_bank")}
        if _deep(self.params):
            for name, signal in given.items():
                given[name] = Signal.like(signal, name=f"late_{name}")
                m.d.sync += given[name].eq(signal)
        ends = given["enable"] & given["last"]
        m.d.sync += close.eq(ends)
        with m.If(ends):
            m.d.sync += [load.eq(given.pop("load")), bank.eq(given.pop("acc_bank"))]
        return given | {
            "close": close,
            "load": load,
            "acc_bank": bank,
            "drain_bank": self.drain_bank,
        }

    def _analog_controls(self, m: Module) -> dict:
        names = ("plane", "last", "load", "enable", "acc_bank", "drain_bank")
        return {name: getattr(self, name) for name in names} | {"shift": self._shift(m)}

    def _one_granule(self, m: Module):
        granule = self._place(m, "granule", Granule)
        m.d.comb += [
            granule.sel.eq(self.sel),
            granule.w_group.eq(self.w_group),
            granule.w_en.eq(self.w_en),
        ]
        first, later = (Signal.like(granule.digits, name=name) for name in ("first", "later"))
        with m.Switch(self.sel):
            for g in range(self.params.row_groups):
                with m.Case(g):
                    width = len(granule.digits)
                    m.d.comb += first.eq(self.digits.word_select(g, width))
                    if not self.params.analog:
                        m.d.comb += later.eq(self.later.word_select(g, width))
        m.d.comb += granule.digits.eq(self._digits(m, first, later, "kept"))
        return [granule], 1

    def _digits(self, m: Module, first, later, name: str):
        """The digits of this plane."""
        if self.params.analog:
            return first
        kept = Signal(len(first), name=name, reset_less=True)
        m.d.sync += kept.eq(later)
        return Mux(self.open, first, kept)

    def _all_granules(self, m: Module):
        granules = []
        for g in range(self.params.row_groups):
            granule = self._place(m, f"granule{g}", Granule)
            width = len(granule.digits)
            first = self.digits.word_select(g, width)
            later = None if self.params.analog else self.later.word_select(g, width)
            m.d.comb += [
                granule.w_en.eq(self.w_en & (self.w_group == g)),
                granule.digits.eq(self._digits(m, first, later, f"kept{g}")),
            ]
            granules.append(granule)
        return granules, self.rows_on if self.params.analog else self.rows

    def _shift(self, m: Module):
        """Bits that the converters drop, by the rows that this group has weights in."""
        p = self.params
        shift = Signal(index_bits(_shifts(p)))
        if p.tree == "shared":
            m.d.comb += shift.eq(adc_shift(p.granule, p))
            return shift
        with m.Switch(_sum(list(self.rows))):
            for count in range(p.row_groups + 1):
                with m.Case(count):
                    m.d.comb += shift.eq(adc_shift(count * p.granule, p))
        return shift

    def _drain(self, m: Module, values: list) -> None:
        p = self.params
        for s in range(p.slots):
            value = Signal(signed(32), name=f"value{s}")
            with m.Switch(self.drain_col):
                for col in range(p.granule - s):
                    with m.Case(col):
                        m.d.comb += value.eq(values[col + s])
            m.d.comb += self.shown.word_select(s, 32).eq(value)


class RowSlice(_Part):
    """Two banks of the row registers of one row group.

    Ports: `fill{k}_valid` (one bit a slot, already decoded for this group), `fill{k}_mask`, `fill{k}_data`,
    `fill_bank`: see `Macro`; `pass_bank` chooses what is shown, combinationally: at `digits` (B x dac_bits) those of
    the first plane, at `later` those of the plane after `plane`. With adc, `digits` are those of `plane`.
    """

    name = "blockcim_row_slice"

    @staticmethod
    def inputs(params: Params) -> dict:
        p, ports = params, {}
        for k in range(1 + p.drain_ports):
            ports |= {
                f"fill{k}_valid": p.slots,
                f"fill{k}_mask": p.lanes,
                f"fill{k}_data": p.word_bits,
            }
        return ports | {"fill_bank": 1, "pass_bank": 1, "plane": index_bits(p.planes)}

    @staticmethod
    def outputs(params: Params) -> dict:
        digits = params.granule * params.dac_bits
        return {"digits": digits} | ({} if params.analog else {"later": digits})

    def elaborate(self, platform) -> Module:
        m, p = Module(), self.params
        following, elements = Signal(index_bits(p.planes)), []
        m.d.comb += following.eq(self.plane + 1)
        for e in range(p.granule):
            banks = [
                Signal(p.act_bits, name=f"row{bank}_{e}", reset_less=True) for bank in range(2)
            ]
            self._fill(m, e, banks)
            shown = Signal(p.act_bits, name=f"shown{e}")
            m.d.comb += shown.eq(Mux(self.pass_bank, banks[1], banks[0]))
            elements.append(shown)
        ports = {"digits": self.plane} if p.analog else {"digits": 0, "later": following}
        for name, plane in ports.items():
            digits = Cat(shown.word_select(plane, p.dac_bits) for shown in elements)
            m.d.comb += getattr(self, name).eq(digits)
        return m

    def _fill(self, m: Module, e: int, banks: list) -> None:
        """Gather the one slot that writes element `e`: at most one does, so the sources are just ORed."""
        p = self.params
        enable, data = Const(0, 1), Const(0, p.act_bits)
        for k in range(1 + p.drain_ports):
            valid, mask, word = (
                getattr(self, f"fill{k}_{name}") for name in ("valid", "mask", "data")
            )
            for s in range(p.slots):
                lane = s * p.granule + e
                hit = valid[s] & mask[lane]
                enable = enable | hit
                data = data | Mux(hit, word.word_select(lane, p.act_bits), 0)
        for bank, register in enumerate(banks):
            with m.If(enable & (self.fill_bank == bank)):
                m.d.sync += register.eq(data)


class Macro(_Part):
    """One array: `rows x cols` weights, row registers, accumulators. Structural view.

    Parameters
    ----------
    params : Params
        G = row_groups, H = col_groups, B = granule, S = slots, planes, tree, drain_ports.
    linked : bool
        Place column groups and row slices as instances of modules that are emitted separately.

    Members (widths: `macro_inputs`; state powers up as zero, `rst` changes none of it)
    -------
    id
        Tile number, for the back door of the behavioural view only.
    fill{k}_valid, fill{k}_group, fill{k}_mask, fill{k}_data; fill_bank
        Fill port k of 1 + drain_ports: slot s, if valid, writes its masked elements into row group
        `group[s]` < G of row bank `fill_bank`. No two slots or ports hit one element in a cycle.
    pass_en, pass_plane, pass_clear, pass_bank, acc_bank, pass_mask, pass_sel and pass_offset or pass_rows
        A step: `planes` cycles in a row with `pass_en`, `pass_plane` counting up from 0, the others stable.
        Column groups in `pass_mask` add to accumulator bank `acc_bank` (with `pass_clear`: overwrite) the
        products of row bank `pass_bank` and weights: of row group (`pass_sel[h]` + `pass_offset`) mod G, both
        < G (tree = shared), or of all row groups in `pass_rows[h]` (tree = full), modulo 2^acc_bits. In
        mid-step, row bank, weights and accumulators in use must be left alone; steps may follow each other
        without a gap.
        With adc a step has `pass_en` once for each pair of `pass_plane` and `pass_wplane`, the bit of the weights,
        which counts faster; cycles without it may come between. Rows are on for the whole array: with tree =
        shared, the column groups in `pass_mask` read one row group; with full, the row groups that are on are those
        of any `pass_rows[h]` in the mask, and `pass_rows[h]` sets the range of the converters.
    w_en, w_row, w_group, w_data
        Writes the B weights of row `w_row` in column group `w_group`.
    drain_en, drain_col, drain_pieces, drain_bank, drain_rot, drain_add, chain_in; q
        Piece s < drain_pieces of `q` becomes column `drain_col + s` (0 beyond the last column) of every
        column group, that of group (h + drain_rot) mod H at place h, sign-extended, plus `chain_in` with
        `drain_add`, modulo 2^32; the rest of `q` holds.
    """

    name = MODULE

    def __init__(self, params: Params, linked: bool = False) -> None:
        self.step_cycles = params.planes * params.weight_planes
        super().__init__(params, linked)

    @staticmethod
    def inputs(params: Params) -> dict:
        return macro_inputs(params)

    @staticmethod
    def outputs(params: Params) -> dict:
        return {"q": q_bits(params)}

    def elaborate(self, platform) -> Module:
        m = Module()
        shown_rows = self._row_slices(m)
        w_group, w_offset = self._split_row(m)
        planes = self._pairs(m) if self.params.analog else self._planes()
        shown = []
        for h in range(self.params.col_groups):
            group = self._place(m, f"group{h}", ColumnGroup)
            m.d.comb += [
                *(getattr(group, name).eq(value) for name, value in shown_rows.items()),
                *(getattr(group, name).eq(value) for name, value in planes.items()),
                group.enable.eq(self.pass_en & self.pass_mask[h]),
                group.acc_bank.eq(self.acc_bank),
                group.w_en.eq(self.w_en & (self.w_group == h)),
                group.w_group.eq(w_group),
                group.w_offset.eq(w_offset),
                group.w_data.eq(self.w_data),
            ]
            self._select(m, group, h)
            if self.params.analog:
                m.d.comb += group.wplane.eq(self.pass_wplane)
            m.d.comb += [group.drain_col.eq(self.drain_col), group.drain_bank.eq(self.drain_bank)]
            shown.append(group.shown)
        self._drain(m, shown)
        return m

    def _planes(self) -> dict:
        """Which plane of a step this is."""
        last = self.pass_plane == self.params.planes - 1
        return {"open": self.pass_plane == 0, "last": last, "load": self.pass_clear}

    def _pairs(self, m: Module) -> dict:
        """Place value, sign and first cycle of a pair of an input plane and a weight plane."""
        p = self.params
        place = Signal(index_bits(_places(p)))
        m.d.comb += place.eq(self.pass_plane + self.pass_wplane)
        last = self.pass_plane == p.planes - 1
        sign = self.pass_wplane == p.weight_planes - 1
        first = (self.pass_plane == 0) & (self.pass_wplane == 0)
        return {"plane": place, "last": last ^ sign, "load": self.pass_clear & first}

    def _row_slices(self, m: Module) -> dict:
        """What the row registers show to the column groups, by port."""
        p = self.params
        slices = []
        for g in range(p.row_groups):
            part = self._place(m, f"slice{g}", RowSlice)
            for k in range(1 + p.drain_ports):
                valid, group, mask, data = (
                    getattr(self, f"fill{k}_{name}") for name in ("valid", "group", "mask", "data")
                )
                numbers = [group.word_select(s, index_bits(p.row_groups)) for s in range(p.slots)]
                hits = Cat(bit & (number == g) for bit, number in zip(valid, numbers, strict=True))
                m.d.comb += [
                    getattr(part, f"fill{k}_valid").eq(hits),
                    getattr(part, f"fill{k}_mask").eq(mask),
                    getattr(part, f"fill{k}_data").eq(data),
                ]
            m.d.comb += [
                part.fill_bank.eq(self.fill_bank),
                part.pass_bank.eq(self.pass_bank),
                part.plane.eq(self.pass_plane),
            ]
            slices.append(part)
        names = RowSlice.outputs(p)
        return {name: Cat(getattr(part, name) for part in slices) for name in names}

    def _split_row(self, m: Module):
        """Row group of `w_row` and the row within it, without a divider: B need not be a power of two."""
        p = self.params
        group, offset = Signal(index_bits(p.row_groups)), Signal(index_bits(p.granule))
        for g in range(p.row_groups):
            with m.If(self.w_row >= g * p.granule):
                m.d.comb += [group.eq(g), offset.eq(self.w_row - g * p.granule)]
        return group, offset

    def _select(self, m: Module, group, h: int) -> None:
        if self.params.tree == "shared":
            groups = self.params.row_groups
            row = self.pass_sel.word_select(h, len(group.sel)) + self.pass_offset
            m.d.comb += group.sel.eq(Mux(row >= groups, row - groups, row))
            return
        m.d.comb += group.rows.eq(self.pass_rows.word_select(h, len(group.rows)))
        if self.params.analog:
            m.d.comb += group.rows_on.eq(self._rows_on())

    def _rows_on(self):
        """Row groups that any column group in the mask has weights in (tree = full)."""
        p, on = self.params, Const(0, self.params.row_groups)
        for h, enabled in enumerate(self.pass_mask):
            rows = self.pass_rows.word_select(h, p.row_groups)
            on = on | Mux(enabled, rows, 0)
        return on

    def _drain(self, m: Module, shown: list) -> None:
        """Rotate the column groups, add the chain, register."""
        p = self.params
        places = [(s, h) for s in range(p.slots) for h in range(p.col_groups)]
        for s, h in places:
            at = s * p.col_groups + h
            value = Signal(signed(32), name=f"value{at}")
            with m.Switch(self.drain_rot):
                for rot in range(p.col_groups):
                    with m.Case(rot):
                        group = shown[(h + rot) % p.col_groups]
                        m.d.comb += value.eq(group.word_select(s, 32))
            q = Signal(32, name=f"q{at}", reset_less=True)
            with m.If(self.drain_en & (self.drain_pieces > s)):
                m.d.sync += q.eq(value + Mux(self.drain_add, self.chain_in.word_select(at, 32), 0))
            m.d.comb += self.q.word_select(at, 32).eq(q)


def structural_parts(params: Params) -> tuple[type[_Part], ...]:
    """Modules of the structural view, each below the ones that instantiate it."""
    tree, column = (BitLine, AnalogColumn) if params.analog else (AdderTree, Column)
    return (tree, Granule, column, ColumnGroup, RowSlice, Macro)


def structural_verilog(params: Params) -> str:
    """Verilog of the structural view: every distinct module once, `blockcim_macro` last; deterministic text."""
    return "\n".join(
        verilog.convert(
            part(params, linked=True), name=part.name, emit_src=False, strip_internal_attrs=True
        )
        for part in structural_parts(params)
    )


def behavioural_verilog(params: Params) -> str:
    """Verilog of the behavioural view: `rtl/views/macro_behavioural.v` for these parameters.

    The step of a pass is in a file of its own, one for each readout.
    """
    p = params
    ports = ["  input wire clk", "  input wire rst"]
    ports += [f"  input wire [{bits - 1}:0] {name}" for name, bits in macro_inputs(p).items()]
    ports.append(f"  output reg [{q_bits(p) - 1}:0] q")
    group = index_bits(p.row_groups)
    select = "pass_sel" if p.tree == "shared" else "pass_rows"
    values = {
        "G": p.row_groups,
        "H": p.col_groups,
        "B": p.granule,
        "S": p.slots,
        "ACT_BITS": p.act_bits,
        "WEIGHT_BITS": p.weight_bits,
        "ACC_BITS": p.acc_bits,
        "GROUP_BITS": group,
        "PLANES": p.planes,
        "ROWS_DEPTH": 1 << clog2(p.rows * p.col_groups),
        "COL_DEPTH": 1 << clog2(p.granule),
        "SLICES_DEPTH": 1 << clog2(2 * p.row_groups),
        "SUMS_DEPTH": 1 << clog2(p.slots * p.col_groups),
        "GROUPS_DEPTH": 1 << clog2(2 * p.col_groups),
        "SELECT": select,
        "SELECT_BITS": macro_inputs(p)[select],
        "OFFSET": "pass_offset" if p.tree == "shared" else "0",
        "USED": "1 << ((select[h * GW +: GW] + row_offset) % G)"
        if p.tree == "shared"
        else "select[h * G +: G]",
        "ADC_BITS": p.adc_bits,
    }
    rows = math.gcd(p.granule, 4)
    values |= {"ROWS": rows}
    ends = "pass_en && pass_plane == LAST"
    values |= {
        "PORTS": ",\n".join(ports),
        "STEP": render(f"macro_step_{p.readout}", values, rows=rows),
        "STEP_ENDS": f"{ends} && pass_wplane == WB - 1" if p.analog else ends,
    }
    return render("macro_behavioural", values, fills=1 + p.drain_ports)
