"""What is asked of the server and what it answers, as JSON. Parameters that are not known are refused, not ignored."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MOST_PROMPTS = 256
MOST_CHARACTERS = 20_000
MOST_TOKENS = 2048

Prompt = Annotated[str, StringConstraints(min_length=1, max_length=MOST_CHARACTERS)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Question(_Strict):
    """A request."""

    prompts: list[Prompt] = Field(min_length=1, max_length=MOST_PROMPTS)
    max_new_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS, description="of an answer at most")
    num_beams: int | None = Field(None, ge=1, le=16)
    do_sample: bool | None = Field(None, description="draw tokens instead of taking the likeliest")
    temperature: float | None = Field(None, gt=0, le=5, description="of sampling")
    top_p: float | None = Field(None, gt=0, le=1, description="of sampling")
    top_k: int | None = Field(None, ge=1, le=10_000, description="of sampling")
    stream: bool = Field(False, description="send the answer token by token, as server-sent events; of one prompt")

    @property
    def arguments(self) -> dict[str, object]:
        """For ``generate``: what was given of how to answer."""
        return self.model_dump(exclude={"prompts", "stream"}, exclude_none=True)


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
