"""Wrong arguments from Python: a ShelfmatchError that says what was expected, never a TypeError out of the middle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import (
    Bundle,
    Detector,
    Encoder,
    Matcher,
    Query,
    ShelfmatchError,
    VectorIndex,
    add_to_bundle,
    build_bundle,
    calibrate_bundle,
    count_facings,
    evaluate,
    read_source,
    refit_bundle,
    remove_from_bundle,
    remove_photos_from_bundle,
    tune_bundle,
    update_bundle,
)
from shelfmatch.edge.imaging.image import Limits
from tests.conftest import tile_photo

PHOTO = np.asarray(tile_photo(3, 9))

ASKED: dict[str, Callable[[Any], Any]] = {
    "where is 'category' (str); expected attributes with their values": lambda m: m.match(PHOTO, where="category"),
    "where is ['category']": lambda m: m.match(PHOTO, where=["category"]),
    "top_k is '5' (str); expected a whole number": lambda m: m.match(PHOTO, top_k="5"),
    "top_k is -1; expected at least 1": lambda m: m.match(PHOTO, top_k=-1),
    "top_k is 0; expected": lambda m: m.explain(PHOTO, top_k=0),
    "top_k is 2.5 (float)": lambda m: m.similar("sku-003", top_k=2.5),
    "top_k is None": lambda m: m.track(top_k=None),
    "labels is 5 (int); expected names of attributes": lambda m: m.match(PHOTO, labels=5),
    "labels has 5 (int)": lambda m: m.match(PHOTO, labels=["category", 5]),
    "no product has the attribute 'x' to label by": lambda m: m.match(PHOTO, labels="x"),
    "workers is '2' (str)": lambda m: m.match_many([PHOTO], workers="2"),
    "top_k is -3": lambda m: m.match_many([PHOTO], top_k=-3),
    "images is '/a/path.jpg' (str); expected a list of photos": lambda m: m.match_many("/a/path.jpg"),
    "images is PosixPath('a.jpg') (PosixPath)": lambda m: m.match_many(Path("a.jpg")),
    "images is b'\\xff\\xd8' (bytes)": lambda m: m.match_many(b"\xff\xd8"),
    "images is None (NoneType)": lambda m: m.match_many(None),
    "sku is 3 (int); expected text": lambda m: m.similar(3),
    "sku is None": lambda m: m.nearest_photos(PHOTO, None),
    "words is ['tea'] (list)": lambda m: m.find(["tea"]),
    "limit is '5' (str)": lambda m: m.find("tea", limit="5"),
    "where is 'a'": lambda m: m.track(where="a"),
    "has the values <map object": lambda m: m.match(PHOTO, where={"sku": map(str, ["sku-003"])}),
    "grid is '8x8' (str); expected (rows, columns)": lambda m: m.explain(PHOTO, grid="8x8"),
    "grid is 8 (int)": lambda m: m.explain(PHOTO, grid=8),
    "grid is (2, 2, 2) (tuple)": lambda m: m.explain(PHOTO, grid=(2, 2, 2)),
    "grid is 2.0 (float); expected a whole number": lambda m: m.explain(PHOTO, grid=(2.0, 2)),
    "photos is 5 (int); expected a path": lambda m: m.explain(PHOTO, grid=(2, 2), photos=5),
    "queries has None (NoneType); expected labelled photos": lambda m: evaluate(m, [None]),
    "queries has 'a.jpg' (str)": lambda m: evaluate(m, ["a.jpg"]),
    "queries has 97 (int)": lambda m: evaluate(m, b"a.jpg"),
    "queries has Query(path=": lambda m: evaluate(m, [Query(Path("a.jpg"), "a.jpg", 5)]),  # type: ignore[arg-type]
    "by is 5 (int); expected a list of texts": lambda m: evaluate(m, [], by=5),
    "by is None (NoneType)": lambda m: evaluate(m, [], by=None),
    "'s.bundle' (str) arrived; expected an open matcher": lambda m: evaluate("s.bundle", []),  # type: ignore[arg-type]
    "None (NoneType) arrived; expected an open matcher": lambda m: evaluate(None, []),  # type: ignore[arg-type]
    "'c.bundle' (str) arrived; expected an open matcher": lambda m: count_facings(PHOTO, matcher="c.bundle"),  # type: ignore[arg-type]
    "limits is 6 (int); expected Limits": lambda m: count_facings(PHOTO, limits=6),  # type: ignore[arg-type]
    "limits is None (NoneType); expected": lambda m: count_facings(PHOTO, matcher=m, limits=None),  # type: ignore[arg-type]
    "path is None (NoneType); expected a path": lambda m: m.explain(PHOTO, grid=(1, 1)).save(None),
    "path is 'a\\x00.png' (str), with a character that": lambda m: m.explain(PHOTO, grid=(1, 1)).save("a\0.png"),
    "nodir/x.png can't be written: No such file or directory": lambda m: m.explain(PHOTO, grid=(1, 1)).save(
        "nodir/x.png"
    ),
}


@pytest.mark.parametrize("message", ASKED)
def test_of_a_matcher(tile_bundle: Path, message: str) -> None:
    with Matcher.open(tile_bundle) as matcher:
        with pytest.raises(ShelfmatchError) as raised:
            ASKED[message](matcher)
        assert message in str(raised.value) and "\n" not in str(raised.value)


LOADED: dict[str, Callable[[], Any]] = {
    "threads is '2' (str); expected a whole number": lambda: Encoder.load("shelfmatch-cnn", threads="2"),
    "sessions is None (NoneType); expected": lambda: Encoder.load("shelfmatch-cnn", sessions=None),
    "threads is '3' (str); expected": lambda: Detector.open(threads="3"),
    "sessions is 1.5 (float); expected": lambda: Detector.open(sessions=1.5),
    "kinds is None; expected some of product, gap": lambda: Detector.open().detect(PHOTO, kinds=None),  # type: ignore[arg-type]
    "kinds is [[]]; expected": lambda: Detector.open().detect(PHOTO, kinds=[[]]),  # type: ignore[list-item]
    "tiles is 'atuo'; expected auto or off": lambda: Detector.open().detect(PHOTO, tiles="atuo"),  # type: ignore[arg-type]
    "k is '3' (str); expected a whole number": lambda: VectorIndex(8).search(np.ones(8, np.float32), "3"),  # type: ignore[arg-type]
    "k is 1.5 (float)": lambda: VectorIndex(8).search(np.ones(8, np.float32), 1.5),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("message", LOADED)
def test_of_encoders_detectors_and_vectors(message: str) -> None:
    with pytest.raises(ShelfmatchError) as raised:
        LOADED[message]()
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_true_is_one(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        assert matcher.index.search(np.ones(matcher.index.dimension, np.float32), True)[0].shape == (1, 1)
        assert matcher.explain(PHOTO, grid=(2, True)).result.candidates


def test_numbers_of_numpy_are_numbers(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle, sessions=np.int64(2)) as matcher:
        assert len(matcher.match(PHOTO, top_k=np.int32(3)).candidates) == 3


def test_a_rate_of_numpy_is_a_rate(tile_folder: Path, tiny_tflite: Path, tmp_path: Path) -> None:
    rate = np.float32(0.25)
    build_bundle(tile_folder, tmp_path / "b", encoder=tiny_tflite, adapt="off", false_accept=rate)  # type: ignore[arg-type]
    assert Bundle.open(tmp_path / "b").manifest.decision.target_false_accept_rate == 0.25


def test_of_opening_building_and_changing(tile_bundle: Path, tile_folder: Path, tmp_path: Path) -> None:
    attempts: dict[str, Callable[[], Any]] = {
        "5 (int) arrived; expected the path of a bundle": lambda: Matcher.open(5),  # type: ignore[arg-type]
        "threads is '2' (str)": lambda: Matcher.open(tile_bundle, threads="2"),  # type: ignore[arg-type]
        "threads is 1099511627776; expected at most 1,024": lambda: Matcher.open(tile_bundle, threads=2**40).match(
            PHOTO
        ),
        "unknown runtime ['onnx']; expected auto, litert": lambda: Matcher.open(tile_bundle, runtime=["onnx"]),  # type: ignore[arg-type]
        "unknown resizer ['pillow']; expected auto, p": lambda: Matcher.open(tile_bundle, resizer=["pillow"]),  # type: ignore[arg-type]
        "sessions is -1": lambda: Matcher.open(tile_bundle, sessions=-1),
        "limits is 5 (int); expected Limits": lambda: Matcher.open(tile_bundle, limits=5),  # type: ignore[arg-type]
        "limits.pixels is None": lambda: Matcher.open(tile_bundle, limits=Limits(pixels=None)),  # type: ignore[arg-type]
        "limits.scans is 0; expected at least 1": lambda: Matcher.open(tile_bundle, limits=Limits(scans=0)),
        "'a\\x00b' (str) arrived, with a character that no file's name has": lambda: Matcher.open("a\0b"),
        "'\\ud800' (str) arrived, with a character": lambda: build_bundle(tile_folder, "\ud800"),
        "(str) arrived: File name too long; expected the path of a bundle": lambda: Matcher.open("a" * 300),
        "(str): File name too long; expected a path, like 'photos'": lambda: build_bundle("a" * 300, tmp_path / "b"),
        "(str): File name too long; expected a path, like 'shelfmatch-cnn'": lambda: build_bundle(
            tile_folder, tmp_path / "b", encoder="a" * 300
        ),
        "false_accept is '0.05' (str)": lambda: build_bundle(tile_folder, tmp_path / "b", false_accept="0.05"),  # type: ignore[arg-type]
        "false_accept is array([0.1, 0.2]) (ndarray)": lambda: tune_bundle(tile_bundle, np.array([0.1, 0.2])),  # type: ignore[arg-type]
        "false_accept is 5;": lambda: build_bundle(tile_folder, tmp_path / "b", false_accept=5),
        "max_references is '3'": lambda: build_bundle(tile_folder, tmp_path / "b", max_references="3"),  # type: ignore[arg-type]
        "workers is -1": lambda: add_to_bundle(tile_bundle, tile_folder, workers=-1),
        "skus is 'sku-003' (str); expected a list of texts": lambda: remove_from_bundle(tile_bundle, "sku-003"),
    }
    for message, attempt in attempts.items():
        with pytest.raises(ShelfmatchError) as raised:
            attempt()
        assert message in str(raised.value)


BUILDING: dict[str, Callable[[Path, Path], Any]] = {
    "source is 3 (int); expected a path, like 'photos'": lambda bundle, photos: build_bundle(3, bundle),
    "None (NoneType) arrived; expected the path of a bundle": lambda bundle, photos: build_bundle(photos, None),
    "encoder is 5 (int); expected a name, a file": lambda bundle, photos: build_bundle(photos, bundle, encoder=5),
    "encoder is [3] (list)": lambda bundle, photos: build_bundle(photos, bundle, encoder=[3]),
    "source is None": lambda bundle, photos: add_to_bundle(bundle, None),
    "3 (int) arrived; expected the path": lambda bundle, photos: add_to_bundle(3, photos),
    "wait_s is '5' (str); expected seconds": lambda bundle, photos: add_to_bundle(bundle, photos, wait_s="5"),
    "b'x' (bytes) arrived": lambda bundle, photos: refit_bundle(b"x"),
    "4 (int) arrived": lambda bundle, photos: tune_bundle(4, 0.1),
    "5 (int) arrived": lambda bundle, photos: Bundle.open(5),
    "table is 3 (int); expected a path, like 'prices.csv'": lambda bundle, photos: update_bundle(bundle, 3),
    "columns has None (NoneType); expected our names": lambda bundle, photos: read_source(
        photos, columns={"sku": None}
    ),
    "columns has 3 (int)": lambda bundle, photos: read_source(photos, columns={3: "artikel"}),
    "columns is 'a=b' (str)": lambda bundle, photos: update_bundle(bundle, photos, columns="a=b"),
    "photos is '1' (str); expected a list": lambda bundle, photos: remove_photos_from_bundle(bundle, "sku-000", "1"),
    "photos has 1.5 (float)": lambda bundle, photos: remove_photos_from_bundle(bundle, "sku-000", [1.5]),
    "photos is [] (list)": lambda bundle, photos: remove_photos_from_bundle(bundle, "sku-000", []),
    "photos is None (NoneType); expected a folder of photos, a CSV with": lambda bundle, photos: calibrate_bundle(
        bundle, None
    ),
    "photos is 5 (int); expected a folder": lambda bundle, photos: calibrate_bundle(bundle, 5),
    "photos is b'/photos' (bytes); expected": lambda bundle, photos: calibrate_bundle(bundle, b"/photos"),
    "photos has None (NoneType); expected a folder": lambda bundle, photos: calibrate_bundle(bundle, [None] * 30),
    "source is 7 (int)": lambda bundle, photos: read_source(7),
}


@pytest.mark.parametrize("message", BUILDING)
def test_of_what_builds_and_changes(tile_bundle: Path, tile_folder: Path, message: str) -> None:
    before = {path.name: path.read_bytes() for path in tile_bundle.iterdir()}
    with pytest.raises(ShelfmatchError) as raised:
        BUILDING[message](tile_bundle, tile_folder)
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert {path.name: path.read_bytes() for path in tile_bundle.iterdir()} == before
