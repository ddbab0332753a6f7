"""Questions and answers in texts, messages and objects."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.sources.conversations import answer, question
from pipeline.sources.strict_json import ReportError

USER, MODEL = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}


@pytest.mark.parametrize(
    "value",
    [
        "Why?",
        {"question": "Why?", "context": "x"},
        {"Question": "Why?"},
        {"anything": "Why?", "nothing": ""},
        {"messages": [{"role": "system", "content": "Be brief."}, USER]},
        '{"messages": [{"type": "human", "content": "Why?"}]}',
        [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}],
        {"inputs": {"query": "Why?"}},
    ],
)
def test_a_question_is_found(value: Any) -> None:
    assert question(value, "input") == "Why?"


@pytest.mark.parametrize(
    "value",
    [None, 4, {}, {"a": "b", "c": "d"}, {"a": 4}, [], [USER, MODEL, USER], [MODEL], [{"role": "user", "content": 4}]],
)
def test_what_does_not_stand_alone_is_no_question(value: Any) -> None:
    with pytest.raises(ReportError, match=r"^input: .*expected"):
        question(value, "input")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, None),
        ("So.", "So."),
        ("[sic] So", "[sic] So"),
        (MODEL, "So."),
        ([USER, MODEL], "So."),
        ({"messages": [USER, MODEL]}, "So."),
        ({"choices": [{"message": MODEL}]}, "So."),
        ({"choices": [{"text": "So."}]}, "So."),
        ('{"answer": "So.", "sources": [1]}', "So."),
        (7, "7"),
        ({"a": 1, "b": 2}, '{"a": 1, "b": 2}'),
    ],
)
def test_an_answer_is_found_or_told_as_it_is(value: Any, said: str | None) -> None:
    assert answer(value) == said
