"""What the stages of the mapper hand to each other: integer factors, matrices, segments, workloads.

A matrix multiply of a transformer layer becomes one `Matrix`: either dense (one factor of one block) or
Monarch (two block-diagonal factors, DESIGN section 3). Matrices that read the same input form a `Segment`
(Q, K and V); the segments of a layer depend on each other in order.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Factor:
    """A block-diagonal integer factor with the requantisation of its outputs.

    `blocks` int8 (K, fan_in, fan_out): output j of block k is sum_i x[k, i] * blocks[k, i, j]. `bias` int32,
    `mult` uint16 and `shift` uint8 are (K, fan_out), see `rtl.spec.numeric`. K and fans are those that are stored;
    padding that a policy keeps is part of them.
    """

    blocks: np.ndarray
    bias: np.ndarray
    mult: np.ndarray
    shift: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """(K, fan_in, fan_out)."""
        return self.blocks.shape


@dataclass(frozen=True)
class Matrix:
    """One matrix multiply, y (n_out) from x (n_in), as integer factors.

    Dense: one factor with K = 1. Monarch: (R, L) with R.blocks (k, p, q) and L.blocks (l, rank * k, s), where the
    intermediate index of L is ordered (rank, k): u[kk, rh * l + ll] of R is input rh * k + kk of block ll of L.
    x is zero-padded to k * p, or shorter: elements of x beyond are not read. Output (s, l) order: y[j * l + ll] is
    output j of block ll, cut to n_out. Scales and offsets per element are tuples, which JSON keeps exactly; a list
    becomes one. Nothing but the way into and out of integers needs them.
    """

    name: str
    layer: int
    n_in: int
    n_out: int
    factors: tuple[Factor, ...]
    rank: int = 1  #: rho; q = rank * l
    #: real value of one step of x, or of one of each of its n_in elements
    in_scale: float | tuple[float, ...] = 1.0
    #: real value of one step of y, or of one of each of its n_out elements
    out_scale: float | tuple[float, ...] = 1.0
    #: real value of y whose integer is 0: all of the bias, where tokens have sizes (`mapper.quantise`)
    out_offset: float | tuple[float, ...] = 0.0
    by_size: bool = False  #: whether x and y are in units of each token's size
    useful_weights: int = (
        0  #: stored weights that are not padding granules of a policy; 0: all elements
    )
    mid_scale: float = 1.0  #: real value of one step of the intermediate (Monarch)

    def __post_init__(self):
        for name in ("in_scale", "out_scale", "out_offset"):
            if isinstance(scales := getattr(self, name), list):
                object.__setattr__(self, name, tuple(scales))

    @property
    def in_scales(self) -> np.ndarray:
        """float64 (n_in,): real value of one step of each element of x."""
        return np.broadcast_to(np.asarray(self.in_scale, dtype=np.float64), self.n_in)

    @property
    def out_scales(self) -> np.ndarray:
        """float64 (n_out,): real value of one step of each element of y."""
        return np.broadcast_to(np.asarray(self.out_scale, dtype=np.float64), self.n_out)

    @property
    def monarch(self) -> bool:
        """True for two factors, False for a dense matrix."""
        return len(self.factors) == 2

    @property
    def weights(self) -> int:
        """Stored weights, padding of the policy included."""
        return sum(f.blocks.size for f in self.factors)


@dataclass(frozen=True)
class Segment:
    """Matrices of one layer that read the same input vector, e.g. `qkv`."""

    name: str
    layer: int
    matrices: tuple[Matrix, ...]

    @property
    def n_in(self) -> int:
        """Input elements, the same for every matrix."""
        return self.matrices[0].n_in


@dataclass
class Workload:
    """What a core runs: the segments of a layer (or of several) in order and, per segment, the integer input of
    every token.

    `inputs[segment name]` is int8 (tokens, n_in). `barrier` says that a segment needs all tokens of the segment before
    it (attention over a whole sentence); otherwise token t needs only its own earlier segment.
    """

    model: str
    layer: int  #: the first one
    policy: str
    segments: list[Segment]
    inputs: dict[str, np.ndarray]
    barrier: dict[str, bool] = field(default_factory=dict)
    synthetic: bool = False  #: True: seeded random weights, no checkpoint
    notes: dict = field(default_factory=dict)  #: float errors and the like, for the report

    @property
    def layers(self) -> list[int]:
        """Layers that the segments are of, in order."""
        return list(dict.fromkeys(segment.layer for segment in self.segments))

    @property
    def layer_text(self) -> str:
        """The layers for people: `3`, or `2, 3`."""
        return ", ".join(map(str, self.layers))

    @property
    def tokens(self) -> int:
        """Tokens of the run."""
        return len(next(iter(self.inputs.values())))
