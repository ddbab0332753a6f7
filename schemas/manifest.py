"""The manifest of an edited model on disk: what it was made from, how, and the digest of every file."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Sha256 = str


class FileEntry(BaseModel):
    """One file of the folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int = Field(ge=0)
    sha256: Sha256 = Field(pattern=r"^[0-9a-f]{64}$")


class BackboneEntry(BaseModel):
    """The frozen model that blocks are added to; it is referred to, not copied."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference: str = Field(description="path or hub id it was loaded from")
    task: Literal["seq2seq", "causal", "classification"]
    digest: Sha256 = Field(pattern=r"^[0-9a-f]{64}$", description="of its weights")


class EncoderEntry(BaseModel):
    """The sentence encoder that makes the keys; it is referred to, not copied."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference: str = Field(description="path, hub id or name it was loaded from")
    digest: Sha256 = Field(pattern=r"^[0-9a-f]{64}$", description="of its weights and tokenizer")


class Manifest(BaseModel):
    """Everything in the folder but the rows and tensors themselves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["melo-edited-model"] = "melo-edited-model"
    format_version: Literal[3] = Field(3, description="counts up when an older reader could misread a folder")
    version: int = Field(ge=0, description="how many times the model was changed")
    next_block: int = Field(ge=0, description="first block id that was never given out")
    key_width: int = Field(gt=0, description="numbers in a key")
    backbone: BackboneEntry
    encoder: EncoderEntry | None = Field(None, description="none: keys are the backbone's hidden states")
    metric: Sha256 | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="of the linear map that keys go through; it lies in a file"
    )
    recipe: dict[str, Any] = Field(description="layers, rank, radius and rates that were settled")
    settings: dict[str, Any] = Field(description="what was asked for")
    files: dict[str, FileEntry]
    digest: Sha256 = Field("", description="of all of the above but the models' references: names the version")

    @property
    def models(self) -> list[str]:
        """Everything that is loaded by a name that stands here: backbone and encoders."""
        named = [self.backbone.reference, self.encoder and self.encoder.reference, self.settings.get("encoder")]
        return [str(name) for name in named if name]

    def computed_digest(self) -> Sha256:
        """64 hexadecimal digits that are equal for equal versions, wherever their models are kept."""
        places = {"backbone": {"reference"}, "encoder": {"reference"}, "settings": {"encoder", "metric"}}
        content = self.model_dump(mode="json", exclude={"digest": True, **places})
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
