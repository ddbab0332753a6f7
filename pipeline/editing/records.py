"""What an edited model remembers of every edit it was ever given."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

import pyarrow as pa

from pipeline.editing.edit import Edit, EditError, Outcome
from schemas.edits import EDITS, FORMAT

State = Literal["live", "failed", "replaced", "undone", "evicted", "expired"]


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a model's memory: an edit and what it came to.

    Attributes:
        edit: the edit.
        outcome: what became of it when it was made.
        state: ``live`` while a key leads to its block; ``failed`` when it was never learned; ``replaced`` by a
            later edit of the same prompt; ``undone`` on request; ``evicted`` by a conflict in paper mode;
            ``expired`` when its time was over.
        version: version of the model that last changed this line.
    """

    edit: Edit
    outcome: Outcome
    state: State
    version: int


class Records(dict[str, Record]):
    """Records by edit id, in the order in which the edits first came."""

    def live(self) -> Records:
        """Those of edits that are answered."""
        return Records((edit_id, record) for edit_id, record in self.items() if record.state == "live")

    def blocks(self) -> set[int]:
        """Blocks that a live edit is answered by."""
        return {record.outcome.block for record in self.live().values() if record.outcome.block is not None}

    def mark(self, edit_id: str, state: State, version: int) -> None:
        """Sets what an edit has come to."""
        self[edit_id] = replace(self[edit_id], state=state, version=version)

    def to_table(self) -> pa.Table:
        """A table of schema ``EDITS``, a row a record."""
        rows = []
        for record in self.values():
            row = asdict(record.edit) | asdict(record.outcome) | {"state": record.state, "version": record.version}
            rows.append({name: list(v) if isinstance(v := row[name], tuple) else v for name in EDITS.names})
        return pa.Table.from_pylist(rows, schema=EDITS)

    @classmethod
    def from_table(cls, table: pa.Table) -> Records:
        """What ``to_table`` was called on.

        Raises:
            EditError: another format, other columns, or an id that is not the hash of its prompt and target.
        """
        found = (table.schema.metadata or {}).get(b"format", b"none").decode()
        if found != str(FORMAT):
            raise EditError(f"the table of edits has format {found}, expected {FORMAT}: use the release that wrote it")
        if not table.schema.equals(EDITS):
            raise EditError(f"the table of edits has columns {table.schema.names}, expected {EDITS.names}")
        records = cls()
        for row in table.to_pylist():
            edit = Edit(
                row["prompt"],
                row["target"],
                tuple(row["rephrases"]),
                tuple(row["locality"]),
                row["subject"],
                tuple(row["aliases"]),
            )
            if edit.edit_id != row["edit_id"]:
                raise EditError(f"edit id {row['edit_id']!r} does not belong to prompt {row['prompt']!r}")
            outcome = Outcome(
                row["edit_id"],
                row["action"],
                row["cluster"],
                row["block"],
                row["steps"],
                row["learned"],
                row["reason"],
                tuple(row["replaced"]),
            )
            records[edit.edit_id] = Record(edit, outcome, row["state"], row["version"])
        return records
