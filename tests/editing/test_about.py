"""What an edit is about, given or found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.editing.about import renamed, shared_subject, subjects_of
from pipeline.editing.edit import Edit


@pytest.mark.parametrize(
    ("prompt", "rephrases", "subject"),
    [
        ("What college did Katsuhiko Oku go to?", ["Which college did Katsuhiko Oku go to?"], "Katsuhiko Oku"),
        ("Henry Maudsley's job is", ["The job of henry Maudsley is", "Henry Maudsley's trade?"], "Henry Maudsley"),
        ("What is the University of Michigan?", ["Where is the university of michigan?"], "University of Michigan"),
        ("What constellation does NGC 634 belong to?", ["Where is NGC 634?"], "NGC 634"),
        ('Who wrote "the old road" first?', ['"The Old Road" was written by'], "the old road"),
        ("Silversands is published by", ["Who publishes Silversands?"], "Silversands"),
        ("Reedy Glacier is in", ["It has symmetries. Reedy Glacier is located in"], "Reedy Glacier"),
        ("Paris and Rome, by train", ["By train: Rome"], "Rome"),
        ("Where is Foo (Bar) now?", ["Tell me where Foo (Bar) is"], "Foo (Bar)"),
        ("Where is Robert A. Hurley buried?", ["The grave of Robert A. Hurley is in"], "Robert A. Hurley"),
        ("Which is it?", ["Which is it?"], None),
        ("What Is Love?", ["What Is Love?"], "Love"),
        ("Bridges were built by", ["Bridges were designed by"], None),
        ("Where is Oslo?", [], None),
        ("Where is Oslo?", ["Where is it?"], None),
        ("where is oslo?", ["where is oslo?"], None),
        ("", [""], None),
    ],
)
def test_shared_subject(prompt: str, rephrases: list[str], subject: str | None) -> None:
    assert shared_subject(prompt, rephrases) == subject


@settings(deadline=None)
@given(st.text(max_size=60), st.lists(st.text(max_size=60), max_size=3))
def test_a_shared_subject_stands_in_the_prompt(prompt: str, rephrases: list[str]) -> None:
    subject = shared_subject(prompt, [*rephrases, prompt])
    assert subject is None or (subject in prompt and subject.strip() == subject != "")


def test_the_subject_is_given_or_found_and_stands_in_the_prompt() -> None:
    edits = [
        Edit("Who founded  Acme Corp?", "Ada", subject="Acme  Corp"),
        Edit("Who founded Acme Corp?", "Bob", rephrases=("Acme Corp was founded by",)),
        Edit("Who founded Acme Corp?", "Eve", subject="Initech"),
        Edit("Who founded Acme Corp?", "Dan", subject="Acme Corpp"),  # its own prompt has to name it to the letter
        Edit("who won", "Kim"),
        Edit("Who founded Acme Corp?", "Flo", subject="Acme Corporation", aliases=("Acme", "Acme Corp")),
        Edit("Who founded Acme Corp?", "Gil", subject="Acme Corporation", aliases=("Initech",)),
    ]
    assert subjects_of(edits) == ["Acme Corp", "Acme Corp", "", "", "", "Acme Corporation", ""]
    assert subjects_of([]) == []


@pytest.mark.parametrize(
    ("prompt", "subject", "renamed_to"),
    [
        ("Where is oslo's  Old town?", "Oslo's old Town", "Where is Bern?"),
        ("Where is Osloville?", "Oslo", None),
        ("Who is 3.5 (Bob)?", "3.5 (Bob)", "Who is Bern?"),
        ("Oslo lies in Oslo", "Oslo", "Bern lies in Oslo"),
        ("Where is it?", " ", None),
    ],
)
def test_another_name_takes_the_place_of_the_subject(prompt: str, subject: str, renamed_to: str | None) -> None:
    assert renamed(prompt, subject, "Bern") == renamed_to
