"""Every format says the same, and a file that was cut says less, never something else."""

from __future__ import annotations

import io
import random
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.editing.edit import Edit
from pipeline.sources import read
from tests.sources.gathered import ROWS, gather, later, pairs
from tests.sources.writers import FORMATS, ipc_file, ipc_stream, table

CUTS = 40
TABLES = [name for name in FORMATS if name.endswith((".parquet", ".PQ", ".arrow", ".feather", ".arrows", ".ipc"))]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_reports(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(FORMATS[name](ROWS))
    found = gather(file)
    assert found.quarantine == []
    assert found.pairs == pairs(ROWS)
    first = found.reports[0]
    assert (first["rephrases"], first["aliases"]) == (ROWS[0]["rephrases"], ROWS[0]["aliases"])
    assert first["locality"] == ROWS[0]["locality"]
    assert (first["subject"], first["reporter"], first["source"]) == ("Australia", "Ada", str(file))
    assert first["time"] == datetime(2026, 3, 1, 11, tzinfo=UTC)
    assert [row["edit_id"] for row in found.reports] == [Edit(*pair).edit_id for pair in pairs(ROWS)]
    assert found.reports[1]["rephrases"] == found.reports[1]["aliases"] == [] and found.reports[1]["subject"] is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl", [1, 2, 3]),
        ("lines.json", [2, 3, 4]),
        ("pretty.json", [2, 22, 27]),
        ("comma.csv", [2, 3, 5]),
        ("a.parquet", [1, 2, 3]),
        ("a.arrow", [1, 2, 3]),
    ],
)
def test_lines_are_where_a_row_starts_and_rows_of_a_table(name: str, expected: list[int], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FORMATS[name](ROWS))
    assert [row["line"] for row in gather(tmp_path).reports] == expected


@pytest.mark.parametrize("name", ["a.jsonl", "compact.json", "pretty.json", "lines.json", "comma.csv", *TABLES[::2]])
def test_wherever_a_file_is_cut_only_whole_rows_are_left_and_it_says_so(name: str, tmp_path: Path) -> None:
    whole, file = FORMATS[name](ROWS), tmp_path / name
    for length in sorted(random.Random(0).sample(range(1, len(whole)), min(CUTS, len(whole) - 1))):
        file.write_bytes(whole[:length])
        found = gather(file)
        assert found.pairs == pairs(ROWS)[: len(found.pairs)], f"cut after {length} of {len(whole)} bytes"
        between_lines = b"\n" in whole[length - 1 : length + 1]
        if len(found.pairs) < len(ROWS) and not between_lines:
            reasons = [reason for _, reason in found.refused]
            assert any(reason.startswith("cut short") for reason in reasons), (length, reasons)


@pytest.mark.parametrize("name", ["a.arrow", "a.arrows"])
def test_whole_batches_of_a_cut_arrow_file_are_kept(name: str, tmp_path: Path) -> None:
    whole = FORMATS[name](ROWS)
    (tmp_path / name).write_bytes(whole[: -len(whole) // 8])
    found = gather(tmp_path)
    assert 0 < len(found.pairs) <= len(ROWS)
    assert found.refused[0][1].startswith("cut short")


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    for name in ("a.jsonl", "comma.csv", "pretty.json"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + FORMATS[name](ROWS))
    found = gather(tmp_path)
    assert (len(found.reports), found.quarantine) == (9, [])


def test_a_table_of_our_own_schema_can_be_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(FORMATS["a.jsonl"](ROWS))
    (batch,) = read(str(tmp_path), now=later())
    with pa.ipc.new_file(tmp_path / "again.arrow", batch.reports.schema) as writer:
        writer.write_batch(batch.reports)
    again = gather(tmp_path / "again.arrow")
    assert [row["edit_id"] for row in again.reports] == batch.reports["edit_id"].to_pylist()
    assert [row["time"] for row in again.reports] == batch.reports["time"].to_pylist()


@pytest.mark.parametrize("write", [ipc_file, ipc_stream], ids=["file", "stream"])
def test_text_in_a_table_that_is_no_utf8_costs_its_own_row(write: object, tmp_path: Path) -> None:
    broken = pa.array([b"good one", b"\xff\xfe", b"good two"]).view(pa.string())
    content = pa.table({"prompt": broken, "target": ["a", "b", "c"]})
    for new in (pa.ipc.new_file, pa.ipc.new_stream):
        with new(tmp_path / "broken.arrow", content.schema) as writer:
            writer.write_table(content)
        found = gather(tmp_path / "broken.arrow")
        assert found.pairs == [("good one", "a"), ("good two", "c")]
        assert [line for line, _ in found.refused] == [2] and "UTF-8" in found.refused[0][1]
    pq.write_table(content, tmp_path / "broken.parquet")
    found = gather(tmp_path / "broken.parquet")
    assert found.pairs == [("good one", "a"), ("good two", "c")]
    assert [line for line, _ in found.refused] == [2] and "UTF-8" in found.refused[0][1]


def test_offsets_that_lie_outside_the_file_are_not_followed(tmp_path: Path) -> None:
    content = table([{"prompt": "first", "target": "a"}, {"prompt": "second", "target": "b"}])
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, content.schema) as writer:
        writer.write_table(content)
    raw = sink.getvalue()
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, 5, 11))
    assert raw.count(offsets) == 1
    wild = b"".join(number.to_bytes(4, "little") for number in (0, 5, 1 << 30))
    (tmp_path / "wild.arrow").write_bytes(raw.replace(offsets, wild))
    found = gather(tmp_path)
    assert ("second", "b") not in found.pairs
    assert found.quarantine


@pytest.mark.parametrize("name", TABLES)
def test_noise_by_the_name_of_a_table_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"prompt,target\nWho?,Me\n" * 3)
    found = gather(tmp_path)
    assert found.reports == []
    assert [line for line, _ in found.refused] == [0]
    assert not found.refused[0][1].startswith("cut short")


def test_a_value_repeated_a_million_times_in_little_space_is_not_spelled_out(tmp_path: Path) -> None:
    huge = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), pa.array(["x" * 1_000_000]))
    content = pa.table({"prompt": huge, "target": pa.array(["a"] * 2_000)})
    pq.write_table(content, tmp_path / "bomb.parquet", compression="zstd", store_schema=False)
    del huge, content
    assert (tmp_path / "bomb.parquet").stat().st_size < 2_000_000
    before = pa.default_memory_pool().max_memory()
    found = gather(tmp_path)
    assert found.reports == []
    assert len(found.refused) == 2_000
    assert "at most 20000 characters" in found.refused[0][1]
    assert pa.default_memory_pool().max_memory() - before < 100_000_000
