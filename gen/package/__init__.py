"""The package `blockcim` of an installation: its commands, and where the code is.

This project's packages have names that others use too (gen, sim, rtl, mapper, firmware). A wheel therefore has them
inside the folder of `blockcim`, where nobody else's `import sim` finds them; each command puts that folder first on the
path of its own process and of the processes that it starts. In your own program, `blockcim.activate()` does that.
"""

import os
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
#: The folder with rtl, gen, mapper, sim and firmware: this one in an installation, the source tree in an editable one.
ROOT = _HERE if (_HERE / "rtl").is_dir() else _HERE.parents[1]


def activate() -> None:
    """Put `ROOT` first on `sys.path`, and on PYTHONPATH for child processes."""
    root = str(ROOT)
    if root not in sys.path:
        sys.path.insert(0, root)
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if root not in inherited:
        os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, inherited)])


def gen() -> int:
    """`blockcim-gen`."""
    activate()
    from gen.cli import main

    return main()


def mapper() -> int:
    """`blockcim-mapper`."""
    activate()
    from mapper.cli import main

    return main()


def sim() -> int:
    """`blockcim-sim`."""
    activate()
    from sim.cli import main

    return main()


def firmware() -> int:
    """`blockcim-firmware`."""
    activate()
    from firmware.cli import main

    return main()
