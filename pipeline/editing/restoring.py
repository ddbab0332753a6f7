"""An edited model from its folder: what was saved is read, held together, and its index built anew."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pipeline.editing import checkpoint
from pipeline.editing.backbone import Backbone
from pipeline.editing.clusters import Clusters
from pipeline.editing.families import resolve
from pipeline.editing.folder import CLUSTERS, KEYS, RECORDS, CheckpointError, read_manifest
from pipeline.editing.index import Place
from pipeline.editing.loading import load_backbone
from pipeline.editing.records import Records
from pipeline.editing.together import check_together
from pipeline.settings import EditingSettings
from pipeline.trust import check_models
from schemas.manifest import EncoderEntry

if TYPE_CHECKING:
    from pipeline.editing.model import EditedModel


def _named(entry: EncoderEntry | None) -> str:
    return "none" if entry is None else f"{entry.reference} with digest {entry.digest}"


def restored(
    kind: type[EditedModel],
    folder: Path,
    backbone: Backbone | None,
    index: Place | None,
    device: str | torch.device | None,
    dtype: torch.dtype | None,
    models: Sequence[str],
) -> EditedModel:
    """See ``EditedModel.load``; ``kind`` is that class."""
    manifest = read_manifest(folder)
    check_models(manifest.models if backbone is None else manifest.models[1:], models)
    entry = manifest.backbone
    backbone = backbone or load_backbone(entry.reference, entry.task, device=device, dtype=dtype)
    if backbone.digest != entry.digest or backbone.task != entry.task:
        raise CheckpointError(
            f"{folder} was made from a {entry.task} backbone with digest {entry.digest}, but {backbone.reference} "
            f"({backbone.task}) has {backbone.digest}: pass the backbone that it was made from"
        )
    tables = checkpoint.read_tables(folder, manifest)
    try:
        recipe = resolve(backbone.model, backbone.task, EditingSettings(**manifest.recipe))
        settings = EditingSettings(**manifest.settings)
        clusters = Clusters.from_tables(tables[CLUSTERS], tables[KEYS])
        records = Records.from_table(tables[RECORDS])
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{folder} does not hold together: {error}") from error
    with ExitStack() as opened:
        metric = checkpoint.stored_metric(folder, manifest)
        model = opened.enter_context(closing(kind(backbone, recipe, settings, index, metric)))
        found = (clusters.width, clusters.radius, clusters.subject_radius, clusters.conflicts)
        expected = (model.clusters.width, recipe.radius, recipe.subject_radius, settings.conflicts)
        if found != expected or manifest.key_width != clusters.width:
            raise CheckpointError(
                f"{folder} has clusters of width, radii and conflicts {found} and a manifest of width "
                f"{manifest.key_width}, expected {expected}: the files are not of one version"
            )
        made_by = model.encoder.entry
        if (made_by and made_by.digest) != (manifest.encoder and manifest.encoder.digest):
            raise CheckpointError(
                f"{folder} has keys by the encoder {_named(manifest.encoder)}, but {_named(made_by)} is what its "
                "settings lead to here: bring the encoder that it was made with"
            )
        if (metric and metric.digest) != manifest.metric:
            raise CheckpointError(
                f"{folder} has the metric {metric and metric.digest}, its manifest says {manifest.metric}: the files "
                "are not of one version"
            )
        checkpoint.read_blocks(folder, manifest, model.blocks)
        check_together(manifest, tables, records, model.blocks.ids)
        model.adopt(manifest.version, manifest.next_block, clusters, records)
        opened.pop_all()
    return model
