"""Personal data in texts: addresses and numbers by which a person can be reached, paid or identified.

Names are none: reports are about people in public life. What is found is checked by libraries that know how such
numbers are made (phonenumbers, python-stdnum), since a fact has numbers, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import iban, luhn
from stdnum.br import cpf
from stdnum.cn import ric
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.in_ import aadhaar
from stdnum.it import codicefiscale
from stdnum.pl import pesel
from stdnum.se import personnummer
from stdnum.us import ssn

MASK = "█"
LEAST_DIGITS = 7
"""No number of a person has fewer; texts with fewer digits and no @ are not looked at any closer."""
TRIES = 500
"""Places of a text that are tried for phone numbers: a long one full of digits would cost seconds."""

_DIALLED = re.compile(r"\d(?:\W{0,4}\d){6}")
"""Digits with little between them: without any, a text needs no look by phonenumbers, which is slow."""
_LOCAL = r"[\w.!#$%&'*+/=?^`{|}~-]"
_MAIL = re.compile(rf"(?<!{_LOCAL}){_LOCAL}{{1,255}}@[\w-]+(?:\.[\w-]+)+|(?<=:)[\w.+-]{{1,64}}@[\w-]+(?:\.[\w-]+)+")
_CARD = re.compile(r"(?<![\w.])(?:3[47]\d{2}[ -]?\d{6}[ -]?\d{5}|[2456]\d{3}(?:[ -]?\d{4}){3})(?![\w]|\.\d)")
_IBAN = re.compile(r"\b[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?\b")
_NATIONAL: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = tuple(
    (name, re.compile(rf"(?<![\w.-])(?:{form})(?![\w-]|\.\d)"), valid)
    for name, form, valid in (
        ("US social security number", r"\d{3}-\d{2}-\d{4}", ssn.is_valid),
        ("British health service number", r"\d{3} \d{3} \d{4}", nhs.is_valid),
        ("German tax number of a person", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", idnr.is_valid),
        ("French social security number", r"[12] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}", nir.is_valid),
        ("Spanish identity number", r"\d{8}-?[A-Z]", dni.is_valid),
        ("Spanish identity number", r"[XYZ]-?\d{7}-?[A-Z]", nie.is_valid),
        (
            "Italian tax number of a person",
            r"[A-Z]{6}\d[\dA-Z][A-Z]\d[\dA-Z][A-Z][\dA-Z]{3}[A-Z]",
            codicefiscale.is_valid,
        ),
        ("Polish identity number", r"\d{11}", pesel.is_valid),
        ("Swedish identity number", r"(?:\d{2})?\d{6}[-+]\d{4}", personnummer.is_valid),
        ("Brazilian tax number of a person", r"\d{3}\.\d{3}\.\d{3}-\d{2}", cpf.is_valid),
        ("Indian identity number", r"\d{4} \d{4} \d{4}", aadhaar.is_valid),
        ("Chinese identity number", r"\d{17}[\dX]", ric.is_valid),
    )
)


@dataclass(frozen=True, slots=True)
class Found:
    """Something personal in a text.

    Attributes:
        kind: what it is.
        start, end: where it stands.
    """

    kind: str
    start: int
    end: int


class PersonalData:
    """Finds personal data.

    Args:
        regions: countries, by two letters, whose phone numbers are known without the + of an international one.
    """

    def __init__(self, regions: Sequence[str] = ()) -> None:
        # Each finds international numbers, too.
        self._regions: list[str | None] = [*map(str.upper, regions)] or [None]

    def find(self, text: str) -> list[Found]:
        """What is personal in a text, in order; what overlaps with something before it is left out."""
        if "@" not in text and sum(map(str.isdecimal, text)) < LEAST_DIGITS:
            return []
        found: list[Found] = []
        for one in sorted(self._candidates(text), key=lambda one: (one.start, -one.end)):
            if not found or one.start >= found[-1].end:
                found.append(one)
        return found

    def masked(self, text: str) -> str:
        """The text without them; its length stays."""
        for one in reversed(self.find(text)):
            text = text[: one.start] + MASK * (one.end - one.start) + text[one.end :]
        return text

    def _candidates(self, text: str) -> Iterator[Found]:
        for match in _MAIL.finditer(text):
            yield Found("e-mail address", *match.span())
        for match in _CARD.finditer(text):
            if luhn.is_valid(re.sub(r"\D", "", match.group())):
                yield Found("card number", *match.span())
        for match in _IBAN.finditer(text):
            if iban.is_valid(match.group()):
                yield Found("bank account number", *match.span())
        for name, form, valid in _NATIONAL:
            for match in form.finditer(text):
                if valid(match.group()):
                    yield Found(name, *match.span())
        for region in self._regions if _DIALLED.search(text) else ():
            for number in PhoneNumberMatcher(text, region, Leniency.STRICT_GROUPING, max_tries=TRIES):
                yield Found("phone number", number.start, number.end)
