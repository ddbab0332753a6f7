"""The built-in example: a small T5 that believes popular mistakes, and two nights of reports that correct them.

Importing this costs nothing; ``backbone`` brings torch and transformers.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.example.facts import known_facts

__all__ = ["REPORTS", "known_facts"]

REPORTS = Path(__file__).parent / "reports"
"""Folder of ``night-1.jsonl``, with a duplicate, a contradiction and a broken line in it, and ``night-2.jsonl``."""
