"""Which environment variables there are."""

from __future__ import annotations

from pipeline.settings import Settings

OTHERS = {
    "HF_HUB_OFFLINE",
    "HOME",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_AUTH_CONFIG_PATH",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
    "MLFLOW_SERVER_ALLOWED_HOSTS",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_USERNAME",
    "PGDATA",
    "PGPASSWORD",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD",
    "POSTGRES_USER",
    "QDRANT_INIT_FILE_PATH",
    "QDRANT__SERVICE__API_KEY",
    "QDRANT__STORAGE__SNAPSHOTS_PATH",
    "QDRANT__TELEMETRY_DISABLED",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
}
"""Of other programs, each looked up in its own documentation."""
SECRET = ("PASSWORD", "API_KEY", "SECRET", "TOKEN")
"""Parts of the names of variables that hold something secret."""


def exists(name: str) -> bool:
    """Whether anything reads a variable of that name."""
    ours = {str(field.validation_alias or f"MELO_{key.upper()}") for key, field in Settings.model_fields.items()}
    group, _, leaf = name.partition("__")
    if name in ours | OTHERS:
        return True
    if not leaf or group not in ours:
        return False
    inner = Settings.model_fields[group.removeprefix("MELO_").lower()].annotation
    return leaf.lower() in getattr(inner, "model_fields", {})


def is_secret(name: str) -> bool:
    """Whether a variable of that name holds something secret."""
    return any(part in name for part in SECRET)
