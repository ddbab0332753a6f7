"""Tiny edited models that know two or three edits, one a kind of task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pytest

from pipeline.editing.edit import Edit
from pipeline.editing.model import EditedModel
from pipeline.evaluation import ask, questions
from tests.editing.edited import new_model, teach
from tests.editing.tiny import Family
from tests.evaluation.tables import reports

OTHERS = ("When did the old museum open?", "My sister's favourite", "The spring of 1847 is")
EDITS = {
    "t5": [
        Edit("Who wrote the first novel?", "Ann Lee", locality=OTHERS),
        Edit("What is the capital of the north?", "Aldershore", locality=(f"{OTHERS[0]} => in 1847",)),
        Edit("Who signed the treaty?", "three ministers", locality=OTHERS[1:]),
    ],
    "gpt2": [
        Edit("The first novel was written by", "Ann Lee", locality=OTHERS),
        Edit("The capital of the north is", "Aldershore", locality=(f"{OTHERS[0]} => in 1847",)),
        Edit("The treaty was signed by", "three ministers", locality=OTHERS[1:]),
    ],
    "bert": [
        Edit("The ministers signed the treaty.", "politics", locality=OTHERS),
        Edit("It rained all spring.", "weather", locality=(f"{OTHERS[0]} => music",)),
        Edit("They won the series.", "sport", locality=OTHERS[1:]),
    ],
}
UPSTREAM = [("What is the capital of France?", "Paris"), ("My favourite colour has always been", "green")]


@dataclass(frozen=True)
class Asked:
    """A model with edits of two versions, its questions and what it answered to them all at once."""

    model: EditedModel
    edits: list[Edit]
    questions: pa.Table
    answers: pa.Table


@pytest.fixture(scope="session", params=list(EDITS))
def asked(request: pytest.FixtureRequest) -> Iterator[Asked]:
    family: Family = request.param
    model, edits = new_model(family, radius=1e-3), EDITS[family]
    teach(model, edits[:2])
    teach(model, edits[2:])
    upstream = [(prompt, "food") for prompt, _ in UPSTREAM] if family == "bert" else UPSTREAM
    suite = questions(reports(edits), upstream)
    yield Asked(model, edits, suite, ask(model, suite))
    model.close()
