"""Fills in the Verilog templates of rtl/views: @NAME@ becomes a value, marked lines repeat."""

import re
from pathlib import Path

VIEWS = Path(__file__).parent / "views"


def render(name: str, values: dict[str, object], **repeats: int) -> str:
    """The text of `rtl/views/<name>.v`.

    Lines from `// @each THING@` to `// @end@` come once for each of `repeats[THING]` things, @K@ counting from 0.
    """

    def each(match: re.Match) -> str:
        return "".join(match[2].replace("@K@", str(k)) for k in range(repeats[match[1]]))

    text = (VIEWS / f"{name}.v").read_text(encoding="utf-8")
    text = re.sub(r"^ *// @each (\w+)@\n(.*?)^ *// @end@\n", each, text, flags=re.M | re.S)
    return re.sub(r"@(\w+)@", lambda match: str(values[match[1]]), text)
