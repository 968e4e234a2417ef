"""A disk that fills up while a bundle is changed: it stays as it was, and what failed leaves nothing in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shelfmatch.edge import Bundle, ShelfmatchError, add_to_bundle, remove_from_bundle
from tests.conftest import write_tiles
from tests.support.commands import run, snapshot


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 kB; mounting one takes root and the right to."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], capture_output=True).returncode
    ):
        pytest.skip("mounting a file system takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def filled(folder: Path, leave: int) -> Path:
    """Everything but so many bytes taken."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    filler = folder / "filler"
    filler.write_bytes(bytes(max(0, free - leave)))
    return filler


@pytest.mark.parametrize("leave_kb", [8, 40, 72, 100, 140])
def test_a_failed_add_is_out_of_the_way(tile_bundle: Path, small_disk: Path, tmp_path: Path, leave_kb: int) -> None:
    """Its work folder stayed, and `remove` found no room."""
    bundle = small_disk / "shop.bundle"
    shutil.copytree(tile_bundle, bundle)
    before = snapshot(bundle)
    more = write_tiles(tmp_path / "more", range(20, 60))
    filler = filled(small_disk, leave_kb * 1024)
    failed = run("add", str(bundle), str(more), "--workers", "1")
    assert failed.returncode == 2 and failed.stderr.count("shelfmatch: ") == 1 and "Traceback" not in failed.stderr
    assert str(bundle) in failed.stderr and "; make room on " in failed.stderr  # it named neither
    assert snapshot(bundle) == before and sorted(p.name for p in bundle.iterdir()) == sorted(before)
    filler.write_bytes(filler.read_bytes()[: -120 * 1024])
    assert run("remove", str(bundle), "sku-003").returncode == 0
    assert Bundle.open(bundle).verify() == [] and Bundle.open(bundle).manifest.products == 11


def test_python_gets_an_error_of_ours_or_the_systems(tile_bundle: Path, small_disk: Path, tmp_path: Path) -> None:
    bundle = small_disk / "shop.bundle"
    shutil.copytree(tile_bundle, bundle)
    filled(small_disk, 16 * 1024)
    with pytest.raises((ShelfmatchError, OSError)):
        add_to_bundle(bundle, write_tiles(tmp_path / "more", range(20, 60)), workers=1)


def test_what_a_killed_add_left_is_no_obstacle(tile_bundle: Path, tmp_path: Path) -> None:
    """Neither to `remove`, nor, damaged, to the next `add`."""
    work = tile_bundle / ".work"
    work.mkdir()
    (work / "embeddings.sqlite").write_bytes(np.random.default_rng(0).bytes(9000))
    (work / "embeddings.sqlite-wal").write_bytes(b"x" * 100)
    add_to_bundle(tile_bundle, write_tiles(tmp_path / "more", range(20, 21)), workers=1)
    assert not work.exists() and Bundle.open(tile_bundle).manifest.products == 13
    work.mkdir()
    (work / "embeddings.sqlite").write_bytes(bytes(9000))
    remove_from_bundle(tile_bundle, ["sku-020"])
    assert not work.exists()
