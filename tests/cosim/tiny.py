"""The smallest layer that has everything: real microcode, weights and constants in a few hundred words of image."""

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


def image(strategy: str = "densemap", seed: int = 0, **changes) -> tuple[Image, Params]:
    """The image of one 16 x 16 matrix for two tokens, and the parameters that it is for."""
    params = Params.from_dict(PARAMS | changes)
    policy = "dense" if strategy == "linear" else "rect"
    model = Model("tiny", 1, 16, 16, 1, "tiny", policy, 1)
    pattern = pattern_of(policy, None, None, 1)
    work = only(random_workload(model, 0, policy, pattern, params, 2, seed), ["o"])
    program = Compiler(strategy, params, seed=seed).compile(work)
    return pack(program), program.params
