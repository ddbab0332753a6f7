"""Choosing how far edits reach, from reports alone: no block is trained."""
