"""Chromium shows the page: nothing is blocked or complained of, and nothing sticks out at any width."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from pipeline.journal import Journal, Night
from pipeline.report import write_page
from tests.report.browser import CHROMIUM, Browser, browser
from tests.report.hostile import hostile_night
from tests.report.nights import store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium, or put one on the PATH"),
]
PHONE, DESK = 360, 1280
STICKING_OUT = """
[...document.querySelectorAll('body *')].filter(each => !each.closest('.scroll *, .unseen, thead, svg')
  && each.getBoundingClientRect().right > innerWidth + 1).map(each => each.outerHTML.slice(0, 120))
"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile") / "new") as opened:
        yield opened


@pytest.fixture(params=["usual", "hostile"])
def page(request: pytest.FixtureRequest, journal: Journal, nights: tuple[Night, Night]) -> Path:
    """Pages of a version that was kept back, and of one that strangers made."""
    return write_page(journal, nights[1] if request.param == "usual" else store(journal, hostile_night()))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_it_fits_and_nothing_is_complained_of(
    tab: Browser, page: Path, width: int, scheme: str, tmp_path: Path
) -> None:
    tab.complaints.clear()
    tab.show(page, width, scheme=scheme)
    assert tab.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
    assert tab.evaluate(STICKING_OUT) == []
    assert tab.complaints == []
    assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    pixels = imread(tab.screenshot(tmp_path / "shot.png"))[..., :3]
    assert pixels.shape[1] == width and pixels.shape[0] > 1500
    assert (pixels.mean() > 0.5) == (scheme == "light")
    rows = pixels.reshape(len(pixels), -1)
    written = (rows.max(axis=1) - rows.min(axis=1)) > 0.5  # rows of pixels with something to be read
    assert written.mean() > 0.25
    assert len(np.unique((pixels[:400] * 255).astype(np.int64) @ (1, 1 << 8, 1 << 16))) > 50


def test_what_is_blocked_is_complained_of(tab: Browser, page: Path) -> None:
    """Otherwise the test above could not fail."""
    page.write_text(page.read_text().replace("<main>", '<main><script>alert(1)</script><p style="color:red">', 1))
    tab.complaints.clear()
    tab.show(page, DESK)
    assert sum("Content Security Policy" in complaint for complaint in tab.complaints) >= 2


def test_the_verdict_is_on_the_first_screen_of_a_phone(tab: Browser, page: Path) -> None:
    tab.show(page, PHONE, 640)
    bottom = tab.evaluate("[...document.querySelectorAll('h1, .reasons')].at(-1).getBoundingClientRect().bottom")
    assert 0 < bottom < 640


def test_a_narrow_table_tells_its_columns_in_each_cell(tab: Browser, page: Path) -> None:
    shown = "getComputedStyle(document.querySelector('.texts td'), '::before').content"
    tab.show(page, PHONE)
    assert tab.evaluate(shown) == '"Right answer: "'
    tab.show(page, DESK)
    assert tab.evaluate(shown) == "none"


def test_printed_it_holds_what_is_folded_up(tab: Browser, page: Path) -> None:
    folded = "[...document.querySelectorAll('details:not([open]) table')]"
    tab.show(page, DESK)
    assert tab.evaluate(f"{folded}.filter(table => table.checkVisibility()).length") == 0
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert tab.evaluate(f"{folded}.every(table => table.checkVisibility() && table.offsetHeight > 0)")
    tab.call("Emulation.setEmulatedMedia", media="")
