"""A column of a schema, with what it means."""

from __future__ import annotations

import pyarrow as pa


def column(name: str, kind: pa.DataType, doc: str, nullable: bool = False) -> pa.Field:
    """A field that carries its explanation as metadata, under ``doc``."""
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})
