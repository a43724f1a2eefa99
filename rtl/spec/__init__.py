"""The contract: parameters, ISA, register map and numeric rules, written once; standard library only.

Everything two sides must agree on is derived from this package: the Amaranth layouts, the encoder of
the mapper, the decoder of the ISS, the C header and the documentation. It imports nothing of ours.
"""
