"""The smallest image that has everything: microcode, weights, constants, input and output in a hundred words."""

from firmware.image import Image, pack
from mapper.compile import Compiler
from mapper.models import Model
from mapper.synthetic import random_workload
from mapper.workload import only, pattern_of
from rtl.spec.params import Params

PARAMS = {
    "rows": 8,
    "cols": 8,
    "granule": 4,
    "lanes": 4,
    "act_depth": 32,
    "const_depth": 16,
    "prog_depth": 64,
    "stream_width": 32,
}


def image(seed: int = 0, tokens: int = 2) -> tuple[Image, Params]:
    """The image of one dense 8 x 8 matrix for some tokens, and the parameters that it is for."""
    params = Params.from_dict(PARAMS)
    model = Model("tiny", 1, 8, 8, 1, "tiny", "dense", 1)
    pattern = pattern_of("dense", None, None, 1)
    work = only(random_workload(model, 0, "dense", pattern, params, tokens, seed), ["o"])
    program = Compiler("linear", params, seed=seed).compile(work)
    return pack(program), program.params
