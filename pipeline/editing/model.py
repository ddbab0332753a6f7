"""The edited model: a frozen backbone, blocks, and an index that says which block answers what."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from pipeline.editing import checkpoint
from pipeline.editing.about import subjects_of
from pipeline.editing.backbone import Backbone
from pipeline.editing.blocks import Blocks, DynamicLora
from pipeline.editing.check import check_edits
from pipeline.editing.clauses import Clause
from pipeline.editing.clusters import Clusters
from pipeline.editing.curriculum import Curriculum, stack
from pipeline.editing.edit import Edit, EditError, Outcome, Route, edits_from_arrow
from pipeline.editing.families import resolve
from pipeline.editing.folder import CLUSTERS, KEYS, RECORDS
from pipeline.editing.forced import Forced
from pipeline.editing.index import Delta, Place, open_index
from pipeline.editing.keying import keys_of, limits_of
from pipeline.editing.keys import open_keys
from pipeline.editing.loading import load_backbone
from pipeline.editing.metric import Metric
from pipeline.editing.planning import Plan, lessons_of, take_in, unknown
from pipeline.editing.radius import CLAUSE_SHARE, PROBES, SUBJECT_SHARE, measured_radius
from pipeline.editing.recipe import Recipe
from pipeline.editing.records import Records, State
from pipeline.editing.restoring import restored
from pipeline.editing.routed import RoutedBackbone
from pipeline.editing.routing import Router
from pipeline.editing.training import Trainer
from pipeline.settings import EditingSettings, Settings, Task
from schemas.manifest import BackboneEntry, FileEntry, Manifest


class EditedModel:
    """Answers as the backbone does, except inside the scopes of its edits.

    Make one with ``from_backbone`` or ``load``. Calls of ``edit`` and ``undo`` change it and count its
    version up; ``generate`` and ``route`` don't.

    Attributes:
        backbone: the frozen model with its tokenizer.
        recipe: what was settled for it: layers, rank, radius, rates.
        settings: what was asked for.
        version: how many times it was changed.
        records: edit id -> what is remembered of it.
        encoder: makes the keys.
    """

    def __init__(
        self,
        backbone: Backbone,
        recipe: Recipe,
        settings: EditingSettings,
        index: Place | None = None,
        metric: Metric | None = None,
    ) -> None:
        self.backbone = backbone
        self.settings = settings
        self.version = 0
        self.records = Records()
        self.next_block = 0
        with ExitStack() as opened:  # what a failure below must not leave behind
            self._lora = DynamicLora(backbone.model, recipe.block_modules, recipe.scale)
            opened.callback(self._lora.detach)
            self.encoder = encoder = open_keys(backbone, recipe, settings, metric)
            opened.callback(encoder.close)
            probes = encoder.of(PROBES)
            asked = encoder.of_clauses([Clause(probe, "") for probe in PROBES]) if encoder.apart else probes
            radius = recipe.radius or measured_radius(probes)
            wide = recipe.subject_radius or measured_radius(asked, CLAUSE_SHARE if encoder.apart else SUBJECT_SHARE)
            self.recipe = replace(recipe, radius=radius, subject_radius=wide)
            self.blocks = Blocks(self._lora.widths, recipe.partial_rank, backbone.device)
            self.clusters = Clusters(probes.shape[1], radius, settings.conflicts, wide)
            self._pending: list[Delta] = []
            self._lock = threading.RLock()  # of the index and of the blocks that it leads to
            where = index or Settings().qdrant_url
            self._index = open_index(where, self.clusters.width)
            opened.callback(self._index.close)
            if self._index.count() != (0, 0):  # its rows come from this model alone
                raise ValueError(f"{where} holds an index already; choose a folder that is empty or not there yet")
            self._router = Router(encoder, self._index, self._lock)
            self._routed = RoutedBackbone(backbone, self._lora, self._router, self.blocks, self._lock)
            self._opened = opened.pop_all()

    @classmethod
    def from_backbone(
        cls,
        reference: str | Path | Backbone,
        task: Task | None = None,
        *,
        settings: EditingSettings | None = None,
        index: Place | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> EditedModel:
        """An edited model without edits.

        Args:
            reference: a folder or a hub id, or a ``Backbone`` that is loaded already.
            task: ``seq2seq``, ``causal`` or ``classification``; None: what its config tells of.
            settings: what differs from the preset or the family's defaults, and from the environment.
            index: where keys live: ``"memory"``, a folder for Qdrant Edge, a Qdrant server's URL, or a ``Collection``
                of one. None: the server at QDRANT_URL if that is set, else Qdrant Edge in a temporary folder.
            device: where to run; None: CUDA where there is one.
            dtype: of the backbone; None: as stored.

        Raises:
            ValueError: a setting names a module that is not there, or a family without defaults.
        """
        if isinstance(reference, Backbone):
            backbone = reference
        else:
            backbone = load_backbone(str(reference), task, device=device, dtype=dtype)
        settings = settings or Settings().editing
        return cls(backbone, resolve(backbone.model, backbone.task, settings), settings, index)

    def edit(self, edits: Sequence[Edit] | pa.Table | pa.RecordBatch) -> list[Outcome]:
        """Teaches the model new answers.

        Args:
            edits: edits, or an Arrow table of them (``edits_from_arrow``). One that the model knows already
                is left alone and gets the outcome it had, with 0 steps.

        Returns:
            One outcome an edit, in order. An edit that was not learned leaves no trace but its record.

        Raises:
            EditError: an edit is not usable; the message names it, and the model is unchanged.
        """
        plan, trainer = self.plan(edits), self.trainer()
        while units := plan.curriculum.units():
            plan.curriculum.finish([trainer.train(unit) for unit in units])
        return self.commit(plan)

    def plan(self, edits: Sequence[Edit] | pa.Table | pa.RecordBatch) -> Plan:
        """The first third of ``edit``: keys, block ids and units of work. The model stays as it is.

        The plan depends on the edits and the model alone; who trains its units, where and in which order, makes no
        difference to what ``commit`` makes of them (rule 6).

        Raises:
            EditError: as ``edit``.
        """
        if isinstance(edits, pa.Table | pa.RecordBatch):
            edits = edits_from_arrow(edits)
        check_edits(self.backbone, edits)
        new = unknown(edits, self.records)
        subjects = self._subjects_of(new)
        keys = keys_of(new, subjects, self.encoder, self.clusters, self.records)
        curriculum = Curriculum(
            lessons_of(new, self.backbone, self.recipe),
            self.next_block,
            self.recipe.edits_per_block,
            self.recipe.long_target,
            self.settings.edits_per_step,
            self.recipe.iterations,
            self.settings.tokens_per_step,
        )
        limits = limits_of(new, subjects, keys, self.encoder)
        return Plan(tuple(edits), tuple(new), keys, tuple(subjects), tuple(limits), curriculum, self.version)

    def trainer(self) -> Trainer:
        """Trains the units of this model's plans, or of another's with the same backbone, recipe and settings."""
        return Trainer(self.backbone, self._lora, self.recipe, self.settings.seed, self.settings.margin)

    def commit(self, plan: Plan) -> list[Outcome]:
        """The last third of ``edit``: folds what was learned into the clusters and remembers all of it.

        Raises:
            EditError: the model was changed since the plan was made.
        """
        if plan.version != self.version:
            raise EditError(f"the plan was made for version {plan.version}, but this is {self.version}: plan again")
        if plan.new:
            self._take_in(plan)
        fresh = {edit.edit_id for edit in plan.new}
        outcomes = [self.records[edit.edit_id].outcome for edit in plan.asked]
        return [outcome if outcome.edit_id in fresh else replace(outcome, steps=0) for outcome in outcomes]

    def generate(
        self,
        inputs: Sequence[str] | str | torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        input_ids: torch.Tensor | None = None,
        **arguments: Any,
    ) -> Any:
        """Answers prompts; each is routed once, on its prompt, and the route is held to the last token.

        Args:
            inputs: prompts, one prompt, or token ids [b, s].
            attention_mask: [b, s] where token ids come in; without it pads at either end are masked.
            input_ids: token ids by transformers' name, so that ``generate(**tokenizer(...))`` works.
            **arguments: transformers' own for ``generate``: sampling, beams, a streamer, ...

        Returns:
            Strings for strings: the answers without the prompts (``num_return_sequences`` of each, side by
            side), for a classifier the names of the classes. Tensors for tensors: what transformers'
            ``generate`` returns; for a classifier the logits [b, labels].
        """
        inputs = input_ids if inputs is None else inputs
        if inputs is None:
            raise ValueError("nothing to answer: pass prompts or token ids")
        self._publish()
        return self._routed.generate(inputs, attention_mask, arguments)

    def respond(self, prompts: Sequence[str], **arguments: Any) -> list[tuple[str, Route]]:
        """Answers prompts and tells who spoke, in one go: ``generate`` and ``route`` of the same request.

        Args:
            prompts: one batch.
            **arguments: as ``generate`` takes them, for one answer a prompt.

        Returns:
            An answer and a route a prompt, in order.

        Raises:
            ValueError: several answers a prompt were asked for.
        """
        if (several := arguments.get("num_return_sequences", 1)) != 1:
            raise ValueError(f"num_return_sequences is {several}, expected 1: use generate for several answers")
        self._publish()
        routes: list[Route] = []
        answers = self._routed.generate(list(prompts), None, arguments, told=routes)
        return list(zip(answers, routes, strict=True))

    def route(self, prompts: Sequence[str]) -> list[Route]:
        """Where each prompt goes, and which cluster is nearest where it goes nowhere."""
        self._publish()
        return self._router.route(list(prompts), outside=True)

    def warm_up(self) -> Iterator[None]:
        """Reads what the prompts and rephrases of live edits ask, so that requests in these words are routed at once.

        Yields:
            After each batch. Other threads may ask meanwhile.
        """
        self._publish()
        edits = [record.edit for record in self.records.live().values()]
        wordings = [wording for edit in edits for wording in (edit.prompt, *edit.rephrases)]
        yield from self._router.read_ahead(wordings)

    def answer(
        self, prompts: Sequence[str], new_tokens: int, blocks: Sequence[int | None] | None = None
    ) -> list[list[int]]:
        """Token ids of greedy answers to one batch, run-ons and pads included; of a class its id alone.

        Args:
            prompts: as they were sent.
            new_tokens: of an answer at most.
            blocks: what answers each prompt, in place of what it would be routed to; None in it: the backbone alone.
        """
        classes = self.backbone.task == "classification"
        ids, mask = self.backbone.pad(self.backbone.tokenize_prompts(prompts), side=self.backbone.padding_side)
        arguments = {} if classes else {"do_sample": False, "num_beams": 1, "max_new_tokens": new_tokens}
        self._publish()
        output = self._routed.generate(ids, mask, arguments, blocks)
        if classes:
            return output.argmax(-1, keepdim=True).tolist()
        return output[:, ids.shape[1] if self.backbone.task == "causal" else 1 :].tolist()

    def block_of(self, edit_id: str) -> int | None:
        """The block that answers an edit; None where the edit is not live."""
        record = self.records.get(edit_id)
        return record.outcome.block if record is not None and record.state == "live" else None

    def forced(self, prompts: Sequence[str], targets: Sequence[str]) -> Forced:
        """How likely targets are, token by token, each prompt routed as ``generate`` would route it.

        Args:
            prompts: routed on themselves alone, one batch.
            targets: what is scored after each; its end is not counted. For a classifier names of classes.

        Raises:
            EditError: a prompt or target cannot be tokenised, or both together are longer than the model's positions.
        """
        self._publish()
        return self._routed.forced(prompts, targets)

    def learned_in(self, edit_id: str) -> int | None:
        """The version that last changed an edit; None where the model never heard of it."""
        record = self.records.get(edit_id)
        return None if record is None else record.version

    def undo(self, edit_ids: Sequence[str]) -> None:
        """Takes edits back: their prompts get the backbone's answers, everything else stays bit for bit.

        Raises:
            EditError: an id that is not a live edit's; nothing is undone then.
        """
        for edit_id in edit_ids:
            if edit_id not in self.records:
                raise EditError(f"no edit {edit_id!r}; `records` lists the {len(self.records)} edits of this model")
            if self.records[edit_id].state != "live":
                raise EditError(f"edit {edit_id!r} is not live but {self.records[edit_id].state}; nothing to undo")
        self._withdraw(edit_ids, "undone")

    def expire(self, edit_ids: Sequence[str]) -> None:
        """Takes edits out whose time is over, be they live or never learned; all else is as with ``undo``.

        Raises:
            EditError: an id that is not one of this model's edits; nothing is taken out then.
        """
        if unknown := [edit_id for edit_id in edit_ids if edit_id not in self.records]:
            raise EditError(f"no edit {unknown[0]!r}; `records` lists the {len(self.records)} edits of this model")
        self._withdraw(edit_ids, "expired")

    def save(self, directory: str | Path) -> str:
        """Writes the edited model into a new folder, without the backbone's weights.

        Returns:
            The version's digest: equal for equal versions.

        Raises:
            CheckpointError: the folder exists and is not empty.
        """
        clusters, keys = self.clusters.tables()
        tables = {
            CLUSTERS: clusters,
            KEYS: keys,
            RECORDS: self.records.to_table(),
        }
        return checkpoint.write_folder(Path(directory), self.blocks, tables, self.encoder.metric, self._manifest).digest

    @classmethod
    def load(
        cls,
        directory: str | Path,
        *,
        backbone: Backbone | None = None,
        index: Place | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        models: Sequence[str] = (),
    ) -> EditedModel:
        """Reads what ``save`` wrote and rebuilds its index.

        Args:
            directory: the folder.
            backbone: where the backbone is at hand, or lies elsewhere now; else it is loaded from where the
                folder says it came from.
            index, device, dtype: as in ``from_backbone``.
            models: patterns of the backbones and encoders that the folder may name; see ``pipeline.trust``. None: all.

        Raises:
            TrustError: the folder names another one; nothing was loaded.
            CheckpointError: the folder is not whole and unchanged, or the backbone is another one; the message
                says what was found and what was expected.
        """
        return restored(cls, Path(directory), backbone, index, device, dtype, models)

    def adopt(self, version: int, next_block: int, clusters: Clusters, records: Records) -> None:
        """Goes on where another model stood, whose blocks this one has already, and builds the index anew."""
        self.version, self.next_block = version, next_block
        self.clusters, self.records = clusters, records
        self._publish(clusters.everything(version))

    def close(self) -> None:
        """Takes the hooks off the backbone and closes the index."""
        self._opened.close()

    def _manifest(self, files: dict[str, FileEntry]) -> Manifest:
        backbone = self.backbone
        return Manifest(
            version=self.version,
            next_block=self.next_block,
            key_width=self.clusters.width,
            backbone=BackboneEntry(reference=backbone.reference, task=backbone.task, digest=backbone.digest),
            encoder=self.encoder.entry,
            metric=self.encoder.metric.digest if self.encoder.metric else None,
            recipe=asdict(self.recipe) | {"block_modules": list(self.recipe.block_modules)},
            settings=self.settings.model_dump(mode="json"),
            files=files,
        )

    def _subjects_of(self, edits: Sequence[Edit]) -> list[str]:
        """What a prompt must name for each edit to apply; empty: nothing."""
        return subjects_of(edits) if self.settings.subjects else [""] * len(edits)

    def _take_in(self, plan: Plan) -> None:
        """The next version: blocks, clusters, records and index with a plan's edits."""
        self.version += 1
        self.next_block = plan.curriculum.next_block
        if blocks := plan.curriculum.learned_blocks():
            self.blocks.add(blocks, stack([plan.curriculum.weights[block] for block in blocks]))
        take_in(plan, self.clusters, self.records, self.version)
        self._publish(self.clusters.drain(self.version))

    def _withdraw(self, edit_ids: Sequence[str], state: State) -> None:
        if not edit_ids:
            return
        self.version += 1
        self.clusters.withdraw([edit_id for edit_id in edit_ids if self.records[edit_id].state == "live"])
        for edit_id in edit_ids:
            self.records.mark(edit_id, state, self.version)
        self._publish(self.clusters.drain(self.version))

    def _publish(self, delta: Delta | None = None) -> None:
        """Sends changes to the index, and drops blocks that no key leads to any more.

        What the index could not take is kept and sent again first.
        """
        with self._lock:
            if delta is not None:
                alive = self.records.blocks()
                self.blocks.drop([block for block in self.blocks.ids if block not in alive])
                self._pending.append(delta)
                about = self.clusters.subjects.items()
                edits = {subject: [self.records[i].edit for i in ids] for subject, ids in about}
                self._router.know(edits, self.clusters.free)
            while self._pending:
                self._index.apply(self._pending[0])
                self._pending.pop(0)
