"""A section of a settings file is replaced, and all else stays to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline.commands.settings_file import SettingsFileError, merge
from pipeline.settings import Settings

CHOSEN = {"encoder": "minilm", "key_layer": None, "pooling": "last", "subjects": True, "radius": None}


def test_a_new_file_is_what_settings_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "melo.yaml"
    assert "encoder: not set -> minilm" in merge(path, CHOSEN)
    monkeypatch.setenv("MELO_CONFIG", str(path))
    editing = Settings().editing
    assert (editing.encoder, editing.subjects, editing.radius) == ("minilm", True, None)
    assert merge(path, CHOSEN) == []
    assert [each.name for each in tmp_path.iterdir()] == ["melo.yaml"]


@pytest.mark.parametrize(
    "section",
    [
        "editing:\n  radius: 2.0  # ours\n  key_layer: a.b\n\n  # of blocks\n  partial_rank: 4\n",
        "editing: {radius: 2.0, key_layer: a.b, partial_rank: 4}\n",
    ],
)
def test_what_stands_around_the_section_stays_to_the_letter(tmp_path: Path, section: str) -> None:
    before, after = "# where state lives\nhome: state   # here\n\n", "\n# thresholds\ngate: {success: 0.8}\n"
    path = tmp_path / "melo.yaml"
    path.write_text(before + section + after)
    told = merge(path, CHOSEN)
    text = path.read_text()
    assert text.startswith(before)
    assert text.endswith(after)
    assert yaml.safe_load(text)["editing"] == {
        "partial_rank": 4,
        "encoder": "minilm",
        "pooling": "last",
        "subjects": True,
    }
    assert "radius: 2.0 -> not set" in told
    assert not any(line.startswith("partial_rank") for line in told)


def test_a_section_is_put_behind_what_has_none_and_no_line_end(tmp_path: Path) -> None:
    path = tmp_path / "melo.yaml"
    path.write_text("home: state")
    merge(path, {"radius": 1.5})
    assert path.read_text() == "home: state\nediting:\n  radius: 1.5\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "expected settings"),
        ("editing: far\n", "expected a mapping"),
        ("a: [b\n", "is no YAML"),
        ("{editing: {radius: 1.0}, home: state}\n", "cannot be replaced|is no YAML"),
        ("editing: {\n  radius: 1.0\n}\n", "cannot be replaced|is no YAML"),
    ],
)
def test_what_cannot_be_merged_is_left_as_it_was(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "melo.yaml"
    path.write_text(text)
    with pytest.raises(SettingsFileError, match=said):
        merge(path, CHOSEN)
    assert path.read_text() == text
