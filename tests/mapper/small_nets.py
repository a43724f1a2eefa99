"""A network of two Monarch layers and a dense one, small enough to recompute by hand, and batches for it."""

import torch
from torch import Tensor, nn

from mapper.monarch import MonarchLinear
from mapper.pattern import pattern
from mapper.surgery import Batch


class Net(nn.Module):
    """y = last(relu(second(relu(first(x))))); widths 24, 40, 24, 5."""

    def __init__(self, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = MonarchLinear(pattern(24, 40, "blocks", 4, 8, 2))
            self.second = MonarchLinear(pattern(40, 24, "pad"), bias=False)
            self.last = nn.Linear(24, 5)
            nn.init.normal_(self.first.bias)

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """y (N, T, 5) of x (N, T, 24)."""
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))


def batches(count: int = 3, seed: int = 0, hidden: float = 1e4) -> list[Batch]:
    """Batches (4, 6, 24) in which the last two positions are masked and hold `hidden`."""
    draw = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        x = torch.randn(4, 6, 24, generator=draw)
        mask = torch.ones(4, 6, dtype=torch.long)
        x[:, 4:], mask[:, 4:] = hidden, 0
        made.append({"x": x, "attention_mask": mask})
    return made
