"""Which files are read: at rest, regular, by name; from anywhere that fsspec reaches."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest

from pipeline import sources
from pipeline.sources import SourceError, read
from pipeline.sources.files import SourceFile, shown
from tests.sources.gathered import ROWS, gather, later, pairs
from tests.sources.writers import FORMATS, jsonl

GOOD = jsonl(ROWS)


def test_a_folder_is_read_in_the_order_of_its_paths_and_with_those_in_it(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for place, name in (("b/1", "second"), ("a", "first"), ("c", "third")):
        (tmp_path / f"{place}.jsonl").write_text(f'{{"prompt": "{name}", "target": "x"}}\n', encoding="utf-8")
    (tmp_path / ".hidden.jsonl").write_bytes(GOOD)
    (tmp_path / "_SUCCESS").write_bytes(b"")
    found = gather(tmp_path)
    assert [prompt for prompt, _ in found.pairs] == ["first", "second", "third"]
    assert found.quarantine == []


def test_a_file_that_has_just_changed_is_still_being_written(tmp_path: Path) -> None:
    file, now = tmp_path / "a.jsonl", datetime.now(UTC)
    file.write_bytes(GOOD)
    (tmp_path / "rest.jsonl").write_bytes(jsonl([{"prompt": "p", "target": "t"}]))
    for path, seconds in (("a.jsonl", 3.0), ("rest.jsonl", 6.0)):
        os.utime(tmp_path / path, (now.timestamp() - seconds,) * 2)
    found = gather(tmp_path, now=now)
    assert found.pairs == [("p", "t")]
    assert [(row["source"], row["line"]) for row in found.quarantine] == [(str(file), 0)]
    assert found.refused[0][1].startswith("still being written")
    assert len(gather(tmp_path, now=now, settled_seconds=2).reports) == 4


def test_a_clock_ahead_by_years_does_not_keep_a_file_out_for_ever(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    os.utime(tmp_path / "a.jsonl", (4e9, 4e9))
    assert gather(tmp_path).pairs == pairs(ROWS)


@pytest.mark.parametrize("name", ["a.jsonl.part", "a.csv.tmp", "a.parquet~"])
def test_a_name_can_say_that_it_is_being_written(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(GOOD)
    assert gather(tmp_path).refused[0][1].startswith("still being written")


def test_a_file_that_changes_while_it_is_read_says_so(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(GOOD)
    batches = read(str(file), now=later(), batch_rows=1)
    found = [next(batches)]
    with file.open("ab") as more:
        more.write(b'{"prompt": "late", "target": "x"}\n')
    found += batches
    reasons = [reason for batch in found for reason in batch.quarantine["reason"].to_pylist()]
    assert any(reason.startswith("still being written: it changed while it was read") for reason in reasons)


def test_a_report_without_a_time_has_that_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl([{"prompt": "p", "target": "t"}]))
    os.utime(tmp_path / "a.jsonl", (1_700_000_000,) * 2)
    assert gather(tmp_path).reports[0]["time"] == datetime.fromtimestamp(1_700_000_000, UTC)


def test_any_fsspec_url_can_be_a_source() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("a.jsonl", "pretty.json", "comma.csv", "a.parquet", "a.arrow"):
        memory.pipe(f"/drop/{name}", FORMATS[name](ROWS))
    try:
        found = gather("memory://drop")
        assert (len(found.reports), found.quarantine) == (15, [])
        assert found.reports[0]["source"] == "memory:///drop/a.arrow"
        assert gather("memory://drop/comma.csv").pairs == pairs(ROWS)
    finally:
        memory.rm("/drop", recursive=True)


def test_links_and_pipes_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    secret = tmp_path / "secret.jsonl"
    secret.write_bytes(GOOD)
    (drop / "link.jsonl").symlink_to(secret)
    (drop / "folder").symlink_to(tmp_path)
    os.mkfifo(drop / "pipe.jsonl")
    found = gather(drop)
    assert found.reports == []
    assert sorted(Path(row["source"]).name for row in found.quarantine) == ["folder", "link.jsonl", "pipe.jsonl"]
    assert all("link" in row["reason"] and "capital" not in row["detail"] for row in found.quarantine)
    assert gather(drop / "link.jsonl").pairs == pairs(ROWS)  # named by whoever runs it


def test_files_that_cannot_be_read_cost_themselves_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    (tmp_path / "b.docx").write_bytes(b"PK")
    (tmp_path / "c.jsonl").write_bytes(GOOD)
    opened = fsspec.implementations.local.LocalFileSystem.open

    def fail(self: object, path: str, *arguments: object, **options: object) -> object:
        if path.endswith("a.jsonl"):
            raise PermissionError(13, "Permission denied", path)
        return opened(self, path, *arguments, **options)

    monkeypatch.setattr(fsspec.implementations.local.LocalFileSystem, "open", fail)
    found = gather(tmp_path)
    assert found.pairs == pairs(ROWS)
    assert [line for line, _ in found.refused] == [0, 0]
    assert "Permission denied" in found.refused[0][1] and "'.docx'" in found.refused[1][1]


def test_an_empty_folder_gives_nothing(tmp_path: Path) -> None:
    assert list(read(str(tmp_path))) == []


@pytest.mark.parametrize("source", ["nowhere", "nowhere://at/all", "memory://nothing/here", "file:///no/such/file.csv"])
def test_a_source_that_is_not_there_is_an_error_at_once(source: str) -> None:
    with pytest.raises(SourceError, match="no") as error:
        read(source)
    assert source in str(error.value)


def test_passwords_are_not_shown() -> None:
    assert shown("https://ada:pw@host:8080/a.csv?sig=KEY#x") == "https://host:8080/a.csv"
    assert shown("/a/b?c@d.csv") == "/a/b?c@d.csv"
    with pytest.raises(SourceError) as error:
        read("nowhere://ada:secret@host/a.csv?key=hidden")
    assert "secret" not in str(error.value) and "hidden" not in str(error.value)


def test_batches_are_as_small_as_asked_for(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "target": "t"} for i in range(10)] + [{"prompt": "p"}]
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows))
    batches = list(read(str(tmp_path), batch_rows=4, now=later()))
    assert [(b.reports.num_rows, b.quarantine.num_rows) for b in batches] == [(4, 0), (4, 0), (2, 1)]
    with pytest.raises(ValueError, match="batch_rows"):
        read(str(tmp_path), batch_rows=0)
    with pytest.raises(ValueError, match="time zone"):
        read(str(tmp_path), now=datetime(2026, 1, 1))


def test_large_reports_make_small_batches(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i}", "target": "t", "rephrases": ["x" * 20_000] * 40} for i in range(50)]
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows))
    batches = [batch.reports for batch in read(str(tmp_path), now=later() + timedelta(seconds=1))]
    assert sum(batch.num_rows for batch in batches) == 50
    assert max(batch.nbytes for batch in batches) < 20_000_000


def test_of_a_file_whose_every_row_counts_one_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "upstream.jsonl"
    file.write_bytes(GOOD)  # just now: it is not waited for
    assert sources.pairs(str(file)) == pairs(ROWS)
    file.write_bytes(GOOD + b'{"prompt": "broken\n')
    with pytest.raises(SourceError, match=rf"upstream.jsonl, line {len(ROWS) + 1} is no prompt with its target"):
        sources.pairs(str(file))


@pytest.mark.parametrize("name", ["a.zip", "a.jsonl.gz", "a.tar.gz", "a.jsonl.zst", "a.html", "a.pkl"])
def test_archives_and_other_files_are_told_and_not_opened(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is unpacked, so that nothing can grow, lie outside of its folder or be run."""
    (tmp_path / name).write_bytes(gzip.compress(bytes(50_000_000)))
    opened: list[object] = []
    monkeypatch.setattr(SourceFile, "open", opened.append)
    ((line, reason),) = gather(tmp_path).refused
    assert (line, "says nothing about its format" in reason) == (0, True)
    assert opened == []
