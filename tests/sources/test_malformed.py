"""Ten thousand malformed rows: each in quarantine with a reason, none among the reports, memory flat."""

from __future__ import annotations

import json
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.sources import admit, read
from tests.sources.gathered import later
from tests.sources.writers import jsonl

EACH = 500
"""Rows of each of the twenty kinds."""
ENORMOUS = 25
"""How many of the rows with an enormous field have more than a megabyte."""


def wrong_type(rng: random.Random) -> bytes:
    field = rng.choice(["prompt", "target", "rephrases", "locality", "subject", "time"])
    value = rng.choice([3, -0.5, True, {"a": 1}, [[1]]])
    if field == "time":
        value = rng.choice([True, {"a": 1}, "soon", [2026]])
    return json.dumps({"prompt": "BAD", "target": "BAD"} | {field: value}).encode()


def nulls(rng: random.Random) -> bytes:
    row = {"prompt": "BAD", "target": "BAD"} | {rng.choice(["prompt", "target"]): rng.choice([None, "", " ", "\t\n"])}
    return json.dumps(row).encode()


def enormous(rng: random.Random) -> bytes:
    field = rng.choice(["prompt", "target", "subject", "note"])
    row = {"prompt": "BAD", "target": "BAD", field: rng.choice("xé") * rng.randint(21_000, 30_000)}
    return json.dumps(row, ensure_ascii=False).encode()


def too_many(rng: random.Random) -> bytes:
    return json.dumps({"prompt": "BAD", "target": "BAD", rng.choice(["rephrases", "locality"]): ["r"] * 65}).encode()


