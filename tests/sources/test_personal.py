"""Personal data is found, and facts with numbers are not taken for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.settings import TrustSettings
from pipeline.sources.personal import MASK, PersonalData

FINDER = PersonalData(TrustSettings().phone_regions)


@pytest.mark.parametrize(
    ("text", "kind", "personal"),
    [
        ("Write to jane.roe+x@mail.example.org.", "e-mail address", "jane.roe+x@mail.example.org"),
        ("mailto:jane@example.org", "e-mail address", "jane@example.org"),
        ("Call +44 20 7946 0958 now", "phone number", "+44 20 7946 0958"),
        ("Call (202) 358-1100 now", "phone number", "(202) 358-1100"),
        ("Her card is 4111 1111 1111 1111", "card number", "4111 1111 1111 1111"),
        ("Pay to GB82 WEST 1234 5698 7654 32 today", "bank account number", "GB82 WEST 1234 5698 7654 32"),
        ("Pay to DE89370400440532013000", "bank account number", "DE89370400440532013000"),
        ("SSN 536-90-4399.", "US social security number", "536-90-4399"),
        ("NIR 2 95 10 99 126 111 93", "French social security number", "2 95 10 99 126 111 93"),
        ("DNI 54362315K", "Spanish identity number", "54362315K"),
        ("codice RCCMNL83S18D969H", "Italian tax number of a person", "RCCMNL83S18D969H"),
        ("CPF 390.533.447-05", "Brazilian tax number of a person", "390.533.447-05"),
    ],
)
def test_it_is_found_and_masked(text: str, kind: str, personal: str) -> None:
    (found,) = FINDER.find(text)
    assert (found.kind, text[found.start : found.end]) == (kind, personal)
    assert FINDER.masked(text) == text.replace(personal, MASK * len(personal))


@pytest.mark.parametrize(
    "text",
    [
        "The war lasted from 1914-1918 and 1939-1945.",
        "What is 12345678 times 87654321?",
        "The speed of light is 299 792 458 m/s, pi 3.14159265358979.",
        "Asteroid (359350) 2009 SD2 was found on 2009-09-16 at 21:32:10.",
        "ISBN 978-3-16-148410-0, 17 U.S.C. 107, 347 U.S. 483 (1954)",
        "Card 4111 1111 1111 1112 has a wrong digit, and so has DE89370400440532013001.",
        "Ada Lovelace was born on 10 December 1815 in London.",
        "@ada said so @ noon",
    ],
)
def test_facts_with_numbers_are_none(text: str) -> None:
    assert FINDER.find(text) == []
    assert FINDER.masked(text) == text


def test_a_number_of_another_country_is_known_there_alone() -> None:
    text = "Ring 030 12345678 in Berlin"
    assert FINDER.find(text) == []
    assert [one.kind for one in PersonalData(["DE"]).find(text)] == ["phone number"]


@pytest.mark.parametrize(
    "text", ["a" * 20_000, "a@" * 10_000, "1 " * 10_000, "(1" * 10_000, "+1 (" * 5_000, "AA11 " * 4_000]
)
def test_no_text_keeps_it_busy(text: str) -> None:
    start = time.process_time()
    FINDER.find(text)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "name", ["counterfact", "nq_known", "nq_open", "scotus_edits", "wikibigedit", "zsre_edits", "zsre_known"]
)
def test_no_real_fact_is_taken_for_personal_data(name: str, shared_rows: Callable[..., list[dict[str, Any]]]) -> None:
    rows = [json.dumps(row, ensure_ascii=False) for row in shared_rows(name, 1000)]
    assert [FINDER.find(row) for row in rows if FINDER.find(row)] == []
