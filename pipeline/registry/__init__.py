"""Where versions are kept, named and promoted: an MLflow store, on SQLite or behind a server."""

from __future__ import annotations

import os

# Read when mlflow is imported. It sends no usage data from here, a dead server is an error and not minutes of retries,
# and its own bars and chatter stay out of ours.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
