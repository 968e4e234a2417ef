"""One small shelf for all tests of this room: its shop takes seconds to build."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.shelf import SmallShelf


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallShelf]:
    made = SmallShelf(tmp_path_factory.mktemp("shelf"))
    yield made
    made.matcher.close()
