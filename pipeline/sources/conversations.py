"""The question and the answer in what a traced application took and gave.

Applications log texts, messages of a chat, or objects of their own. A question counts only where it stands alone: the
last turn of a longer chat means nothing without those before it.
"""

from __future__ import annotations

from typing import Any

from pipeline.sources.layouts import ALIASES, Fields, inside, plain
from pipeline.sources.strict_json import ReportError, dump, parse

QUESTIONS = (*ALIASES["prompt"], "instruction", "message", "inputs", "user_input")
"""Names that a question goes by in an object, the best first."""
SAID = ("answer", "response", "output", "completion", "generation", "prediction", "model_answer", "model_response")
"""Names that a model's answer goes by beside its question, the best first."""
_ANSWERS = (*SAID, "content", "text", "result", "outputs", "value")
_USER, _MODEL, _SETTING = ("user", "human"), ("assistant", "ai", "model"), ("system", "developer")


def question(value: Any, place: str) -> str:
    """The question in a text, in messages with one turn of a user, or in an object under one of ``QUESTIONS``.

    Args:
        value: as it came; an object or a list may come as JSON text.
        place: where it came from, for the error.

    Raises:
        ReportError: there is none, or one that goes on from earlier turns.
    """
    value = opened(value)
    if isinstance(value, str):
        return value
    messages = inside(value, "messages") or value
    if isinstance(messages, list):
        return _only_turn(messages, place)
    found = named(value, QUESTIONS)
    if found is None:
        held = [one for one in value.values() if one not in (None, "", [], {})] if isinstance(value, dict) else []
        if len(held) != 1 or not isinstance(held[0], str | list | dict):
            expected = f"text, messages, or an object with one of {', '.join(QUESTIONS)}"
            raise ReportError(f"{place}: no question in it ({type(value).__name__} came), expected {expected}")
        found = held[0]
    return question(found, place)


def answer(value: Any) -> str | None:
    """The answer in a text, in messages, in a chat completion, or in an object; else its JSON. None for nothing."""
    value = opened(value)
    if value is None or isinstance(value, str):
        return value
    choices = inside(value, "choices")
    if isinstance(choices, list) and choices:
        value = inside(choices[0], "message") or choices[0]
    messages = inside(value, "messages") or value
    if isinstance(messages, list):
        said = [_content(turn) for turn in messages if _role(turn) in _MODEL]
        return said[-1] if said and said[-1] is not None else dump(value)
    found = named(value, _ANSWERS)
    texts = [text for text in value.values() if isinstance(text, str)] if isinstance(value, dict) else []
    if found is None and len(texts) == 1:
        return texts[0]
    return dump(value) if found is None else answer(found)


def opened(value: Any) -> Any:
    """What a text holds that is a JSON object or list; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return parse(value)
        except ReportError:
            return value  # a text may begin with a bracket
    return value


def named(value: Any, names: tuple[str, ...]) -> Any:
    """What an object holds under the best of some names that says anything; None where there is none."""
    if not isinstance(value, dict):
        return None
    by_name: Fields = {plain(str(name)): held for name, held in value.items() if held not in (None, "", [], {})}
    return next((by_name[name] for name in names if name in by_name), None)


def _only_turn(messages: list[Any], place: str) -> str:
    turns = [turn for turn in messages if _role(turn) not in _SETTING]
    text = _content(turns[0]) if len(turns) == 1 and _role(turns[0]) in _USER else None
    if text is None:
        raise ReportError(f"{place}: {len(turns)} turns came, expected one question of a user that stands alone")
    return text


def _role(turn: Any) -> Any:
    return inside(turn, "role") or inside(turn, "type")


def _content(turn: Any) -> str | None:
    content = inside(turn, "content")
    if isinstance(content, list):  # of parts, as pictures may stand among them
        texts = [inside(part, "text") for part in content]
        content = "\n".join(texts) if texts and all(isinstance(text, str) for text in texts) else None
    return content if isinstance(content, str) else None
