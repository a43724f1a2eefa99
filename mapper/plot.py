"""Plots as SVG files that are the same in every run."""

from pathlib import Path


def pyplot():
    """`matplotlib.pyplot`, set up; half a second to import, so only where something is drawn."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as found

    # Without it, names inside the file are random and every run differs.
    found.rcParams["svg.hashsalt"] = "blockcim"
    return found


def save(figure, path: Path) -> None:
    """Write a figure, and forget it."""
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot().close(figure)
