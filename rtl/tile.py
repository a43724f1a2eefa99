"""A tile: one macro with its pass sequencer, its banks, and its place in the chain of partial sums."""

from amaranth.hdl import Array, ClockSignal, Const, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .reads import Reads
from .spec.params import Params, clog2, index_bits

#: Bits of a tile number, as the macro's back door sees it.
ID_BITS = 18


def control_layout(params: Params) -> data.StructLayout:
    """Drain control that heads of a chain get from a drain port and hand on, tile to tile, a cycle later."""
    return data.StructLayout(
        {
            "en": 1,
            "column": index_bits(params.granule),
            "col": index_bits(params.col_groups),
            "pieces": clog2(params.slots + 1),
            "last": 1,
            "release": 1,
            "left": clog2(params.tiles + 1),
        }
    )


def command_layout(params: Params) -> data.StructLayout:
    """A PASS as the tiles see it; `rows` (tree = full) is the row-group mask of each column group."""
    group = index_bits(params.row_groups)
    members = {
        "fresh": 1,
        "first": 1,
        "rot": index_bits(params.col_groups),
        "mask": params.col_groups,
    }
    if params.tree == "shared":
        members["steps"] = clog2(params.row_groups + 1)
        members["stride"] = group
        members["sel"] = data.ArrayLayout(group, params.col_groups)
    else:
        members["rows"] = params.col_groups * params.row_groups
    return data.StructLayout(members)


