"""The registry: every night a run with its figures, every new edited model a version, and which one is in use."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.credentials import shown
from pipeline.editing.folder import CheckpointError, verify
from pipeline.registry.night import DIGEST, MODEL, PAGE, log_night
from pipeline.registry.promotions import Kind, Promotion, Promotions, before, in_use
from pipeline.registry.store import RegistryError, asking, connect, open_experiment, unless_there
from pipeline.trust import check_models

CANDIDATE, CHAMPION = "candidate", "champion"


@dataclass(frozen=True, slots=True)
class Registered:
    """A version of the registry.

    Attributes:
        number: MLflow's, from 1.
        digest: of the edited model.
        folder: the edited model, for ``EditedModel.load``. Its bytes are those of that digest.
        tags: what else is noted about it.
    """

    number: int
    digest: str
    folder: Path
    tags: dict[str, str]


class Registry:
    """One registered model of an MLflow store, its versions and the history of its champion.

    One writer at a time (the run's lock sees to that), and any number of readers.

    Args:
        uri: ``sqlite:////absolute/path/mlflow.db`` or the http(s) URL of a server.
        name: of the registered model, and of the experiment that holds its runs.
        artifacts: folder for what is logged, with SQLite; with a server, which keeps that itself, for copies of the
            versions that were asked for.
        models: patterns of the backbones and encoders that versions may name; see ``pipeline.trust``. None: all.

    Raises:
        RegistryError: the store can't be reached, which takes seconds, or the name is not usable.
    """

    def __init__(self, uri: str, name: str, artifacts: Path, models: Sequence[str] = ()) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", name):
            raise RegistryError(f"no name for a registered model: {name!r}; expected letters, digits, '_', '.' or '-'")
        self.uri = uri
        self.name = name
        self._artifacts = artifacts.absolute()
        self._models = tuple(models)
        self._local = uri.startswith("sqlite:")
        self._client = connect(uri)
        with asking(uri, f"open {name}"):
            self._experiment_id = open_experiment(self._client, uri, name, self._artifacts)
            unless_there(lambda: self._client.create_registered_model(name))
            self._promotions = Promotions(
                self._client,
                open_experiment(self._client, uri, f"{name}-promotions", self._artifacts),
                lambda: self._alias(CHAMPION),
            )

    def register(
        self,
        folder: Path,
        digest: str,
        *,
        run_name: str,
        params: Mapping[str, Any],
        scores: Mapping[str, float],
        tags: Mapping[str, str],
        tables: Mapping[str, pa.Table],
        figures: Sequence[Path],
        example: Sequence[str],
        edits: int = 0,
        page: Path | None = None,
    ) -> int:
        """Logs a run, makes its edited model a version and the alias ``candidate`` point to it.

        The version is written last, and it is known by its digest: called again, after a crash or with a model that
        was registered long ago, it finds that version, logs nothing twice, and only the tags and the alias are set.

        Args:
            folder: what ``EditedModel.save`` wrote.
            digest: of that edited model.
            run_name: as MLflow shows it.
            params: settings of the run; values are shown as text.
            scores: metrics by name.
            tags: of the version; a later call's prevail.
            tables: by name; the one named ``edits`` becomes the run's dataset too.
            figures: pictures.
            example: prompts that show what the model takes.
            edits: edits that the model has: where on the metrics' x-axis the scores stand.
            page: HTML that shows the version to a person; ``page`` finds it again.

        Returns:
            The version's number.

        Raises:
            CheckpointError: the folder holds no whole edited model.
            RegistryError: it holds another one than ``digest`` says, or the store does not do it.
        """
        if (found := verify(folder).digest) != digest:
            raise RegistryError(f"{folder} holds version {found}, expected {digest}: nothing was registered")
        with asking(self.uri, f"register {folder}"):
            version = self._known(digest)
            if version is None:
                run_id = log_night(
                    self._client,
                    self._experiment_id,
                    folder,
                    digest,
                    run_name=run_name,
                    params=params,
                    scores=scores,
                    tables=tables,
                    figures=figures,
                    page=page,
                    example=example,
                    edits=edits,
                )
                version = self._client.create_model_version(
                    self.name,
                    source=f"{self._client.get_run(run_id).info.artifact_uri}/{MODEL}",
                    run_id=run_id,
                    tags=dict(tags) | {DIGEST: digest},
                )
            else:
                for key, value in tags.items():
                    self._client.set_model_version_tag(self.name, str(version.version), key, value)
            self._client.set_registered_model_alias(self.name, CANDIDATE, str(version.version))
        return int(version.version)

    def candidate(self) -> Registered | None:
        """The version that was registered last; None before the first."""
        return self._aliased(CANDIDATE)

    def champion(self) -> Registered | None:
        """The version in use; None before the first promotion."""
        return self._aliased(CHAMPION)

    def candidate_number(self) -> int | None:
        """The number of the version that was registered last, in use or not; None before the first."""
        with asking(self.uri, f"show the candidate of {self.name}"):
            return self._alias(CANDIDATE)

    def champion_number(self) -> int | None:
        """The number of the version in use, at the cost of one look at the store; None before the first promotion."""
        with asking(self.uri, f"show the champion of {self.name}"):
            return self._alias(CHAMPION)

    def version(self, number: int) -> Registered:
        """A version by its number.

        Raises:
            RegistryError: there is none, or its folder is not there or not of its digest.
            TrustError: it is made from a model that may not be loaded.
        """
        with asking(self.uri, f"show version {number} of {self.name}"):
            return self._registered(self._version(number))

    def promote(self, number: int, by: str, why: str, figures: Mapping[str, float]) -> Promotion:
        """Puts a version into use, and writes that down. A version that is in use already stays so.

        Args:
            number: of the version, which must be there whole.
            by: who decides.
            why: the reason.
            figures: the scores it is decided on.

        Returns:
            The move as history shows it.

        Raises:
            RegistryError: no such version, its folder is damaged, or the store does not do it.
        """
        self.version(number)
        history = self.history()
        current = history[-1].to_version if history else None
        if current == number:
            return history[-1]
        return self._move("promotion", current, number, by, why, figures)

    def rollback(self, by: str, why: str) -> Promotion:
        """Puts the version into use that the champion replaced. Once more leads to the one before that.

        Raises:
            RegistryError: there is none before, or it is damaged.
        """
        history = self.history()
        target = before(history)
        if target is None:
            first = f"before version {history[-1].to_version}" if history else "yet"
            raise RegistryError(f"{self.name} has no champion {first}: there is nothing to roll back to")
        self.version(target)
        return self._move("rollback", history[-1].to_version, target, by, why, self.figures(target))

    def figures(self, number: int) -> dict[str, float]:
        """The scores that a version was registered with.

        Raises:
            RegistryError: there is no such version.
        """
        with asking(self.uri, f"show the scores of version {number} of {self.name}"):
            version = self._client.get_model_version(self.name, str(number))
            return dict(self._client.get_run(str(version.run_id)).data.metrics)

    def page(self, number: int) -> str:
        """The HTML that shows a version to a person, as it was registered.

        Raises:
            RegistryError: there is no such version, or none was made of it.
        """
        with asking(self.uri, f"show the page of version {number} of {self.name}"):
            run_id = str(self._version(number).run_id)
            if PAGE not in {file.path for file in self._client.list_artifacts(run_id)}:
                raise RegistryError(
                    f"version {number} of {self.name} has no page: an earlier release registered it. Its scores and "
                    "tables are in its run in MLflow; the next version will have one"
                )
            with tempfile.TemporaryDirectory() as scratch:
                return Path(self._client.download_artifacts(run_id, PAGE, scratch)).read_text("utf-8")

    def history(self) -> list[Promotion]:
        """Every promotion and rollback, the oldest first; see ``pipeline.registry.promotions``."""
        with asking(self.uri, f"show the history of {self.name}"):
            return self._promotions.history()

    def in_use(self, at: datetime) -> int | None:
        """The number of the version that was champion at a time; None before the first.

        Raises:
            ValueError: the time has no zone.
        """
        return in_use(self.history(), at)

    def _move(
        self,
        kind: Kind,
        source: int | None,
        target: int,
        by: str,
        why: str,
        figures: Mapping[str, float],
    ) -> Promotion:
        def act() -> None:
            self._client.set_registered_model_alias(self.name, CHAMPION, str(target))

        with asking(self.uri, f"make version {target} of {self.name} the champion"):
            return self._promotions.move(kind, source, target, by, why, figures, act)

    def _version(self, number: int) -> ModelVersion:
        try:
            return self._client.get_model_version(self.name, str(number))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise RegistryError(
                f"{self.name} has no version {number}: `melo status` and `melo history` name those that it has"
            ) from error

    def _known(self, digest: str) -> ModelVersion | None:
        """The version of a digest."""
        found = self._client.search_model_versions(f"name = '{self.name}' AND tags.`{DIGEST}` = '{digest}'")
        return min(found, key=lambda version: int(version.version), default=None)

    def _alias(self, alias: str) -> int | None:
        number = self._client.get_registered_model(self.name).aliases.get(alias)
        return None if number is None else int(number)

    def _aliased(self, alias: str) -> Registered | None:
        with asking(self.uri, f"show the {alias} of {self.name}"):
            number = self._alias(alias)
        return None if number is None else self.version(number)

    def _registered(self, version: ModelVersion) -> Registered:
        digest = version.tags.get(DIGEST, "")
        who = f"version {version.version} of {self.name} at {shown(self.uri)}"
        if version.run_id is None or not re.fullmatch("[0-9a-f]{64}", digest):
            raise RegistryError(f"{who} has no run, or no digest of ours in its tags: this program did not register it")
        try:
            folder = self._folder(version.run_id, digest)
            manifest = verify(folder)
        except CheckpointError as error:
            raise RegistryError(f"{who} is damaged: {error}") from error
        if manifest.digest != digest:
            raise RegistryError(f"{who} should be {digest}, but {folder} holds {manifest.digest}")
        check_models(manifest.models, self._models)
        tags = {key: value for key, value in version.tags.items() if key != DIGEST}
        return Registered(int(version.version), digest, folder, tags)

    def _folder(self, run_id: str, digest: str) -> Path:
        """The edited model on this machine: in place with SQLite, else a copy that is fetched once."""
        source = f"{self._client.get_run(run_id).info.artifact_uri}/{MODEL}/artifacts"
        if self._local:
            return _only_folder(Path(download_artifacts(source)))
        folder = self._artifacts / digest
        if not folder.exists():
            self._artifacts.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._artifacts) as scratch:
                fetched = Path(download_artifacts(source, dst_path=scratch, tracking_uri=self.uri))
                _only_folder(fetched).rename(folder)
        return folder


def _only_folder(directory: Path) -> Path:
    """The one folder in a directory, whatever it is called.

    Raises:
        CheckpointError: there is none, or several.
    """
    folders = [entry for entry in directory.glob("*") if entry.is_dir()]
    if len(folders) != 1:
        raise CheckpointError(f"{directory} holds {len(folders)} folders, expected an edited model and nothing else")
    return folders[0]
