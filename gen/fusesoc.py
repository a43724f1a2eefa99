"""`blockcim.core`: the bundle as a FuseSoC core (CAPI2), to depend on, to lint and to simulate.

Targets: `default` (synthesizable files), `lint` (Verilator, all warnings), `sim` and `sim_verilator` (the self-test on
Icarus and on Verilator).
"""

from collections.abc import Iterable

from gen import selftest
from gen.banner import LICENCE
from gen.describe import hash_text
from gen.version import VERSION
from rtl.spec.params import Params

FILE, NAME = "blockcim.core", f"::blockcim:{VERSION}"
#: File set and file name of the two views of the macro.
VIEWS = {view: f"blockcim_macro_{view}.v" for view in ("structural", "behavioural")}
#: Modules that may be on top, outer ones first.
TOPS = (
    "blockcim_soc",
    "blockcim_serial",
    "blockcim_axi",
    "blockcim_wishbone",
    "blockcim_chip",
    "blockcim_core",
)
#: Files of the bundle that are no hardware.
_NOT_RTL = {*VIEWS.values(), "blockcim_sim.v"}

_TEXT = """\
CAPI=2:
# SPDX-License-Identifier: {licence}
name: "{name}"
description: Block-diagonal compute-in-memory core, configuration {config}

filesets:
{filesets}
targets:
  default: &default
    filesets: [rtl, {synthesis}]
    toplevel: {top}
  lint:
    <<: *default
    description: Verilator, all warnings
    filesets: [waivers, rtl, {synthesis}]
    flow: lint
    flow_options:
      tool: verilator
      verilator_options: [-Wall]
  sim: &sim
    description: The self-test on Icarus
    filesets: [waivers, rtl, {simulation}, testbench]
    toplevel: {bench}
    flow: sim
    flow_options:
      tool: icarus
      iverilog_options: [-g2012]
  sim_verilator:
    <<: *sim
    description: The self-test on Verilator
    flow_options:
      tool: verilator
      mode: binary
      verilator_options: [--timing, -Wno-fatal, -Wno-lint, -Wno-TIMESCALEMOD]
"""


def core_file(params: Params, view: str, names: Iterable[str]) -> str:
    """The text, for the Verilog files `names` of a configuration with this view of the macro, or both."""
    views = list(VIEWS) if view == "both" else [view]
    rtl = sorted(name for name in names if name.endswith(".v") and name not in _NOT_RTL)
    sets = {
        "rtl": (rtl, "verilogSource"),
        **{view: ([VIEWS[view]], "verilogSource") for view in views},
        "waivers": (["lint.vlt"], "vlt"),
        "testbench": ([selftest.FILE], "systemVerilogSource"),
    }
    return _TEXT.format(
        licence=LICENCE,
        name=NAME,
        config=hash_text(params),
        filesets="".join(_fileset(name, *what) for name, what in sets.items()),
        synthesis=views[0],
        simulation=views[-1],
        top=next(top for top in TOPS if f"{top}.v" in (*rtl, "blockcim_core.v")),
        bench=selftest.MODULE,
    )


def _fileset(name: str, files: list[str], kind: str) -> str:
    lines = [f"  {name}:", "    files:", *(f"      - {file}" for file in files)]
    return "\n".join([*lines, f"    file_type: {kind}", "", ""])
