"""What all errors have in common that tell a person what came, what was expected, and what to do next."""

from __future__ import annotations


class MeloError(Exception):
    """Shown without a traceback by the command line; each has its own class where it comes from."""
