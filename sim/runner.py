"""Builds and runs the simulation top on Verilator and Icarus: whole programs, fast.

cocotb's stock Verilator runner makes every signal public, which costs an order of magnitude; here only the
signal that Python waits for is. The clock runs in the simulation top; Python sleeps until the run is over. Builds
are cached by their sources.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from cocotb_tools import runner as cocotb_runner

from gen.emit import emit, fingerprint
from mapper.program import pack_elements, unpack_elements
from rtl.spec.isa import Error
from rtl.spec.params import ConfigError, Params
from rtl.spec.regmap import ADDRESS_BITS, REGISTERS
from sim.tools import find_icarus, find_verilator

#: Signals of the simulation top that cocotb needs to see (sim/tb_program.py).
PUBLIC = ("running", "finished")
#: Tiles share one copy of their code: builds in half the time, and runs twice as fast, since the code of a cycle stays
#: in the caches.
CONTROL_FILE = """`verilator_config
no_inline -module "blockcim_tile"
"""
#: Verilator: the loops of the macro stay loops, warnings are the business of lint, wide operations are calls, which
#: keeps the code of a cycle small.
VERILATOR_ARGS = ["--timing", "-O3", "--unroll-count", "1", "-Wno-fatal", "-Wno-lint"]
VERILATOR_ARGS += ["--x-assign", "fast", "--x-initial", "fast", "-fno-expand"]
#: Compiled into the simulation. With a worker thread, which a model of one thread never uses, the C library would
#: lock the file for every byte that the streams read.
ONE_THREAD = """#include "verilated.h"
static const int one_thread = (Verilated::defaultContextp()->threads(1), 0);
"""
#: Code that runs every cycle, and the library; the rest stays unoptimised, which halves the build.
FAST_CODE = ["OPT_FAST=-O3 -march=native", "OPT_GLOBAL=-O2"]


class FastVerilator(cocotb_runner.Verilator):
    """The stock runner without `--public-flat-rw`."""

    def _build_command(self):
        verilate, compile_ = super()._build_command()
        return [[w for w in verilate if w != "--public-flat-rw"], [*compile_, *FAST_CODE]]


@dataclass
class RtlResult:
    """What a run on RTL leaves.

    `outputs` int8 (words, lanes); `registers` by name; `wall_s` seconds of the program proper, build, start and boot
    excluded. Of a chip: `cores` the registers of each core (`registers` are those of the first), `busy` cycles in which
    it was busy, `route` uint32 (words,) where words come from (`mapper.chip`).
    """

    outputs: np.ndarray
    registers: dict[str, int] = field(default_factory=dict)
    wall_s: float = 0.0
    cores: list[dict[str, int]] = field(default_factory=list)
    busy: int = 0
    route: np.ndarray | None = None

    @property
    def cycles(self) -> int:
        """Cycles of the program."""
        return self.registers["CYCLES"]

    @property
    def error(self) -> Error:
        """Error code of the program."""
        return Error(self.registers["ERROR"])

    @property
    def finished(self) -> bool:
        """Whether the program reached HALT or an error."""
        return self.registers["STATUS"] & 1 == 0


def cache_dir() -> Path:
    """Where builds are kept: $BLOCKCIM_CACHE, or build/models under the current directory."""
    return Path(os.environ.get("BLOCKCIM_CACHE", "build/models")).absolute()


@contextlib.contextmanager
def _environment(extra: dict[str, str]) -> Iterator[None]:
    """os.environ with `extra` set: cocotb's runners read it."""
    saved = dict(os.environ)
    os.environ.update(extra)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def _tool(simulator: str):
    if simulator == "verilator":
        return find_verilator()
    if simulator == "icarus":
        return find_icarus()
    raise ConfigError(f"simulator: {simulator!r} is not one of iss, verilator, icarus")


def build(
    params: Params,
    simulator: str,
    *,
    view: str = "behavioural",
    waves: bool = False,
    texts: dict[str, str] | None = None,
    public: tuple[str, ...] = PUBLIC,
) -> Path:
    """Build the simulation of a configuration, or find it in the cache. Returns its directory.

    `texts` are Verilog files by name to use in the place of freshly generated ones; their top is `blockcim_sim`.
    `public` are the signals of the top that Python sees.

    Raises `ConfigError` if the simulator is missing or too old, or the build fails (the log is named).
    """
    tool = _tool(simulator)
    control = CONTROL_FILE + "".join(
        f'public_flat_rw -module "blockcim_sim" -var "{name}"\n' for name in public
    )
    flags = [*VERILATOR_ARGS, *FAST_CODE, control, ONE_THREAD] if simulator == "verilator" else []
    sources = sorted(texts.items()) if texts else (params, view, fingerprint())
    key = repr((simulator, tool.version, waves, flags, sources))
    where = cache_dir() / f"{simulator}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    where.mkdir(parents=True, exist_ok=True)
    with open(where / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (where / "complete").exists():
            _build(where, texts or emit(params, view), tool, simulator, waves, control)
            (where / "complete").touch()
    return where


def _build(
    where: Path, texts: dict[str, str], tool, simulator: str, waves: bool, control: str
) -> None:
    texts = {name: text for name, text in texts.items() if name.endswith(".v")}
    for name, text in texts.items():
        (where / name).write_text(text)
    sources: list = [where / name for name in texts]
    args: list = []
    if simulator == "verilator":
        (where / "control.vlt").write_text(control)
        sources.insert(0, where / "control.vlt")
        (where / "one_thread.cpp").write_text(ONE_THREAD)
        args = [*VERILATOR_ARGS, *(["--trace-fst"] if waves else [])]
        args.append(str(where / "one_thread.cpp"))
    with _environment(tool.env):
        try:
            _runner(simulator).build(
                sources=sources,
                hdl_toplevel="blockcim_sim",
                build_args=args,
                build_dir=where,
                always=True,
                timescale=("1ns", "1ns"),
                log_file=where / "build.log",
            )
        except (SystemExit, RuntimeError, subprocess.CalledProcessError):
            raise ConfigError(f"{simulator}: the build failed, see {where / 'build.log'}") from None
    # What Verilator leaves beside the program, precompiled headers above all, is a hundred times its size.
    for pattern in ("V*", "verilated*", "*.gch", "*.o", "*.d", "*.a"):
        for path in where.glob(pattern):
            path.unlink()


def _runner(simulator: str):
    return FastVerilator() if simulator == "verilator" else cocotb_runner.Icarus()


def run(
    params: Params,
    simulator: str,
    program: Path,
    *,
    inputs: np.ndarray | None = None,
    after: np.ndarray | None = None,
    stalls: np.ndarray | None = None,
    weights: Path | None = None,
    boot: Path | None = None,
    boot_inputs: np.ndarray | None = None,
    route: np.ndarray | None = None,
    boot_route: np.ndarray | None = None,
    length: int = 0,
    timeout: int = 10_000_000,
    view: str = "behavioural",
    dump: Path | None = None,
    texts: dict[str, str] | None = None,
) -> RtlResult:
    """Run a program file on RTL under cocotb.

    Parameters
    ----------
    program, boot : program files (mapper/program.py); `boot` runs first, with `boot_inputs`
    inputs, boot_inputs : int8 (words, lanes), input stream
    after : per input word, output words that must have left before it is offered
    route, boot_route : for a chip, where input words go to (`mapper.chip`)
    stalls : uint8 (n,), repeating per cycle, bit 0 holds the source back, bit 1 the sink
    weights : weights file for the back door
    timeout : cycles after which the run is given up
    dump : file for the waves, FST
    texts : Verilog files to simulate, see `build`
    """
    where = build(params, simulator, view=view, waves=dump is not None, texts=texts)
    with tempfile.TemporaryDirectory(prefix="blockcim-") as scratch:
        work = Path(scratch)
        plus = {"program": program.absolute(), "out": work / "out", "results": work / "results"}
        if inputs is not None:
            plus["in"] = _write(work / "in", beat_bytes(inputs, params))
        if after is not None:
            plus["after"] = _write(work / "after", after_bytes(after))
        if stalls is not None:
            plus["stalls"] = _write(work / "stalls", np.asarray(stalls, np.uint8).tobytes())
        if weights is not None:
            plus["weights"] = weights.absolute()
        if boot is not None:
            plus["boot"] = boot.absolute()
        if boot_inputs is not None:
            plus["boot_in"] = _write(work / "boot_in", beat_bytes(boot_inputs, params))
        if route is not None:
            plus["route"] = _write(work / "route", after_bytes(route))
            plus["out_route"] = work / "out_route"
        if boot_route is not None:
            plus["boot_route"] = _write(work / "boot_route", after_bytes(boot_route))
        if dump is not None:
            plus["dump"] = dump.absolute()
        plusargs = [f"+{name}={value}" for name, value in plus.items()]
        plusargs += [f"+timeout={timeout}", f"+length={length}"]
        simulate(simulator, where, work, plusargs, dump is not None and simulator == "icarus")
        if not (work / "results").exists():
            raise _failed(simulator, work)
        return _results(work, params, float((work / "results.wall").read_text()))


def beat_bytes(words: np.ndarray, params: Params) -> bytes:
    """The beats of int8 (n, lanes) words as $fread reads them: most significant byte first."""
    return pack_elements(words, params).reshape(-1, params.stream_bits // 8)[:, ::-1].tobytes()


def after_bytes(after: np.ndarray) -> bytes:
    """The `after`, or the routes, of input words as $fread reads them."""
    return np.asarray(after).astype(">u4").tobytes()


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def simulate(
    simulator: str,
    where: Path,
    work: Path,
    plusargs: list[str],
    waves: bool = False,
    module: str = "sim.tb_program",
) -> None:
    """Run the one cocotb test of a module on the build in `where`, in the directory `work`.

    Raises `ConfigError`, naming the log, if no test ran or it failed.
    """
    with _environment(_tool(simulator).env):
        try:
            xml = _runner(simulator).test(
                test_module=module,
                hdl_toplevel="blockcim_sim",
                hdl_toplevel_lang="verilog",
                build_dir=where,
                test_dir=work,
                plusargs=plusargs,
                waves=waves,
                results_xml=str(work / "results.xml"),
                extra_env={"COCOTB_ANSI_OUTPUT": "0"},
                log_file=work / "run.log",
            )
        except (SystemExit, RuntimeError, subprocess.CalledProcessError):
            xml = None
    tests = list(ElementTree.parse(xml).iter("testcase")) if xml and Path(xml).exists() else []
    bad = [t for t in tests if t.find("failure") is not None or t.find("error") is not None]
    if len(tests) != 1 or bad:
        raise _failed(simulator, work)


def _failed(simulator: str, work: Path) -> ConfigError:
    """The error of a failed simulation; its log is kept."""
    kept = cache_dir() / "failed.log"
    if (work / "run.log").exists():
        shutil.copy(work / "run.log", kept)
    return ConfigError(f"{simulator}: the simulation failed, see {kept}")


def _results(work: Path, params: Params, wall: float) -> RtlResult:
    lines = (work / "results").read_text().splitlines()
    values = {key: int(value) for key, value in map(str.split, lines)}
    if values["undefined"]:
        raise ConfigError("the core sent an undefined value (x)")
    cores = [
        {r.name: values[str((k << ADDRESS_BITS) + r.address)] for r in REGISTERS}
        for k in range(params.cores)
    ]
    beats = np.fromfile(work / "out", np.uint8).reshape(-1, -(-params.stream_bits // 32) * 4)
    data = beats[:, : params.stream_bits // 8]
    whole = len(data) // params.beats_per_word * params.beats_per_word
    data = data[:whole].reshape(-1, params.word_bits // 8)
    outputs, route = unpack_elements(data, params), None
    if (work / "out_route").exists():
        route = np.fromfile(work / "out_route", "<u4")[:whole][
            params.beats_per_word - 1 :: params.beats_per_word
        ]
    return RtlResult(outputs, cores[0], wall, cores, values["cycles"], route)
