"""`registers/`: what PeakRDL makes of the register map: HTML, IP-XACT and its C header.

PeakRDL is an optional extra. Its texts depend on its version, which the manifest of a bundle names.
"""

import tempfile
import zlib
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from gen.systemrdl import MAP
from gen.version import VERSION
from rtl.spec.params import ConfigError

#: Where the files lie in a bundle.
FOLDER = "registers"
#: The packages that shape them.
PACKAGES = ("systemrdl-compiler", "peakrdl-html", "peakrdl-ipxact", "peakrdl-cheader")
#: Vendor and library of the IP-XACT component.
VENDOR = "blockcim"


def require() -> None:
    """Raise `ConfigError` without PeakRDL."""
    for name in ("systemrdl", "peakrdl_html", "peakrdl_ipxact", "peakrdl_cheader"):
        try:
            import_module(name)
        except ImportError:
            raise ConfigError(
                f"--registers: needs {name}; pip install 'blockcim[registers]' (or: peakrdl)"
            ) from None


def exports(rdl: str) -> dict[str, bytes]:
    """The files by name in the bundle, from the text of `blockcim.rdl`. Raises `ConfigError` without PeakRDL."""
    require()
    from peakrdl_cheader.exporter import CHeaderExporter
    from peakrdl_html import HTMLExporter
    from peakrdl_ipxact import IPXACTExporter
    from systemrdl import RDLCompiler

    with tempfile.TemporaryDirectory(prefix="blockcim-") as scratch:
        source, target = Path(scratch) / f"{MAP}.rdl", Path(scratch) / FOLDER
        source.write_text(rdl, encoding="utf-8")
        target.mkdir()
        compiler = RDLCompiler()
        compiler.compile_file(str(source))
        top = compiler.elaborate().top
        CHeaderExporter().export(top, str(target / f"{MAP}_registers.h"))
        ipxact = IPXACTExporter(vendor=VENDOR, library=VENDOR, version=VERSION)
        ipxact.export(top, str(target / f"{MAP}.xml"))
        # The pages ask for their data with a stamp against stale caches: one of the map in the place of the time.
        stamp = {"build_ts": zlib.crc32(rdl.encode())}
        html = HTMLExporter(user_context=stamp, generate_source_links=False)
        html.export(top, str(target / "html"), title=MAP)
        files = sorted(path for path in target.rglob("*") if path.is_file())
        return {path.relative_to(scratch).as_posix(): path.read_bytes() for path in files}


def versions() -> dict[str, str]:
    """Versions of the packages."""
    return {name: version(name) for name in PACKAGES}
