"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from shelfmatch.edge.errors import BundleError
from shelfmatch.edge.files import (
    check_can_write,
    check_output,
    check_sqlite_path,
    chunks,
    replacing,
    sha256_of,
    sync_folder,
    write_atomic,
    write_together,
)


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


def test_files_that_belong_together_are_all_new_or_all_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    write_together([(path, b"old") for path in paths])
    done: list[str] = []
    real, fails = os.replace, [0]

    def fsync(file: int) -> None:
        done.append("fsync")
        if [len(done)] == fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", lambda source, target: (done.append(Path(target).name), real(source, target))[1])
    for number in (1, 2, 3):
        fails[:] = [number]
        done.clear()
        with pytest.raises(OSError, match="No space"):
            write_together([(path, b"new") for path in paths])
        assert [path.read_bytes() for path in paths] == [b"old"] * 3 and sorted(tmp_path.iterdir()) == paths
    fails.clear()
    done.clear()
    write_together([(path, b"new") for path in paths])
    assert done == ["fsync", "fsync", "fsync", "a", "b", "c", "fsync"]
    assert [path.read_bytes() for path in paths] == [b"new"] * 3 and sorted(tmp_path.iterdir()) == paths


def test_a_mode_that_is_asked_for_is_what_a_file_has(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_atomic(tmp_path / "script", b"data", 0o755)
    finally:
        os.umask(before)
    assert (tmp_path / "script").stat().st_mode & 0o777 == 0o755


def test_who_cannot_write_is_told_the_name_they_gave(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    wrong = (tmp_path / "folder", tmp_path / "none" / "x", tmp_path / "file" / "x", tmp_path / ("x" * 256))
    for path in wrong:
        for write in (lambda path: write_atomic(path, b"data"), check_can_write):
            with pytest.raises(OSError) as caught:
                write(path)
            assert caught.value.filename == str(path) and caught.value.filename2 is None
            assert str(caught.value).endswith(f"'{path}'")
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


@pytest.mark.parametrize("spelling", ["shop.csv", "./shop.csv", "sub/../shop.csv", "link.csv", "hard.csv"])
def test_an_output_is_no_input_however_it_is_spelt(spelling: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "shop.csv").write_text("image,sku\n")
    (tmp_path / "link.csv").symlink_to("shop.csv")
    os.link(tmp_path / "shop.csv", tmp_path / "hard.csv")
    with pytest.raises(FileExistsError, match="also an input; name another file") as refusal:
        check_output(f"{tmp_path}/{spelling}", "page", ["gone.csv", tmp_path / "shop.csv"])
    assert refusal.value.filename == f"{tmp_path}/{spelling}"


def test_an_output_replaces_files_of_its_kind_and_no_others(tmp_path: Path) -> None:
    contents = {
        "page": b"\n<!DOCTYPE html><html> shelfmatch",
        "somebody's page": b"\n<!DOCTYPE html><html>",
        "picture": b"\xff\xd8\xff\xe0" + bytes(9000) + b"shelfmatch",
        "somebody's picture": b"\xff\xd8\xff\xe0" + bytes(9000),
        "measurement": b'{"format": "shelfmatch-bench"}',
        "settings": b"version = 1\n",
        "foreign": b"image,sku\n",
    }
    for kind in ("page", "picture", "measurement", "settings"):
        for content, data in {**contents, "empty": b""}.items():
            (tmp_path / "out").write_bytes(data)
            if content in (kind, "empty"):
                check_output(tmp_path / "out", kind)  # type: ignore[arg-type]
            else:
                with pytest.raises(FileExistsError, match="is there already"):
                    check_output(tmp_path / "out", kind)  # type: ignore[arg-type]
            assert (tmp_path / "out").read_bytes() == data
    check_output(tmp_path / "new", "page")
    assert not (tmp_path / "new").exists()


def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    write_atomic(tmp_path / ("n" * 255), b"whole")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"whole"


def test_a_path_too_long_for_sqlite_is_said_to_be_so(tmp_path: Path) -> None:
    longest = tmp_path / ("d" * (512 - len("-journal") - len(os.fsencode(tmp_path)) - 3)) / "f"
    check_sqlite_path(longest)
    with pytest.raises(BundleError, match="too long for the catalogue in it; choose a shorter one"):
        check_sqlite_path(longest.with_name("ff"))
