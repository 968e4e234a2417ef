"""kill -9 at any moment of build, add, remove and replace leaves the old bundle or the new one, whole."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import Bundle, BundleError, VectorIndex, build_bundle
from shelfmatch.edge.bundle.bundle import WORK_FOLDER
from shelfmatch.edge.catalog.catalog import Catalog
from shelfmatch.edge.catalog.ids import product_of
from tests.conftest import tile_photo, write_tiles
from tests.support import tiers
from tests.support.tiny_models import identity_tflite

KILLS = tiers.count(50, soak=300)
"""At random moments, of all operations together."""

OPERATIONS = ("build", "rebuild", "add", "remove", "replace")

Contents = dict[str, list[str]]
"""SKU → labels of its photos."""


class Worker:
    """tests/support/bundle_worker.py in a process of its own."""

    def __init__(self) -> None:
        script = Path(__file__).parents[2] / "support" / "bundle_worker.py"
        # OpenBLAS's threads would not survive a fork.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(
        self, name: str, arguments: dict[str, Any], end: dict[str, Any] | None = None
    ) -> tuple[float, str, int, float]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, arguments, end], default=str) + "\n")
        self.process.stdin.flush()
        seconds, outcome, embedded, finishing = json.loads(self.process.stdout.readline())
        return seconds, outcome, embedded, finishing

    def close(self) -> None:
        self.process.communicate(timeout=10)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    one = Worker()
    yield one
    one.close()


class Scene:
    """A bundle before an operation, the operation, and what the bundle holds before and after."""

    def __init__(self, operation: str, kind: str, folder: Path, encoder: Path, worker: Worker) -> None:
        self.folder, self.worker = folder, worker
        folder.mkdir()
        self.bundle = folder / "shop.bundle"
        self.pristine: Path | None = folder / "pristine.bundle"
        # With an adapter there is a file more to stage, or two.
        adapt = "on" if kind != "hnsw" else "off"
        encoders = [encoder]
        if kind == "two":
            encoders.append(folder / "other.tflite")
            encoders[1].write_bytes(identity_tflite())
        build = {"encoder": encoders, "resizer": "pillow", "workers": 2, "adapt": adapt}
        build["index"] = "hnsw" if kind == "hnsw" else "exact"
        build_bundle(write_tiles(folder / "shop", range(6)), self.pristine, **build)  # type: ignore[arg-type]
        source = write_tiles(folder / "source", range(3, 9), photos=2, first_photo=2)  # some it has, some it doesn't
        tile_photo(30, 0).save(source / "sku-004" / "unlike the others.png")
        change: dict[str, Any] = {"bundle": self.bundle, "source": source, "workers": 2}
        self.name, self.arguments = {
            "build": ("build", {**change, **build}),
            "rebuild": ("build", {**change, **build}),
            "add": ("add", change),
            "replace": ("add", {**change, "replace": True}),
            "remove": ("remove", {"bundle": self.bundle, "skus": [f"sku-{n:03d}" for n in range(1, 4)]}),
        }[operation]
        self.photos = 13 * len(encoders) if self.name != "remove" else 0
        self.old: Contents | None = contents(self.pristine)
        if operation == "build":
            self.pristine = self.old = None
        self.reset()
        assert self.worker(self.name, self.arguments)[1] == "done"
        self.new = contents(self.bundle)
        self.files = files(self.bundle)
        assert self.new != self.old and Bundle.open(self.bundle).manifest.generation == (1 if self.old is None else 2)

    def reset(self) -> None:
        shutil.rmtree(self.bundle, ignore_errors=True)
        if self.pristine is not None:
            shutil.copytree(self.pristine, self.bundle)

    def seconds(self) -> tuple[float, float]:
        """How long the operation takes, undisturbed, and its last part: saving, committing, sweeping. Medians of five."""
        times = []
        for _ in range(5):
            self.reset()
            times.append(self.worker(self.name, self.arguments))
        return float(np.median([time[0] for time in times])), float(np.median([time[0] - time[3] for time in times]))

    def kill(self, end: dict[str, Any]) -> str:
        """Kill one operation, check what is left, let the next writer finish; where the kill hit, "" if it came too late."""
        self.reset()
        _, outcome, _, _ = self.worker(self.name, self.arguments, end)
        assert outcome in ("killed", "done")
        left = moment(self.bundle, self.old is not None)
        found = contents(self.bundle)
        assert found is self.old is None or found in (self.old, self.new)
        if outcome == "done":
            assert found == self.new
        cached = embeddings_in(self.bundle)
        was_new = found == self.new
        _, finished, embedded, _ = self.worker(self.name, self.arguments)
        if self.name == "remove" and was_new:
            assert "no product" in finished  # the products are gone already
        else:
            assert finished == "done"
            # What was embedded before the kill is not embedded again; counted at the commit, which an add of what is all there
            # already doesn't come to.
            has_all = was_new and self.name == "add" and not self.arguments.get("replace")
            assert embedded == (0 if has_all else self.photos - cached)
        assert contents(self.bundle) == self.new
        opened = Bundle.open(self.bundle)
        named = {entry.name for entry in opened.manifest.files.values()} | {"manifest.json"}
        assert {entry.name for entry in self.bundle.iterdir()} == named
        if self.old is None and not was_new and opened.manifest.index.kind == "exact":  # threads make graphs by chance
            assert files(self.bundle) == self.files  # as if it had never been interrupted
        return left if outcome == "killed" else ""


def contents(bundle: Path) -> Contents | None:
    """What a bundle holds, every byte verified; None where there is none (yet)."""
    try:
        opened = Bundle.open(bundle)
    except BundleError as error:
        assert "does not exist" in str(error) or "did not finish" in str(error) or "no readable manifest" in str(error)
        return None
    assert opened.verify() == []
    catalog = Catalog(opened.file("catalog"))
    skus = {product_id: product.sku for product_id, product in catalog.products()}
    labels = {skus[one]: [reference.photo for reference in catalog.references(one)] for one in skus}
    catalog.close()
    index = VectorIndex.load(opened.file("vectors"), sha256=opened.entry("vectors").sha256)
    in_index = Counter(skus[one] for one in product_of(index.ids).tolist())
    assert in_index == {sku: len(photos) for sku, photos in labels.items()}
    if len(opened.manifest.branches) > 1:
        other = VectorIndex.load(opened.file("vectors2"), sha256=opened.entry("vectors2").sha256)
        assert sorted(other.ids.tolist()) == sorted(index.ids.tolist())
    return labels


def files(bundle: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in bundle.iterdir() if entry.is_file()}


def embeddings_in(bundle: Path) -> int:
    """How many embeddings an interrupted build left, of all its encoders."""
    return sum(embeddings_of(bundle / WORK_FOLDER / name) for name in ("embeddings.sqlite", "embeddings2.sqlite"))


def embeddings_of(cache: Path) -> int:
    """How many embeddings are in a file."""
    if not cache.exists():
        return 0
    connection = sqlite3.connect(cache)
    try:
        return int(connection.execute("SELECT count(*) FROM embedded").fetchone()[0])
    except sqlite3.OperationalError:  # killed before the table was made
        return 0
    finally:
        connection.close()


def moment(bundle: Path, existed: bool) -> str:
    """Where in the operation a kill hit, from what lies about."""
    names = {entry.name for entry in bundle.iterdir()} if bundle.exists() else set()
    if any(name.endswith(".tmp") for name in names):
        return "writing a manifest or vectors"
    if ".staging-vectors" in names:
        return "vectors staged"
    if any(name.startswith(".staging-") for name in names):
        return "embedding or cataloguing"
    if existed or "manifest.json" in names:
        manifest = Bundle.open(bundle).manifest
        more = len(names) > len(manifest.files) + 1
        if manifest.generation == (2 if existed else 1):
            return "committed but not swept" if more else "done"
        return "files renamed but not the manifest" if more else "not begun"
    return "files renamed but not the manifest" if any(name.endswith(".vec") for name in names) else "not begun"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, tiny_tflite: Path, worker: Worker) -> Callable[[str, str], Scene]:
    made: dict[tuple[str, str], Scene] = {}
    folder = tmp_path_factory.mktemp("scenes")

    def get(operation: str, kind: str) -> Scene:
        if (operation, kind) not in made:
            made[operation, kind] = Scene(operation, kind, folder / f"{operation}-{kind}", tiny_tflite, worker)
        return made[operation, kind]

    return get


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_random_moments(operation: str, scene: Callable[[str, str], Scene], capsys: Any) -> None:
    random = np.random.default_rng(OPERATIONS.index(operation))
    one = scene(operation, "exact")
    whole, last_part = one.seconds()
    hits: Counter[str] = Counter()
    late, kills = 0, KILLS // len(OPERATIONS)
    while hits.total() < kills:
        # Every other one while files are staged, renamed and swept, which is a tenth of the whole. Each has a part of the time
        # of its own, so that few kills, too, are spread over all of it.
        in_last_part = hits.total() % 2 == 1
        delay = (hits.total() + random.random()) / kills * (last_part if in_last_part else whole)
        left = one.kill({"after_s": delay, "finishing": in_last_part})
        if left:
            hits[left] += 1
        else:
            late += 1
            whole, last_part = 0.95 * whole, 0.95 * last_part  # the machine was busier when they were measured
        assert late <= 10 * kills, "kills come too late to hit anything"
    with capsys.disabled():
        distribution = ", ".join(f"{count} {left}" for left, count in hits.most_common())
        print(
            f"\n  {operation} ({whole * 1e3:.0f} ms) killed {hits.total()} times: {distribution}; {late} came too late"
        )
    # Which moments a few kills hit is chance; the test below hits every one, by the count of changes on the disk.
    assert len(hits) >= (4 if tiers.SOAK else 2)


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        *((operation, "exact") for operation in ("build", "add", "remove")),
        *(
            pytest.param(operation, kind, marks=pytest.mark.slow)
            for operation, kind in [
                ("rebuild", "exact"),
                ("replace", "exact"),
                ("build", "hnsw"),
                ("replace", "hnsw"),
                *((one, "two") for one in OPERATIONS),
            ]
        ),
    ],
)
def test_killed_after_each_change_on_the_disk(operation: str, kind: str, scene: Callable[[str, str], Scene]) -> None:
    one = scene(operation, kind)
    hits = []
    while not hits or hits[-1]:
        hits.append(one.kill({"after_call": len(hits) + 1}))
        assert len(hits) < 100
    # A rename for each role that changes and one for the manifest, a sync for each of them and for the folders.
    assert len(hits) > 12
    assert {"files renamed but not the manifest", "committed but not swept"} <= set(hits)
