"""One file that is valid, needs nothing else, and shows what strangers wrote as text."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import html5lib
import pytest

from pipeline.journal import Journal, Night
from pipeline.report.gather import gather
from pipeline.report.render import LONGEST, numbered, render
from tests.report.hostile import HOSTILE, hostile_night
from tests.report.nights import store

MOST_BYTES = 1_000_000
FETCHING = {"src", "href", "action", "formaction", "data", "poster", "srcset", "background", "xlink:href", "ping"}


class Elements(HTMLParser):
    """Tags, attributes and texts of a page, as a browser without scripts finds them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(params=["first", "second", "hostile"])
def html(request: pytest.FixtureRequest, journal: Journal, nights: tuple[Night, Night]) -> str:
    """Pages of a first version, of one that was kept back, and of one that strangers made."""
    made = {"first": lambda: nights[0], "second": lambda: nights[1], "hostile": lambda: store(journal, hostile_night())}
    return render(gather(journal, made[request.param]()))


def test_it_is_valid_html(html: str) -> None:
    html5lib.HTMLParser(strict=True).parse(html)  # raises at the first error


def test_it_needs_nothing_else_and_runs_nothing(html: str) -> None:
    for tag, attributes in Elements(html).tags:
        assert tag not in {"script", "link", "base", "iframe", "object", "embed", "form", "input"}
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcdoc")]
        for name in FETCHING & attributes.keys():
            assert attributes[name].startswith(("#", "data:image/png;base64,")), (tag, attributes)
    assert "@import" not in html and "url(" not in html


def test_its_policy_lets_nothing_in_but_its_own_style_and_pictures(html: str) -> None:
    (policy,) = (tag[1]["content"] for tag in Elements(html).tags if tag[1].get("http-equiv"))
    (style,) = re.findall("<style>(.*?)</style>", html, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'"
    )
    assert html.index("Content-Security-Policy") < html.index("<style>")


def test_every_table_has_headings_and_every_picture_a_text(html: str) -> None:
    tags = Elements(html).tags
    assert [attributes["alt"] for tag, attributes in tags if tag == "img"]
    assert all(attributes["alt"] for tag, attributes in tags if tag == "img")
    assert all("scope" in attributes for tag, attributes in tags if tag == "th")
    assert all("aria-hidden" in attributes for tag, attributes in tags if tag == "svg")
    assert [attributes["lang"] for tag, attributes in tags if tag == "html"] == ["en"]
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    assert {attributes["href"][1:] for tag, attributes in tags if tag == "a"} == ids


def test_whether_it_passed_and_why_not_is_the_first_that_is_read(journal: Journal, nights: tuple[Night, Night]) -> None:
    passed, kept = (render(gather(journal, night)) for night in nights)
    bodies = [page.partition("<body>")[2] for page in (passed, kept)]
    said = [" ".join(" ".join(Elements(body).texts).split()) for body in bodies]
    assert "✓ Passed the gate" in said[0] and "Kept back" not in said[0]
    assert "✗ Kept back edit success is 0.75, less than 0.9 locality is 0, less than 0.9" in said[1]
    assert "on top of version 4, the champion" in said[1]
    assert said[1].index("Kept back edit success") < 100


def test_strangers_texts_are_shown_as_text(journal: Journal) -> None:
    html = render(gather(journal, store(journal, hostile_night())))
    shown = " ".join(" ".join(Elements(html).texts).split())
    for text in HOSTILE[:12]:
        assert " ".join(text.split()) in shown
    assert HOSTILE[16] not in html and "W" * LONGEST in html
    assert "30,000 characters in all" in shown
    assert not re.search("[\0\x01\x08\x0b\x1b\x7f\x85\ufffe\ufdd0\U0001ffff]", html)
    assert len(html.encode()) < MOST_BYTES
    assert "and 2,960 more: tables/failures.parquet in the run" in shown


def test_texts_that_turn_around_stand_apart(journal: Journal) -> None:
    html = render(gather(journal, store(journal, hostile_night())))
    assert html.count("\u202e") == html.count("<bdi>\u202e") + html.count("<bdi>no \u202e") + html.count(
        "<bdi>failed \u202e"
    )


def test_the_number_is_put_in_once_it_is_known_and_nowhere_else(journal: Journal) -> None:
    html = render(gather(journal, store(journal, hostile_night())))
    assert html.count("<!--number-->") == 1
    known = numbered(html, 12)
    assert "version 12 · " in known and known.count("version 12") == 1
    assert "&lt;!--number--&gt;" in known
