"""How often a progress bar is drawn."""

import sys


def pace() -> float:
    """Seconds between two looks of a progress bar: a file that keeps them should stay readable."""
    return 0.1 if sys.stderr.isatty() else 60.0
