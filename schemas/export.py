"""The manifest of an exported version: which adapter is which block, and the digest of every file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.manifest import BackboneEntry, EncoderEntry, FileEntry, Sha256


class ExportManifest(BaseModel):
    """What a server needs to know of an export; how prompts are routed stands in the version inside it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["melo-peft-export"] = "melo-peft-export"
    format_version: Literal[1] = Field(1, description="counts up when an older reader could misread a folder")
    version: Sha256 = Field(pattern=r"^[0-9a-f]{64}$", description="digest of the edited model in the folder `version`")
    backbone: BackboneEntry
    encoder: EncoderEntry | None = Field(description="none: keys are the backbone's hidden states")
    rank: int = Field(gt=0, description="of every adapter in every module, with what is padded")
    adapters: dict[str, int] = Field(description="name of an adapter -> the block that a route names")
    files: dict[str, FileEntry] = Field(description="by path in the folder, all but the two manifests")
