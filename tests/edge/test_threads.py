"""Many threads ask one matcher while the bundle changes: every answer comes from one whole version."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import BundleError, Matcher, add_to_bundle, build_bundle, remove_from_bundle
from tests.conftest import tile_photo, write_tiles
from tests.support import tiers

SECONDS = tiers.count(6, soak=60)
THREADS = 8

Held = dict[int, frozenset[str]]
"""Generation → the SKUs it has; written before anybody can see the generation."""


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def sku(product: int) -> str:
    return f"sku-{product:03d}"


ALWAYS = frozenset(map(sku, range(8)))
SOMETIMES = tuple(map(sku, range(8, 16)))


class Asking(threading.Thread):
    """Asks until told to stop, and holds each answer against what its version has."""

    def __init__(self, matcher: Matcher, held: Held, seed: int, stop: threading.Event) -> None:
        super().__init__()
        self.matcher, self.held, self.stop = matcher, held, stop
        self.random = np.random.default_rng(seed)
        self.queries = [np.asarray(tile_photo(product, 90 + seed)) for product in range(16)]
        self.generations: set[int] = set()
        self.asked = 0
        self.problem: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self.ask(int(self.random.integers(len(self.queries))), filtered=self.random.random() < 0.05)
        except BaseException as problem:
            self.problem = problem

    def ask(self, product: int, filtered: bool) -> None:
        where = {"sku": sku(3)} if filtered else None
        result = self.matcher.match(self.queries[product], top_k=100, where=where)
        skus, expected = {candidate.sku for candidate in result.candidates}, self.held[result.generation]
        assert skus == ({sku(3)} if filtered else expected), f"generation {result.generation} is a mixture: {skus}"
        assert filtered or sku(product) not in expected or result.candidates[0].sku == sku(product)
        self.generations.add(result.generation)
        self.asked += 1


@pytest.mark.parametrize(("kind", "seconds"), [("exact", SECONDS), ("hnsw", max(2, SECONDS / 6))])
def test_every_answer_comes_from_one_whole_version(
    kind: str, seconds: float, tiny_tflite: Path, tmp_path: Path, capsys: Any
) -> None:
    bundle = tmp_path / "shop.bundle"
    build_bundle(write_tiles(tmp_path / "shop", range(8)), bundle, encoder=tiny_tflite, resizer="pillow", index=kind)
    sources = {sku(n): write_tiles(tmp_path / sku(n), range(n, n + 1)) for n in range(8, 16)}
    held: Held = {1: ALWAYS}
    random = np.random.default_rng(0)
    stop = threading.Event()
    # The whole photo alone: a part of a tile may well look like another tile.
    with Matcher.open(bundle, sessions=THREADS, locate="off") as matcher:
        askers = [Asking(matcher, held, seed, stop) for seed in range(THREADS)]
        for asker in askers:
            asker.start()
        start = time.monotonic()
        used: list[tuple[int, float]] = []
        while time.monotonic() - start < seconds and all(asker.is_alive() for asker in askers):
            generation, now = max(held), held[max(held)]
            changing = str(random.choice(SOMETIMES))
            held[generation + 1] = now ^ {changing}
            if changing in now:
                remove_from_bundle(bundle, [changing])
            else:
                add_to_bundle(bundle, sources[changing], workers=1)
            used.append((open_files(), resident_mb()))
        stop.set()
        for asker in askers:
            asker.join(timeout=60)
    assert [asker.problem for asker in askers if asker.problem is not None] == []
    seen = set().union(*(asker.generations for asker in askers))
    asked = sum(asker.asked for asker in askers)
    with capsys.disabled():
        print(
            f"\n  {kind}: {asked:,} answers from {len(seen)} of {len(held)} versions; files and MB {used[0]} → {used[-1]}"
        )
    assert min(asker.asked for asker in askers) > 0 and len(seen) > len(held) / 2
    # A version goes when its last answer is done. Half of the time is for pools and caches to fill.
    middle, last = used[len(used) // 2 :][:10], used[-10:]
    assert min(files for files, _ in last) <= max(files for files, _ in middle)
    assert min(memory for _, memory in last) <= max(memory for _, memory in middle) + 10


def test_closing_lets_answers_finish(tile_bundle: Path) -> None:
    """Those who ask while a matcher is being closed get an answer or are told that it is closed."""
    queries = [np.asarray(tile_photo(product, 9)) for product in range(12)]
    problems: list[BaseException] = []

    def ask(matcher: Matcher) -> None:
        for number in range(10_000):
            try:
                matcher.match(queries[number % 12], top_k=1 + number % 12)
            except BundleError as error:
                if "closed" not in str(error):
                    problems.append(error)
                return
            except BaseException as error:
                problems.append(error)
                return

    before = open_files()
    for _ in range(30):
        matcher = Matcher.open(tile_bundle, sessions=4)
        threads = [threading.Thread(target=ask, args=(matcher,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        (tile_bundle / "manifest.json").touch()  # they are just about to load a new version
        time.sleep(0.002)
        matcher.close()
        for thread in threads:
            thread.join()
        with pytest.raises(BundleError, match="closed"):
            matcher.match(queries[0])
    assert problems == []
    assert open_files() <= before
