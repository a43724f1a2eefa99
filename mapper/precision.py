"""Which data type training multiplies in; parameters, optimisers and everything that is judged stay float32."""

from contextlib import contextmanager
from functools import cache

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


@cache
def product_dtype(device: str) -> torch.dtype:
    """bfloat16 where a device ("cpu", "cuda") has instructions for it, which halves the time; float32 elsewhere."""
    native = torch.cpu._is_avx512_bf16_supported() if device == "cpu" else True
    return torch.bfloat16 if native else torch.float32


@contextmanager
def products(device: str, rounded: bool = True):
    """Inside the context layers multiply in `product_dtype`, or as they are if not `rounded`."""
    dtype = product_dtype(device)
    # Attention in bfloat16 is slow on CPUs but as plain products.
    with (
        torch.autocast(device, dtype, enabled=rounded and dtype != torch.float32),
        sdpa_kernel(SDPBackend.MATH),
    ):
        yield
