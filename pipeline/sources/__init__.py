"""Reports in: any file, folder or URL becomes batches of reports, each row of it a report or in quarantine.

Importing this costs pyarrow and pydantic; no model is known here.
"""

from __future__ import annotations

from pipeline.sources.admission import Admission, Aside, admit
from pipeline.sources.files import SourceError, files
from pipeline.sources.reading import Batch, pairs, read

__all__ = ["Admission", "Aside", "Batch", "SourceError", "admit", "files", "pairs", "read"]
