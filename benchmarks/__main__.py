"""`python -m benchmarks`: measure, compare with the bars, print a table or JSON.

examples:
  python -m benchmarks                   everything (about half an hour: it builds big simulations)
  python -m benchmarks --only mapping    placement, cycles, efficiency: no RTL, a minute
  python -m benchmarks --only rtl --json
  python -m benchmarks -o build/bench.json
"""

import argparse
import json
import sys
from pathlib import Path

from . import d2s, macro, mapping, rtl, soc
from .measure import Row

GROUPS = {
    "mapping": mapping.rows,
    "d2s": d2s.rows,
    "macro": macro.rows,
    "rtl": rtl.rows,
    "soc": soc.rows,
}


def main() -> int:
    """Run the chosen groups; status 1 if a bar does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=GROUPS, action="append", help="groups to run")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("-o", "--output", type=Path, help="file for the numbers, JSON")
    args = parser.parse_args()
    rows: list[Row] = []
    for name in args.only or GROUPS:
        for row in GROUPS[name]():
            rows.append(row)
            print(row.line(), file=sys.stderr if args.json else sys.stdout, flush=True)
    text = json.dumps([row.as_dict() for row in rows], indent=1)
    if args.json:
        print(text)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(text + "\n")
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
