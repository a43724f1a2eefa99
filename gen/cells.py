"""Cell counts of the structural macro, without flattening: cells of each yosys RTLIL module times its instances."""

import re
from collections import Counter
from functools import cache

from amaranth.back import rtlil

from rtl.macro import MODULE, structural_parts
from rtl.spec.params import Params

_LINE = re.compile(r"^(module|  cell) (\S+)", re.MULTILINE)


@cache
def cell_counts(params: Params) -> Counter:
    """Word-level cells of one array by yosys type, e.g. `$add`; an adder of any width counts once."""
    modules: dict[str, Counter] = {}
    current: Counter = Counter()
    for part in structural_parts(params):
        text = rtlil.convert(part(params, linked=True), name=part.name, emit_src=False)
        for kind, name in _LINE.findall(text):
            if kind == "module":
                current = modules[name.lstrip("\\")] = Counter()
            else:
                current[name.lstrip("\\")] += 1
    return _total(modules, MODULE)


def _total(modules: dict[str, Counter], name: str) -> Counter:
    """Cells of a module and everything below it."""
    count: Counter = Counter()
    for kind, times in modules[name].items():
        below = _total(modules, kind) if kind in modules else Counter({kind: 1})
        count.update({cell: times * n for cell, n in below.items()})
    return count
