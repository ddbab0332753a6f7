"""Serving the champion."""

from __future__ import annotations

from pipeline.commands.common import logged, plain_errors, progress, the_registry
from pipeline.settings import Settings


def serve(host: str, port: int, every: float) -> None:
    """Serves until it is told to end; then answers what is open, and ends."""
    import uvicorn
    from transformers.utils import logging

    from pipeline.serving.app import make_app
    from pipeline.serving.champion import Champion

    logging.disable_progress_bar()  # of the weights that are read
    settings = Settings()
    logged(settings, told=True)
    with plain_errors():
        champion = Champion(the_registry(settings), every)
        progress.print(f"POST http://{host}:{port}/v1/answers; what else there is: http://{host}:{port}/docs")
        app = make_app(champion, settings.log_prompts)
        uvicorn.run(app, host=host, port=port, log_config=None, access_log=False)  # the app has a line a request
