"""Wave dumps: formats, and the list of signals to look at first, for GTKWave."""

from pathlib import Path

from mapper.atomic import write_text
from rtl.spec.params import ConfigError, Params, clog2

#: Formats of a dump, by the file's ending: FST is a tenth of the size, VCD is text.
FORMATS = ("fst", "vcd")
#: GTKWave's words for how the signals that follow are shown.
_PLAIN, _HEX, _UNSIGNED, _COMMENT = "@28", "@22", "@24", "@200"

#: Signals of a core as its register file sees them.
_CORE = ("running", "halted", "failed", "in_busy", "load_busy", "pass_busy", "out_busy", "irq")
_STREAMS = ("in_valid", "in_ready", "in_data", "out_valid", "out_ready", "out_last", "out_data")


def format_of(dump: Path) -> str:
    """The format of a dump file. Raises `ConfigError` for an ending that is none."""
    found = dump.suffix[1:]
    if found not in FORMATS:
        raise ConfigError(f"dump: {dump} must end in .fst or .vcd")
    return found


def write_list(dump: Path, params: Params) -> Path:
    """Write the list of signals beside a dump, `gtkwave FILE` opens both; returns its path."""
    path = dump.with_suffix(".gtkw")
    lines = [f'[dumpfile] "{dump.absolute()}"', "[timestart] 0"]
    write_text(path, "\n".join([*lines, *signals(params), ""]))
    return path


def signals(params: Params) -> list[str]:
    """Lines of a GTKWave save file: clock, and for each core its state and its streams."""
    top = "blockcim_sim"
    cores = [f"{top}.core"]
    if params.cores > 1:
        cores = [f"{top}.chip.core{k}" for k in range(params.cores)]
    lines = [_PLAIN, f"{top}.clk", f"{top}.running"]
    for core in cores:
        data = f"[{params.stream_bits - 1}:0]"
        lines += [_COMMENT, f"-{core.removeprefix(f'{top}.')}", _PLAIN]
        lines += [f"{core}.{name}" for name in _CORE]
        lines += [_UNSIGNED, f"{core}.engine_pc[{clog2(params.prog_depth)}:0]"]
        for name in _STREAMS:
            wide = name.endswith("data")
            lines += [_HEX if wide else _PLAIN, f"{core}.{name}{data if wide else ''}"]
    return lines
