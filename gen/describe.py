"""What generated texts say about a configuration, read from `rtl.spec`: it is stated once."""

import inspect
import re

from rtl.spec.params import Params

_MEMBER = re.compile(r"^\s+(\w+)(?:: *\w+)? = [^#\n]*#: (.*)$", re.MULTILINE)


def member_docs(cls: type) -> dict[str, str]:
    """The `#:` comment of each member of a class that has one, by name."""
    return {name: doc.strip() for name, doc in _MEMBER.findall(inspect.getsource(cls))}


def _one_line(member: property) -> str:
    return " ".join((inspect.getdoc(member) or "").split()).rstrip(".")


def derived(params: Params) -> dict[str, tuple[int, str]]:
    """Value and meaning of every derived value of a configuration, by name, without the hash."""
    result = {}
    for name, member in vars(Params).items():
        if isinstance(member, property) and name != "config_hash":
            result[name] = (int(getattr(params, name)), _one_line(member))
    return result


def hash_text(params: Params) -> str:
    """The configuration hash in hexadecimal, the way every generated file spells it."""
    return f"0x{params.config_hash:08x}"


def table(head: tuple[str, ...], rows: list[tuple]) -> str:
    """A Markdown table; bars in cells are escaped."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |")
    return "\n".join(lines) + "\n"
