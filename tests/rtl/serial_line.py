"""A serial line for benches on Amaranth's simulator: bits by time alone, nothing shared with rtl/uart.py."""


async def send(ctx, pin, data: bytes, bit: float, *, stop: int = 1) -> None:
    """Drive the bytes, `bit` clock cycles a bit, which need not be a whole number."""
    clock, edge = 0, 0.0
    for byte in data:
        for level in (0, *(byte >> i & 1 for i in range(8)), stop):
            ctx.set(pin, level)
            edge += bit
            await ctx.tick().repeat(max(1, round(edge) - clock))
            clock = round(edge)
        ctx.set(pin, 1)


async def receive(ctx, pin, bit: float, into: bytearray) -> None:
    """Read bytes for ever; to run as a background process."""
    while True:
        while ctx.get(pin):
            await ctx.tick()
        clock, bits = 0, []
        for n in range(10):
            middle = round(bit * (n + 0.5))
            await ctx.tick().repeat(middle - clock)
            clock = middle
            bits.append(ctx.get(pin))
        assert (bits[0], bits[9]) == (0, 1), f"not a byte: {bits}"
        into.append(sum(level << i for i, level in enumerate(bits[1:9])))
