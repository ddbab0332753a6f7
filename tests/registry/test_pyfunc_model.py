"""A registered version as MLflow loads and serves it."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.pyfunc import scoring_server

from pipeline.editing.folder import CheckpointError
from pipeline.editing.model import EditedModel
from pipeline.registry.tracking import Registry
from schemas.serving import USUAL, Parameters
from tests.editing.tiny import tiny_backbone
from tests.registry.conftest import EDITS, UNSEEN, Version

PROMPTS = [EDITS[0].prompt, UNSEEN, EDITS[1].prompt]


def load(registry: Registry, **options: Any) -> Any:
    """The candidate; MLflow takes the store from the environment of the process, which is put back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", registry.uri)
        return mlflow.pyfunc.load_model(f"models:/{registry.name}@candidate", **options)


def test_it_answers_as_the_edited_model(registry: Registry, versions: list[Version]) -> None:
    registry.register(**versions[1].arguments())
    loaded = load(registry)
    found = loaded.predict(pd.DataFrame({"prompt": PROMPTS}))
    model = EditedModel.load(versions[1].folder, index="memory")
    routes = model.route(PROMPTS)
    assert list(found.columns) == [column.name for column in loaded.metadata.signature.outputs]
    assert found["answer"].tolist() == model.generate(PROMPTS)
    assert found["answer"].tolist()[::2] == [EDITS[0].target, EDITS[1].target]
    assert found["edited"].tolist() == [True, False, True]
    assert found["edit_id"].tolist() == [EDITS[0].edit_id, None, EDITS[1].edit_id]
    assert found["block"].tolist() == [route.block for route in routes]
    assert found["cluster"].tolist() == [route.cluster for route in routes]
    assert found["distance"].tolist() == pytest.approx([route.distance for route in routes])
    model.close()


def test_parameters_are_checked_and_reach_generate(registry: Registry, versions: list[Version]) -> None:
    assert {*USUAL} == {*Parameters.model_fields}
    registry.register(**versions[1].arguments())
    loaded = load(registry)
    (whole,) = loaded.predict(pd.DataFrame({"prompt": PROMPTS[:1]}))["answer"]
    (cut,) = loaded.predict(pd.DataFrame({"prompt": PROMPTS[:1]}), params={"max_new_tokens": 1})["answer"]
    assert whole == EDITS[0].target
    assert len(cut) < len(whole)
    for wrong in ({"max_new_tokens": 0}, {"top_p": 2.0}, {"temperature": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            loaded.predict(pd.DataFrame({"prompt": PROMPTS[:1]}), params=wrong)
    with pytest.raises(mlflow.MlflowException):
        loaded.predict(pd.DataFrame({"prompt": PROMPTS[:1]}), params={"max_new_tokens": "many"})


@pytest.fixture
def loaded(local: Registry, versions: list[Version]) -> Any:
    local.register(**versions[1].arguments())
    return load(local)


@pytest.mark.parametrize(
    "asked",
    [
        [{"prompt": prompt} for prompt in PROMPTS],
        {"prompt": PROMPTS},
        pd.Series(PROMPTS, name="prompt"),
        pd.DataFrame({"other": [1, 2, 3], "prompt": PROMPTS}),
    ],
)
def test_prompts_come_in_several_ways(loaded: Any, asked: Any) -> None:
    assert loaded.predict(asked)["edit_id"].tolist() == [EDITS[0].edit_id, None, EDITS[1].edit_id]


def test_more_prompts_than_a_batch(loaded: Any) -> None:
    found = loaded.predict(pd.DataFrame({"prompt": PROMPTS * 30}))
    assert found["edit_id"].tolist() == [EDITS[0].edit_id, None, EDITS[1].edit_id] * 30
    assert len(loaded.predict(pd.DataFrame({"prompt": []}, dtype=object))) == 0


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"prompt": prompt} for prompt in PROMPTS]},
        {"dataframe_split": {"columns": ["prompt"], "data": [[prompt] for prompt in PROMPTS]}},
        {"inputs": {"prompt": PROMPTS}},
    ],
)
def test_it_serves_json(loaded: Any, body: dict[str, Any]) -> None:
    schema = loaded.metadata.get_input_schema()
    answer = scoring_server.invocations(json.dumps(body), "application/json", loaded, schema)
    rows = json.load(StringIO(answer.response), parse_constant=pytest.fail)["predictions"]  # no NaN in there
    assert [row["edit_id"] for row in rows] == [EDITS[0].edit_id, None, EDITS[1].edit_id]
    assert rows[0]["answer"] == EDITS[0].target and rows[1]["block"] is None


def test_its_backbone_may_lie_elsewhere(local: Registry, backbone: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(backbone, tmp_path / "first")
    model = EditedModel.from_backbone(tmp_path / "first", "seq2seq", index="memory")
    version = Version(tmp_path / "version", model.save(tmp_path / "version"), model.records.to_table())
    model.close()
    local.register(**version.arguments())
    (tmp_path / "first").rename(moved)
    assert load(local, model_config={"backbone": str(moved)}).predict([{"prompt": UNSEEN}])["edited"].tolist() == [
        False
    ]
    for part in tiny_backbone("t5", seed=1):
        part.save_pretrained(tmp_path / "another")
    with pytest.raises(CheckpointError, match="pass the backbone that it was made from"):
        load(local, model_config={"backbone": str(tmp_path / "another")})
