"""Emits the Verilog of a configuration: every distinct module once, instantiated where it is used."""

import functools
import hashlib
import itertools
import re
from importlib.resources import files
from pathlib import Path

import amaranth
from amaranth.back import verilog

from gen.banner import headed
from rtl.bus import OnAxi, OnWishbone
from rtl.chip import Chip
from rtl.core import Core
from rtl.engine import Engine
from rtl.link import Link
from rtl.macro import behavioural_verilog, structural_verilog
from rtl.peripheral import check_params
from rtl.serial import OnSerial
from rtl.soc import Soc
from rtl.spec.params import Params, index_bits
from rtl.template import VIEWS, render
from rtl.tile import Tile

#: The variable that yosys puts into every `always @*` so that it runs once at time 0.
_TRIGGER = re.compile(r"^  reg (\\\$auto\$verilog_backend\S+) += 0;$", re.MULTILINE)
#: Where it does not: an `always @*` of one statement.
_SINGLE = re.compile(r"^  always @\*\n    (\S.*;)$", re.MULTILINE)


def component_verilog(component, name: str) -> str:
    """Verilog of one Amaranth component as module `name`; reproducible, without source paths."""
    text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    return triggered(text)


def triggered(text: str) -> str:
    """Verilog in which every `always @*` runs once at time 0, without which Icarus leaves constants undefined."""
    # Icarus initialises declarations before any process waits: the trigger must change after that.
    text = _TRIGGER.sub(r"  reg \1 ;\n  initial \1 <= 0;", text)
    number = itertools.count()

    def once_more(match: re.Match) -> str:
        once = f"\\$once${next(number)} "
        return (
            f"  reg {once};\n  initial {once}<= 0;\n"
            f"  always @* begin\n    if ({once}) begin end\n    {match[1]}\n  end"
        )

    return _SINGLE.sub(once_more, text)


#: Tops around one core, each in a file `blockcim_NAME.v`; `core` (or, with several cores, the chip) has none.
TOPS = {"axi": OnAxi, "wishbone": OnWishbone, "serial": OnSerial, "soc": Soc}


def emit(params: Params, view: str = "both", top: str = "core", **options) -> dict[str, str]:
    """Verilog text by file name; `view` is structural, behavioural or both (the macro's two views).

    Files: blockcim_core.v, blockcim_engine.v, blockcim_tile.v,
    blockcim_memory.v, blockcim_gather.v, blockcim_window.v, blockcim_packer.v,
    blockcim_requantise.v, blockcim_macro_structural.v and/or
    blockcim_macro_behavioural.v (same module name, use one), blockcim_sim.v (simulation top), lint.vlt;
    with several cores blockcim_link.v and blockcim_chip.v; with one of `TOPS`, which takes `options`, blockcim_TOP.v,
    and for `soc` blockcim_ram.v.
    Raises `ConfigError` if the top cannot have these parameters.
    """
    if top in TOPS:
        # Before a component is made: Amaranth warns of those that are not used.
        check_params(params)
    texts = {
        "blockcim_core.v": component_verilog(Core(params), "blockcim_core"),
        "blockcim_engine.v": component_verilog(Engine(params), "blockcim_engine"),
        "blockcim_tile.v": component_verilog(Tile(params), "blockcim_tile"),
    }
    if view in ("structural", "both"):
        texts["blockcim_macro_structural.v"] = triggered(structural_verilog(params))
    if view in ("behavioural", "both"):
        texts["blockcim_macro_behavioural.v"] = behavioural_verilog(params)
    texts["lint.vlt"] = (VIEWS / "lint.vlt").read_text()
    for name in ("memory", "window", "packer"):
        texts[f"blockcim_{name}.v"] = render(name, {})
    texts["blockcim_requantise.v"] = requantise_verilog(params)
    texts["blockcim_gather.v"] = render("gather", {}, tiles=params.tiles)
    if params.cores > 1:
        texts["blockcim_link.v"] = component_verilog(Link(params), "blockcim_link")
        texts["blockcim_chip.v"] = component_verilog(Chip(params), "blockcim_chip")
    texts["blockcim_sim.v"] = simulation(params)
    if top in TOPS:
        component = TOPS[top](params, **options)
        texts[f"blockcim_{top}.v"] = component_verilog(component, f"blockcim_{top}")
    if top == "soc":
        texts["blockcim_ram.v"] = render("ram", {})
    return headed(texts, params)


def requantise_verilog(params: Params) -> str:
    """The requantisation of a drain, module `blockcim_requantise`: of all lanes at once, or by turns."""
    gates = render("requantise_gates", {})
    if params.step_cycles > 1:
        return render("requantise_shared", {}) + "\n" + gates
    return render("requantise", {}) + "\n`ifdef SYNTHESIS\n" + gates + "`endif\n"


def simulation(params: Params) -> str:
    """The simulation top, of a core or of a chip."""
    values = {"STREAM": params.stream_bits, "BEATS": params.beats_per_word, "CORES": params.cores}
    values["CORE_BITS"] = index_bits(params.cores)
    chip = params.cores > 1
    return render("sim_top", values, core=not chip, chip=chip)


def line_simulation(params: Params, top: str, divisor: int, **options) -> dict[str, str]:
    """Verilog of `serial` or `soc` in a simulation top (module `blockcim_sim`) with its serial line."""
    texts = emit(params, "behavioural", top, **options)
    return texts | {"blockcim_sim.v": render("line_top", {"TOP": top, "DIVISOR": divisor})}


@functools.cache
def fingerprint() -> str:
    """Hash of everything that emitted Verilog depends on besides the parameters; far cheaper than emitting it."""
    digest = hashlib.sha256(amaranth.__version__.encode())
    root = Path(str(files("rtl")))
    for path in [*sorted(root.rglob("*.py")), *sorted(root.rglob("*.v")), Path(__file__)]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
