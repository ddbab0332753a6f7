"""One typed tree of settings: defaults, then a YAML file, then the environment (``MELO_...``), then arguments."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from pipeline.evaluation.gate import GateSettings
from pipeline.secret_fields import check_no_secrets

Task = Literal["seq2seq", "causal", "classification"]
Pooling = Literal["last", "mean"]


class EditingSettings(BaseModel):
    """How edits are made. A field left at None is taken from the backbone's preset or family."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str | None = Field(
        None, description="sentence encoder that makes the keys: folder, hub id or minilm; none: the backbone"
    )
    encoder_layers: int | None = Field(
        None, gt=0, description="of the encoder's layers, the lowest, that are run; none: all; fewer want a metric"
    )
    key_layer: str | None = Field(None, description="module of the backbone whose output is the key")
    pooling: Pooling = Field("last", description="the key is that at the prompt's last token, or the mean over it")
    block_modules: tuple[str, ...] | None = Field(None, description="linear modules that carry blocks")
    partial_rank: int | None = Field(None, gt=0, description="rank p of one block in every module")
    metric: Path | None = Field(
        None, description="file that `melo calibrate` fits: a map of what is asked of subjects, or of hidden states"
    )
    radius: float | None = Field(None, gt=0, description="initial radius R0 of a cluster, in units of the key")
    subjects: bool = Field(False, description="an edit with a subject applies only to prompts that name it")
    subject_radius: float | None = Field(None, gt=0, description="R0 of edits with a subject")
    iterations: int | None = Field(None, gt=0, description="optimiser steps before a block's first retry")
    learning_rate: float | None = Field(None, gt=0, description="Adam's rate at the start")
    halve_every: int | None = Field(None, gt=0, description="steps after which the rate is halved, again and again")
    edits_per_block: int | None = Field(None, gt=0, description="edits that one block learns")
    wordings: int | None = Field(None, ge=0, description="other wordings that an edit's block is trained in")
    long_target: int | None = Field(None, ge=0, description="target tokens above which an edit has its own block")
    edits_per_step: int = Field(40, gt=0, description="edits trained side by side in one step at most")
    tokens_per_step: int = Field(4096, gt=0, description="tokens of one step at most, pads counted")
    scale: float = Field(1.0, gt=0, description="s in W x + s B A x, whatever the number of blocks")
    init_std: float | None = Field(None, gt=0, description="A is drawn from N(0, init_std^2 / d_in), B is zero")
    margin: float = Field(0.3, ge=0, description="logits by which each target token must lead before a block stops")
    conflicts: Literal["keep", "paper"] = Field("keep", description="put evicted keys back, or drop them as the paper")
    seed: int = Field(0, ge=0, description="blocks are drawn from this seed and their own id")


class TrustSettings(BaseModel):
    """Whom and what a run believes; see infra/TRUST.md. Lists are globs, and empty ones let everything through."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[str, ...] = Field((), description="folders, files and URLs that reports may be read from")
    reporters: tuple[str, ...] = Field((), description="names of those whose reports may become edits")
    reporter_limit: int | None = Field(
        None, gt=0, description="reports of one reporter and night that may become edits; none: any number"
    )
    quorum: int = Field(1, gt=0, description="different reporters who must ask for an edit about a chosen subject")
    quorum_subjects: tuple[str, ...] = Field((), description="these subjects, as reports or prompts name them")
    personal_data: Literal["refuse", "allow"] = Field(
        "refuse", description="what becomes of reports with e-mail addresses, phone, card, account or identity numbers"
    )
    phone_regions: tuple[str, ...] = Field(
        ("US",), description="countries, by two letters, whose phone numbers are known without a + as well"
    )
    models: tuple[str, ...] = Field((), description="folders and hub ids that backbones and encoders may come from")


class Settings(BaseSettings):
    """Everything: arguments, then the environment (``MELO_HOME``, ``MELO_EDITING__RADIUS`` ...), then a YAML file.

    The file is ``melo.yaml`` in the working directory, or what ``MELO_CONFIG`` names.
    """

    model_config = SettingsConfigDict(
        env_prefix="MELO_", env_nested_delimiter="__", extra="ignore", populate_by_name=True
    )

    home: Path = Field(Path(".melo"), description="where state lives")
    name: str = Field("melo", description="of the registered model")
    backbone: str | None = Field(None, description="folder or hub id of the model that is edited")
    task: Task | None = Field(None, description="of the backbone; none: what its config tells of")
    reports: str | None = Field(None, description="where reports come from: a file, a folder or a URL")
    upstream: Path | None = Field(None, description="file of the backbone's own task, any of the reports' formats")
    ray_address: str | None = Field(None, validation_alias="RAY_ADDRESS", description="cluster; none: this machine")
    qdrant_url: str | None = Field(None, validation_alias="QDRANT_URL", description="server that holds the index")
    qdrant_api_key: SecretStr | None = Field(
        None, validation_alias="QDRANT_API_KEY", description="that this server wants; from the environment alone"
    )
    plain_http: bool = Field(
        False, description="keys and passwords may go to other machines over http: nobody else is on that network"
    )
    mlflow_uri: str | None = Field(
        None, validation_alias="MLFLOW_TRACKING_URI", description="MLflow server; none: SQLite under home"
    )
    trainers: int = Field(1, gt=0, description="trainer actors, the lead one included")
    evaluators: int = Field(1, gt=0, description="evaluator actors")
    trainer_gpus: float = Field(0, ge=0, description="GPUs of a trainer")
    evaluator_gpus: float = Field(0, ge=0, description="GPUs of an evaluator")
    portion: int = Field(1000, gt=0, description="edits taught at once; a backlog is cut into so many, in order")
    probes: int = Field(200, ge=0, description="edits from which further questions are derived in evaluation; 0: none")
    patience: float = Field(3600, gt=0, description="seconds that one call of an actor may take")
    node_patience: float = Field(0, ge=0, description="seconds that a cluster may take to add nodes it lacks")
    log: Literal["text", "json"] = Field("text", description="form of what goes to stderr: for people or for programs")
    log_prompts: bool = Field(False, description="the server's log has the prompts, which may hold what is personal")
    metrics_file: Path | None = Field(
        None, description="where a night leaves its figures for node_exporter; none: metrics.prom under home"
    )
    editing: EditingSettings = EditingSettings()
    gate: GateSettings = GateSettings()
    trust: TrustSettings = TrustSettings()

    @property
    def tracking_uri(self) -> str:
        """The MLflow store, absolute."""
        return self.mlflow_uri or f"sqlite:///{self.home.absolute() / 'mlflow.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments before the environment before the file, which holds no secrets."""
        name = os.environ.get("MELO_CONFIG", "melo.yaml")
        file = YamlConfigSettingsSource(settings_cls, yaml_file=name)
        check_no_secrets(file.yaml_data, name)
        return init_settings, env_settings, file


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting is not to be shown or sent anywhere."""
    return SecretStr in (field.annotation, *get_args(field.annotation))
