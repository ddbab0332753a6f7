"""From hidden states to a loss, over as much of the vocabulary as matters.

The output head is most of the work once the frozen prefix is replayed, and nearly all of its rows are far
from winning. So the loss runs over an active set, each block's own: the targets and the tokens that the
backbone prefers to them. Whether an answer is learned is always asked of the whole vocabulary, and a token
that wins there and is not in the set joins it.

Shape letters: m positions with a target, g blocks, d hidden, v vocabulary, u tokens active in any block.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.nn import functional as F

from pipeline.editing.replay import forward_replaced

CHUNK = 128
"""Positions whose full logits are held at once."""


def hidden_instead_of_logits(head: nn.Module | None) -> AbstractContextManager[None]:
    """Within it the output head passes its input on, so a forward pass ends in hidden states."""
    return nullcontext() if head is None else forward_replaced(head, lambda hidden: hidden)


class Readout:
    """Loss and leads of a batch's target positions.

    Args:
        head: the output embedding [v, d], or None where the model's output is the logits already (a
            classifier), which then are all active.
        competitors: tokens a position adds to the active set of its block.
    """

    def __init__(self, head: nn.Linear | None, competitors: int = 16) -> None:
        self._weight: torch.Tensor | None = None if head is None else head.weight
        self._bias: torch.Tensor | None = None if head is None else head.bias
        self._competitors = competitors
        self._active: torch.Tensor | None = None  # [u] int64, sorted
        self._members: torch.Tensor | None = None  # [g, u] bool, which of them each block competes with

    def losses(
        self,
        hidden: torch.Tensor,
        targets: torch.Tensor,
        owners: torch.Tensor | None = None,
        given: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross entropy and lead of each position over its block's active set.

        Args:
            hidden: [m, d] with gradients.
            targets: [m] int64.
            owners: [m] int64, the block of each position; None when there is one.
            given: [m] float32, taken off the targets' logits; None: nothing is.

        Returns:
            losses [m], and leads [m] (no gradient): the target's logit minus the best other's. A negative
            lead is certain; a positive one is to be confirmed by ``leads``.
        """
        if self._weight is None:
            return _scored(hidden.float(), targets, given)
        owners = torch.zeros_like(targets) if owners is None else owners
        if self._active is None:
            self.leads(hidden.detach(), targets, extend=True, owners=owners)
        assert self._active is not None and self._members is not None
        logits = F.linear(hidden, self._weight[self._active], self._bias_of(self._active)).float()  # [m, u]
        logits = logits.masked_fill(~self._members[owners], float("-inf"))
        return _scored(logits, torch.searchsorted(self._active, targets), given)

    @torch.no_grad()
    def leads(
        self, hidden: torch.Tensor, targets: torch.Tensor, extend: bool, owners: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Lead [m] of each position's target over the whole vocabulary.

        Args:
            hidden: [m, d].
            targets: [m] int64.
            extend: let the targets and the best competitors of each position join its block's active set.
            owners: [m] int64, the block of each position; None when there is one.
        """
        if self._weight is None:
            return _lead(hidden.float(), targets)
        leads, best = [], []
        for chunk, wanted in zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True):
            logits = F.linear(chunk, self._weight, self._bias).float()  # [m, v]
            leads.append(_lead(logits, wanted))
            if extend:
                best.append(logits.topk(self._competitors, dim=-1).indices)
        if extend:
            joining = torch.cat([targets[:, None], torch.cat(best)], 1)  # [m, 1 + competitors]
            self._join(torch.zeros_like(targets) if owners is None else owners, joining)
        return torch.cat(leads)

    def keep(self, blocks: torch.Tensor) -> None:
        """Drops all blocks but these ([kept] int64), which are numbered anew, and what only the others needed."""
        if self._active is None or self._members is None:
            return
        members = self._members[blocks]
        used = members.any(0)
        self._active, self._members = self._active[used], members[:, used]

    def _join(self, owners: torch.Tensor, tokens: torch.Tensor) -> None:
        """Adds tokens [m, k] to the active sets of their positions' blocks [m]."""
        old, members = self._active, self._members
        self._active = tokens.unique() if old is None else torch.cat([old, tokens.flatten()]).unique()
        blocks = int(owners.max()) + 1 if members is None else len(members)
        self._members = torch.zeros(blocks, len(self._active), dtype=torch.bool, device=tokens.device)
        if old is not None and members is not None:
            self._members[:, torch.searchsorted(self._active, old)] = members
        self._members[owners[:, None], torch.searchsorted(self._active, tokens)] = True

    def _bias_of(self, tokens: torch.Tensor) -> torch.Tensor | None:
        return None if self._bias is None else self._bias[tokens]


def _scored(
    logits: torch.Tensor, places: torch.Tensor, given: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """logits [m, u], places [m], given [m] or None -> cross entropy [m] and lead [m] (no gradient)."""
    if given is not None:
        logits = logits.scatter_add(1, places[:, None], -given[:, None])
    return F.cross_entropy(logits, places, reduction="none"), _lead(logits.detach(), places)


def _lead(logits: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """logits [m, u], places [m] -> [m]: the wanted logit minus the largest other."""
    wanted = logits.gather(1, places[:, None]).squeeze(1)
    others = logits.scatter(1, places[:, None], float("-inf")).amax(1)
    return wanted - others
