"""Which edited model an actor holds, and how it comes by it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from pipeline.editing.index import Place
from pipeline.editing.loading import load_backbone
from pipeline.editing.model import EditedModel
from pipeline.settings import EditingSettings, Task


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything that an actor needs to have a model, in a few strings.

    Attributes:
        backbone: folder or hub id; None: where the version says that it was made from.
        task: of the backbone; None: what its config tells of.
        editing: settings of a model without a version.
        version: folder of a saved version; None for the bare backbone.
    """

    backbone: str | None
    task: Task | None
    editing: EditingSettings
    version: str | None = None

    def open(self, index: Place = "memory") -> EditedModel:
        """The model; see ``EditedModel.from_backbone`` for ``index``.

        Raises:
            BackboneError, CheckpointError: it cannot be loaded, or the version was made from another backbone.
        """
        backbone = None if self.backbone is None else load_backbone(self.backbone, self.task)
        if self.version is not None:
            return EditedModel.load(self.version, backbone=backbone, index=index)
        assert backbone is not None
        return EditedModel.from_backbone(backbone, settings=self.editing, index=index)


def circumstances(model: EditedModel) -> str:
    """Digest of what, besides a unit itself, decides the weights that training gives it."""
    content = {
        "backbone": model.backbone.digest,
        "recipe": asdict(model.recipe),
        "seed": model.settings.seed,
        "margin": model.settings.margin,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
