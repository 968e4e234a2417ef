"""Files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from shelfmatch.edge.files import check_can_write, chunks, replacing, sha256_of, sync_folder, write_atomic


def test_a_file_is_replaced_and_who_reads_the_old_one_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    with path.open("rb") as reader:
        write_atomic(path, b"new and longer")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new and longer"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_failure_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half of the n")
        file.flush()
        assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 2
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_bytes_reach_the_disk_before_the_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, real=real, name=name: (done.append(name), real(*given))[1])
    write_atomic(tmp_path / "file", b"data")
    assert done == ["fsync", "replace", "fsync"]  # the file, its name, the folder that holds the name


def test_who_cannot_write_is_told_the_name_they_gave(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    wrong = (tmp_path / "folder", tmp_path / "none" / "x", tmp_path / "file" / "x", tmp_path / ("x" * 250))
    for path in wrong:
        for write in (lambda path: write_atomic(path, b"data"), check_can_write):
            with pytest.raises(OSError) as caught:
                write(path)
            assert caught.value.filename == str(path) and caught.value.filename2 is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_an_error_about_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "file"):
        (tmp_path / "source").read_bytes()
    assert caught.value.filename == str(tmp_path / "source")
    with pytest.raises(OSError) as caught, replacing(tmp_path / "file"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "file")


def test_what_can_be_written_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.chdir(tmp_path)
    for name in ("file", "new", str(tmp_path / "new")):
        check_can_write(name)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("pipe", "a device or a pipe"), ("", "a folder arrived"), ("new/", "a folder arrived")):
        with pytest.raises(OSError, match=message):
            check_can_write(name)


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_hashes_and_pieces_are_of_the_whole_file(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()
    assert b"".join(chunks(tmp_path / "file", 1000)) == data
    sync_folder(tmp_path)
