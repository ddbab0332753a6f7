"""Editors on one study: each learns the same stream in the same calls, and is asked the same questions."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.bench.editors.protocol import Editor
from pipeline.bench.measure import synchronise
from pipeline.bench.study.examination import edit_question, standing
from pipeline.bench.study.material import Study
from pipeline.editing.edit import Edit, normalise
from pipeline.editing.families import resolve
from pipeline.evaluation.asking import BackboneAnswers, ask
from pipeline.journal import write_atomically
from pipeline.settings import Settings
from pipeline.telling import Teller
from schemas.answers import QUESTIONS

CALL = 100
"""Edits of one call: the stream is cut into so many at once, as into the reports of a night."""

NOTHING = 1e-5
"""Seconds an edit: who takes less has learned nothing."""


@dataclass(frozen=True, slots=True)
class Result:
    """What an editor came to.

    Attributes:
        name: of it.
        ruled_out: why the task is not for it; None where it took part, and what follows is there.
        edits: that it was given.
        prepare_seconds: what it learned before the first edit took.
        edit_seconds: all its calls of ``edit`` together.
        size: see ``Editor.size``.
    """

    name: str
    ruled_out: str | None
    edits: int = 0
    prepare_seconds: float = 0.0
    edit_seconds: float = 0.0
    size: int = 0

    @property
    def edits_per_minute(self) -> float | None:
        """None for who was ruled out, or has nothing to learn and only takes edits down."""
        return 60 * self.edits / self.edit_seconds if self.edit_seconds > NOTHING * self.edits else None


def questions(study: Study) -> pa.Table:
    """What every editor is asked: edits, holdouts, neighbours, upstream and accurate outputs.

    An edit that a later one of the same prompt supersedes is not asked, nor are its holdouts.
    """
    held = [study.edits[i] for i in standing(study.edits)]
    taught = {normalise(text) for edit in held for text in (edit.prompt, *edit.rephrases)}
    rows = []
    for edit in held:
        own = edit_question(edit)
        rows.append(own)
        rows += [own | {"kind": "rephrase", "prompt": text} for text in edit.rephrases]
        others = [text for text in edit.locality if normalise(text) not in taught]
        rows += [own | {"kind": "locality", "prompt": text, "expected": None} for text in others]
    rows += [{"kind": "upstream", "prompt": prompt, "expected": right} for prompt, right in study.upstream]
    rows += [{"kind": "accurate", "prompt": prompt, "expected": right} for prompt, right in study.accurate]
    return pa.Table.from_pylist(rows, schema=QUESTIONS)


def calls(edits: Sequence[Edit]) -> list[Sequence[Edit]]:
    """The stream in the calls that every editor gets. A prompt that comes again within a call is left to the last."""
    found: list[Sequence[Edit]] = []
    for start in range(0, len(edits), CALL):
        call = edits[start : start + CALL]
        found.append([call[i] for i in standing(call)])
    return found


def contest(
    study: Study, editors: Mapping[str, type[Editor]], folder: Path, teller: Teller
) -> Iterator[tuple[Result, pa.Table | None]]:
    """Runs one editor after the other; what is finished is kept in ``folder`` and not run again for the same study
    and settings.

    Args:
        study: what they are held against.
        editors: by name.
        folder: a file of figures and a file of answers each.
        teller: shows how far it is.

    Yields:
        What each came to, and its answers (schema ``ANSWERS``); None for who was ruled out.
    """
    asked, before = questions(study), BackboneAnswers(study.backbone)
    for name, kind in editors.items():
        why = kind.ruled_out(study.backbone.task)
        if why is not None:
            yield Result(name, why), None
            continue
        found = kept(folder, name, study)
        if found is None:
            found = _run(study, name, kind, asked, before, teller)
            _keep(folder, study, *found)
        yield found


def _run(
    study: Study, name: str, kind: type[Editor], asked: pa.Table, before: BackboneAnswers, teller: Teller
) -> tuple[Result, pa.Table]:
    with closing(kind(study.backbone, study.prior)) as editor:
        teller.say(f"{name}: preparing")
        prepare = timed(study.backbone.device, editor.prepare)
        seconds = learn(study, editor, name, teller)
        result = Result(name, None, len(study.edits), prepare, seconds, editor.size())
        teller.say(f"{name}: asking {asked.num_rows} questions")
        return result, ask(editor, asked, forced=True, before=before)


def learn(study: Study, editor: Editor, name: str, teller: Teller) -> float:
    """Gives an editor the whole stream; the seconds that its calls took."""
    seconds = 0.0
    with teller.track(f"{name}: learning {len(study.edits)} edits", len(study.edits)) as advance:
        for call in calls(study.edits):
            seconds += timed(study.backbone.device, lambda call=call: editor.edit(call))  # type: ignore[misc]
            advance(len(call))
    return seconds


def timed(device: torch.device, action: Callable[[], object]) -> float:
    """Seconds that an action takes, until the device is done."""
    start = time.perf_counter()
    action()
    synchronise(device)
    return time.perf_counter() - start


def _keep(folder: Path, study: Study, result: Result, answers: pa.Table) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(answers, folder / f"{result.name}.parquet", compression="zstd")
    text = json.dumps({"of": _made_of(study)} | asdict(result), indent=2)
    write_atomically(folder / f"{result.name}.json", text.encode())  # last: with it the editor is done


def kept(folder: Path, name: str, study: Study) -> tuple[Result, pa.Table] | None:
    """What an editor came to when it ran on the same study with the same settings; None where it did not."""
    file = folder / f"{name}.json"
    if not file.is_file():
        return None
    told = json.loads(file.read_text())
    if told.pop("of", None) != _made_of(study):
        return None
    return Result(**told), pq.read_table(folder / f"{name}.parquet")


def _made_of(study: Study) -> str:
    """What a result depends on: the study, and the settings and recipe in force that MELO and LoRA look at."""
    settings = Settings().editing
    recipe = resolve(study.backbone.model, study.backbone.task, settings)
    told = f"{study.digest} {settings.model_dump_json()} {recipe}"
    return hashlib.sha256(told.encode()).hexdigest()
