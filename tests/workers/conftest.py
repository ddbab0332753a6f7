"""One embedded Ray for all tests of actors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workers.connect import connected


@pytest.fixture(scope="session")
def embedded_ray() -> Iterator[None]:
    with connected(None, cpus=4):
        yield
