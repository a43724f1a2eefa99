"""Orthogonal steps: singular values near one, block by block, and they go downhill."""

import pytest
import torch
from torch import nn

from mapper.muon import BlockMuon, orthogonalised


def blocks(count, m, n, seed=0, least=0.1):
    """Random blocks with singular values between `least` and 1, and their singular vectors."""
    draw = torch.Generator().manual_seed(seed)
    u, _, vh = torch.linalg.svd(torch.randn(count, m, n, generator=draw), full_matrices=False)
    sigma = least + (1 - least) * torch.rand(count, 1, min(m, n), generator=draw)
    return (u * sigma) @ vh, u @ vh


@pytest.mark.parametrize(("m", "n"), [(8, 8), (4, 24), (24, 4), (1, 5), (5, 1)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_singular_values_near_one(m, n, scale):
    given, exact = blocks(16, m, n)
    found = orthogonalised(scale * given)
    assert found.shape == given.shape
    sigma = torch.linalg.svdvals(found)
    assert sigma.min() > 0.5 and sigma.max() < 1.3
    # The same singular vectors: U^T found V is diagonal, the inner product with U V^T is the sum of its elements.
    inner = (found * exact).sum((1, 2))
    torch.testing.assert_close(inner, sigma.sum(1), rtol=1e-3, atol=1e-3)


def test_blocks_do_not_see_each_other():
    given, _ = blocks(3, 6, 5)
    given[1] *= 1000
    for n in range(3):
        torch.testing.assert_close(orthogonalised(given)[n], orthogonalised(given[n : n + 1])[0])


def test_zero_stays_zero():
    given, _ = blocks(3, 6, 5)
    given[1] = 0
    found = orthogonalised(given)
    assert torch.isfinite(found).all() and not found[1].any() and found[0].any()


def test_quadratic_problem_converges():
    """Badly scaled on purpose: plain gradient descent of this step size gets nowhere in the weak directions."""
    target, _ = blocks(4, 6, 10, least=0.5)
    scale = torch.logspace(-2, 0, 10)
    parameter = nn.Parameter(torch.zeros_like(target))
    optimiser = BlockMuon([parameter], lr=0.1)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 300)
        optimiser.zero_grad()
        ((parameter - target) * scale).square().sum().backward()
        optimiser.step()
    assert (parameter - target).abs().max() < 0.02


@pytest.mark.parametrize(("m", "n"), [(4, 16), (16, 4)])
def test_size_of_a_step(m, n):
    parameter = nn.Parameter(torch.zeros(3, m, n))
    optimiser = BlockMuon([parameter], lr=0.01)
    parameter.grad, exact = blocks(3, m, n)
    optimiser.step()
    # 0.2 sqrt(16) times a matrix of singular values about one, downhill.
    torch.testing.assert_close(parameter.detach(), -0.008 * exact, atol=0.004, rtol=0)
    assert (parameter * exact).sum() < 0


def test_parameters_without_gradient_stay():
    moved, still = nn.Parameter(torch.ones(1, 2, 2)), nn.Parameter(torch.ones(1, 2, 2))
    optimiser = BlockMuon([moved, still], lr=0.1)
    moved.sum().backward()
    optimiser.step()
    assert torch.equal(still, torch.ones(1, 2, 2)) and not torch.equal(moved, still)
