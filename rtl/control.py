"""The control port: how a bus reaches the registers of a peripheral."""

from amaranth.lib.wiring import In, Out

from .spec.regmap import BUS_ADDRESS_BITS
from .words import WORD

#: Ports on the side that asks.
_REQUEST = {"request": 1, "addr": BUS_ADDRESS_BITS, "we": 1, "strobe": WORD // 8, "wdata": WORD}
#: Ports on the side that answers.
_ANSWER = {"ack": 1, "err": 1, "outside": 1, "rdata": WORD}


def control_ports(prefix: str = "", *, asks: bool) -> dict:
    """Ports of the side that asks or of the side that answers.

    `request` is high for one cycle, with `addr` (of a word), `we`, `strobe` (a bit a byte) and `wdata`. `ack` comes in
    the next cycle, with `rdata`; the next request in the cycle after that at the earliest. `err` with `ack` says that
    nothing was done, `outside` as well that there is no such register.
    """
    ask, answer = (Out, In) if asks else (In, Out)
    ports = {name: ask(bits) for name, bits in _REQUEST.items()}
    ports |= {name: answer(bits) for name, bits in _ANSWER.items()}
    return {f"{prefix}{name}": port for name, port in ports.items()}


def connect_control(m, bus, peripheral, prefix: str = "control_") -> None:
    """Join the ports of `bus` that start with `prefix` to the control port of a peripheral."""
    for name in _REQUEST:
        m.d.comb += getattr(peripheral, name).eq(getattr(bus, prefix + name))
    for name in _ANSWER:
        m.d.comb += getattr(bus, prefix + name).eq(getattr(peripheral, name))
