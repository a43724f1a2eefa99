"""Runs a cocotb bench through cocotb-test, in a directory of its own."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import pytest
from cocotb_test.simulator import run

from rtl.spec.params import ConfigError
from sim.tools import find_icarus, find_verilator

FINDERS = {"icarus": find_icarus, "verilator": find_verilator}
#: Verilator: Python sees the ports of the top, nothing else. Lint has a test of its own, and generated netlists are
#: full of unused bits.
VERILATOR_ARGS = ["--no-public-flat-rw", "--no-timing", "-Wno-fatal", "-Wno-lint", "-Wno-style"]
VISIBLE = '`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n'


class Bench:
    """Builds a top from Verilog texts and runs the tests of a cocotb module on it; skips without the simulator."""

    def __init__(self, directory: Path, monkeypatch) -> None:
        self.directory, self.monkeypatch = directory, monkeypatch

    def run(
        self,
        simulator: str,
        top: str,
        module: str,
        texts: dict[str, str],
        env: dict[str, str],
        *,
        verilator_args: Sequence[str] = (),
        plus_args: Sequence[str] = (),
        only: Sequence[str] = (),
    ) -> list[str]:
        """Names of the tests that ran, all of which passed; `texts` by file name, `only` names of tests."""
        for name, text in texts.items():
            (self.directory / name).write_text(text)
        settings = self._tool(simulator, top, verilator_args)
        results = run(
            simulator,
            toplevel=top,
            module=module,
            verilog_sources=[
                *settings.pop("first_sources"),
                *(str(self.directory / name) for name in texts),
            ],
            sim_build=str(self.directory / "sim"),
            timescale="1ns/1ns",
            testcase="|".join(f"{name}$" for name in only) or None,  # a pattern
            plus_args=list(plus_args),
            extra_env=env,
            **settings,
        )
        # A bench that finds no test passes: callers count what ran.
        cases = ET.parse(results).iter("testcase")
        return [str(case.get("name")) for case in cases if not list(case.iter("skipped"))]

    def _tool(self, simulator: str, top: str, verilator_args: Sequence[str]) -> dict:
        try:
            tool = FINDERS[simulator]()
        except ConfigError as error:
            pytest.skip(str(error))
        self.monkeypatch.delenv("SIM", raising=False)
        for name, value in tool.env.items():
            self.monkeypatch.setenv(name, value)
        if simulator == "icarus":
            return {"first_sources": []}
        visible = self.directory / "visible.vlt"
        visible.write_text(VISIBLE.format(top=top))
        return {
            "first_sources": [str(visible)],
            "extra_args": [*VERILATOR_ARGS, *verilator_args],
            # The build matters more than the speed.
            "make_args": ["-j2", "OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0"],
        }
