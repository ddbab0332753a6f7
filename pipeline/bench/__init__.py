"""Measurements of the editor: how fast it is, and how it compares."""
