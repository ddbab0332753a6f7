"""The example of how an export is served answers what the edited model answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.export.adapters import adapter_name
from pipeline.export.folder import ADAPTERS, VERSION, ExportError, export
from tests.editing.edited import EDITED, new_model, teach, tiny
from tests.editing.test_rules import FACTS, OUTSIDE, edits_of
from tests.editing.tiny import Family

pytest.importorskip("peft", reason="PEFT is not installed: pip install -e '.[test]'")


@pytest.mark.parametrize("family", EDITED)
def test_every_prompt_is_answered_with_its_adapter(family: Family, tmp_path: Path) -> None:
    from pipeline.example.serving import ALONE, Serving

    model = new_model(family)
    teach(model, edits_of(family))
    model.save(tmp_path / "saved")
    export(tmp_path / "saved", tmp_path / "exported", 16, backbone=tiny(family))
    serving = Serving(tmp_path / "exported", tiny(family))
    assert serving.answer(OUTSIDE) == model.generate(OUTSIDE)  # before any adapter is read
    prompts = [FACTS[0][0], OUTSIDE[0], FACTS[5][0], FACTS[3][0], OUTSIDE[1]]
    routes = model.route(prompts)
    assert serving.adapters(prompts) == [ALONE if r.block is None else adapter_name(r.block) for r in routes]
    assert [name == ALONE for name in serving.adapters(prompts)] == [False, True, False, False, True]
    for _ in range(2):  # PEFT's layers stand in the routing backbone by then, and change no route
        assert serving.answer(prompts) == model.generate(prompts)
    assert serving.answer(OUTSIDE) == model.generate(OUTSIDE)
    serving.close()


def test_a_folder_without_an_export_is_refused(tmp_path: Path) -> None:
    from pipeline.example.serving import Serving

    for name in (ADAPTERS, VERSION):
        (tmp_path / name).mkdir()
    with pytest.raises(ExportError, match="expected what `melo export` wrote"):
        Serving(tmp_path)
