"""A run in a process of its own, to be killed: the home, the source and the backbone on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.workers.nights import PIECES, do

if __name__ == "__main__":
    do(*map(Path, sys.argv[1:]), trainers=2, **PIECES)
