"""`MonarchLinear`: a trainable torch layer in the place of `torch.nn.Linear` (DESIGN section 3)."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .d2s import Monarch
from .pattern import Pattern


class MonarchLinear(nn.Module):
    """y = P_out L P_mid R x + b: two batched matrix multiplies and two transpositions.

    Parameters
    ----------
    pattern : Pattern
        Shapes of the factors.
    bias : bool
        Whether there is a bias (n_out,).
    device, dtype
        As in `torch.nn.Linear`; float32, bfloat16 and float64 are tested.

    Attributes
    ----------
    R : Parameter (k, q, p)
    L : Parameter (l, s, r)
    bias : Parameter (n_out,) or None
    """

    def __init__(self, pattern: Pattern, bias: bool = True, device=None, dtype=None):
        super().__init__()
        self.pattern = p = pattern
        where = {"device": device, "dtype": dtype}
        self.R = nn.Parameter(torch.empty(p.k, p.q, p.p, **where))
        self.L = nn.Parameter(torch.empty(p.l, p.s, p.r, **where))
        self.bias = nn.Parameter(torch.zeros(p.n_out, **where)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Random factors that keep the variance of their inputs; the bias becomes zero."""
        for factor in (self.R, self.L):
            nn.init.normal_(factor, std=factor.shape[-1] ** -0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @classmethod
    def of(
        cls, monarch: Monarch, bias: Tensor | None = None, device=None, dtype=torch.float32
    ) -> "MonarchLinear":
        """A layer with these factors."""
        made = cls(monarch.pattern, bias is not None, device, dtype)
        with torch.no_grad():
            made.R.copy_(monarch.R)
            made.L.copy_(monarch.L)
            if bias is not None and made.bias is not None:
                made.bias.copy_(bias)
        return made

    def monarch(self) -> Monarch:
        """The factors as they are, float64, on the CPU."""
        right, left = (f.detach().to("cpu", torch.float64) for f in (self.R, self.L))
        return Monarch(right, left, self.pattern)

    def forward(self, x: Tensor) -> Tensor:
        """y (..., n_out) of x (..., n_in)."""
        p, dtype = self.pattern, _dtype(x)
        flat = x.reshape(-1, p.n_in).to(dtype)
        if p.k * p.p != p.n_in:
            flat = nn.functional.pad(flat, (0, p.k * p.p - p.n_in))
        v = right_product(flat, self.R.to(dtype), p)
        y = left_product(v, self.L.to(dtype), p)[:, : p.n_out]
        if self.bias is not None:
            y = y + self.bias.to(dtype)
        return y.reshape(*x.shape[:-1], p.n_out)

    def extra_repr(self) -> str:
        """What `print` shows."""
        p = self.pattern
        return f"n_in={p.n_in}, n_out={p.n_out}, k={p.k}, l={p.l}, rank={p.rank}"


def _dtype(x: Tensor) -> torch.dtype:
    """What a product with x is computed in: as in `torch.nn.Linear`, autocast decides where it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def right_product(x: Tensor, right: Tensor, p: Pattern) -> Tensor:
    """v = P_mid R x (l, T, r) of x (T, k p): the inputs of the blocks of L."""
    return _Right.apply(x, right, p)


def left_product(v: Tensor, left: Tensor, p: Pattern) -> Tensor:
    """y = P_out L v (T, s l) of v (l, T, r)."""
    return _Left.apply(v, left, p)


# Half the time of a layer is transpositions; gradients are written out, to copy as few elements one by one as can be.


class _Right(torch.autograd.Function):
    """Rows of R are computed in the order (l, rank) instead of (rank, l), so that `rank` neighbours move together."""

    @staticmethod
    def forward(ctx, x: Tensor, right: Tensor, p: Pattern) -> Tensor:
        right = right.view(p.k, p.rank, p.l, p.p).transpose(1, 2).reshape(p.k, p.q, p.p)
        u = torch.bmm(x.view(-1, p.k, p.p).transpose(0, 1), right.mT)  # (k, T, l rank)
        ctx.save_for_backward(x, right)
        ctx.pattern = p
        return u.view(p.k, -1, p.l, p.rank).permute(2, 1, 0, 3).reshape(p.l, -1, p.r)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Of x and R."""
        x, right = ctx.saved_tensors
        p = ctx.pattern
        grad_u = grad.view(p.l, -1, p.k, p.rank).permute(2, 1, 0, 3).reshape(p.k, -1, p.q)
        grad_right = torch.bmm(grad_u.mT, x.view(-1, p.k, p.p).transpose(0, 1))
        grad_right = grad_right.view(p.k, p.l, p.rank, p.p).transpose(1, 2)
        grad_x = torch.bmm(grad_u, right).transpose(0, 1).reshape(x.shape)
        return grad_x, grad_right.reshape(p.k, p.q, p.p), None


class _Left(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v: Tensor, left: Tensor, p: Pattern) -> Tensor:
        ctx.save_for_backward(v, left)
        ctx.pattern = p
        return torch.bmm(v, left.mT).permute(1, 2, 0).reshape(-1, p.s * p.l)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Of v and L."""
        v, left = ctx.saved_tensors
        p = ctx.pattern
        by_block = grad.view(-1, p.s, p.l).permute(2, 0, 1).contiguous()  # (l, T, s)
        return torch.bmm(by_block, left), torch.bmm(by_block.mT, v), None
