"""What answers come to: shares worked by hand, and the scores of a tiny model that knows its edits."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline.evaluation import Scores, ask, failures, questions, summarise
from pipeline.evaluation.scores import Change, Slice
from tests.editing.edited import new_model, teach
from tests.evaluation.conftest import EDITS, Asked
from tests.evaluation.tables import answers, reports


def edit(edit_id: str, right: float, **more: Any) -> dict[str, Any]:
    own = {"kind": "edit", "edit_id": edit_id, "expected": f"answer {edit_id}", "block": 0, "routed_edit": edit_id}
    return own | {"exact_match": right, "f1": right, "base_exact_match": 0.0, "base_f1": 0.0, "version": 1} | more


def other(kind: str, before: float | None, after: float | None, **more: Any) -> dict[str, Any]:
    expected = None if before is None else "so"
    row = {"kind": kind, "expected": expected, "exact_match": after, "f1": after}
    return row | {"base_exact_match": before, "base_f1": before} | more


def test_a_tiny_model_knows_its_edits_and_leaves_the_rest_alone(asked: Asked) -> None:
    task = asked.model.backbone.task
    scores = summarise(asked.answers, task)
    assert scores.task == task
    assert scores.counts == {"edit": 3, "locality": 6, "upstream": 2}
    assert (scores.edit_success, scores.generality, scores.locality) == (1.0, None, 1.0)
    assert scores.upstream.before == scores.upstream.after
    assert (scores.routing_precision, scores.routing_recall) == (1.0, 1.0)
    assert scores.by_age == {
        "0": Slice(edits=1, success=1.0, generality=None, locality=1.0),
        "1": Slice(edits=2, success=1.0, generality=None, locality=1.0),
    }
    assert scores.by_source == {"drop/reports.jsonl": Slice(edits=3, success=1.0, generality=None, locality=1.0)}
    assert set(scores.f1) == (set() if task == "classification" else {"edit", "locality", "upstream"})
    assert (scores.upstream.before is not None) and scores.seconds_per_question is not None
    if task == "causal":
        taught = scores.perplexity["edit"]
        assert taught.before is not None and taught.after is not None
        assert 100 * taught.after < taught.before
        assert scores.upstream == scores.perplexity["upstream"]
    else:
        assert scores.perplexity == {}


def test_undoing_an_edit_is_seen() -> None:
    model, edits = new_model("t5", radius=1e-3), EDITS["t5"]
    teach(model, edits)
    suite = questions(reports(edits))
    before = summarise(ask(model, suite), "seq2seq")
    model.undo([edits[0].edit_id])
    after = summarise(ask(model, suite), "seq2seq")
    model.close()
    assert (before.edit_success, before.routing_recall) == (1.0, 1.0)
    assert after.edit_success == after.routing_recall == pytest.approx(2 / 3)


def test_shares_worked_by_hand() -> None:
    scores = summarise(
        answers(
            edit("a", 1.0),
            edit("b", 0.0, answer="no", f1=0.5),
            edit("a", 1.0, kind="rephrase"),
            edit("b", 0.0, kind="rephrase", block=None, routed_edit=None, base_exact_match=1.0),
            other("locality", 1.0, 1.0, edit_id="a", version=1, answer="so", base_answer="so"),
            other("locality", 1.0, 0.0, edit_id="b", version=1, block=0, routed_edit="a", answer="b", base_answer="so"),
            other("locality", None, None, edit_id="b", version=1, answer="x", base_answer="x"),
            other("upstream", 1.0, 1.0, f1=0.75, base_f1=0.5, seconds=2.5),
        ),
        "seq2seq",
    )
    assert scores.counts == {"edit": 2, "rephrase": 2, "locality": 3, "upstream": 1}
    assert (scores.edit_success, scores.generality) == (0.5, 0.5)
    assert scores.locality == pytest.approx(2 / 3)
    assert scores.arr == pytest.approx(2 / 4)  # right before: a rephrase, two locality prompts and one upstream
    assert scores.f1["edit"] == Change(before=0.0, after=0.75)
    assert scores.upstream == Change(before=0.5, after=0.75)
    assert scores.routing_precision == 3 / 4  # of four with a block, the wrong one is a locality prompt
    assert scores.routing_recall == 3 / 4
    assert scores.seconds_per_question == pytest.approx((7 * 0.5 + 2.5) / 8)


def test_a_rephrase_led_to_another_edit_of_the_same_label_is_well_led() -> None:
    same = {"expected": "Paris"}
    rows = [edit("a", 1.0, **same), edit("b", 1.0, expected="PARIS", routed_edit="a"), edit("c", 0.0, routed_edit="a")]
    scores = summarise(answers(*rows), "seq2seq")
    assert scores.routing_recall == scores.routing_precision == pytest.approx(2 / 3)


def test_slices_by_age_double_and_unknown_sources_are_called_that() -> None:
    rows = [edit(str(version), float(version > 4), version=version) for version in range(1, 11)]
    rows += [edit("late", 0.0, version=None, source="b.csv"), edit("x", 1.0, source="a.csv", version=10)]
    scores = summarise(answers(*rows), "seq2seq")
    assert {age: part.edits for age, part in scores.by_age.items()} == {"0": 2, "1": 1, "2-3": 2, "4-7": 4, "8-15": 2}
    assert [part.success for part in scores.by_age.values()] == [1.0, 1.0, 1.0, 0.5, 0.0]
    assert list(scores.by_age) == ["0", "1", "2-3", "4-7", "8-15"]
    assert {name: part.edits for name, part in scores.by_source.items()} == {"unknown": 10, "a.csv": 1, "b.csv": 1}


def test_upstream_follows_the_task() -> None:
    row = other("upstream", 1.0, 0.0, nll=math.log(8), base_nll=math.log(4), f1=0.25, base_f1=0.5)
    assert summarise(answers(row), "classification").upstream == Change(before=1.0, after=0.0)
    assert summarise(answers(row), "seq2seq").upstream == Change(before=0.5, after=0.25)
    causal = summarise(answers(row), "causal").upstream
    assert causal.before == pytest.approx(4)
    assert causal.after == pytest.approx(8)


def test_what_cannot_be_asked_is_counted_apart_and_nothing_is_none() -> None:
    nothing = {"answer": None, "base_answer": None, "seconds": None, "exact_match": None, "f1": None}
    scores = summarise(answers(edit("a", 1.0), edit("a", 1.0, kind="rephrase") | nothing), "seq2seq")
    assert (scores.counts, scores.not_askable, scores.generality) == ({"edit": 1}, 1, None)
    empty = summarise(answers(), "causal")
    assert (empty.counts, empty.edit_success, empty.arr, empty.routing_recall) == ({}, None, None, None)
    assert empty.flat() == {"not_askable": 0.0}


def test_scores_travel_as_json_and_as_plain_numbers(asked: Asked) -> None:
    scores = summarise(asked.answers, asked.model.backbone.task)
    assert Scores.model_validate_json(scores.model_dump_json()) == scores
    flat = scores.flat()
    assert (flat["edit_success"], flat["questions_edit"], flat["upstream_after"]) == (1.0, 3.0, scores.upstream.after)
    assert "generality" not in flat
    assert all(isinstance(value, float) and math.isfinite(value) for value in flat.values())


def test_failures_are_what_was_not_learned_and_what_has_changed() -> None:
    table = answers(
        edit("right", 1.0, prompt="right"),
        edit("wrong", 0.0, prompt="wrong"),
        edit("unasked", 0.0, prompt="unasked") | {"answer": None, "exact_match": None},
        edit("right", 0.0, prompt="rephrased", kind="rephrase"),
        other("locality", None, None, answer="new", base_answer="old", prompt="changed"),
        other("locality", None, None, answer="old", base_answer="old", prompt="kept"),
        other("upstream", 1.0, 0.0, answer="new", base_answer="old", prompt="lost"),
        edit("right", 0.0, prompt="misspelt", kind="typo"),
        other("distractor", None, None, answer="new", base_answer="old", prompt="beside"),
        other("near", None, None, answer="old", base_answer="old", prompt="kept too"),
    )
    assert failures(table).schema.equals(table.schema)
    assert failures(table)["prompt"].to_pylist() == ["wrong", "rephrased", "changed", "lost", "misspelt", "beside"]
    assert failures(answers()).num_rows == 0


def test_bytes_are_those_of_the_version_and_an_edits_share() -> None:
    scores = summarise(answers(edit("a", 1.0), edit("b", 1.0)), "seq2seq", size=3000)
    assert (scores.flat()["bytes"], scores.flat()["bytes_per_edit"]) == (3000.0, 1500.0)
    assert "bytes" not in summarise(answers(edit("a", 1.0)), "seq2seq").flat()


PROBED = (
    edit("a", 1.0, oracle_exact_match=1.0),
    edit("b", 1.0, oracle_exact_match=1.0, version=2),
    edit("a", 0.0, kind="typo", oracle_exact_match=1.0, block=None, routed_edit=None),
    edit("b", 1.0, kind="typo", oracle_exact_match=1.0, version=2),
    edit("a", 0.0, kind="wrapped", oracle_exact_match=0.0, base_exact_match=1.0),
    other("unrelated", None, None),
    other("distractor", None, None, edit_id="a", version=1, block=0, answer="new", base_answer="old"),
    other("distractor", None, None, edit_id="b", version=2),
    other("negated", None, None, edit_id="a", version=1, block=0),
)


def test_derived_questions_worked_by_hand() -> None:
    scores = summarise(answers(*PROBED), "seq2seq")
    assert scores.counts == {"edit": 2, "typo": 2, "wrapped": 1, "unrelated": 1, "distractor": 2, "negated": 1}
    assert scores.reworded == {"typo": 0.5, "wrapped": 0.0}
    assert scores.oracle == {"edit": 1.0, "typo": 1.0, "wrapped": 0.0}
    assert {kind: (left.unchanged, left.led) for kind, left in scores.left_alone.items()} == {
        "unrelated": (1.0, 0.0),
        "distractor": (0.5, 0.5),
        "negated": (1.0, 1.0),
    }
    wilson = scores.left_alone["distractor"]  # centre (k + z²/2) / (n + z²), n = 2 and k = 1: it is a half
    z = 1.959964
    half = z / (2 + z**2) * math.sqrt(2 * 0.25 + z**2 / 4)
    assert [wilson.low, wilson.high] == pytest.approx([0.5 - half, 0.5 + half])
    assert [(part.reworded, part.others) for part in scores.by_age.values()] == [(1.0, 1.0), (0.0, 0.5)]
    assert scores.worst_tenth == 2 / 5  # of a its prompt and the negated one came out right, of b all
    flat = scores.flat()
    assert (flat["right_typo"], flat["oracle_typo"], flat["worst_tenth"]) == (0.5, 1.0, 0.4)
    assert (flat["false_routes_distractor"], flat["unchanged_distractor"]) == (0.5, 0.5)
    assert flat["false_routes_distractor_low"] == wilson.low < wilson.high == flat["false_routes_distractor_high"]
    assert flat["questions_distractor"] == 2.0


def test_derived_questions_move_no_score_of_the_reported_ones() -> None:
    reported = [edit("a", 1.0), edit("b", 0.0), other("upstream", 1.0, 1.0, block=0)]
    slow = [row | {"seconds": 9.0} for row in PROBED if row["kind"] != "edit"]
    without, probed = (summarise(answers(*rows), "seq2seq") for rows in (reported, [*reported, *slow]))
    own = {"counts", "reworded", "left_alone", "oracle", "worst_tenth", "by_age", "by_source"}
    assert probed.model_dump(exclude=own) == without.model_dump(exclude=own)
    assert probed.left_alone["upstream"] == without.left_alone["upstream"]


def test_the_worst_tenth_are_whole_edits() -> None:
    rows = [edit(f"{n}", 1.0) for n in range(19)] + [edit("lost", 0.0), edit("lost", 1.0, kind="rephrase")]
    assert summarise(answers(*rows), "seq2seq").worst_tenth == (0.5 + 1.0) / 2
    assert summarise(answers(*rows, edit("more", 0.0)), "seq2seq").worst_tenth == (0.0 + 0.5 + 1.0) / 3


def test_scores_of_before_there_were_derived_questions_can_still_be_read() -> None:
    now = summarise(answers(edit("a", 1.0), other("locality", 1.0, 1.0, edit_id="a", version=1)), "seq2seq")
    then = now.model_dump(mode="json", exclude={"reworded", "left_alone", "oracle", "worst_tenth"})
    for slices in ("by_age", "by_source"):
        then[slices] = {
            name: {field: part[field] for field in ("edits", "success", "generality", "locality")}
            for name, part in then[slices].items()
        }
    assert Scores.model_validate(then).edit_success == 1.0
