"""What the four studies are made on: nothing that is scored is learned before, and what is missing is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.bench.material import MaterialError
from pipeline.bench.study.gathering import gather
from pipeline.bench.study.material import QUICK, Study, Wanted, settle
from pipeline.cli import app
from pipeline.editing.edit import normalise
from pipeline.telling import QUIET


def texts(study: Study) -> tuple[set[str], set[str], set[str], set[str]]:
    """Prompts of the stream with its holdouts, of what is scored besides, of the pairs, of what may be replayed."""
    stream = {normalise(text) for edit in study.edits for text in (edit.prompt, *edit.rephrases)}
    scored = {normalise(prompt) for prompt, _ in (*study.upstream, *study.accurate)}
    pairs = {normalise(edit.prompt) for edit in study.prior.pairs}
    replay = {normalise(prompt) for prompt, _ in study.prior.upstream}
    return stream, scored, pairs, replay


@pytest.mark.usefixtures("shared")
def test_zsre_has_1000_edits_of_800_questions_and_600_holdouts(tmp_path: Path) -> None:
    study = gather(Wanted("zsre", made=tmp_path), QUIET)
    assert len(study.edits) == 1000
    assert sum(len(edit.rephrases) for edit in study.edits) == pytest.approx(600, abs=5)
    assert (len(study.upstream), study.refused) == (500, 0)
    stream, scored, pairs, replay = texts(study)
    assert stream.isdisjoint(scored) and stream.isdisjoint(pairs) and stream.isdisjoint(replay)
    assert scored.isdisjoint(replay) and scored.isdisjoint(pairs)
    assert len(study.prior.pairs) > 1000 < len(study.prior.upstream) + 500
    assert study.digest == gather(Wanted("zsre", made=tmp_path), QUIET).digest
    assert study.digest != gather(Wanted("zsre", seed=1, made=tmp_path), QUIET).digest


@pytest.mark.usefixtures("shared")
def test_counterfact_scores_neighbours_of_facts_that_nobody_edits(tmp_path: Path) -> None:
    study = gather(Wanted("counterfact", made=tmp_path), QUIET)
    assert len(study.edits) == 1000
    stream, scored, pairs, _ = texts(study)
    assert stream.isdisjoint(scored) and stream.isdisjoint(pairs)
    assert 400 <= len(study.upstream) <= 500


@pytest.mark.slow
@pytest.mark.usefixtures("shared", "minilm")
def test_scotus_fits_a_head_to_the_years_before_and_scores_on_the_rest(tmp_path: Path) -> None:
    study = gather(Wanted("scotus", quick=True, made=tmp_path), QUIET)
    assert QUICK - study.refused == len(study.edits) > QUICK / 2  # a head fitted to few decisions lacks rare areas
    assert len(study.upstream) == QUICK
    assert {edit.target for edit in study.edits} <= set(study.backbone.labels)
    assert max(len(ids) for ids in study.backbone.tokenize_prompts([edit.prompt for edit in study.edits])) <= 64
    stream, scored, pairs, replay = texts(study)
    assert stream.isdisjoint(scored) and scored.isdisjoint(pairs) and scored.isdisjoint(replay)


@pytest.mark.slow
@pytest.mark.usefixtures("shared")
def test_hallucination_trains_a_model_of_passages_and_scores_what_was_accurate(tmp_path: Path) -> None:
    study = gather(Wanted("hallucination", quick=True, made=tmp_path), QUIET)
    assert len(study.edits) == len(study.upstream) == len(study.accurate) == QUICK
    assert {edit.subject for edit in study.edits}.isdisjoint(edit.subject for edit in study.prior.pairs)
    again = gather(Wanted("hallucination", quick=True, made=tmp_path), QUIET)  # the model is made once
    assert again.digest == study.digest


def test_names_prevail_over_presets_and_presets_over_the_shared_folder() -> None:
    data = settle(Wanted("zsre", paper="t5-large", upstream="mine.jsonl"))
    assert (data.backbone, data.edits, data.upstream) == ("google/t5-large-ssm-nq", "zsre", "mine.jsonl")
    own = settle(Wanted("counterfact", backbone="gpt2", edits="mine.jsonl"))
    assert (own.backbone, own.edits, own.upstream, own.pairs) == ("gpt2", "mine.jsonl", "", None)


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELO_SHARED", str(tmp_path))
    with pytest.raises(MaterialError, match="MELO_SHARED"):
        settle(Wanted("zsre"))
    with pytest.raises(MaterialError, match=r"gpt2-xl \(hallucination\)"):
        settle(Wanted("zsre", paper="gpt2-xl"))
    result = CliRunner().invoke(app, ["bench", "figure3"])
    assert result.exit_code == 2
    assert "--paper" in result.output


def test_a_classifier_is_not_fitted_to_nothing(tmp_path: Path) -> None:
    edits = tmp_path / "edits.jsonl"
    edits.write_text('{"prompt": "The court held that the search was unlawful.", "target": "Criminal Procedure"}\n')
    result = CliRunner().invoke(app, ["bench", "table2", "--task", "scotus", "--edits", str(edits)])
    assert result.exit_code == 2
    assert "nothing to fit one to: give --backbone" in " ".join(result.output.replace("│", " ").split())
