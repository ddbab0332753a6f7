"""What is asked of the server and what it answers, as JSON. Parameters that are not known are refused, not ignored."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MOST_PROMPTS = 256
MOST_CHARACTERS = 20_000
MOST_TOKENS = 2048
MOST_BYTES = 32 << 20
"""Of a request: as many prompts as are taken, as long as they may be, six bytes a character as JSON escapes it."""

Prompt = Annotated[str, StringConstraints(min_length=1, max_length=MOST_CHARACTERS)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parameters(_Strict):
    """How to generate; what is not given is as the backbone has it."""

    max_new_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS, description="of an answer at most")
    num_beams: int | None = Field(None, ge=1, le=16)
    do_sample: bool | None = Field(None, description="draw tokens instead of taking the likeliest")
    temperature: float | None = Field(None, gt=0, le=5, description="of sampling")
    top_p: float | None = Field(None, gt=0, le=1, description="of sampling")
    top_k: int | None = Field(None, ge=1, le=10_000, description="of sampling")

    @property
    def arguments(self) -> dict[str, object]:
        """For ``generate``: what was given."""
        return self.model_dump(include={*Parameters.model_fields}, exclude_none=True)


class Question(Parameters):
    """A request."""

    prompts: list[Prompt] = Field(min_length=1, max_length=MOST_PROMPTS)
    stream: bool = Field(False, description="send the answer token by token, as server-sent events; of one prompt")


class Answer(_Strict):
    """What is said to one prompt, and who spoke."""

    answer: str
    edited: bool = Field(description="whether an edit's block answered")
    edit_id: str | None = Field(description="of the edit that spoke, or that keeps this prompt for the backbone")
    edit_prompt: str | None = Field(description="what that edit was taught with")
    block: int | None
    cluster: int | None = Field(description="the nearest one")
    distance: float | None = Field(description="to its centre; none where the prompt can be led nowhere")
    radius: float | None = Field(description="of that cluster: farther away the backbone answers")


class Response(_Strict):
    """Answers in the order of the prompts, all of one version."""

    version: int = Field(description="of the registry")
    digest: str
    answers: list[Answer]


class Version(_Strict):
    """What is served."""

    version: int
    digest: str
    edits: int = Field(description="live ones")
    task: str


USUAL: dict[str, Any] = {
    "max_new_tokens": 64,
    "num_beams": 1,
    "do_sample": False,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 50,
}
"""``Parameters`` for MLflow, which wants a default of each: what equals it was not given."""
