"""``melo report``: whose page it is, where it goes, and when a browser is opened."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pipeline.registry.store import RegistryError


class Pages:
    """A registry of two versions, the first of which has no page."""

    last: int | None = 2

    def candidate_number(self) -> int | None:
        return self.last

    def page(self, number: int) -> str:
        if number != 2:
            raise RegistryError(f"version {number} has no page: an earlier release registered it")
        return "<p><!--number-->night 2</p>"


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What the browser is asked to show; there is a display unless a test takes it away."""
    shown: list[str] = []
    monkeypatch.setattr("pipeline.commands.pages.the_registry", lambda settings: Pages())
    monkeypatch.setattr("webbrowser.open", shown.append)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("MELO_HOME", str(tmp_path / "a home"))
    return shown


def report(*given: str) -> Result:
    return CliRunner().invoke(app, ["report", *given])


def test_the_last_version_is_shown_with_its_number(opened: list[str], tmp_path: Path) -> None:
    done = report()
    file = tmp_path / "a home" / "reports" / "version-2.html"
    assert (done.exit_code, done.stdout) == (0, f"{file}\n")
    assert file.read_text() == "<p>version 2 · night 2</p>"
    assert opened == [file.as_uri()]


@pytest.mark.parametrize("given", [["2", "--no-open"], ["2"]])
def test_no_browser_is_opened_unasked_or_without_a_display(
    given: Sequence[str], opened: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--no-open" not in given:
        monkeypatch.delenv("DISPLAY")
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    file = tmp_path / "new" / "page.html"
    assert report(*given, "--to", str(file)).stdout == f"{file}\n"
    assert file.is_file() and opened == []
    assert not (tmp_path / "a home").exists()


def test_a_version_without_a_page_is_told(opened: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = report("1")
    assert done.exit_code == 1
    assert "version 1 has no page" in " ".join(done.output.split())
    monkeypatch.setattr(Pages, "last", None)
    done = report()
    assert done.exit_code == 2
    assert "there is no version yet" in " ".join(done.output.split())
    assert opened == [] and not (tmp_path / "a home").exists()
