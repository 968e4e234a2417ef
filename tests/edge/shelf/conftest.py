"""One small shelf for all tests of this room: its shop takes seconds to build."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.shelf import SmallShelf


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallShelf]:
    made = SmallShelf(tmp_path_factory.mktemp("shelf"))
    yield made
    made.matcher.close()


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """What the command that failed said: one line on stderr."""

    def read() -> str:
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        return captured.err

    yield read


@pytest.fixture
def folder(shelf: SmallShelf, tmp_path: Path) -> Path:
    """A plan with its photos, and the same photos as somebody's own."""
    for path in shelf.folder.glob("plan.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    Image.fromarray(shelf.full).save(tmp_path / "mine.png")
    assert shelf.empty is not None
    Image.fromarray(shelf.empty).save(tmp_path / "bare.png")
    return tmp_path
