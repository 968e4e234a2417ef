"""Kills, forks, full disks and little memory at random moments: nothing lost, no traceback, no hang.

A matcher answers from the bundle all the while.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shelfmatch.edge import Bundle, Matcher, build_bundle
from shelfmatch.edge.build.keep import Kept
from shelfmatch.edge.catalog.catalog import Catalog
from tests.conftest import tile_photo, write_tiles
from tests.support import tiers
from tests.support.commands import COMMAND

MOMENTS = tiers.count(12, soak=200)
LONGEST_S = 120


def skus_of(bundle: Path) -> frozenset[str]:
    catalog = Catalog(Bundle.open(bundle).check("catalog"))
    try:
        return frozenset(product.sku for _, product in catalog.products())
    finally:
        catalog.close()


def matcher_ids(bundle: Path) -> list[int]:
    with Matcher.open(bundle, sessions=1) as matcher:
        return [int(one) for one in matcher.index.ids]


def limited(kind: int, size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (size, size))


class Trouble:
    """One way to disturb a command, drawn at random: what is done to it, and the setting of its process."""

    def __init__(self, random: np.random.Generator) -> None:
        self.kind = str(random.choice(["kill", "interrupt", "stop", "disk", "memory"]))
        self.after_s = float(random.uniform(0.05, 2.5))
        self.setting: Callable[[], None] | None = None
        if self.kind == "disk":
            self.setting = limited(resource.RLIMIT_FSIZE, int(2 ** random.uniform(8, 18)))
        elif self.kind == "memory":
            self.setting = limited(resource.RLIMIT_AS, int(random.uniform(50, 900)) * 2**20)

    def disturb(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        signals = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT, "stop": signal.SIGTERM}
        if self.kind in signals:
            try:
                return process.communicate(timeout=self.after_s)
            except subprocess.TimeoutExpired:
                process.send_signal(signals[self.kind])
        return process.communicate(timeout=LONGEST_S)  # TimeoutExpired: it hangs


def commands(bundle: Path, sources: dict[str, Path], now: frozenset[str], random: np.random.Generator) -> list[str]:
    """A change, or a question, that makes sense now."""
    extra = sorted(set(sources) - now)
    held = sorted(now & set(sources))
    kind = random.integers(9)
    if kind == 0 and held:
        return ["remove", str(bundle), str(random.choice(held))]
    if kind <= 2 and extra:
        refit = ["--refit"] if random.random() < 0.5 else []
        return ["add", str(bundle), str(sources[str(random.choice(extra))]), "--workers", "1", *refit]
    if kind == 3:
        return ["tune", str(bundle), "--false-accept", f"{random.uniform(0.01, 0.3):.3f}"]
    if kind == 4:
        return ["add", str(bundle), "--refit"]
    if kind == 5:
        table = bundle.parent / "prices.csv"
        table.write_text(f"sku,price\nsku-003,{random.uniform(1, 9):.2f}\n")
        return ["update", str(bundle), str(table)]
    if kind == 6:
        return [
            "remove",
            str(bundle),
            "sku-005",
            "--photo",
            str(random.integers(6)),
        ]  # most often there is none any more
    if kind == 7:
        report = ["--explain", str(bundle.parent / "why.png")] if random.random() < 0.5 else []
        return ["match", str(bundle), str(bundle.parent / "query.png"), "--where", "sku=sku-003", *report]
    return ["match", str(bundle), str(bundle.parent / "query.png")]


def allowed_after(arguments: list[str], sources: dict[str, Path], now: frozenset[str]) -> set[frozenset[str]]:
    if arguments[0] == "remove" and "--photo" not in arguments:
        return {now, now - {arguments[2]}}
    if arguments[0] == "add":
        return {now, now | {sku for sku, folder in sources.items() if str(folder) == arguments[2]}}
    return {now}


def ask_in_a_fork(matcher: Matcher, query: np.ndarray) -> None:  # type: ignore[type-arg]
    child = os.fork()
    if child == 0:
        os._exit(0 if matcher.match(query).candidates[0].sku == "sku-003" else 1)
    deadline = time.monotonic() + LONGEST_S
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, "the forked child found no answer"
            return
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the forked child hangs")
        time.sleep(0.005)


@pytest.mark.parametrize("seed", range(tiers.count(1, soak=3)))
def test_trouble_at_random_moments(tmp_path: Path, tiny_tflite: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    tile_bundle = tmp_path / "shop.bundle"
    photos = write_tiles(tmp_path / "shop", range(12), photos=6)
    build_bundle(photos, tile_bundle, encoder=tiny_tflite, resizer="pillow", adapt="on", keep_embeddings=True)
    sources = {f"sku-{n:03d}": write_tiles(tmp_path / f"more-{n}", range(n, n + 1)) for n in range(20, 26)}
    tile_photo(3, 99).save(tile_bundle.parent / "query.png")
    query = np.asarray(tile_photo(3, 9))
    own = (tile_bundle.parent / "query.png").read_bytes()
    now = skus_of(tile_bundle)
    ends: dict[str, int] = {}
    with Matcher.open(tile_bundle, sessions=2) as matcher:
        for _ in range(MOMENTS):
            arguments, trouble = commands(tile_bundle, sources, now, random), Trouble(random)
            shown = f"{arguments}, {trouble.kind}"
            process = subprocess.Popen(
                [*COMMAND, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=trouble.setting,
            )
            out, err = trouble.disturb(process)
            # Interrupted before the first line of ours, and after the last one, Python itself says so.
            started = trouble.kind != "interrupt" or process.returncode != -signal.SIGINT
            assert not (started and "Traceback" in err) and "damaged" not in err, (
                f"{shown}: {process.returncode}\n{err}"
            )
            if process.returncode not in (0, 1, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGTERM):
                assert "shelfmatch: " in err, f"{shown}: {process.returncode} without a word\n{out}{err}"
            assert Bundle.open(tile_bundle).verify() == [], shown
            found = skus_of(tile_bundle)
            assert found in allowed_after(arguments, sources, now), shown
            if process.returncode == 0:
                assert found == max(allowed_after(arguments, sources, now) - {now}, default=now, key=len), shown
            now = found
            kept = Kept.load(Bundle.open(tile_bundle).file("embeddings"))
            assert sorted(kept.ids.tolist()) == sorted(matcher_ids(tile_bundle)), f"{shown}: kept what it hasn't"
            assert (tile_bundle.parent / "query.png").read_bytes() == own, shown
            assert matcher.match(query).candidates[0].sku == "sku-003"
            assert len(matcher.catalog.products()) == len(now)
            ask_in_a_fork(matcher, query)
            ends[trouble.kind] = ends.get(trouble.kind, 0) + 1
    assert sum(ends.values()) == MOMENTS
    names = {path.name for path in tile_bundle.iterdir()}
    subprocess.run([*COMMAND, "tune", str(tile_bundle), "--false-accept", "0.05"], check=True, capture_output=True)
    left = {path.name for path in tile_bundle.iterdir()} - names
    assert not any(name.startswith((".staging", ".work")) for name in {p.name for p in tile_bundle.iterdir()}), left
