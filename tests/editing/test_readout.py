from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from pipeline.editing.readout import CHUNK, Readout, hidden_instead_of_logits

VOCABULARY, WIDTH = 60, 8


def head_of(seed: int, bias: bool = False) -> nn.Linear:
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(WIDTH, VOCABULARY, bias=bias)
    for parameter in head.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
        parameter.requires_grad_(False)
    return head


def drawn(positions: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed + 1000)
    hidden = torch.randn(positions, WIDTH, generator=generator)
    return hidden, torch.randint(VOCABULARY, (positions,), generator=generator)


def exact_leads(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Position by position: the wanted logit minus the largest of all others."""
    leads = []
    for row, target in zip(logits, targets.tolist(), strict=True):
        others = torch.cat([row[:target], row[target + 1 :]])
        leads.append(row[target] - others.max())
    return torch.stack(leads)


@given(st.integers(0, 10_000), st.integers(1, 12), st.booleans(), st.integers(1, 5))
def test_the_active_set_errs_on_one_side_only(seed: int, positions: int, bias: bool, competitors: int) -> None:
    head, (hidden, targets) = head_of(seed, bias), drawn(positions, seed)
    readout = Readout(head, competitors)
    readout.losses(hidden, targets)
    moved = hidden + 2 * drawn(positions, seed + 1)[0]  # the active set was chosen before
    losses, leads = readout.losses(moved, targets)
    logits = head(moved)
    full = F.cross_entropy(logits, targets, reduction="none")
    assert (losses <= full + 1e-5).all()
    exact = exact_leads(logits, targets)
    assert (leads >= exact - 1e-5).all()  # so a negative one is certain
    torch.testing.assert_close(readout.leads(moved, targets, extend=False), exact)


@given(st.integers(0, 10_000), st.booleans())
def test_over_the_whole_vocabulary_it_is_cross_entropy(seed: int, bias: bool) -> None:
    head, (hidden, targets) = head_of(seed, bias), drawn(4, seed)
    mine, theirs = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    losses, leads = Readout(head, competitors=VOCABULARY).losses(mine, targets)
    expected = F.cross_entropy(head(theirs), targets, reduction="none")
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(leads, exact_leads(head(hidden), targets))
    losses.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)
    assert not leads.requires_grad


def test_at_the_first_call_every_lead_is_exact() -> None:
    head, (hidden, targets) = head_of(0), drawn(20, 0)
    leads = Readout(head, competitors=2).losses(hidden, targets)[1]  # the best two hold the best other
    torch.testing.assert_close(leads, exact_leads(head(hidden), targets))


def test_a_token_that_wins_outside_the_active_set_is_found_and_joins() -> None:
    head = nn.Linear(3, 6, bias=False)
    head.weight.data = torch.tensor([[2.0, 0, 0], [1, 0, 0], [0.5, 0, 0], [0, 3, 0], [-1, 0, 0], [-1, 0, 0.0]])
    target = torch.tensor([0])
    readout = Readout(head, competitors=2)
    before, after = torch.tensor([[1.0, 0, 0]]), torch.tensor([[1.0, 1, 0]])  # token 3 wins after
    assert readout.losses(before, target)[1].item() == pytest.approx(1)
    losses, leads = readout.losses(after, target)
    assert leads.item() == pytest.approx(1)  # it seems to lead
    assert readout.leads(after, target, extend=False).item() == pytest.approx(-1)  # but does not
    assert readout.losses(after, target)[1].item() == pytest.approx(1)  # asked without extending: nothing joins
    assert readout.leads(after, target, extend=True).item() == pytest.approx(-1)
    confirmed, corrected = readout.losses(after, target)
    assert corrected.item() == pytest.approx(-1)
    assert confirmed.item() > losses.item()
    assert readout.losses(before, target)[1].item() == pytest.approx(1)  # who was there stays


def test_more_positions_than_a_chunk_holds_change_nothing() -> None:
    head, (hidden, targets) = head_of(1), drawn(CHUNK + 3, 1)
    torch.testing.assert_close(Readout(head).leads(hidden, targets, extend=True), exact_leads(head(hidden), targets))


def test_a_classifiers_logits_are_all_active() -> None:
    logits, targets = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 4, 0])
    readout = Readout(None)
    losses, leads = readout.losses(logits.requires_grad_(), targets)
    torch.testing.assert_close(losses, F.cross_entropy(logits, targets, reduction="none"))
    exact = exact_leads(logits.detach(), targets)
    torch.testing.assert_close(leads, exact)
    torch.testing.assert_close(readout.leads(logits.detach(), targets, extend=True), exact)
    torch.testing.assert_close(readout.losses(logits, targets)[0], losses)


def test_bfloat16_losses_are_float32() -> None:
    head, (hidden, targets) = head_of(2).bfloat16(), drawn(5, 2)
    losses, leads = Readout(head).losses(hidden.bfloat16(), targets)
    assert losses.dtype == leads.dtype == torch.float32


def test_a_head_that_passes_its_input_on_is_a_head_again_afterwards() -> None:
    head, (hidden, _) = head_of(3), drawn(4, 3)
    logits = head(hidden)
    with pytest.raises(RuntimeError, match="on purpose"), hidden_instead_of_logits(head):
        assert head(hidden) is hidden
        raise RuntimeError("on purpose")
    assert torch.equal(head(hidden), logits)
    assert "forward" not in vars(head)
    with hidden_instead_of_logits(None):
        pass
