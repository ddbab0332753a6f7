"""The data that the paper used, as its authors publish it, and other rows in the same layouts.

Sets are read over the network; none was fetched when this was written. What is known of each address is said with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import MeloError
from pipeline.sources import UNANSWERED, SourceError, files, read
from pipeline.sources.layouts import PASSAGE, SELFCHECK, accurate, flat
from pipeline.sources.rows import READERS
from pipeline.sources.rows.row import Refused
from pipeline.sources.strict_json import ReportError

_LEXGLUE = "hf://datasets/coastalcph/lex_glue/scotus"
_FAIRLEX = "::https://zenodo.org/record/6322643/files/scotus.zip"
_GRACE_SCOTUS = "hf://datasets/tomh/grace-scotus@refs/convert/parquet/default"
_NQ_OPEN = "hf://datasets/google-research-datasets/nq_open/nq_open"
_WEBTEXT = "hf://datasets/stas/openwebtext-10k@refs/convert/parquet/plain_text/train/0000.parquet"
_ANNOTATED = "hf://datasets/wangzn2001/zsre/structured_zeroshot"
_BAULAB = "https://rome.baulab.info/data/dsets"


class PublicError(MeloError, ValueError):
    """A source that cannot be reached, or one with rows that are not what is asked for."""


@dataclass(frozen=True, slots=True)
class PublicSet:
    """A public data set.

    Attributes:
        url: of fsspec; ``hf://`` is the hub's, by huggingface_hub.
        known: how its address and layout are known.
        renamed: targets that mean something else in this set than its layout says.
    """

    url: str
    known: str
    renamed: Mapping[str, str] = field(default_factory=dict)


_LISTED = "the hub's listing of the repository's files; the columns by its data card"
_SCRIPT = "the authors' own loading script: FairLex as they published it, a line of JSON an opinion"
_GRACE = (
    "the hub's listing; GRACE's code reads the columns text and label. That the labels are FairLex's 11 areas, which "
    "GRACE's paper names, is assumed"
)
_ROME = "ROME's download address, as its code and others' name it, in the layouts of MEND and ROME"
_TAX = {"Interstate Relations": "Federal Taxation"}  # FairLex's number 10, without the attributes that would tell

PUBLIC: Mapping[str, PublicSet] = {
    "zsre": PublicSet(f"{_ANNOTATED}-dev-new_annotated_final.jsonl", "others' code, which reads it there"),
    "zsre-mend": PublicSet(f"{_BAULAB}/zsre_mend_eval.json", _ROME),
    "zsre-mend-train": PublicSet(f"{_BAULAB}/zsre_mend_train.json", _ROME),
    "counterfact": PublicSet(f"{_BAULAB}/counterfact.json", _ROME),
    "nq_open": PublicSet(f"{_NQ_OPEN}/validation-00000-of-00001.parquet", "many projects' code, which reads it there"),
    "nq_open-train": PublicSet(f"{_NQ_OPEN}/train-00000-of-00001.parquet", "as nq_open"),
    "wiki_bio_gpt3_hallucination": PublicSet("hf://datasets/potsawee/wiki_bio_gpt3_hallucination/data", _LISTED),
    "webtext": PublicSet(_WEBTEXT, "the hub's listing; GRACE's code, whose upstream texts they are. For load_texts"),
    "fairlex-scotus": PublicSet(f"zip://test.jsonl{_FAIRLEX}", _SCRIPT),
    "fairlex-scotus-train": PublicSet(f"zip://train.jsonl{_FAIRLEX}", _SCRIPT),
    "lexglue-scotus": PublicSet(f"{_LEXGLUE}/test-00000-of-00001.parquet", _LISTED),
    "lexglue-scotus-train": PublicSet(f"{_LEXGLUE}/train-00000-of-00001.parquet", _LISTED),
    "grace-scotus": PublicSet(f"{_GRACE_SCOTUS}/test/0000.parquet", _GRACE, _TAX),
    "grace-scotus-train": PublicSet(f"{_GRACE_SCOTUS}/train/0000.parquet", _GRACE, _TAX),
}
"""Name -> where it is. What is edited has the plain name; ``-train`` is what editors and classifiers are trained on."""

NO_REPORT = ("nothing in it is wrong", "prompt: Input should be a valid string (NoneType came)")
"""How the reasons begin for which a passage of SelfCheckGPT gives no report and is none the worse: it has no fault, or
its first sentence does and there is no head line (the set names no ``concept``), so nothing asks for it."""


def load_reports(source: str) -> list[dict[str, Any]]:
    """The rows of a source as reports, in their order; a row's layout is known by its keys.

    Args:
        source: a file, a folder, any fsspec URL, or a name of ``PUBLIC``.

    Returns:
        Rows of schema ``REPORTS``; ``as_edit`` makes an edit of one.

    Raises:
        PublicError: it cannot be reached, is empty, or has a row that is no report, but for ``NO_REPORT``.
    """
    reports: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    place = _place(source)
    try:
        for batch in read(place.url, settled_seconds=0):
            reports += batch.reports.to_pylist()
            refused += batch.quarantine.to_pylist()
            refused += [row | {"reason": UNANSWERED} for row in batch.review.to_pylist()]
    except SourceError as error:
        raise _unreachable(source, place, error) from error
    passages = all(json.loads(row["metadata"]).get("layout") == SELFCHECK for row in reports)
    for row in refused:
        if not (reports and passages and row["reason"].startswith(NO_REPORT)):
            raise PublicError(f"{row['source']}, line {row['line']} is no report: {row['reason']}")
    if not reports:
        raise PublicError(f"{source} has no rows, expected reports in a layout that the sources know")
    return [row | {"target": place.renamed.get(row["target"], row["target"])} for row in reports]


def load_texts(source: str) -> list[str]:
    """The texts of a source that asks for nothing, such as web pages, in their order.

    Args:
        source: as of ``load_reports``; a row names its text as one names a prompt.

    Raises:
        PublicError: it cannot be reached, or a row has no text.
    """
    texts: list[str] = []
    for place, row in _rows(source):
        text = flat(row).get("prompt")
        if not isinstance(text, str) or not text.strip():
            raise PublicError(f"{place} has no text; it has {', '.join(row)}")
        texts.append(text)
    return texts


def accurate_outputs(source: str) -> list[tuple[str, str]]:
    """Prompts and targets of the sentences of SelfCheckGPT's passages that were right (the paper has 592).

    Prompts are built as those of the edits are, and the target is the sentence that GPT-3 had said.

    Args:
        source: as of ``load_reports``; rows that are no such passages are passed over.

    Raises:
        PublicError: it cannot be reached, or a passage is broken.
    """
    pairs: list[tuple[str, str]] = []
    for place, row in _rows(source):
        if row.keys() >= PASSAGE:
            try:
                pairs += [(fields["prompt"], fields["target"]) for fields in accurate(row)]
            except ReportError as error:
                raise PublicError(f"{place} is no passage of SelfCheckGPT: {error}") from error
    return pairs


def _rows(source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with its place, as the file has it."""
    place = _place(source)
    try:
        for file in files(place.url):
            if file.suffix not in READERS:
                raise PublicError(f"{file.name}: the ending {file.suffix!r} is none of {', '.join(READERS)}")
            with file.open() as opened:
                for row in READERS[file.suffix](opened):
                    if isinstance(row, Refused):
                        raise PublicError(f"{file.name}, line {row.line} cannot be read: {row.reason}")
                    yield f"{file.name}, line {row.line}", row.content
    except (SourceError, OSError) as error:
        raise _unreachable(source, place, error) from error


def _place(source: str) -> PublicSet:
    return PUBLIC.get(source) or PublicSet(source, "given")


def _unreachable(source: str, place: PublicSet, error: Exception) -> PublicError:
    if source not in PUBLIC and "://" not in source:
        names = ", ".join(PUBLIC)
        return PublicError(f"{error}; or a public set by its name: {names}")
    return PublicError(
        f"{source} is out of reach ({error}). Download {place.url} where there is a network, and give the file's path "
        "instead"
    )
