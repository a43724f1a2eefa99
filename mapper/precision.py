"""Which data type training multiplies in; parameters, optimisers and everything that is judged stay float32."""

from functools import cache

import torch


@cache
def product_dtype(device: str) -> torch.dtype:
    """bfloat16 where a device ("cpu", "cuda") has instructions for it, which halves the time; float32 elsewhere."""
    native = torch.cpu._is_avx512_bf16_supported() if device == "cpu" else True
    return torch.bfloat16 if native else torch.float32
