"""A metric brings wordings of one question together and keeps questions apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch.nn.functional import normalize

from pipeline.editing.metric import LEAST_PAIRS, WIDTH, Metric, MetricError, fitted, open_metric, read_metric, whitened


def pairs(count: int, seed: int, width: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    """Questions that differ in the first half of the directions and whose wordings differ in the second, and more."""
    generator = torch.Generator().manual_seed(seed)
    meaning = torch.randn(count, width // 2, generator=generator)
    wordings = torch.randn(2, count, width // 2, generator=generator) * 2
    one, other = (normalize(torch.cat([meaning, wording], 1), dim=1) for wording in wordings)
    return one, other


def separated(questions: torch.Tensor, rephrases: torch.Tensor) -> float:
    """Share of rephrases whose nearest question is their own."""
    return (torch.cdist(rephrases, questions).argmin(1) == torch.arange(len(questions))).float().mean().item()


def test_what_it_was_not_fitted_on_comes_apart_by_meaning() -> None:
    metric = fitted(*pairs(400, seed=0))
    questions, rephrases = pairs(100, seed=1)
    assert separated(questions, rephrases) < 0.6
    assert separated(metric(questions), metric(rephrases)) > 0.9
    assert metric(questions).shape == (100, WIDTH)
    torch.testing.assert_close(metric(questions).norm(dim=1), torch.ones(100))


def test_it_comes_back_from_its_file_and_is_told_from_others(tmp_path: Path) -> None:
    metric, other = fitted(*pairs(60, seed=0)), fitted(*pairs(60, seed=1))
    (tmp_path / "metric").write_bytes(metric.content)
    again = open_metric(tmp_path / "metric")
    questions, _ = pairs(5, seed=2)
    assert torch.equal(again(questions), metric(questions))
    assert again.digest == metric.digest != other.digest


def test_whitened_vectors_have_no_mean_and_vary_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.logspace(2, -2, 24)
    vectors = 50 + torch.randn(200, 24, generator=generator) * spread
    metric = whitened(vectors)
    assert metric.width == 24
    mapped = (vectors - metric.mean) @ metric.directions
    torch.testing.assert_close(mapped.mean(0), torch.zeros(24), atol=1e-3, rtol=0)
    torch.testing.assert_close(mapped.T @ mapped / 200, torch.eye(24), atol=1e-2, rtol=0)
    assert whitened(vectors[:LEAST_PAIRS]).width == LEAST_PAIRS // 2
    with pytest.raises(MetricError, match="3 prompts came"):
        whitened(vectors[:3])


def test_vectors_narrower_than_the_metric_keep_their_width() -> None:
    assert fitted(*pairs(60, seed=0, width=16)).width == 16


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nothing of ours",
        save({"mean": torch.zeros(3)}),
        save({"mean": torch.zeros(3), "directions": torch.zeros(4, 2)}),
        save({"mean": torch.zeros(3), "directions": torch.zeros(3, 2), "more": torch.zeros(1)}),
        save({"mean": torch.zeros(3), "directions": torch.full((3, 2), torch.nan)}),
        save({"mean": torch.zeros(3, dtype=torch.float64), "directions": torch.zeros(3, 2)}),
    ],
)
def test_what_is_no_metric_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(MetricError, match="some/where"):
        read_metric(content, "some/where")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match=f"{LEAST_PAIRS - 1} pairs .* came, expected {LEAST_PAIRS}"):
        fitted(*pairs(LEAST_PAIRS - 1, seed=0))
    with pytest.raises(MetricError, match="width 4 came, expected 3"):
        Metric(torch.zeros(3), torch.zeros(3, 2))(torch.zeros(1, 4))
    with pytest.raises(MetricError, match="no metric at"):
        open_metric(tmp_path)
