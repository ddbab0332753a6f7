"""One typed tree of settings: defaults, then environment (``MELO_...``), then arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Task = Literal["seq2seq", "causal", "classification"]


class EditingSettings(BaseModel):
    """How edits are made. A field left at None is taken from the backbone's preset or family."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_layer: str | None = Field(None, description="module whose output at the prompt's last token is the key")
    block_modules: tuple[str, ...] | None = Field(None, description="linear modules that carry blocks")
    partial_rank: int | None = Field(None, gt=0, description="rank p of one block in every module")
    radius: float | None = Field(None, gt=0, description="initial radius R0 of a cluster, in units of the key")
    iterations: int | None = Field(None, gt=0, description="optimiser steps before a block's first retry")
    learning_rate: float | None = Field(None, gt=0, description="Adam's rate at the start")
    halve_every: int | None = Field(None, gt=0, description="steps after which the rate is halved, again and again")
    edits_per_block: int | None = Field(None, gt=0, description="edits that one block learns")
    blocks_per_step: int = Field(4, gt=0, description="blocks trained side by side in one step at most")
    tokens_per_step: int = Field(8192, gt=0, description="tokens of one step at most, pads counted")
    scale: float = Field(1.0, gt=0, description="s in W x + s B A x, whatever the number of blocks")
    init_std: float | None = Field(None, gt=0, description="A is drawn from N(0, init_std^2 / d_in), B is zero")
    margin: float = Field(0.3, ge=0, description="logits by which each target token must lead before a block stops")
    conflicts: Literal["keep", "paper"] = Field("keep", description="put evicted keys back, or drop them as the paper")
    seed: int = Field(0, ge=0, description="blocks are drawn from this seed and their own id")


class Settings(BaseSettings):
    """Everything, read from the environment: ``MELO_HOME``, ``QDRANT_URL``, ``MELO_EDITING__RADIUS`` ..."""

    model_config = SettingsConfigDict(env_prefix="MELO_", env_nested_delimiter="__", extra="ignore")

    home: Path = Field(Path(".melo"), description="where state lives")
    qdrant_url: str | None = Field(None, validation_alias="QDRANT_URL", description="server that holds the index")
    editing: EditingSettings = EditingSettings()
