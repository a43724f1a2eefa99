"""FPGA flow: `python -m gen.fpga BOARD` makes a bitstream of one core behind a serial line, and a report."""
