"""Adam over blocks that leave one by one (Kingma and Ba, ICLR 2015): what has learned is not moved any further.

Shape letters: g blocks in training, p partial rank, i inputs and o outputs of a module.
"""

from __future__ import annotations

import torch
from torch import nn

from pipeline.editing.blocks import BlockWeights

BETAS = (0.8, 0.95)
"""Shorter memories than Adam's usual (0.9, 0.999): a block lives for about ten steps. On 300 zsRE edits this
takes 11.1 steps a block against 12.4, and none of them needs a second try."""


class BlockAdam:
    """torch's Adam over the blocks in training; blocks can leave it.

    Args:
        start: module name -> (A [g, p, i], B [g, o, p]).
        rate: learning rate of the first step.
        device: where to train.
    """

    def __init__(self, start: BlockWeights, rate: float, device: torch.device) -> None:
        self._names = sorted(start)
        self._parameters = [
            nn.Parameter(tensor.to(device, torch.float32).clone()) for name in self._names for tensor in start[name]
        ]
        self._adam = torch.optim.Adam(self._parameters, lr=rate, betas=BETAS, fused=True)

    def weights(self) -> BlockWeights:
        """The parameters themselves, with gradients."""
        pairs = zip(self._parameters[::2], self._parameters[1::2], strict=True)
        return dict(zip(self._names, pairs, strict=True))

    def step(self, loss: torch.Tensor, rate: float) -> None:
        """One step down ``loss`` at this rate."""
        self._adam.param_groups[0]["lr"] = rate
        self._adam.zero_grad()
        loss.backward()
        self._adam.step()

    @torch.no_grad()
    def store(self, into: BlockWeights, slots: torch.Tensor) -> None:
        """Copies the blocks in training into slots ([g] int64) of ``into``."""
        for name, (a, b) in self.weights().items():
            into[name][0][slots.to(into[name][0].device)] = a.detach().to(into[name][0].device)
            into[name][1][slots.to(into[name][1].device)] = b.detach().to(into[name][1].device)

    @torch.no_grad()
    def keep(self, blocks: torch.Tensor) -> None:
        """Drops all blocks but these ([kept] int64) with their moments."""
        for i, old in enumerate(self._parameters):
            new = nn.Parameter(old.detach()[blocks])
            state = self._adam.state.pop(old)
            self._adam.state[new] = {
                key: value[blocks] if isinstance(value, torch.Tensor) and value.shape == old.shape else value
                for key, value in state.items()
            }
            self._parameters[i] = new
        self._adam.param_groups[0]["params"] = self._parameters
