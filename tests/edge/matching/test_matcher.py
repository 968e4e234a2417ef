"""Photo → product, in the ways people call it."""

from __future__ import annotations

import io
import logging
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import (
    Bundle,
    BundleDamaged,
    BundleError,
    CatalogError,
    ImageError,
    Matcher,
    add_to_bundle,
    build_bundle,
    remove_from_bundle,
)
from shelfmatch.edge.bundle.bundle import read_stamp
from shelfmatch.edge.matching import generations as module
from tests.conftest import tile_photo, write_tiles


def test_names_the_product_on_an_unseen_photo(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        for product in range(12):
            result = matcher.match(tile_photo(product, 99))
            assert result.candidates[0].sku == f"sku-{product:03d}"
            assert result.decision == "match" and result.sku == f"sku-{product:03d}"


def test_says_unknown_to_what_the_shop_does_not_sell(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        answers = [matcher.match(tile_photo(product, 0)) for product in range(100, 140)]
    assert sum(answer.sku is not None for answer in answers) <= 6  # the target is 5 % of 40
    assert all(answer.candidates for answer in answers)


def test_takes_paths_bytes_pictures_and_arrays_alike(tile_bundle: Path, tmp_path: Path) -> None:
    image = tile_photo(3, 7)
    image.save(tmp_path / "query.png")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    with Matcher.open(tile_bundle) as matcher:
        sources = [tmp_path / "query.png", str(tmp_path / "query.png"), buffer.getvalue(), image, np.asarray(image)]
        scores = {matcher.match(source).candidates[0].score for source in sources}
    assert len(scores) == 1


def test_candidates_are_distinct_products_best_first(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        result = matcher.match(tile_photo(0, 50), top_k=100)
    skus = [candidate.sku for candidate in result.candidates]
    assert len(skus) == len(set(skus)) == 12
    assert [c.score for c in result.candidates] == sorted((c.score for c in result.candidates), reverse=True)


def test_top_1_decides_like_top_5(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        one, five = matcher.match(tile_photo(0, 50), top_k=1), matcher.match(tile_photo(0, 50), top_k=5)
    assert len(one.candidates) == 1
    assert (one.decision, one.confidence) == (five.decision, five.confidence)


def test_stages_add_up_to_the_total(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        latency = matcher.match(tile_photo(0, 50)).latency_ms
    assert set(latency) == {"decode", "preprocess", "encode", "search", "decide", "total"}
    assert sum(latency.values()) - latency["total"] <= latency["total"]


def test_many_go_on_past_a_bad_one(tile_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a photo")
    with Matcher.open(tile_bundle) as matcher:
        answers = list(matcher.match_many([tile_photo(1, 9), tmp_path / "text.jpg", tile_photo(2, 9)], workers=2))
    assert isinstance(answers[1], ImageError)
    assert [answer.sku for answer in (answers[0], answers[2]) if not isinstance(answer, ImageError)] == [
        "sku-001",
        "sku-002",
    ]


def test_follows_the_bundle(tile_bundle: Path, tmp_path: Path) -> None:
    with Matcher.open(tile_bundle) as matcher, Matcher.open(tile_bundle, follow=False) as still:
        add_to_bundle(tile_bundle, write_tiles(tmp_path / "more", range(50, 51)))
        assert matcher.match(tile_photo(50, 9)).sku == "sku-050"
        assert still.match(tile_photo(50, 9)).sku != "sku-050"
        assert still.reload() and not still.reload()
        assert still.match(tile_photo(50, 9)).sku == "sku-050"
        remove_from_bundle(tile_bundle, ["sku-050"])
        result = matcher.match(tile_photo(50, 9))
        assert "sku-050" not in [candidate.sku for candidate in result.candidates]
        assert result.generation == 3


def test_a_generation_is_loaded_once(tile_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two threads that both see it, the second one found the lock free again and loaded it once more."""
    with Matcher.open(tile_bundle) as matcher:
        add_to_bundle(tile_bundle, write_tiles(tmp_path / "more", range(50, 51)))
        generations, other = matcher._generations, threading.Lock()
        loads: list[object] = []

        def loaded(previous: object, load: Any = generations._load) -> object:
            loads.append(previous)
            return load(previous)

        def stamped(path: Path, read: Any = module.read_stamp_or_none) -> object:
            found = read(path)
            if other.acquire(blocking=False):  # between the first one's look and its load
                matcher.match(tile_photo(1, 9))
            return found

        monkeypatch.setattr(generations, "_load", loaded)
        monkeypatch.setattr(module, "read_stamp_or_none", stamped)
        assert matcher.match(tile_photo(50, 9)).sku == "sku-050" and len(loads) == 1


def test_keeps_its_version_when_the_new_one_is_damaged(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        manifest = tile_bundle / "manifest.json"
        manifest.write_bytes(manifest.read_bytes()[:-40])
        assert matcher.match(tile_photo(1, 9)).sku == "sku-001"
        with pytest.raises(BundleError, match="damaged"):
            matcher.reload()


def test_a_refused_generation_is_logged_once_and_can_be_seen(
    tile_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = tile_bundle / "manifest.json"
    good = manifest.read_bytes()
    with Matcher.open(tile_bundle) as matcher, caplog.at_level(logging.INFO, logger="shelfmatch"):
        assert matcher.refused is None
        manifest.write_bytes(good[:-40])
        for _ in range(3):
            assert matcher.match(tile_photo(1, 9)).generation == 1
        with pytest.raises(BundleDamaged):
            matcher.reload()
        refused = matcher.refused
        assert refused is not None and refused.error == "BundleDamaged" and "manifest.json is damaged" in refused.reason
        assert refused.generation is None and refused.stamp == read_stamp(tile_bundle)
        assert 0 <= (datetime.now(UTC) - refused.since).total_seconds() < 60
        (warning,) = caplog.records
        assert warning.levelname == "WARNING" and warning.name == "shelfmatch.edge.matching.generations"
        assert "answers go on from generation 1" in warning.getMessage() and refused.reason in warning.getMessage()
        manifest.write_bytes(good)
        remove_from_bundle(tile_bundle, ["sku-000"])
        assert matcher.match(tile_photo(1, 9)).generation == 2 and matcher.refused is None
    assert [record.levelname for record in caplog.records if record.name == warning.name] == ["WARNING", "INFO"]
    assert "took over generation 2" in caplog.records[-1].getMessage()


def test_a_refusal_names_the_generation_and_each_is_logged(tile_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Matcher.open(tile_bundle, follow=False) as matcher:
        for generation in (2, 3):
            remove_from_bundle(tile_bundle, [f"sku-{generation:03d}"])
            vectors = Bundle.open(tile_bundle).file("vectors")
            whole = vectors.read_bytes()
            vectors.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
            with pytest.raises(BundleDamaged, match="vectors"):
                matcher.reload()
            refused = matcher.refused
            assert refused is not None and refused.generation == generation
            assert refused.to_dict()["generation"] == generation and refused.to_dict()["error"] == "BundleDamaged"
            assert matcher.match(tile_photo(1, 9)).generation == 1
            vectors.write_bytes(whole)
        assert len(caplog.records) == 2
        assert matcher.reload() and matcher.refused is None


def test_the_library_adds_no_handler(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        matcher.match(tile_photo(1, 9))
    names = [name for name in logging.root.manager.loggerDict if name.startswith("shelfmatch")]
    assert "shelfmatch.edge.matching.generations" in names
    assert not any(logging.getLogger(name).handlers for name in names)


def test_a_copy_in_the_order_of_names_is_picked_up_when_it_is_whole(
    tile_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vectors come after the manifest that names them, whose stamp doesn't change any more."""
    shutil.copytree(tile_bundle, tmp_path / "new")
    remove_from_bundle(tmp_path / "new", ["sku-000"])
    now, opened = [0.0], []
    monkeypatch.setattr(
        "shelfmatch.edge.matching.generations.time",
        SimpleNamespace(perf_counter=time.perf_counter, monotonic=lambda: now[0]),
    )
    real = Bundle.open
    with Matcher.open(tile_bundle) as matcher:
        monkeypatch.setattr(Bundle, "open", lambda path: (opened.append(now[0]), real(path))[1])
        early = [file for file in sorted((tmp_path / "new").iterdir()) if file.name < "vectors"]
        for file in early:
            shutil.copy(file, tile_bundle)
        for second in range(200):
            now[0] = float(second)
            if second % 10 == 0 or second in (1, 3, 7):
                assert matcher.match(tile_photo(1, 9)).generation == 1
        assert opened == [0.0, 1.0, 3.0, 7.0, 20.0, 40.0, 80.0, 140.0]  # asked later than it may, it waits from then on
        shutil.copytree(tmp_path / "new", tile_bundle, dirs_exist_ok=True, copy_function=copy_if_new)
        assert matcher.match(tile_photo(1, 9)).generation == 1
        now[0] = 200.0
        assert matcher.match(tile_photo(1, 9)).generation == 2


def copy_if_new(source: str, target: str) -> None:
    if not Path(target).exists():
        shutil.copy(source, target)


def test_a_relative_path_is_followed_from_anywhere(
    tile_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tile_bundle.parent)
    with Matcher.open(tile_bundle.name) as matcher:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        remove_from_bundle(tile_bundle, ["sku-000"])
        assert matcher.match(tile_photo(1, 9)).generation == 2


def test_where_keeps_only_what_passes(tmp_path: Path, tile_folder: Path, tiny_tflite: Path) -> None:
    rows = ["image,sku,name,category"]
    rows += [
        f"{p},{p.parent.name},,{'even' if int(p.parent.name[-3:]) % 2 == 0 else 'odd'}"
        for p in tile_folder.rglob("*.png")
    ]
    (tmp_path / "shop.csv").write_text("\n".join(rows))
    build_bundle(tmp_path / "shop.csv", tmp_path / "s.bundle", encoder=tiny_tflite, resizer="pillow")
    with Matcher.open(tmp_path / "s.bundle") as matcher:
        result = matcher.match(tile_photo(1, 9), where={"category": "even"}, top_k=20)
        assert sorted(c.sku for c in result.candidates) == [f"sku-{n:03d}" for n in range(0, 12, 2)]
        with pytest.raises(CatalogError, match="colour"):
            matcher.match(tile_photo(1, 9), where={"colour": "red"})


def test_a_value_that_no_product_has_is_an_error_in_python_too(tmp_path: Path, tiny_tflite: Path) -> None:
    """A misspelt value made every photo unknown, without a word."""
    photos = write_tiles(tmp_path / "photos", range(4), photos=2)
    rows = [f"{p},{p.parent.name},tea" for p in sorted(photos.rglob("*.png"))]
    (tmp_path / "shop.csv").write_text("\n".join(["image,sku,category", *rows]))
    build_bundle(tmp_path / "shop.csv", tmp_path / "s.bundle", encoder=tiny_tflite, resizer="pillow")
    where = {"category": "Tea"}
    with Matcher.open(tmp_path / "s.bundle") as matcher:
        for call in (
            lambda: matcher.match(tile_photo(1, 9), where=where),
            lambda: matcher.explain(tile_photo(1, 9), where=where),
            lambda: matcher.similar("sku-001", where=where),
            lambda: list(matcher.match_many([tile_photo(1, 9)], where=where)),
            lambda: matcher.track(where=where).add(tile_photo(1, 9)),
        ):
            with pytest.raises(CatalogError, match="no product has category 'Tea'; there are tea"):
                call()
        assert matcher.match(tile_photo(1, 9), where={"category": "tea"}).candidates
        some = matcher.match(tile_photo(1, 9), where={"sku": ["sku-001", "sold-out"]})  # a list from elsewhere
        assert [one.sku for one in some.candidates] == ["sku-001"]


def test_a_closed_matcher_says_so(tile_bundle: Path) -> None:
    matcher = Matcher.open(tile_bundle)
    matcher.close()
    with pytest.raises(BundleError, match="closed"):
        matcher.match(tile_photo(0, 0))


def test_a_signal_may_close_while_a_generation_is_taken_over(tile_bundle: Path) -> None:
    """Its handler runs in the thread that is loading, which would wait for itself."""
    code = """
import signal, sys
from shelfmatch.edge import BundleError, Matcher, remove_from_bundle
from shelfmatch.edge.matching.generations import Generations
matcher, load = Matcher.open(sys.argv[1]), Generations._load
signal.signal(signal.SIGTERM, lambda *_: matcher.close())
def interrupted(*given):
    signal.raise_signal(signal.SIGTERM)
    return load(*given)
Generations._load = interrupted
remove_from_bundle(sys.argv[1], ["sku-000"])
for _ in range(2):
    try:
        matcher.match(sys.argv[2])
    except BundleError as error:
        print(error)
"""
    tile_photo(1, 9).save(tile_bundle.parent / "query.png")
    command = [sys.executable, "-c", code, str(tile_bundle), str(tile_bundle.parent / "query.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.count("this matcher is closed; open it again") == 2, done.stderr


def test_a_shop_of_one_product(tmp_path: Path, tiny_tflite: Path) -> None:
    build_bundle(write_tiles(tmp_path / "one", range(1)), tmp_path / "one.bundle", encoder=tiny_tflite)
    with Matcher.open(tmp_path / "one.bundle") as matcher:
        result = matcher.match(tile_photo(0, 9))
        assert [candidate.sku for candidate in result.candidates] == ["sku-000"]
        assert matcher.bundle.manifest.decision.method == "prior"