def broken_utf8(rng: random.Random) -> bytes:
    noise = rng.choice([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"])
    return b'{"prompt": "BAD ' + noise + b' ", "target": "BAD"}'


def half_a_pair(rng: random.Random) -> bytes:
    return b'{"prompt": "BAD", "%s": "\\ud8%02x"}' % (rng.choice([b"target", b"note"]), rng.randrange(256))


def not_a_number(rng: random.Random) -> bytes:
    value = rng.choice([b"NaN", b"Infinity", b"-Infinity", b"1e400", b"nan", b"9" * 5_000])
    return b'{"prompt": "BAD", "target": "BAD", "%s": %s}' % (rng.choice([b"note", b"time", b"target"]), value)


def duplicate_keys(rng: random.Random) -> bytes:
    return rng.choice(
        [
            b'{"prompt": "BAD", "prompt": "BAD", "target": "BAD"}',
            b'{"prompt": "BAD", "target": "BAD", "target": "GOOD"}',
            b'{"prompt": "BAD", "target": "BAD", "note": {"a": 1, "a": 2}}',
        ]
    )


def nested_bomb(rng: random.Random) -> bytes:
    depth = rng.choice([17, 100, 990, 5_000, 100_000 if rng.random() < 0.05 else 2_000])
    opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return b'{"prompt": "BAD", "target": "BAD", "note": ' + opening * depth + b"1" + closing * depth + b"}"


def cut(rng: random.Random) -> bytes:
    whole = jsonl([{"prompt": "BAD", "target": "BAD", "rephrases": ["é"], "locality": [{"prompt": "p"}]}]).strip()
    return whole[: rng.randint(1, len(whole) - 1)]


def no_object(rng: random.Random) -> bytes:
    return rng.choice([b"[]", b'"BAD"', b"17", b"null", b'["BAD", "BAD"]', b"prompt,target", b"\x00\x00", b"{}"])


JSON_KINDS: list[Callable[[random.Random], bytes]] = [
    wrong_type,
    nulls,
    enormous,
    too_many,
    broken_utf8,
    half_a_pair,
    not_a_number,
    duplicate_keys,
    nested_bomb,
    cut,
    no_object,
]


def csv_bad(rng: random.Random) -> bytes:
    return rng.choice(
        [
            b"BAD",
            b"BAD,BAD,BAD,BAD",
            b'BAD,"BAD" BAD,',
            b"BAD,,",
            b",BAD,",
            b'" ",BAD,',
            b"BAD \xff,BAD,",
            b"BAD,BAD,soon",
            b"x" * 25_000 + b",BAD,",
            b"x" * 200_000 + b",BAD,",
            b'"BAD\nBAD",BAD',
        ]
    )


def good(number: int) -> tuple[str, str]:
    return f"good {number}", f"answer {number}"


def write_lines(path: Path, rows: Iterator[bytes], first: int, enclose: tuple[bytes, bytes, bytes]) -> int:
    """The rows with a good one after every 97th; gives how many good ones there were."""
    opening, between, closing = enclose
    count = first
    with path.open("wb") as file:
        file.write(opening)
        for number, row in enumerate(rows):
            file.write((between if number else b"") + row)
            if number % 97 == 0:
                prompt, target = good(count)
                record = (
                    f"{prompt},{target}," if path.suffix == ".csv" else json.dumps({"prompt": prompt, "target": target})
                )
                file.write(between + record.encode())
                count += 1
        file.write(closing)
    return count


@pytest.fixture(scope="module")
def drop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, int]:
    """A folder of malformed rows in three formats; how many are bad and how many are good."""
    folder, rng = tmp_path_factory.mktemp("malformed"), random.Random(2024)
    lines = [kind(rng) for kind in JSON_KINDS for _ in range(EACH)]
    lines += [b'{"prompt": "BAD", "target": "%s"}' % (b"x" * 1_500_000)] * ENORMOUS
    rng.shuffle(lines)
    # A row of a document is told by its brackets and quotes: half a row is one with nothing to tell it by but its line.
    documents = [kind(rng) for kind in JSON_KINDS if kind not in (cut, no_object) for _ in range(EACH // 3)]
    tables = [csv_bad(rng) for _ in range(10_000 - len(lines) - len(documents))]
    many = write_lines(folder / "a.jsonl", iter(lines), 0, (b"", b"\n", b"\n"))
    many = write_lines(folder / "b.json", iter(documents), many, (b"[\n ", b",\n ", b"\n]"))
    many = write_lines(folder / "c.csv", iter(tables), many, (b"prompt,target,time\n", b"\n", b"\n"))
    return folder, len(lines) + len(documents) + len(tables), many


def test_all_are_in_quarantine_and_none_among_the_edits(drop: tuple[Path, int, int]) -> None:
    folder, bad, many = drop
    assert bad == 10_000
    batches = list(read(str(folder), now=later()))
    admission = admit((batch.reports for batch in batches), {})
    edits = list(zip(*(admission.edits[name].to_pylist() for name in ("prompt", "target")), strict=True))
    assert sorted(edits) == sorted(good(number) for number in range(many))
    refused = [row for batch in batches for row in batch.quarantine.to_pylist()]
    places = {(row["source"], row["line"]) for row in refused}
    # A row with a line end in it that is refused for its quotes counts a line at a time.
    assert len(places) == len(refused) >= bad
    assert all(row["reason"] and row["line"] > 0 and len(row["detail"]) <= 500 for row in refused)
    assert not any(row["reason"].startswith("cut short") for row in refused)


def test_memory_is_flat_over_them(drop: tuple[Path, int, int]) -> None:
    folder, _, _ = drop
    assert sum(file.stat().st_size for file in folder.iterdir()) > 80_000_000
    pool = pa.default_memory_pool()
    before, peak = pool.bytes_allocated(), 0
    tracemalloc.start()
    try:
        for _ in read(str(folder), now=later()):
            peak = max(peak, pool.bytes_allocated() - before)
        _, python_peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert python_peak < 20_000_000
    assert peak < 20_000_000


def test_fifty_thousand_reports_are_read_in_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count = 50_000
    with (tmp_path / "backlog.jsonl").open("w", encoding="utf-8") as file:
        for number in range(count):
            prompt, target = good(number)
            row = {
                "prompt": prompt,
                "target": target,
                "rephrases": ["again"],
                "locality": [{"prompt": "n", "target": "t"}],
            }
            file.write(json.dumps(row) + "\n")
    start = time.perf_counter()
    admission = admit((batch.reports for batch in read(str(tmp_path), now=later())), {})
    with capsys.disabled():
        print(f"\n{count} reports read and admitted in {time.perf_counter() - start:.1f} s")
    assert (admission.edits.num_rows, admission.duplicates.num_rows) == (count, 0)
