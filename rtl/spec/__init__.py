"""The contract: parameters, ISA, register map and numeric rules; standard library only.

Everything two sides must agree on is written once, here: the Amaranth layouts, the encoder of the
mapper, the decoder of the ISS, the C header and the documentation derive from it. It imports
nothing of ours.
"""
