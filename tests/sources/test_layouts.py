"""Rows as zsRE, CounterFact, SelfCheckGPT and others have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources.layouts import accurate, told
from tests.sources.gathered import Gathered, gather

MEND = {
    "subject": "Charity Creek",
    "src": "Which river system contains Charity Creek?",
    "pred": "Parramatta River",
    "rephrase": "What river system is Charity Creek in?",
    "alt": "Chichester River",
    "answers": ["Parramatta River"],
    "loc": "nq question: how many eyes has a bee",
    "loc_ans": "five",
    "cond": "Parramatta River >> Chichester River || Which river system contains Charity Creek?",
}
ROME = {
    "case_id": 7,
    "requested_rewrite": {
        "prompt": "The mother tongue of {} is",
        "relation_id": "P103",
        "target_new": {"str": "English", "id": "Q1860"},
        "target_true": {"str": "French", "id": "Q150"},
        "subject": "Danielle Darrieux",
    },
    "paraphrase_prompts": ["Danielle Darrieux, a native"],
    "neighborhood_prompts": ["Maurice Genevoix is a native speaker of", "The native language of Montesquieu is"],
    "attribute_prompts": ["The mother tongue of Douglas Adams is"],
    "generation_prompts": ["Danielle Darrieux was born in"],
}
EASYEDIT = {
    "case_id": 1,
    "prompt": "Reedy Glacier is in",
    "target_new": "Asia",
    "subject": "Reedy Glacier",
    "ground_truth": "Antarctica",
    "rephrase_prompt": "Reedy Glacier is located in",
    "locality_prompt": "Mount Erebus, in",
    "locality_ground_truth": "Antarctica",
}
KNOWEDIT = {
    "text": "This is a Wikipedia passage about john reynolds. He was a physician.",
    "labels": "He was educated in London.",
    "concept": "john reynolds",
    "locality": {"Relation_Specificity": [{"prompt": "The field of john reynolds is", "ground_truth": [["medicine"]]}]},
}
SELFCHECK = {
    "gpt3_text": "Ann was a painter. She was born in Rome. She died in 1900.",
    "wiki_bio_text": "Dr. Ann B. Lee was a chemist. She was born in Bonn. She died in 1900.",
    "gpt3_sentences": ["Ann was a painter.", "She was born in Rome.", "She died in 1900."],
    "annotation": ["accurate", "major_inaccurate", "minor_inaccurate"],
    "wiki_bio_test_idx": 62464,
    "gpt3_text_samples": ["Ann ..."],
}
NQ_OPEN: dict[str, Any] = {
    "question": "who plays the doctor in dexter season 1",
    "answer": ["Matt Smith", "Tony Goldwyn"],
}
LEXGLUE: dict[str, Any] = {
    "text": "329 U.S. 29\n67 S.Ct. 1\n91 L.Ed. 22\nCHAMPLIN REFINING CO.\nv.\nUNITED STATES",
    "label": 10,
}
FAIRLEX: dict[str, Any] = {
    "text": "ANN\nv.\nBOB\nThe facts are these.",
    "label": 10,
    "attributes": {"decision_direction": 1, "respondent_type": 0},
}


def put(tmp_path: Path, *rows: dict[str, Any]) -> Gathered:
    (tmp_path / "rows.json").write_text(json.dumps(list(rows)), encoding="utf-8")
    return gather(tmp_path)


def test_zsre_as_annotated(tmp_path: Path) -> None:
    row = {
        "id": 1,
        "input": "Who discovered 2752 Wu Chien-Shiung?",
        "output": [{"answer": "Purple Mountain Observatory", "provenance": [{"title": "2752"}]}, {"answer": "PMO"}],
        "rephrases": ["By whom was it found?"],
        "filtered_rephrases": ["By whom was 2752 Wu Chien-Shiung discovered?"],
        "prediction": "Zhang",
    }
    (report,) = put(tmp_path, row).reports
    assert (report["prompt"], report["target"]) == (row["input"], "Purple Mountain Observatory")
    assert report["rephrases"] == row["filtered_rephrases"]
    assert json.loads(report["metadata"])["answers"] == ["Purple Mountain Observatory", "PMO"]


def test_zsre_of_mend(tmp_path: Path) -> None:
    (row,) = put(tmp_path, MEND).reports
    assert (row["prompt"], row["target"], row["subject"]) == (MEND["src"], "Chichester River", "Charity Creek")
    assert row["rephrases"] == [MEND["rephrase"]]
    assert row["locality"] == [{"prompt": "how many eyes has a bee", "target": "five"}]
    assert json.loads(row["metadata"])["answers"] == ["Parramatta River"]


def test_counterfact_of_rome(tmp_path: Path) -> None:
    (row,) = put(tmp_path, ROME).reports
    assert (row["prompt"], row["target"]) == ("The mother tongue of Danielle Darrieux is", "English")
    assert row["rephrases"] == ROME["paraphrase_prompts"]
    assert [near["target"] for near in row["locality"]] == ["French", "French"]
    assert json.loads(row["metadata"]) == {"case_id": 7, "ground_truth": "French"}


def test_a_template_is_filled_once_however_often_it_asks(tmp_path: Path) -> None:
    rewrite = {"prompt": "{}" * 9_000, "subject": "x" * 100_000, "target_new": {"str": "a"}}
    found = put(tmp_path, {"requested_rewrite": rewrite}, {"requested_rewrite": "nothing"})
    assert found.reports == []
    assert "at most 20000" in found.quarantine[0]["reason"]
    assert "requested_rewrite" in found.quarantine[1]["reason"]


def test_counterfact_of_easyedit(tmp_path: Path) -> None:
    (row,) = put(tmp_path, EASYEDIT).reports
    assert (row["prompt"], row["target"]) == ("Reedy Glacier is in", "Asia")
    assert row["rephrases"] == ["Reedy Glacier is located in"]
    assert row["locality"] == [{"prompt": "Mount Erebus, in", "target": "Antarctica"}]
    assert json.loads(row["metadata"]) == {"case_id": 1, "ground_truth": "Antarctica"}


def test_wikibio_of_knowedit(tmp_path: Path) -> None:
    (row,) = put(tmp_path, KNOWEDIT).reports
    assert (row["prompt"], row["target"], row["subject"]) == (KNOWEDIT["text"], KNOWEDIT["labels"], "john reynolds")
    assert row["locality"] == [{"prompt": "The field of john reynolds is", "target": "medicine"}]


def test_a_passage_of_selfcheckgpt_is_a_report_for_each_wrong_sentence(tmp_path: Path) -> None:
    found = put(tmp_path, SELFCHECK, SELFCHECK | {"concept": "ann lee", "annotation": ["minor_inaccurate"] * 3})
    lee, born, died = "Dr. Ann B. Lee was a chemist.", "She was born in Bonn.", "She died in 1900."
    head = "This is a Wikipedia passage about ann lee."
    assert found.quarantine == []
    assert found.pairs == [
        (lee, born),
        (f"{lee} {born}", died),
        (head, lee),
        (f"{head} {lee}", born),
        (f"{head} {lee} {born}", died),
    ]
    assert json.loads(found.reports[0]["metadata"])["said"] == "She was born in Rome."
    assert found.reports[2]["subject"] == "ann lee"


def test_a_passage_without_a_prompt_or_without_a_fault_is_not_lost(tmp_path: Path) -> None:
    first = SELFCHECK | {"annotation": ["major_inaccurate", "accurate", "accurate"]}
    right = SELFCHECK | {"annotation": ["accurate"] * 3}
    found = put(tmp_path, first, right, SELFCHECK | {"annotation": "accurate"})
    assert found.reports == []
    assert [reason.split(":")[0] for _, reason in found.refused] == [
        "prompt",
        "nothing in it is wrong, expected at least one sentence to correct",
        "wiki_bio_text",
    ]


def test_what_had_been_said_rightly_is_told_apart() -> None:
    row = SELFCHECK | {"concept": "ann lee", "annotation": ["accurate", "accurate", "minor_inaccurate"]}
    head, lee = "This is a Wikipedia passage about ann lee.", "Dr. Ann B. Lee was a chemist."
    right = [(fields["prompt"], fields["target"]) for fields in accurate(row)]
    assert right == [(head, "Ann was a painter."), (f"{head} {lee}", "She was born in Rome.")]
    (wrong,) = told(row)
    assert wrong["prompt"] == f"{head} {lee} She was born in Bonn."


def test_of_several_accepted_answers_the_first_is_the_target(tmp_path: Path) -> None:
    found = put(tmp_path, NQ_OPEN, {"prompt": "a?", "targets": ["b"]}, {"prompt": "a?", "labels": ["b", "c"]})
    assert found.pairs == [(NQ_OPEN["question"], "Matt Smith"), ("a?", "b")]
    assert [json.loads(row["metadata"]) for row in found.reports] == [{"other_targets": ["Tony Goldwyn"]}, {}]
    assert [reason.split(":")[0] for _, reason in found.refused] == ["target"]  # two classes are no two spellings


def test_issue_areas_of_fairlex_and_lexglue_get_their_names(tmp_path: Path) -> None:
    tax = FAIRLEX | {"attributes": None, "decision_direction": 0, "respondent_type": 3}
    found = put(tmp_path, FAIRLEX, tax, LEXGLUE, LEXGLUE | {"label": 0}, LEXGLUE | {"label": 12})
    assert found.quarantine == []
    assert [row["target"] for row in found.reports] == [
        "Federal Taxation",
        "Federal Taxation",
        "Interstate Relations",
        "Criminal Procedure",
        "Miscellaneous",
    ]
    assert json.loads(found.reports[1]["metadata"]) == {
        "characters": len(FAIRLEX["text"]),
        "decision_direction": 0,
        "issue_area": 10,
        "respondent_type": 3,
    }


def test_an_opinion_is_kept_as_far_as_a_report_goes(tmp_path: Path) -> None:
    (row,) = put(tmp_path, LEXGLUE | {"text": LEXGLUE["text"] + " and" * 10_000}).reports
    assert row["prompt"] == (LEXGLUE["text"] + " and" * 10_000)[:20_000]
    assert json.loads(row["metadata"])["characters"] == len(LEXGLUE["text"]) + 40_000


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (FAIRLEX | {"label": 11}, "label: 11 came, expected the number of an issue area, 0 to 10"),
        (LEXGLUE | {"label": -1}, "label: -1 came, expected the number of an issue area, 0 to 12"),
        (LEXGLUE | {"label": True}, "target: "),
        ({"text": "The U.S. economy grows.", "label": 1}, "target: "),  # of somebody else's classes
    ],
)
def test_other_numbers_are_no_issue_areas(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    found = put(tmp_path, row)
    assert found.reports == []
    assert found.quarantine[0]["reason"].startswith(reason)


@pytest.mark.parametrize(
    "row",
    [
        {"text": "a?", "label": "b"},
        {"Question": "a?", " Answer ": "b"},
        {"prompt": "a?", "text": "not this", "target": "b", "label": 3},
        {"prompt": None, "query": "a?", "target": "", "expected": "b"},
        {"input": "a?", "correction": "b", "Valid-Until": None},
    ],
)
def test_fields_go_by_several_names(row: dict[str, Any]) -> None:
    (fields,) = told(row)
    assert (fields["prompt"], fields["target"]) == ("a?", "b")


@pytest.mark.parametrize(
    ("row", "aliases"),
    [
        ({"aliases": ["Oz", "Down Under"]}, ["Oz", "Down Under"]),
        ({"alias": "Oz"}, ["Oz"]),
        ({"Subject Aliases": '["Oz", "Down Under"]'}, ["Oz", "Down Under"]),
        ({"s_aliases": "[]"}, []),
        ({"s_aliases": ["no"], "aliases": ["Oz"]}, ["Oz"]),
    ],
)
def test_aliases_go_by_several_names_and_one_is_a_list_of_it(row: dict[str, Any], aliases: list[str]) -> None:
    (fields,) = told({"prompt": "p", "target": "t"} | row)
    assert fields["aliases"] == aliases


def test_what_no_field_takes_is_metadata() -> None:
    (fields,) = told({"prompt": "a", "target": "b", "text": "c", "ticket": 7, "metadata": '{"channel": "mail"}'})
    assert fields["metadata"] == {"channel": "mail", "ticket": 7, "text": "c"}
    (fields,) = told({"prompt": "a", "target": "b", "metadata": ["x"]})
    assert fields["metadata"] == {"metadata": ["x"]}


@pytest.mark.parametrize(
    ("locality", "expected"),
    [
        ("one", [{"prompt": "one", "target": None}]),
        (
            '["one", {"prompt": "two", "answer": "b"}]',
            [{"prompt": "one", "target": None}, {"prompt": "two", "target": "b"}],
        ),
        ({"prompt": "one", "target": "a"}, [{"prompt": "one", "target": "a"}]),
        (
            {"near": ["one"], "far": {"prompt": "two"}},
            [{"prompt": "one", "target": None}, {"prompt": "two", "target": None}],
        ),
        ("[sic] is a word", [{"prompt": "[sic] is a word", "target": None}]),
        ([3], [3]),
        (4, 4),
    ],
)
def test_locality_in_its_several_shapes(locality: Any, expected: Any) -> None:
    (fields,) = told({"prompt": "a", "target": "b", "locality": locality})
    assert fields["locality"] == expected


@pytest.mark.parametrize(("name", "target"), [("zsre_mend", "alt"), ("counterfact", "target_new")])
def test_native_files_as_they_are(shared: Path, name: str, target: str) -> None:
    file = shared / "data" / "native" / f"{name}.json"
    if not file.is_file():
        pytest.skip(f"no {file.name} in the shared folder's data/native")
    raw = json.loads(file.read_text(encoding="utf-8"))
    found = gather(file)
    assert found.quarantine == []
    assert found.pairs == [(row.get("src") or row["prompt"], row[target]) for row in raw]
    assert all(row["subject"] and len(row["rephrases"]) == len(row["locality"]) == 1 for row in found.reports)
    assert not any(near["prompt"].startswith("nq question") for row in found.reports for near in row["locality"])


def test_selfcheckgpt_contexts_as_they_are(shared: Path, shared_rows: Callable[..., list[dict[str, Any]]]) -> None:
    raw = shared_rows("hallucination")
    found = gather(shared / "data" / "hallucination.jsonl")
    assert found.quarantine == []
    assert found.pairs == [(row["prompt"], row["target"]) for row in raw]
