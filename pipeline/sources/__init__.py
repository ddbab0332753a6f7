"""Reports in: any file, folder or URL becomes batches of reports and complaints, or of what is neither.

Importing this costs pyarrow and pydantic; no model is known here.
"""

from __future__ import annotations

from pipeline.sources.admission import Admission, Aside, admit
from pipeline.sources.feedback import CONFIRMED
from pipeline.sources.files import SourceError, files
from pipeline.sources.reading import UNANSWERED, Batch, pairs, read

__all__ = ["CONFIRMED", "UNANSWERED", "Admission", "Aside", "Batch", "SourceError", "admit", "files", "pairs", "read"]