class Tile(wiring.Component):
    """One array with its controller.

    A pass that starts in cycle i (`pass_start`) computes in i+1 .. i+N, N = steps * planes (tree =
    full: planes; readout = adc: see rtl/reads.py), and the next may start in i+N (`ready`). A drain
    control in cycle c gives the tile's sums, added to those of the tile before it in the chain, at
    `q` in c+1.

    Members
    -------
    id : In, tile number
    fill{k}_valid, fill{k}_group, fill{k}_mask, fill{k}_data : In, row register writes of fill port k (load, drains)
    restart : In, a program starts: no results are queued
    pass_start, command : In, start a pass
    ready, running : Out, a pass may start in this cycle; a pass computes in this cycle
    heads, controls : In, per drain port whether this tile is the head of a chain, and the port's control
    chain_in, chain_control, q, control_out : the chain of partial sums
    drained, released : Out, the last step of a drain is read in this cycle; it frees the result
    w_en, w_row, w_group, w_data : In, weight writes (front door)
    """

    def __init__(self, params: Params):
        self.params = p = params
        group = index_bits(p.row_groups)
        fills = {}
        for k in range(1 + p.drain_ports):
            fills[f"fill{k}_valid"] = In(p.slots)
            fills[f"fill{k}_group"] = In(p.slots * group)
            fills[f"fill{k}_mask"] = In(p.lanes)
            fills[f"fill{k}_data"] = In(p.word_bits)
        sums = p.slots * p.col_groups * 32
        super().__init__(
            {
                "id": In(ID_BITS),
                **fills,
                "restart": In(1),
                "pass_start": In(1),
                "command": In(command_layout(p)),
                "ready": Out(1),
                "running": Out(1),
                "heads": In(p.drain_ports),
                "controls": In(data.ArrayLayout(control_layout(p), p.drain_ports)),
                "chain_in": In(sums),
                "chain_control": In(control_layout(p)),
                "chain_valid": In(1),
                "q": Out(sums),
                "control_out": Out(control_layout(p)),
                "control_valid": Out(1),
                "drained": Out(1),
                "released": Out(1),
                "w_en": In(1),
                "w_row": In(clog2(p.rows)),
                "w_group": In(index_bits(p.col_groups)),
                "w_data": In(p.granule * p.weight_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        self.row_bank = Signal()
        self.newest, self.oldest = Signal(init=1), Signal()
        # Only state that is read before it is written has a reset, here and in the other units.
        bits = index_bits(p.col_groups)
        rot = Array(Signal(bits, name=f"rot{i}", reset_less=True) for i in range(2))
        passes = self._analog_pass if p.analog else self._pass
        ports = passes(m, rot) | self._drain(m, rot)
        with m.If(self.restart):
            m.d.sync += [self.row_bank.eq(0), self.newest.eq(1), self.oldest.eq(0)]
        for k in range(1 + p.drain_ports):
            for name in ("valid", "group", "mask", "data"):
                ports[f"i_fill{k}_{name}"] = getattr(self, f"fill{k}_{name}")
        m.submodules.macro = Instance(
            "blockcim_macro",
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            i_id=self.id,
            i_fill_bank=~self.row_bank,
            i_w_en=self.w_en,
            i_w_row=self.w_row,
            i_w_group=self.w_group,
            i_w_data=self.w_data,
            **ports,
        )
        return m

    def _pass(self, m, rot) -> dict:
        """The pass sequencer: planes within steps. Returns the macro's pass ports."""
        p = self.params
        command = Signal(command_layout(p), reset_less=True)
        plane = Signal(index_bits(p.planes), reset_less=True)
        last = Signal()
        last_plane = plane == p.planes - 1
        if p.tree == "shared":
            # The selects of the next step are ready before it begins: the array reads weights without a clock.
            m.d.comb += last.eq(last_plane & (command.steps == 1))
            with m.If(self.running & last_plane):
                m.d.sync += [command.steps.eq(command.steps - 1), command.first.eq(0)]
                for h in range(p.col_groups):
                    total = command.sel[h] + command.stride
                    wrapped = Mux(total >= p.row_groups, total - p.row_groups, total)
                    m.d.sync += command.sel[h].eq(wrapped)
            ports = {"i_pass_sel": command.sel.as_value()}
            ports["i_pass_offset"] = Const(0, index_bits(p.row_groups))
        else:
            m.d.comb += last.eq(last_plane)
            ports = {"i_pass_rows": command.rows}
        m.d.comb += self.ready.eq(~self.running | last)
        with m.If(self.running):
            m.d.sync += plane.eq(Mux(last_plane, 0, plane + 1))
            with m.If(last):
                m.d.sync += self.running.eq(0)
        with m.If(self.pass_start):
            m.d.sync += [self.running.eq(1), plane.eq(0), command.eq(self.command)]
            self._open(m, rot)
        return ports | {
            "i_pass_en": self.running,
            "i_pass_plane": plane,
            "i_pass_clear": command.first,
            "i_pass_bank": self.row_bank,
            "i_acc_bank": self.newest,
            "i_pass_mask": command.mask,
        }

    def _open(self, m, rot) -> None:
        """What a PASS that starts does to row banks and results."""
        m.d.sync += self.row_bank.eq(self.row_bank ^ self.command.fresh)
        with m.If(self.command.first):
            m.d.sync += [self.newest.eq(~self.newest), rot[~self.newest].eq(self.command.rot)]

    def _analog_pass(self, m, rot) -> dict:
        """The same for an analog array, whose reads are counted by `Reads`. Returns the macro's pass ports."""
        p = self.params
        command = Signal(command_layout(p), reset_less=True)
        m.submodules.reads = reads = Reads(p)
        m.d.comb += [
            reads.start.eq(self.pass_start),
            reads.running.eq(self.running),
            reads.first.eq(command.first),
            reads.enabled.eq(command.mask),
            self.ready.eq(~self.running | reads.last),
        ]
        if p.tree == "shared":
            m.d.comb += [
                reads.sel.eq(command.sel.as_value()),
                reads.steps.eq(command.steps),
                reads.stride.eq(command.stride),
            ]
            ports = {"i_pass_sel": command.sel.as_value(), "i_pass_offset": reads.offset}
        else:
            ports = {"i_pass_rows": command.rows}
        with m.If(reads.last):
            m.d.sync += self.running.eq(0)
        with m.If(self.pass_start):
            m.d.sync += [self.running.eq(1), command.eq(self.command)]
            self._open(m, rot)
        return ports | {
            "i_pass_en": reads.convert,
            "i_pass_plane": reads.plane,
            "i_pass_wplane": reads.wplane,
            "i_pass_clear": reads.opens,
            "i_pass_bank": self.row_bank,
            "i_acc_bank": self.newest,
            "i_pass_mask": reads.on,
        }

    def _drain(self, m, rot) -> dict:
        """Drain control: from a port if this tile is a head, else from the tile before. Returns the macro's ports."""
        p = self.params
        control = Signal(control_layout(p))
        if p.tiles > 1:  # a tile alone heads all its chains
            m.d.comb += control.eq(self.chain_control)
        for k in range(p.drain_ports):
            with m.If(self.heads[k]):
                m.d.comb += control.eq(self.controls[k])
        head = self.heads.any()
        active = head if p.tiles == 1 else head | self.chain_valid
        m.d.comb += [
            self.drained.eq(active & control.last),
            self.released.eq(active & control.last & control.release),
        ]
        m.d.sync += [
            self.control_valid.eq(active & (control.left != 0)),
            self.control_out.eq(control),
            self.control_out.left.eq(control.left - 1),
        ]
        with m.If(self.released):
            m.d.sync += self.oldest.eq(~self.oldest)
        first = rot[self.oldest] + control.col
        return {
            "i_drain_en": active & control.en,
            "i_drain_col": control.column,
            "i_drain_pieces": control.pieces,
            "i_drain_bank": self.oldest,
            "i_drain_rot": Mux(first >= p.col_groups, first - p.col_groups, first)[
                : index_bits(p.col_groups)
            ],
            "i_drain_add": ~head if p.tiles > 1 else Const(0, 1),
            "i_chain_in": self.chain_in,
            "o_q": self.q,
        }
