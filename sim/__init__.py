"""Models and simulators: golden, ISS and the generated Verilog. Importing this costs nothing."""
