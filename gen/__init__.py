"""The generator: `python -m gen` writes Verilog, a C header and documents of one configuration."""
