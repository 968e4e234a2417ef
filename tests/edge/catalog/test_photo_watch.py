"""A watched folder that drops out and comes back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shelfmatch.edge.catalog import photo_folder
from shelfmatch.edge.catalog.photo_folder import PhotoWatch


def put(folder: Path, *names: str, content: bytes = b"photo", time_ns: int = 10**18) -> None:
    for name in names:
        (folder / name).write_bytes(content)
        os.utime(folder / name, ns=(time_ns, time_ns))


def given(watch: PhotoWatch) -> list[str]:
    """What three polls give: a photo is whole when two find it alike."""
    return [Path(path).name for _ in range(3) for path in watch.poll()]


def test_a_share_that_drops_out_doesnt_bring_its_old_photos_again(tmp_path: Path) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    put(folder, "old.jpg")
    watch = PhotoWatch(folder)
    put(folder, "new.jpg")
    assert given(watch) == ["new.jpg"]
    folder.rename(tmp_path / "away")
    assert given(watch) == []
    folder.mkdir()  # a mount point without its share
    assert given(watch) == []
    put(folder, "old.jpg", "new.jpg", "later.jpg")  # the same files with other inodes
    assert given(watch) == ["later.jpg"]
    (folder / "old.jpg").unlink()
    assert given(watch) == []
    put(folder, "old.jpg", time_ns=2 * 10**18)
    assert given(watch) == ["old.jpg"], "one that was changed meanwhile is new"
    put(folder, "new.jpg", content=b"another photo")
    assert given(watch) == ["new.jpg"]


def test_of_those_that_are_gone_so_many_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_folder, "_GONE_AT_MOST", 3)
    names = [f"{number}.jpg" for number in range(5)]
    put(tmp_path, *names)
    watch = PhotoWatch(tmp_path)
    for name in names:
        (tmp_path / name).unlink()
        assert given(watch) == []
    put(tmp_path, *names)
    assert given(watch) == ["0.jpg", "1.jpg"], "those that went first are forgotten"
