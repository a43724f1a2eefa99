"""Muon for stacks of matrices: momentum whose update is made orthogonal, block by block.

After Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); `torch.optim.Muon` takes
matrices only, and the blocks of a Monarch factor are many small ones. Each block moves by a step whose singular values
are about equal, so the badly scaled directions of a projection learn as fast as the others.
"""

import torch
from torch import Tensor, nn

from .precision import product_dtype

#: Quintic Newton-Schulz iteration that sends singular values near 1; coefficients from the source above.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonalised(blocks: Tensor) -> Tensor:
    """Blocks (k, m, n) with the same singular vectors and singular values of about 1; zero blocks stay zero."""
    a, b, c = COEFFICIENTS
    x = blocks / (torch.linalg.matrix_norm(blocks, keepdim=True) + 1e-12)
    x = x.to(product_dtype(blocks.device.type))  # as in the source
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(blocks.dtype)


class BlockMuon(torch.optim.Optimizer):
    """Muon with Nesterov momentum for parameters (k, m, n).

    The step is scaled by 0.2 sqrt(max(m, n)), which gives it the size of an Adam step at the same rate. Momentum:
    SmolLM2 (2x, 1,160 steps of 1,024 tokens) ends at a perplexity ratio of 3.88 with 0.9, and 3.22 with 0.95; with
    0.97 it is behind all the way.
    """

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(tuple(parameter.shape[-2:]), []).append(parameter)
            # Blocks of one shape in one go: a network has hundreds of factors, of few shapes.
            for (m, n), parameters in alike.items():
                ahead = [self._ahead(p, group["momentum"]) for p in parameters]
                moves = orthogonalised(torch.cat(ahead)).split([len(a) for a in ahead])
                size = 0.2 * max(m, n) ** 0.5
                for parameter, move in zip(parameters, moves, strict=True):
                    parameter.add_(move, alpha=-group["lr"] * size)

    def _ahead(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Gradient with Nesterov momentum."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(state["momentum"], momentum)
