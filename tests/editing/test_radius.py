from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.editing.keys import KeyReader
from pipeline.editing.loading import from_objects
from pipeline.editing.model import EditedModel
from pipeline.editing.radius import PROBES, SHARE, measured_radius
from pipeline.settings import EditingSettings
from tests.editing.tiny import FAMILIES, Family, task_of, tiny_backbone


def test_it_is_a_share_of_the_median_distance_to_the_nearest() -> None:
    keys = torch.tensor([[0.0, 0], [3, 4], [3, 5], [100, 0], [100, 7]])  # nearest: 5, 1, 1, 7, 7
    assert measured_radius(keys) == pytest.approx(SHARE * 5)


@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.permutations(range(9)))
def test_it_grows_with_the_keys_and_sees_neither_order_nor_origin(seed: int, size: float, order: list[int]) -> None:
    keys = torch.randn(9, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    shift = torch.arange(5.0, dtype=torch.float64)
    assert measured_radius(keys[order] * size + shift) == pytest.approx(size * measured_radius(keys), rel=1e-6)


def test_an_outlier_does_not_move_it() -> None:
    keys = torch.arange(11.0)[:, None]
    far = keys.clone()
    far[-1] = 1e9
    assert measured_radius(far) == measured_radius(keys) == pytest.approx(SHARE)


def test_probes_are_distinct_prompts() -> None:
    assert len(set(PROBES)) == len(PROBES) >= 30
    assert all(probe == probe.strip() and probe for probe in PROBES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_without_a_radius_measures_its_own(family: Family) -> None:
    model, tokenizer = tiny_backbone(family)
    backbone = from_objects(model, tokenizer, task_of(family), "tiny")
    edited = EditedModel.from_backbone(backbone, settings=EditingSettings(), index="memory")
    radius = edited.recipe.radius
    assert radius is not None
    assert radius > 0
    reader = KeyReader(backbone, edited.recipe.key_layer)
    keys = reader.keys(backbone.tokenize_prompts(PROBES))
    assert radius == measured_radius(keys)
    nearest = torch.cdist(keys, keys).fill_diagonal_(float("inf")).amin(1)
    assert (nearest > 2 * radius).float().mean() > 0.5  # most unrelated prompts would not share a scope
    assert edited.clusters.radius == radius
    edited.close()


def test_a_given_radius_is_taken_as_it_is() -> None:
    model, tokenizer = tiny_backbone("gpt2")
    backbone = from_objects(model, tokenizer, "causal", "tiny")
    edited = EditedModel.from_backbone(backbone, settings=EditingSettings(radius=2.5), index="memory")
    assert edited.recipe.radius == edited.clusters.radius == 2.5
