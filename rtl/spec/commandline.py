"""How our commands read their options: errors in one line, help with the name that the user typed."""

import argparse
import re
import sys
from pathlib import Path
from typing import NoReturn

from .params import ConfigError


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises, for commands that are called `python -m NAME` or, installed, `blockcim-NAME`."""

    def error(self, message: str) -> NoReturn:
        """Raise the message as a `ConfigError`, without the usage text."""
        raise ConfigError(message)

    def format_help(self) -> str:
        """The help text; where the installed command was typed, examples have that."""
        text = super().format_help()
        if Path(sys.argv[0]).stem.startswith("blockcim-"):
            text = re.sub(r"\bpython -m (gen|mapper|sim|firmware)\b(?!\.)", r"blockcim-\1", text)
        return text
