"""Adam over blocks that leave: torch's own for those that stay."""

from __future__ import annotations

import torch

from pipeline.editing.adam import BETAS, BlockAdam
from pipeline.editing.blocks import BlockWeights, initial_weights
from tests.editing.case import assert_close


def quadratic(weights: BlockWeights, goals: BlockWeights) -> torch.Tensor:
    return sum(
        ((tensor - goal) ** 4).sum()
        for name in weights
        for tensor, goal in zip(weights[name], goals[name], strict=True)
    )  # type: ignore[return-value]


def test_blocks_that_stay_go_on_as_in_torchs_adam() -> None:
    widths = {"up": (5, 4), "down": (4, 5)}
    start = initial_weights(widths, [0, 1, 2], 2, 1.0, seed=0)
    goals = {name: (a + 1, b - 1) for name, (a, b) in initial_weights(widths, [3, 4, 5], 2, 1.0, seed=1).items()}
    kept = [0, 2]
    mine = BlockAdam(start, 0.05, torch.device("cpu"))
    theirs = {
        name: (a[kept].clone().requires_grad_(), b[kept].clone().requires_grad_()) for name, (a, b) in start.items()
    }
    adam = torch.optim.Adam([tensor for pair in theirs.values() for tensor in pair], lr=0.05, betas=BETAS)
    for step in range(6):
        rate = 0.05 if step < 4 else 0.02
        if step == 2:
            mine.keep(torch.tensor(kept))
        mine.step(quadratic(mine.weights(), goals if step < 2 else pick(goals, kept)), rate)
        adam.param_groups[0]["lr"] = rate
        adam.zero_grad()
        quadratic(theirs, pick(goals, kept)).backward()
        adam.step()
    for name, pair in mine.weights().items():
        for tensor, other, first in zip(pair, theirs[name], start[name], strict=True):
            torch.testing.assert_close(tensor.detach(), other.detach())
            assert not torch.allclose(tensor, first[kept], atol=0.1)


def pick(weights: BlockWeights, kept: list[int]) -> BlockWeights:
    return {name: (a[kept], b[kept]) for name, (a, b) in weights.items()}


def test_the_optimiser_stores_its_blocks_and_spares_its_start() -> None:
    widths = {"up": (5, 4)}
    start = initial_weights(widths, [0, 1, 2], 2, 1.0, seed=0)
    copy = pick(start, [0, 1, 2])
    into = {name: (torch.zeros_like(a), torch.zeros_like(b)) for name, (a, b) in start.items()}
    adam = BlockAdam(start, 0.05, torch.device("cpu"))
    adam.step(quadratic(adam.weights(), pick(start, [1, 2, 0])), 0.05)
    adam.keep(torch.tensor([1]))
    adam.store(into, torch.tensor([2]))
    assert_close(start, copy, atol=0)
    assert torch.equal(into["up"][0][2], adam.weights()["up"][0].detach()[0])
    assert not into["up"][0][:2].any()
    assert not torch.equal(into["up"][0][2], start["up"][0][1])
