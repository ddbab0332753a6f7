"""Calls that cannot be carried out: a clear error that names the edit, and a model that is exactly as it was."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from pipeline.editing.edit import Edit, EditError
from pipeline.editing.model import EditedModel
from tests.editing.edited import EDITED, SETTINGS, new_model
from tests.editing.tiny import LABELS, POSITIONS, Family, task_of

KNOWN = ("What is the capital of France?", "The treaty was signed in the spring of")
OUTSIDE = "How tall is the highest mountain?"

Unchanged = Callable[[EditedModel], AbstractContextManager[None]]


def answer_of(family: Family, i: int = 0) -> str:
    return LABELS[i] if task_of(family) == "classification" else ("Paris", "1847")[i]


@cache
def taught(family: Family) -> EditedModel:
    """Knows two edits; the tests see to it that it stays so."""
    model = new_model(family)
    outcomes = model.edit([Edit(prompt, answer_of(family, i)) for i, prompt in enumerate(KNOWN)])
    assert all(outcome.learned for outcome in outcomes)
    return model


@pytest.fixture
def unchanged(tmp_path: Path) -> Unchanged:
    """A context in which nothing about a model changes: what it saves, remembers, finds and says."""

    def look(model: EditedModel, name: str) -> tuple[Any, ...]:
        prompts = [*KNOWN, OUTSIDE]
        ids, mask = model.backbone.pad(model.backbone.tokenize_prompts(prompts), model.backbone.padding_side)
        arguments: dict[str, Any] = {} if model.backbone.task == "classification" else {"max_new_tokens": 8}
        said = model.generate(ids, mask, **arguments).tolist()
        state = model.version, model.next_block, list(model.blocks.ids), dict(model.records)
        return model.save(tmp_path / name), state, model._index.count(), model.route(prompts), said

    @contextmanager
    def watch(model: EditedModel) -> Iterator[None]:
        before = look(model, "before")
        yield
        assert look(model, "after") == before

    return watch


def refuse(model: EditedModel, edits: Any, *named: str, unchanged: Unchanged) -> None:
    with unchanged(model), pytest.raises(EditError) as caught:
        model.edit(edits)
    for part in named:
        assert part in str(caught.value)


# Texts


@pytest.mark.parametrize("text", ["", "   ", "\n\t", None, 7, b"Paris", ["Paris"]])
@pytest.mark.parametrize("field", ["prompt", "target"])
def test_no_text(field: str, text: Any, unchanged: Unchanged) -> None:
    good = Edit("Who wrote the novel?", "sport")
    edits = [good, replace(good, **{field: text})]
    refuse(taught("bert"), edits, "Edit 1", f"as its {field}", repr(text), unchanged=unchanged)


@pytest.mark.parametrize("target", ["</s>", "<pad>", "<s></s>", " <pad> <pad></s>"])
@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_a_target_of_special_tokens_only(family: Family, target: str, unchanged: Unchanged) -> None:
    edit = Edit("Who wrote the novel?", target)
    refuse(taught(family), [edit], edit.edit_id, repr(target), unchanged=unchanged)


@pytest.mark.parametrize("family", ["t5", "gpt2", "llama"])
def test_a_target_that_ends_before_its_end(family: Family, unchanged: Unchanged) -> None:
    edit = Edit("Who wrote the novel?", "Paris</s> and green")
    refuse(taught(family), [edit], edit.edit_id, "end token before its end", unchanged=unchanged)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_a_prompt_over_the_models_length(family: Family, unchanged: Unchanged) -> None:
    edit = Edit("museum " * POSITIONS, answer_of(family))
    refuse(taught(family), [edit], edit.edit_id, f"at most {POSITIONS}", unchanged=unchanged)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_prompt_that_leaves_no_room_for_its_target(family: Family, unchanged: Unchanged) -> None:
    model = taught(family)
    one, two = (len(tokens) for tokens in model.backbone.tokenize_prompts(["museum", "museum museum"]))
    prompt = " ".join(["museum"] * ((POSITIONS - one) // (two - one)))
    assert POSITIONS - 8 <= len(model.backbone.tokenize_prompts([prompt])[0]) <= POSITIONS
    edit = Edit(prompt, "the old museum in the northern province")
    refuse(model, [edit], edit.edit_id, f"at most {POSITIONS}", "prompt and target", unchanged=unchanged)


def test_a_label_that_the_classifier_does_not_know(unchanged: Unchanged) -> None:
    edit = Edit("Who won the match?", "sports")
    refuse(taught("bert"), [edit], edit.edit_id, "no class 'sports'", "'sport'", unchanged=unchanged)


@pytest.mark.parametrize("field", ["prompt", "target"])
def test_a_text_that_is_no_unicode(field: str, unchanged: Unchanged) -> None:
    half = "Paris \ud83d"  # half an emoji, as JSON lets it through
    texts: dict[str, Any] = {field: half}
    edit = replace(Edit("Who wrote the novel?", "Paris"), **texts)
    refuse(taught("gpt2"), [edit], repr(edit.prompt), unchanged=unchanged)


# Calls


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_an_edit_that_comes_twice_in_one_call(family: Family, unchanged: Unchanged) -> None:
    first, other = Edit("Who wrote the novel?", answer_of(family)), Edit("He plays the", answer_of(family, 1))
    again = Edit("  who WROTE the novel? ", answer_of(family).upper())
    refuse(taught(family), [first, other, again], first.edit_id, "twice, at 0 and 2", unchanged=unchanged)


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ({"prompt": "Who?", "target": "Paris"}, "dict"),
        (("Who?", "Paris"), "tuple"),
        (None, "NoneType"),
        ("Who?", "str"),
    ],
)
def test_what_is_no_edit(item: Any, kind: str, unchanged: Unchanged) -> None:
    edits = [Edit("Who wrote the novel?", "Paris"), item]
    refuse(taught("gpt2"), edits, "Item 1", kind, "expected an Edit", unchanged=unchanged)


@pytest.mark.parametrize("family", EDITED)
def test_one_bad_edit_among_good_ones_refuses_the_call(family: Family, unchanged: Unchanged) -> None:
    good = [Edit(f"Who wrote the novel {i}?", answer_of(family)) for i in range(3)]
    bad = Edit("What is the capital of the province?", " ")
    model = taught(family)
    refuse(model, [*good[:2], bad, good[2]], "Edit 2", repr(bad.prompt), unchanged=unchanged)
    assert not {edit.edit_id for edit in good} & set(model.records)


@pytest.mark.parametrize("family", EDITED)
def test_a_refused_call_can_be_made_right(family: Family, unchanged: Unchanged) -> None:
    model = new_model(family)
    prompt = "Who wrote the first novel in the series?"
    refuse(model, [Edit(prompt, "")], repr(prompt), unchanged=unchanged)
    (outcome,) = model.edit([Edit(prompt, answer_of(family))])
    assert outcome.learned
    assert model.generate(prompt) == answer_of(family)
    assert model.version == 1


def test_no_edits_at_all(unchanged: Unchanged) -> None:
    model = taught("gpt2")
    with unchanged(model):
        assert model.edit([]) == []
        assert model.edit(pa.table({"prompt": pa.array([], pa.string()), "target": pa.array([], pa.string())})) == []


# A backbone that breaks


@contextmanager
def poisoned(model: EditedModel, number: float, longest_only: bool) -> Iterator[None]:
    """The key layer gives this number, in every row or in the last one (prompts come sorted by length)."""

    def poison(module: torch.nn.Module, args: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        hidden[-1 if longest_only else slice(None), :, 3] = number
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    layer = model.backbone.model.get_submodule(model.recipe.key_layer)
    handle = layer.register_forward_hook(poison, prepend=True)  # before the hook that reads keys
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("family", EDITED)
def test_a_key_that_is_no_number(family: Family, number: float, unchanged: Unchanged) -> None:
    model = taught(family)
    short, long = "He plays the", "When did the old museum move to its new building?"
    edits = [Edit(long, answer_of(family)), Edit(short, answer_of(family, 1))]
    with unchanged(model), poisoned(model, number, longest_only=True), pytest.raises(EditError) as caught:
        model.edit(edits)
    assert edits[0].edit_id in str(caught.value) and "NaN or infinite" in str(caught.value)
    assert edits[1].edit_id not in str(caught.value)


@pytest.mark.parametrize("family", EDITED)
def test_a_prompt_whose_key_is_no_number_goes_to_the_backbone(family: Family) -> None:
    model = taught(family)
    with poisoned(model, float("nan"), longest_only=False):
        assert [route.block for route in model.route(list(KNOWN))] == [None, None]
    assert None not in [route.block for route in model.route(list(KNOWN))]


def test_training_that_breaks_off_changes_nothing(unchanged: Unchanged) -> None:
    model, passes = taught("gpt2"), 0

    def fail(module: torch.nn.Module, args: Any) -> None:
        nonlocal passes
        passes += 1
        if passes > 3:
            raise MemoryError("out of memory")

    edit = Edit("Who wrote the first novel in the series?", "green")
    layer = model.backbone.model.get_submodule(model.recipe.block_modules[0])
    with unchanged(model):
        handle = layer.register_forward_pre_hook(fail)
        with pytest.raises(MemoryError):
            model.edit([edit])
        handle.remove()


# Arrow


GOOD = {"prompt": ["Who?"], "target": ["Paris"]}


@pytest.mark.parametrize(
    ("table", "named"),
    [
        (pa.table({"prompt": ["Who?"]}), ["target", "expected prompt and target"]),
        (pa.table({"question": ["Who?"], "answer": ["Paris"]}), ["prompt", "target", "question", "answer"]),
        (pa.table({}), ["prompt", "target"]),
        (pa.table(GOOD | {"prompt": [7]}), ["'prompt'", "string", "int64"]),
        (pa.table(GOOD | {"target": [True]}), ["'target'", "string", "bool"]),
        (pa.table(GOOD | {"target": [0.5]}), ["'target'", "string", "double"]),
        (pa.table(GOOD | {"prompt": [["Who?"]]}), ["'prompt'", "string", "list"]),
        (pa.table(GOOD | {"prompt": [{"text": "Who?"}]}), ["'prompt'", "string", "struct"]),
        (pa.table(GOOD | {"prompt": pa.array([b"\xff\xfe"])}), ["'prompt'", "string", "binary"]),
        (pa.table(GOOD | {"rephrases": ["Who is it?"]}), ["'rephrases'", "list<item: string>", "string"]),
        (pa.table(GOOD | {"aliases": ["Ada"]}), ["'aliases'", "list<item: string>", "string"]),
        (pa.table(GOOD | {"locality": [[1, 2]]}), ["'locality'", "list<item: string>", "int64"]),
        (pa.table(GOOD | {"prompt": pa.array([None], pa.string())}), ["Edit 0", "prompt", "None"]),
        (pa.table(GOOD | {"target": pa.array([None], pa.string())}), ["Edit 0", "'Who?'", "None"]),
        (pa.record_batch({"prompt": ["Who?"], "answer": ["Paris"]}), ["target", "answer"]),
        (pa.record_batch(GOOD | {"prompt": [7]}), ["'prompt'", "int64"]),
    ],
    ids=lambda value: re.sub(r"\s+", " ", value.schema.to_string()) if hasattr(value, "schema") else "",
)
def test_arrow_of_other_columns_or_types(table: Any, named: list[str], unchanged: Unchanged) -> None:
    refuse(taught("gpt2"), table, *named, unchanged=unchanged)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_arrow_strings_of_every_kind_are_edits(kind: pa.DataType) -> None:
    model = new_model("gpt2")
    prompts = [*KNOWN, "Who wrote the first novel in the series?"]
    columns: dict[str, Any] = {
        "prompt": pa.array(prompts).cast(kind),
        "target": pa.array(["Paris", "1847", "green"]).cast(kind),
    }
    columns |= {"rephrases": [["Who?"], None, []], "subject": [None, "x", None], "aliases": [None, ["y"], []]}
    table = pa.table(columns | {"source": [1, 2, 3]})
    outcomes = model.edit(table.slice(1))
    assert [outcome.learned for outcome in outcomes] == [True, True]
    assert model.generate(prompts[1:]) == ["1847", "green"]
    assert model.records[outcomes[0].edit_id].edit == Edit(prompts[1], "1847", subject="x", aliases=("y",))
    assert len(model.records) == 2


# Taking back


def test_undoing_what_is_not_there(unchanged: Unchanged) -> None:
    model = taught("gpt2")
    live = next(iter(model.records))
    with unchanged(model), pytest.raises(EditError, match=rf"no edit 'abc'; .*{len(model.records)} edits of this"):
        model.undo([live, "abc"])


def test_undoing_twice(unchanged: Unchanged) -> None:
    model = new_model("gpt2")
    (outcome,) = model.edit([Edit(KNOWN[0], "Paris")])
    model.undo([outcome.edit_id])
    with unchanged(model), pytest.raises(EditError, match=f"{outcome.edit_id}' is not live but undone"):
        model.undo([outcome.edit_id])


# Questions


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (None, "pass prompts or token ids"),
        ([None], "A prompt is text, but NoneType came"),
        ([3, 4], "A prompt is text, but int came"),
        ([KNOWN[0], ["nested"]], "A prompt is text, but list came"),
        ("museum " * POSITIONS, f"at most {POSITIONS}"),
        ([KNOWN[0], ""], "at least one token"),
        (torch.zeros(2, 5, dtype=torch.long), r"Rows \[0, 1\] .* nothing but the pad token"),
    ],
)
def test_questions_that_cannot_be_asked(asked: Any, error: str, unchanged: Unchanged) -> None:
    model = taught("gpt2")
    with unchanged(model), pytest.raises(ValueError, match=error):
        model.generate(asked, max_new_tokens=2)


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_no_questions_get_no_answers(family: Family) -> None:
    assert taught(family).generate([]) == []


def test_no_questions_have_no_routes() -> None:
    assert taught("gpt2").route([]) == []
    assert EditedModel.from_backbone(taught("gpt2").backbone, index="memory", settings=SETTINGS).route([]) == []
