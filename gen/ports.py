"""A small reader of Verilog: modules, their ports and which modules nobody instantiates.

It reads what this generator writes: Verilog-2001 with one declaration style a module, port lists in
the header or in the body, no preprocessor.
"""

import re
from dataclasses import dataclass

_NAME = r"(?:\\\S+|[A-Za-z_]\w*)"
#: Comments, strings and attributes; `@(*)` is not an attribute.
_NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|\(\*(?!\s*\)).*?\*\)', re.DOTALL)
_ROUTINE = re.compile(r"\b(function|task)\b.*?\bend\1\b", re.DOTALL)
_MODULE = re.compile(rf"\bmodule\s+({_NAME})(.*?)\bendmodule\b", re.DOTALL)
_PORT = re.compile(
    r"\b(input|output|inout)\b\s*(?:\b(?:wire|reg|logic)\b)?\s*(?:\bsigned\b)?\s*"
    rf"(\[[^\]]*\])?\s*({_NAME}(?:\s*,\s*(?!(?:input|output|inout)\b){_NAME})*)"
)


@dataclass(frozen=True)
class Port:
    """A port; `width` is a number of bits, or the range as written where it is not two numbers."""

    name: str
    direction: str
    width: int | str


@dataclass(frozen=True)
class Module:
    """A module, its ports in order, and the modules of the same set that it instantiates."""

    name: str
    ports: tuple[Port, ...]
    instances: frozenset[str]


def _width(text: str) -> int | str:
    if not text:
        return 1
    match = re.fullmatch(r"\[\s*(\d+)\s*(?:-\s*(\d+)\s*)?:\s*(\d+)\s*\]", text)
    if not match:
        return text.strip("[] ")
    high = int(match[1]) - int(match[2] or 0)
    return abs(high - int(match[3])) + 1


def _ports(body: str) -> tuple[Port, ...]:
    ports = []
    for direction, bits, names in _PORT.findall(_ROUTINE.sub("", body)):
        for name in names.split(","):
            ports.append(Port(name.strip(), direction, _width(bits)))
    return tuple(ports)


def _instances(body: str, names: set[str]) -> frozenset[str]:
    used = names & set(re.findall(_NAME, body))
    call = r"\s+(?:#\s*\([^;]*?\)\s*)?" + _NAME + r"\s*(?:\[[^\]]*\]\s*)?\("
    return frozenset(n for n in used if re.search(rf"(?<![\w\\.]){re.escape(n)}{call}", body))


def modules(texts: list[str]) -> dict[str, Module]:
    """The modules in several Verilog texts, by name; of two with one name the last counts."""
    bodies = {}
    for text in texts:
        for name, body in _MODULE.findall(_NOISE.sub(" ", text)):
            bodies[name] = body
    names = set(bodies)
    return {n: Module(n, _ports(b), _instances(b, names - {n})) for n, b in bodies.items()}


def tops(texts: list[str]) -> list[Module]:
    """The modules that no other module instantiates, in order of name."""
    found = modules(texts)
    inner = frozenset().union(*(m.instances for m in found.values()))
    return [found[name] for name in sorted(found) if name not in inner]
