"""`python -m firmware run` and `soc`: images on hardware behind a serial line, and on the simulated SoC."""

import json
import time
from pathlib import Path

from mapper.program import load as load_program
from rtl.spec.params import ConfigError
from sim.tools import find_icarus, find_verilator

from . import host
from . import image as images

SIMULATORS = {"verilator": find_verilator, "icarus": find_icarus}
BAUD = 115200


def add_parsers(commands) -> None:
    """Add both commands."""
    run = commands.add_parser("run", help="boot and run an image on hardware, over a serial line")
    run.add_argument("image", metavar="IMAGE", help="image of `pack`")
    run.add_argument("--port", required=True, metavar="DEVICE", help="such as /dev/ttyUSB0")
    run.add_argument("--baud", type=int, default=BAUD, metavar="N", help=f"default: {BAUD}")
    run.add_argument("--json", action="store_true", help="print JSON")
    run.set_defaults(run=_run)
    soc = commands.add_parser(
        "soc", help="simulate the SoC: the demo boots a program directory and checks itself"
    )
    soc.add_argument("directory", metavar="DIR", help="program directory of `mapper compile`")
    soc.add_argument("--elf", type=Path, metavar="FILE", help="another program than the demo")
    soc.add_argument("--simulator", default="verilator", help=", ".join(SIMULATORS))
    soc.add_argument("--dump", type=Path, metavar="FILE", help="write waves (FST)")
    soc.add_argument("--json", action="store_true", help="print JSON")
    soc.set_defaults(run=_soc)


def open_port(device: str, baud: int):
    """An open serial port. Raises `ConfigError` if there is none, or no pyserial."""
    try:
        import serial
    except ImportError:
        raise ConfigError("port: needs pyserial; pip install 'blockcim[serial]'") from None
    if baud < 1:
        raise ConfigError(f"baud: {baud} must be at least 1")
    try:
        return serial.Serial(device, baud, timeout=host.time_out(baud))
    except (serial.SerialException, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise ConfigError(f"port: {device}: {reason}") from None


def run_image(image: images.Image, port: host.Port) -> dict:
    """Probe, boot, run, compare; what a user wants to know of it."""
    link = host.Link(port)
    device = host.Device(link)
    device.probe()
    start = time.perf_counter()
    device.boot(image)
    booted = time.perf_counter()
    output = device.run(image)
    wrong = sum(a != b for a, b in zip(output, image.output.tolist(), strict=True))
    return {
        "config_hash": f"0x{image.config_hash:08x}",
        "outputs": len(output),
        "mismatches": wrong,
        "counters": device.counters(),
        "cycles_alone": image.cycles,
        "repeated": link.repeated,
        "boot_s": round(booted - start, 3),
        "run_s": round(time.perf_counter() - booted, 3),
    }


def _run(args) -> int:
    image = images.load(args.image)
    result = run_image(image, open_port(args.port, args.baud))
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print(
            f"{result['outputs']} words of output, {result['mismatches']} mismatches, "
            f"{result['counters']['CYCLES']} cycles (alone {image.cycles}), boot {result['boot_s']} s, "
            f"run {result['run_s']} s, {result['repeated']} requests repeated"
        )
    return 0 if result["mismatches"] == 0 else 1


def _soc(args) -> int:
    from .soc import run

    if args.simulator not in SIMULATORS:
        raise ConfigError(f"simulator: {args.simulator!r} is not one of {', '.join(SIMULATORS)}")
    SIMULATORS[args.simulator]()
    program = load_program(args.directory)
    image = images.pack(program)
    elf = _read(args.elf) if args.elf else None
    outcome = run(image, program.params, args.simulator, program=elf, dump=args.dump)
    tokens = program.workload.tokens
    if args.json:
        print(json.dumps(outcome.as_dict() | {"tokens": tokens}, indent=1))
    else:
        print(outcome.text, end="")
        for name, way in outcome.ways.items():
            print(
                f"{name}, {tokens} tokens: control overhead {way.control:.1%} "
                f"({way.cycles - way.busy} cycles outside the core's {way.busy}), "
                f"{way.total:.1%} over a core whose streams never wait ({way.alone})"
            )
    return 0 if outcome.good else 1


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
