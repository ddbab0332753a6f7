"""Whatever text passes for a report, a night gets over it: no prompt, subject or alias stops what is made of edits."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.editing.check import usable
from pipeline.editing.edit import Edit
from pipeline.editing.model import EditedModel
from pipeline.evaluation.probes import Probing
from pipeline.evaluation.suite import questions
from pipeline.settings import EditingSettings
from schemas.reports import REPORTS
from tests.editing.edited import tiny

TEXTS = (
    "\x00\x01\x1b[2J",
    "\u202eback\u202c to front?",
    "\u200b",
    "?!.,;:",
    "((((((a+)+)+)+)+)$ [z-a] \\1 %s {0} {x} $x$ \\frac{",
    "İıßſŐ\u0301\u0301\u0301\u0301",
    "👩‍👩‍👧‍👦 🏳️‍🌈",
    "a" * 300,
    "Who is the the the the the the the the the the?",
    "who\nis\n\n\nit\r\n?",
    "<script>alert(1)</script> <unk> </s> <pad> <extra_id_0>",
    "not not not no never n't",
    "1 2 3 4 5 6 7 8 9 10 11 12 1000000000000000000000",
    "\ufeffBOM \ufffd\uffff",
)


@pytest.mark.parametrize("by_subject", [False, True])
def test_no_text_stops_teaching_asking_or_deriving_questions(by_subject: bool) -> None:
    near = [*TEXTS[:4], "?"]
    edits = [
        Edit(
            f"{text} {number}",
            text if number % 2 else "novel",
            rephrases=(text, text[::-1] or "x"),
            locality=tuple(near),
            subject=text if number % 3 else None,
            aliases=(text * 2, "\u200b", "."),
        )
        for number, text in enumerate(TEXTS)
    ]
    settings = EditingSettings(subjects=by_subject, subject_radius=1.0 if by_subject else None, iterations=2)
    model = EditedModel.from_backbone(tiny("t5"), index="memory", settings=settings)
    try:
        fit, refused = usable(model.backbone, edits)
        assert len(fit) + len(refused) == len(edits) and len(fit) > len(edits) / 2
        assert len(model.edit(fit)) == len(fit)
        rows = [
            {"edit_id": edit.edit_id, "prompt": edit.prompt, "target": edit.target, "subject": edit.subject}
            | {"rephrases": list(edit.rephrases), "aliases": list(edit.aliases), "source": "x", "line": 1}
            | {"locality": [{"prompt": prompt} for prompt in edit.locality], "time": 0, "metadata": "{}"}
            for edit in fit
        ]
        asked = questions(pa.Table.from_pylist(rows, REPORTS), [], Probing(40, 1, "seq2seq"))
        prompts = asked["prompt"].to_pylist()
        assert len(model.route(prompts)) == len(prompts) > len(fit)
        assert len(model.generate(prompts, max_new_tokens=2)) == len(prompts)
    finally:
        model.close()
