"""The views of the macro side by side in one Verilog top, driven by the same inputs."""

import re

from gen.emit import triggered
from rtl.macro import MODULE, behavioural_verilog, macro_inputs, q_bits, structural_verilog
from rtl.spec.params import Params

EMITTERS = {
    "behavioural": behavioural_verilog,
    "structural": lambda params: triggered(structural_verilog(params)),
}


def _ports(params: Params, views) -> dict[str, tuple[str, int]]:
    """Direction and width of the ports of a pair: the macro's, but one `q_VIEW` a view."""
    inputs = {"clk": 1, "rst": 1} | macro_inputs(params)
    ports = {name: ("input", bits) for name, bits in inputs.items()}
    return ports | {f"q_{view}": ("output", q_bits(params)) for view in views}


def _module(name: str, ports: dict[str, tuple[str, int]], body: str) -> str:
    header = ",\n".join(
        f"  {way} wire [{bits - 1}:0] {port}" for port, (way, bits) in ports.items()
    )
    return f"module {name} (\n{header}\n);\n{body}endmodule\n"


def pair_verilog(params: Params, prefix: str = "", views=tuple(EMITTERS)) -> str:
    """Module `{prefix}pair` around the named views; every module name starts with `prefix`."""
    ports = _ports(params, views)
    wires = ", ".join(f".{name}({name})" for name, (way, _) in ports.items() if way == "input")
    body = "".join(f"  {prefix}{view} {view} ({wires}, .q(q_{view}));\n" for view in views)
    text = _module(f"{prefix}pair", ports, body)
    for view in views:
        source = re.sub(rf"\b{MODULE}\b", prefix + view, EMITTERS[view](params))
        text += re.sub(r"\bblockcim_", f"{prefix}blockcim_", source)
    return text


def pairs_verilog(pairs: list[tuple[Params, tuple[str, ...]]]) -> str:
    """The top `pairs`: a pair for each (parameters, views), the ports of number i named `c{i}_...`."""
    ports, body, text = {}, "", ""
    for i, (params, views) in enumerate(pairs):
        own = _ports(params, views)
        ports |= {f"c{i}_{name}": port for name, port in own.items()}
        wires = ", ".join(f".{name}(c{i}_{name})" for name in own)
        body += f"  c{i}_pair pair{i} ({wires});\n"
        text += pair_verilog(params, f"c{i}_", views)
    return _module("pairs", ports, body) + text
