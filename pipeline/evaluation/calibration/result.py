"""What a calibration found: every candidate with its rates, and which one was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.evaluation.scores import interval


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rate(_Frozen):
    """A share of questions. Questions of one edit are not independent, so the interval is rather too narrow."""

    share: float
    low: float = Field(description="lower end of the 95% Wilson interval")
    high: float = Field(description="upper end")
    asked: int

    @classmethod
    def of(cls, hits: Sequence[bool]) -> Rate | None:
        """The share of hits; None of none."""
        if not len(hits):
            return None
        low, high = interval(sum(map(bool, hits)), len(hits))
        return cls(share=sum(map(bool, hits)) / len(hits), low=low, high=high, asked=len(hits))


class Tried(_Frozen):
    """One candidate with the radii chosen for it. Rates are of questions that had no part in the choice."""

    name: str
    settings: dict[str, Any] = Field(description="fields of EditingSettings; None where a default or nothing is meant")
    found: dict[str, Rate] = Field(description="by kind of wording: share led to an edit of its label")
    led: dict[str, Rate] = Field(description="by kind of what no edit is about: share led to one, the false routes")
    choosing_recall: float = Field(description="share of the choosing half's rephrases that are led right")
    gain: float = Field(
        description="that, less the share of the bounded kind that is led astray most: what is chosen by"
    )
    holds: bool = Field(description="no bounded kind has more false routes than wanted in the choosing half")


class Bound(_Frozen):
    """Whether the share of false routes of a kind was held to what is wanted."""

    kind: str
    wanted: float = Field(description="share of false routes, at most")
    bounded: bool
    recall: float = Field(description="of the best candidate, by distances alone, if this kind is bounded as well")


class FalseRoute(_Frozen):
    """A question of the reporting half that was led to an edit which it does not ask for."""

    kind: str
    prompt: str
    edit: str = Field(description="prompt of the edit that it was led to")
    distance: float = Field(description="to the centre of that edit's cluster")


class OwnNegatives(_Frozen):
    """Edits with a locality prompt or a question about another relation inside the chosen radius around their key."""

    inside: int
    edits: int = Field(description="that have any such question")


class Calibration(_Frozen):
    """All of it."""

    wanted: float = Field(description="share of false routes among what surely asks something else, at most")
    edits: int = Field(description="in the index")
    held_out: int = Field(description="outside, whose subjects nobody edited")
    bounds: list[Bound]
    candidates: list[Tried] = Field(description="in the order of trial")
    chosen: int | None = Field(description="place among the candidates; None: none leads one rephrase in twenty right")
    own_negatives: OwnNegatives | None
    false_routes: list[FalseRoute] = Field(description="of the chosen one, up to ten a kind, the nearest first")
    notes: list[str] = Field(description="what was not measured, or is not shown by so few questions, and why")

    @property
    def choice(self) -> Tried | None:
        """The chosen candidate."""
        return None if self.chosen is None else self.candidates[self.chosen]
