"""Edits with a subject live among those of the same subject, as if there were no others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.editing.clusters import Clusters
from pipeline.editing.edit import EditError
from pipeline.editing.fold import Conflicts

SUBJECTS = ("", "Ada", "Bob")
Coming = tuple[str, str, float]
"""Subject, label and key of an edit."""

streams = st.lists(
    st.tuples(st.sampled_from(SUBJECTS), st.sampled_from("xyz"), st.integers(-12, 12).map(lambda n: n / 4)),
    max_size=24,
).map(
    # Keys of two subjects never lie at one place: that would be one prompt, whose last answer prevails everywhere.
    lambda edits: [(s, label, key + SUBJECTS.index(s) / 16) for s, label, key in edits]
)


def fold(clusters: Clusters, edits: list[tuple[int, Coming]]) -> None:
    clusters.fold(
        [f"e{i}" for i, _ in edits],
        [label for _, (_, label, _) in edits],
        torch.tensor([[key] for _, (_, _, key) in edits]).reshape(-1, 1),
        [i for i, _ in edits],
        [subject for _, (subject, _, _) in edits],
    )


def balls(clusters: Clusters, subject: str) -> list[tuple[Any, ...]]:
    """The clusters of a subject with the edits that they hold."""
    table, keys = (part.to_pylist() for part in clusters.tables())
    held = {row["cluster"]: [k["edit_id"] for k in keys if k["cluster"] == row["cluster"]] for row in table}
    return sorted(
        (row["label"], row["centre"], row["radius"], held[row["cluster"]]) for row in table if row["subject"] == subject
    )


@given(streams, st.sampled_from(["keep", "paper"]))
def test_each_subject_is_folded_as_if_alone(edits: list[Coming], mode: Conflicts) -> None:
    together = Clusters(1, 0.5, mode, subject_radius=1.5)
    numbered = list(enumerate(edits))
    fold(together, numbered)
    for subject in SUBJECTS:
        alone = Clusters(1, 1.5 if subject else 0.5, mode)
        fold(alone, [(i, ("", label, key)) for i, (about, label, key) in numbered if about == subject])
        assert balls(together, subject) == balls(alone, "")
    held = {about: [e for *_, ids in balls(together, about) for e in ids] for about in SUBJECTS[1:]}
    assert {about: sorted(ids) for about, ids in together.subjects.items()} == {
        about: sorted(ids) for about, ids in held.items() if ids
    }
    kept = [f"e{i}" for i, _ in numbered]
    if mode == "keep":
        assert together.strays([e for e in kept if e in {r["edit_id"] for r in together.tables()[1].to_pylist()}]) == []


@given(streams)
def test_what_is_loaded_goes_on_as_it_was(edits: list[Coming]) -> None:
    clusters = Clusters(1, 0.5, subject_radius=1.5)
    fold(clusters, list(enumerate(edits[:12])))
    loaded = Clusters.from_tables(*clusters.tables())
    assert (loaded.radius, loaded.subject_radius) == (0.5, 1.5)
    for each in (clusters, loaded):
        fold(each, [(12 + i, edit) for i, edit in enumerate(edits[12:])])
    assert all(a.equals(b, check_metadata=True) for a, b in zip(loaded.tables(), clusters.tables(), strict=True))


def test_a_prompt_has_one_answer_whatever_its_edits_are_about() -> None:
    clusters = Clusters(1, 1.0)
    fold(clusters, [(0, ("Ada", "x", 0.0))])
    (step,) = clusters.fold(["e1"], ["y"], torch.ones(1, 1), [1], [""], [["e0", "unheard of"]])
    assert (step.action, step.replaced) == ("replace", ("e0",))
    assert [row["subject"] for row in clusters.tables()[0].to_pylist()] == [""]


def test_what_is_asked_of_two_subjects_may_lie_in_one_place() -> None:
    clusters = Clusters(1, 1.0)
    fold(clusters, [(0, ("Ada", "x", 0.0))])
    (step,) = clusters.fold(["e1"], ["y"], torch.zeros(1, 1), [1], ["Bob"])
    assert (step.action, step.replaced) == ("add", ())
    (step,) = clusters.fold(["e2"], ["z"], torch.zeros(1, 1), [1], ["Bob"])
    assert (step.action, step.replaced) == ("replace", ("e1",))
    assert sorted(row["subject"] for row in clusters.tables()[0].to_pylist()) == ["Ada", "Bob"]


def test_an_edit_that_comes_again_about_another_subject_moves_there() -> None:
    clusters = Clusters(1, 1.0)
    fold(clusters, [(0, ("", "x", 0.0))])
    clusters.fold(["e0"], ["x"], torch.zeros(1, 1), [3], ["Ada"])
    assert [(row["subject"], row["label"]) for row in clusters.tables()[0].to_pylist()] == [("Ada", "x")]
    assert [row["block"] for row in clusters.tables()[1].to_pylist()] == [3]


def test_as_many_subjects_as_edits_are_wanted() -> None:
    with pytest.raises(EditError, match="1 edits, 1 labels, 1 blocks and 2 subjects came"):
        Clusters(1, 1.0).fold(["a"], ["x"], torch.zeros(1, 1), [0], ["", ""])
    with pytest.raises(EditError, match=r"radius -1\.0 came"):
        Clusters(1, 1.0, subject_radius=-1.0)
