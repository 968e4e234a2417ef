"""Ctrl-C: nothing is half-written, and the same command goes on."""

from __future__ import annotations

import hashlib
import io
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import Matcher
from tests.conftest import write_tiles
from tests.support.commands import COMMAND, run, snapshot, tiny_options
from tests.support.marked_cache import mark_embeddings


@pytest.fixture
def slow_shop(shop: Path) -> Path:
    """20 photos that are read in no time, and then 3 of 62 megapixels that take half a second each or more."""
    write_tiles(shop / "slow", range(20), photos=1)
    large = io.BytesIO()
    Image.new("L", (7900, 7900), 99).save(large, "PNG", compress_level=1)
    for number in range(3):
        (shop / "slow" / f"sku-9{number}").mkdir()
        (shop / "slow" / f"sku-9{number}" / "0.png").write_bytes(large.getvalue() + bytes([number]))
    return shop


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "it was done before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_and_going_on(slow_shop: Path) -> None:
    build = [*COMMAND, "build", "slow", "-o", "slow.bundle", "--workers", "1", *tiny_options(slow_shop)]
    process = subprocess.Popen(build, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    cache = slow_shop / "slow.bundle" / ".work" / "embeddings.sqlite"
    wait_for(lambda: cache.exists() and cache.stat().st_size > 0, process)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "shelfmatch: interrupted; nothing is half-written, run the same command again to go on\n"
    unfinished = run("match", "slow.bundle", "query.png")
    assert (
        unfinished.returncode == 2
        and "a bundle whose build did not finish; run the same build again" in unfinished.stderr
    )
    with sqlite3.connect(cache) as connection:
        kept = {digest for (digest,) in connection.execute("SELECT photo_sha256 FROM embedded")}
        assert 0 < len(kept) < 23
    connection.close()
    # Marked, so that it shows whether the next build takes them or computes them again.
    mark_embeddings(cache, np.eye(48, dtype=np.float32)[0])
    done = subprocess.run(build, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "") and "23 of 23 photos added" in done.stdout
    with Matcher.open("slow.bundle") as matcher:
        for number in range(20):
            photo = slow_shop / "slow" / f"sku-{number:03d}" / "0.png"
            candidates = {c.sku: c.score for c in matcher.match(photo, top_k=23).candidates}
            was_kept = hashlib.sha256(photo.read_bytes()).digest() in kept
            assert (candidates[f"sku-{number:03d}"] < 0.9) == was_kept
    assert not cache.parent.exists()


def test_ctrl_c_while_a_bundle_is_replaced_leaves_the_old_one(slow_shop: Path) -> None:
    before = snapshot(slow_shop / "shop.bundle")
    process = subprocess.Popen(
        [*COMMAND, "build", "slow", "-o", "shop.bundle", *tiny_options(slow_shop)], stderr=subprocess.PIPE, text=True
    )
    wait_for((slow_shop / "shop.bundle" / ".work" / "embeddings.sqlite").exists, process)
    locked = run("remove", "shop.bundle", "sku-000")
    assert locked.returncode == 2 and "is being changed by another process" in locked.stderr
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1].count("\n") == 1 and process.returncode == 130
    after = snapshot(slow_shop / "shop.bundle")
    assert {path: digest for path, digest in after.items() if not path.startswith(".work")} == before
    assert run("verify", "shop.bundle").returncode == 0


@pytest.mark.parametrize("workers", ["1", "4"])
def test_ctrl_c_while_matching(shop: Path, workers: str) -> None:
    process = subprocess.Popen(
        [*COMMAND, "match", "shop.bundle", "--workers", workers, *["query.png"] * 20_000],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("query.png: sku-003")
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and err.count("\n") == 1 and err.startswith("shelfmatch: interrupted")
