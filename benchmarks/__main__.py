"""`python -m benchmarks`: measure, compare with the bars, print a table or JSON.

examples:
  python -m benchmarks                   everything (about half an hour: it builds big simulations)
  python -m benchmarks --only mapping    placement, cycles, efficiency: no RTL, a minute
  python -m benchmarks --only rtl --json
"""

import argparse
import json
import sys

from . import macro, mapping, rtl
from .measure import Row

GROUPS = {"mapping": mapping.rows, "macro": macro.rows, "rtl": rtl.rows}


def main() -> int:
    """Run the chosen groups; status 1 if a bar does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=GROUPS, action="append", help="groups to run")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    rows: list[Row] = []
    for name in args.only or GROUPS:
        for row in GROUPS[name]():
            rows.append(row)
            print(row.line(), file=sys.stderr if args.json else sys.stdout, flush=True)
    if args.json:
        print(json.dumps([row.as_dict() for row in rows], indent=1))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
