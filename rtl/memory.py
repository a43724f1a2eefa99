"""Memories of the core: instances of the Verilog module in rtl/views/memory.v, so that a RAM macro can replace it."""

from amaranth.hdl import Cat, ClockSignal, Instance, Signal

from .spec.params import index_bits


class Write:
    """A write port: `en` (one bit a part), `addr`, `data` (of one part: every enabled part takes it)."""

    def __init__(self, width: int, depth: int, parts: int):
        self.en, self.addr = Signal(parts), Signal(index_bits(depth))
        self.data = Signal(width // parts)


class Read:
    """A read port: `en`, `addr`; `data` one cycle later."""

    def __init__(self, width: int, depth: int):
        self.en, self.addr, self.data = Signal(), Signal(index_bits(depth)), Signal(width)


class Memory:
    """`depth` words of `width` bits, zeros at first, with write ports of `parts` parts, and read ports."""

    def __init__(self, width: int, depth: int, *, writes: int = 1, reads: int = 1, parts: int = 1):
        self.width, self.depth, self.parts = width, depth, parts
        self.writes = [Write(width, depth, parts) for _ in range(writes)]
        self.reads = [Read(width, depth) for _ in range(reads)]

    def add_to(self, m, name: str) -> None:
        """Instantiate the memory as submodule `name` of `m`."""
        m.submodules[name] = Instance(
            "blockcim_memory",
            p_WIDTH=self.width,
            p_DEPTH=self.depth,
            p_ADDR=index_bits(self.depth),
            p_WRITES=len(self.writes),
            p_READS=len(self.reads),
            p_PARTS=self.parts,
            i_clk=ClockSignal(),
            i_w_en=Cat(*(w.en for w in self.writes)),
            i_w_addr=Cat(*(w.addr for w in self.writes)),
            i_w_data=Cat(*(w.data for w in self.writes)),
            i_r_en=Cat(*(r.en for r in self.reads)),
            i_r_addr=Cat(*(r.addr for r in self.reads)),
            o_r_data=Cat(*(r.data for r in self.reads)),
        )
