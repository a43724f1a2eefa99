"""The macro alone: structural view on Amaranth's simulator, text of both views."""

import re

import pytest
from amaranth.sim import Simulator

from rtl.macro import MODULE, Macro, behavioural_verilog, structural_verilog
from rtl.spec.params import Params
from tests.cosim.macro_traffic import Traffic, pack

SMALL = {"rows": 6, "cols": 12, "granule": 2, "weight_bits": 4, "act_bits": 4, "lanes": 8}
CONFIGS = {
    "shared": {},
    "full": {"tree": "full", "drain_ports": 2},
    "shared-dac4": {"dac_bits": 4},
    "full-dac2": {"tree": "full", "dac_bits": 2},
    "shared-adc1": {"readout": "adc", "adc_bits": 1, "adcs": 1},
    "full-adc2": {"readout": "adc", "adc_bits": 2, "adcs": 5, "tree": "full"},
}


def params(name: str) -> Params:
    return Params.from_dict(SMALL | CONFIGS[name])


def simulate(macro: Macro, cycles) -> None:
    """Drive the ports named in each cycle; `q` must be what comes with it."""

    async def bench(ctx):
        for number, (inputs, expected) in enumerate(cycles):
            for name, value in inputs.items():
                ctx.set(getattr(macro, name), value)
            await ctx.tick()
            if expected is not None:
                assert ctx.get(macro.q) == expected, f"cycle {number}"

    simulator = Simulator(macro)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("seed", [1, 2], ids="seed{}".format)
@pytest.mark.parametrize("name", CONFIGS)
def test_structural_view_equals_model(name, seed):
    simulate(Macro(params(name)), Traffic(params(name), seed, 200))


@pytest.mark.parametrize("name", ["shared", "shared-dac4"])
def test_result_can_be_drained_right_after_the_step(name):
    p = params(name)
    macro = Macro(p)
    select = {"pass_mask": 1, "pass_clear": 1, "pass_sel": 2}  # column group 0 times row group 2
    cycles = [
        ({"w_en": 1, "w_row": 4, "w_data": pack([-8, 7], 4)}, None),
        ({"w_row": 5, "w_data": pack([3, -1], 4)}, None),
        ({"w_en": 0, "fill0_valid": 1, "fill0_group": 2, "fill0_mask": 3}, None),
    ]
    cycles[2][0]["fill0_data"] = pack([-8, 5], 4)
    step = [({"pass_en": 1, "pass_plane": plane} | select, None) for plane in range(p.planes)]
    assert len(step) == macro.step_cycles
    step[0][0]["fill0_valid"] = 0
    results = [-8 * -8 + 5 * 3, -8 * 7 + 5 * -1]
    cycles += [*step, ({"pass_en": 0, "drain_en": 1, "drain_pieces": 2}, None)]
    places = [results[0], *[0] * (p.col_groups - 1), results[1]]
    cycles[-1] = (cycles[-1][0], pack(places, 32))
    simulate(macro, cycles)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("emitter", [structural_verilog, behavioural_verilog])
def test_text_is_deterministic_and_names_each_module_once(emitter, name):
    text = emitter(params(name))
    assert text == emitter(params(name))
    modules = re.findall(r"^module\s+([^\s(]+)", text, re.MULTILINE)
    assert len(modules) == len(set(modules)) and modules[-1] == MODULE
    assert "@" not in re.sub(r"@\*|@\(|@ ?posedge|always @", "", text)


def test_no_source_paths_in_the_text():
    assert "src =" not in structural_verilog(params("shared"))


@pytest.mark.parametrize("name", ["shared", "full"])
def test_array_of_256_has_one_module_for_all_columns(name):
    text = structural_verilog(Params(tree=name))
    assert text.count("\nmodule ") == 6
    assert len(text) < 1_000_000
