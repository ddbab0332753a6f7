"""Reports about many countries, in one of two respects each, and keys of them that are right by construction."""

from __future__ import annotations

import pyarrow as pa
import pytest
import torch

from pipeline.editing.edit import Edit
from pipeline.evaluation.calibration.trial import Trial, make_trial
from tests.editing.edited import tiny
from tests.evaluation.tables import reports

_NAMES = """Australia Austria Brazil Cameroon Denmark Ecuador Finland Guatemala Honduras Iceland Jamaica Kazakhstan
Luxembourg Madagascar Nicaragua Oman Paraguay Qatar Romania Singapore Thailand Uruguay Venezuela Zimbabwe Albania
Belgium Colombia Dominica Egypt Ethiopia Georgia Germany Hungary Indonesia Jordan Kuwait Lebanon Malaysia Nepal
Norway Pakistan Portugal Rwanda Senegal Tanzania Ukraine Vietnam Yemen"""
COUNTRIES = _NAMES.split()
FORMS = (
    ("What is the capital of {}?", "Name the seat of government of {}."),
    ("When was {} founded?", "How old is {}?"),
)
"""Prompt and rephrase. Edits ask one of one half of the countries and one of the other."""
EDITS = [
    Edit(
        FORMS[place % 2][0].format(country),
        f"answer {place}",
        (FORMS[place % 2][1].format(country),),
        ("Which bread is best?",),
    )
    for place, country in enumerate(COUNTRIES)
]


@pytest.fixture(scope="session")
def table() -> pa.Table:
    return reports(EDITS)


@pytest.fixture(scope="session")
def trial(table: pa.Table) -> Trial:
    return make_trial(tiny("t5"), table, ["How do I boil an egg?", EDITS[0].prompt], 0.05)


def apart(prompts: list[str]) -> torch.Tensor:
    """[p, 52] keys in which what is asked of which country tells prompts apart, and the wording hardly does.

    A prompt lies 1 from its rephrase, 4 or more from all else. One about no country, or misspelling it, is far away.
    """
    keys = torch.zeros(len(prompts), len(COUNTRIES) + 4)
    for key, prompt in zip(keys, prompts, strict=True):
        about = [place for place, country in enumerate(COUNTRIES) if country in prompt]
        key[about or [-1]] = 4.0 if about else 50.0
        for relation, (form, other) in enumerate(FORMS):
            first, second = (text.split("{}")[0] in prompt for text in (form, other))
            key[len(COUNTRIES) + relation] = 4.0 * (first or second)
            key[-2] += 1.0 * second
    return keys


def alike(prompts: list[str]) -> torch.Tensor:
    """[p, 2] keys in which only the first words count: of other wordings nothing can be told."""
    first = {form.split("{}")[0]: float(number) for number, form in enumerate(form for pair in FORMS for form in pair)}
    asked = [next((number for text, number in first.items() if text in prompt), 9.0) for prompt in prompts]
    return torch.tensor(asked)[:, None] * torch.tensor([1.0, 2.0])
