"""The LiteX module of the documents: every port of the Wishbone top is connected, and the result elaborates."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from gen.cli import generate
from rtl.spec.params import ConfigError, Params
from sim.tools import find_verilator

DOCS = Path(__file__).parents[2] / "docs"
PARAMS = Params.load("tiny").replace(tiles=1, stream_width=32)
#: A process of its own: migen warns, and looks at the bytecode of its callers.
BUILD = """\
import sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from litex_blockcim import BlockCim
from migen.fhdl import verilog
sources = []
top = BlockCim(SimpleNamespace(add_source=sources.append), sys.argv[2], stream_bits=32)
streams = [*top.sink.flatten(), *top.source.flatten()]
text = verilog.convert(top, {*top.bus.flatten(), *top.dma.flatten(), *streams}, name="litex_top")
open(sys.argv[3], "w").write(str(text))
print("\\n".join(sources))
"""


@pytest.mark.verilator
@pytest.mark.skipif(importlib.util.find_spec("litex") is None, reason="pip install litex")
def test_module_elaborates_with_the_bundle(tmp_path):
    try:
        tool = find_verilator()
    except ConfigError as error:
        pytest.skip(str(error))
    generate(PARAMS, "both", tmp_path / "bundle", "wishbone")
    top = tmp_path / "litex_top.v"
    command = [sys.executable, "-c", BUILD, str(DOCS), str(tmp_path / "bundle"), str(top)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    lint = [
        str(tool.path),
        "--lint-only",
        "-Wno-lint",
        "-Wno-style",
        "-Wno-fatal",
        "-Wwarn-PINMISSING",
        "-Werror-PINMISSING",
    ]
    lint += ["--top-module", "litex_top", str(top), *built.stdout.split()]
    done = subprocess.run(lint, capture_output=True, text=True, env=tool.environ(), check=False)
    assert done.returncode == 0, done.stderr
