"""What a rating says of an answer, in words and numbers."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.sources.ratings import is_right


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("correctness", True, True),
        ("correctness", False, False),
        ("correctness", "Correct.", True),
        ("correctness", "partially_correct", False),
        ("rate", "Good answer", True),
        ("rate", "Neutral answer", None),
        ("user_feedback", "thumbs-down", False),
        ("user_feedback", "👍", True),
        ("thumbs", 1, True),
        ("thumbs", 0.0, False),
        ("thumbs", -1, False),
        ("hallucination", True, False),  # it has the fault
        ("hallucination", "no", True),
        ("is_incorrect", 1, False),
        ("hallucination", "hallucinated", False),
        ("hallucination", "factual", True),
        ("stars", 1, None),  # of five, perhaps
        ("Overall rating", 0, None),
        ("relevance", 0.5, None),
        ("relevance", 3, None),
        ("topic", "geography", None),
        ("spans", ["a"], None),
        ("correctness", None, None),
        ("correctness", float("nan"), None),
    ],
)
def test_a_rating_says_right_wrong_or_neither(name: str, value: Any, right: bool | None) -> None:
    assert is_right(name, value) is right
