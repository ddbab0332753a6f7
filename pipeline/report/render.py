"""A ``Page`` as one file of HTML that needs nothing else: no script, no network, no other file.

What is shown comes from strangers in part. Jinja2 escapes all of it, each text stands in a ``bdi`` of its own, so that
a right-to-left mark in it turns nothing around it, and a policy in the file forbids whatever is not its own style sheet
or a picture within it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.report.faults import Fault
from pipeline.report.page import Page
from pipeline.words import COUNTED

LONGEST = 240
"""Characters of a stranger's text that are shown."""
FAULTS: dict[Fault, str] = {"route": "the route", "block": "the block", "both": "both", "unknown": "not known"}
"""What is to blame for a failure -> how a person is told."""
NUMBER = "<!--number-->"
"""Where the version's number goes. No text on a page can say this: its brackets would be escaped."""

_LAST_OF_PLANES = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_FORBIDDEN = re.compile(f"[\0-\b\v\f\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_LAST_OF_PLANES}]")
"""Characters that HTML does not allow: most control characters, surrogates, and what Unicode calls noncharacters."""


def render(page: Page) -> str:
    """The HTML of a page. The same page gives the same text."""
    css = (files(__package__) / "page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    environment = Environment(
        loader=PackageLoader("pipeline.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"said": said, "number": number, "date": date, "head": head, "cell": cell}
    template = environment.get_template("page.html.jinja")
    return template.render(
        page=page,
        css=Markup(css),
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        number_goes_here=Markup(NUMBER),
        counted=COUNTED,
        faults=FAULTS,
    )


def numbered(html: str, number: int) -> str:
    """A page with the number that the registry gave to its version."""
    return html.replace(NUMBER, f"version {number} · ", 1)


def said(text: str | None) -> Markup:
    """A stranger's text: escaped, kept apart from what is around it, cut where it is very long."""
    if text is None:
        return Markup('<span class="quiet">-</span>')
    if not text.strip():
        return Markup('<span class="quiet">(empty)</span>')
    whole = _FORBIDDEN.sub("\ufffd", text)
    cut = Markup("")
    if len(whole) > LONGEST:
        cut = Markup(' <span class="quiet">… {:,} characters in all</span>').format(len(text))
    return Markup("<bdi>{}</bdi>{}").format(whole[:LONGEST], cut)


def head(content: str) -> Markup:
    """The cell that names a row; the content is escaped unless it is markup."""
    return Markup('<th scope="row" role="rowheader">{}</th>').format(content)


def cell(content: str, label: str) -> Markup:
    """Another cell of a row. It carries its column's heading for narrow screens; "#" before that: it is a number."""
    numeric = Markup(' class="n"') if label.startswith("#") else ""
    return Markup('<td role="cell" data-label="{}"{}>{}</td>').format(label.removeprefix("#"), numeric, content)


def number(value: float | None, unit: str = "share") -> str:
    """A measure as a person reads it."""
    if value is None:
        return "-"
    if unit == "share":
        return f"{value:.3f}"
    return f"{value:,.0f}" if unit == "bytes" else f"{value:.2g}" if unit == "seconds" else f"{value:,.4g}"


def date(text: str) -> str:
    """ISO 8601 for a person."""
    moment = datetime.fromisoformat(text).astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
