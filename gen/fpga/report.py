"""What a run of the tools says: utilisation, clock and longest path, from nextpnr's JSON report and the logs."""

import json
import re
from pathlib import Path

from rtl.spec.params import ConfigError

#: Cells of nextpnr that are counted, by family: what each is called in the report.
RESOURCES = {
    "ecp5": {
        "LUTs": "TRELLIS_COMB",
        "flip-flops": "TRELLIS_FF",
        "block RAMs": "DP16KD",
        "multipliers": "MULT18X18D",
        "PLLs": "EHXPLLL",
    },
    "ice40": {
        "logic cells": "ICESTORM_LC",
        "block RAMs": "ICESTORM_RAM",
        "multipliers": "ICESTORM_DSP",
        "SPRAMs": "ICESTORM_SPRAM",
        "PLLs": "ICESTORM_PLL",
    },
    "gowin": {
        "LUTs": "LUT4",
        "adders": "ALU",
        "flip-flops": "DFF",
        "block RAMs": "BSRAM",
        "multipliers": "MULT18X18",
        "LUT RAMs": "RAM16SDP4",
    },
}


def timing(report: dict, source: str = "report") -> dict:
    """Clock of a nextpnr report: `clock`, `fmax_mhz`, `constraint_mhz`, `met`, `path` (steps from, to, ns).

    Of several clocks the one closest to its constraint, or furthest below it. Raises `ConfigError` if there is none.
    """
    clocks = report.get("fmax") or {}
    if not clocks:
        raise ConfigError(f"{source}: names no clock")
    name = min(clocks, key=lambda c: clocks[c]["achieved"] / clocks[c]["constraint"])
    achieved, constraint = clocks[name]["achieved"], clocks[name]["constraint"]
    return {
        "clock": name,
        "fmax_mhz": round(achieved, 2),
        "constraint_mhz": round(constraint, 2),
        "met": achieved >= constraint,
        "path": _path(report, name),
    }


def _path(report: dict, clock: str) -> list[dict]:
    """The longest path within a clock domain, one entry a cell."""
    for path in report.get("critical_paths", []):
        if clock in path["from"] and clock in path["to"]:
            return [
                {
                    "type": step["type"],
                    "from": step["from"]["cell"],
                    "to": step["to"]["cell"],
                    "ns": round(step["delay"], 2),
                }
                for step in path["path"]
            ]
    return []


def utilisation(report: dict, family: str) -> dict:
    """Cells used and available, by what they are; kinds that the device lacks are left out."""
    found = report.get("utilization") or {}
    result = {}
    for name, cell in RESOURCES[family].items():
        if cell in found and found[cell]["available"]:
            used, available = found[cell]["used"], found[cell]["available"]
            share = round(100 * used / available, 1)
            result[name] = {"used": used, "available": available, "percent": share}
    return result


def load(path: Path) -> dict:
    """A report file of nextpnr. Raises `ConfigError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from None


def first_error(log: str) -> str:
    """The first error line of a tool's log, "" if there is none."""
    match = re.search(r"^(?:ERROR|Error|error)[:,]\s*(.+)$", log, re.MULTILINE)
    return match[1].strip() if match else ""


def table(report: dict) -> str:
    """The report of a build as text."""
    p = report["params"]
    lines = [
        f"{report['board']} ({report['title']}, {report['device']}): preset {report['preset']}, "
        f"{p['rows']}x{p['cols']} array, granule {p['granule']}, {p['lanes']} lanes",
    ]
    for name, use in report["utilisation"].items():
        share = f"{use['percent']:5.1f} %"
        lines.append(f"  {name:12} {use['used']:7,} of {use['available']:7,}  {share}")
    verdict = "met" if report["met"] else "NOT MET"
    lines.append(
        f"  {'clock':12} {report['constraint_mhz']:g} MHz wanted, "
        f"{report['fmax_mhz']:g} MHz reached: {verdict}"
    )
    took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in report["seconds"].items())
    lines.append(f"  {'time':12} {took}")
    if report["bitstream"]:
        lines.append(f"  {'bitstream':12} {report['bitstream']} ({report['bytes']:,} bytes)")
        lines.append(f"  {'load it':12} {report['program']}")
    return "\n".join(lines)


def write(result: dict, path: Path) -> None:
    """The report of a build as JSON."""
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
