"""`python -m gen.fpga`."""

import sys

from gen.fpga.cli import main

if __name__ == "__main__":
    sys.exit(main())
