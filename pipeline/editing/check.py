"""The border of the editor: calls that cannot be carried out are refused before anything happens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.editing.backbone import Backbone, quoted
from pipeline.editing.edit import Edit, EditError


def check_edits(backbone: Backbone, edits: Sequence[Edit]) -> None:
    """Refuses a call that cannot be carried out, before anything happens.

    Raises:
        EditError: naming the edit, when a text is empty or no text, a target says nothing or cannot be said to its
            end, a prompt (with its target, for a causal model) is longer than the model's positions, a class is
            unknown, or an edit comes twice.
    """
    if isinstance(edits, Edit):
        raise EditError(f"{_named(edits)} came alone: pass a list of edits.")
    seen: dict[str, int] = {}
    for position, edit in enumerate(edits):
        if not isinstance(edit, Edit):
            raise EditError(f"Item {position} is a {type(edit).__name__}: expected an Edit.")
        for name, text in (("prompt", edit.prompt), ("target", edit.target)):
            if not isinstance(text, str) or not text.strip() or not _is_unicode(text):
                raise EditError(
                    f"Edit {position} (prompt {quoted(edit.prompt)}) needs text as its {name}: {quoted(text)} came."
                )
        if edit.edit_id in seen:
            raise EditError(f"{_named(edit)} comes twice, at {seen[edit.edit_id]} and {position}: send it once.")
        seen[edit.edit_id] = position
        try:
            (prompt,) = backbone.tokenize_prompts([edit.prompt])
            (target,) = backbone.tokenize_targets([edit.target], [edit.prompt])
        except EditError as error:
            raise EditError(f"{_named(edit)}: {error}") from None
        if backbone.task != "classification":
            _check_tokens(backbone, edit, prompt, target)


def usable(backbone: Backbone, edits: Iterable[Edit]) -> tuple[list[Edit], dict[str, str]]:
    """Parts edits from those that a backbone cannot take: the usable ones, and by edit id why the others are not."""
    fit: list[Edit] = []
    refused: dict[str, str] = {}
    for edit in edits:
        try:
            check_edits(backbone, [edit])
            fit.append(edit)
        except EditError as error:
            refused[edit.edit_id] = str(error)
    return fit, refused


def _check_tokens(backbone: Backbone, edit: Edit, prompt: list[int], target: list[int]) -> None:
    if not backbone.end_tokens.isdisjoint(target[:-1]):
        raise EditError(f"{_named(edit)}: the target {quoted(edit.target)} has an end token before its end.")
    if not backbone.decode_answer(target):
        raise EditError(
            f"{_named(edit)}: the target {quoted(edit.target)} has no token but special ones (unknown, pad, end)."
        )
    limit = backbone.max_prompt_tokens
    if backbone.task == "causal" and limit is not None and len(prompt) + len(target) > limit:
        raise EditError(
            f"{_named(edit)}: prompt and target have {len(prompt)} + {len(target)} tokens, but the model reads at most "
            f"{limit}: shorten them."
        )


def _named(edit: Edit) -> str:
    return f"Edit {edit.edit_id} (prompt {quoted(edit.prompt)})"


def _is_unicode(text: str) -> bool:
    """Whether it can be written down: half of a surrogate pair can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
