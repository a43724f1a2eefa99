"""The hardware, in Amaranth: one concept a file. `rtl.spec` is the contract it shares with the software."""
