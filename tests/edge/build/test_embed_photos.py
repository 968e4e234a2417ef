"""Photos → embeddings by several threads: the order of the photos, what was embedded once, what can't be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import CatalogError, Encoder
from shelfmatch.edge.build.embed_photos import Embedded, EmbeddedPhoto, EmbeddingCache, embed_photos
from shelfmatch.edge.catalog.listing import SourcePhoto
from shelfmatch.edge.catalog.source import read_source
from tests.conftest import tile_photo


def embedded(photos: tuple[SourcePhoto, ...], encoder: Encoder, path: Path, workers: int) -> list[EmbeddedPhoto]:
    cache = EmbeddingCache(path, encoder)
    try:
        return list(embed_photos(photos, encoder, cache, workers))
    finally:
        cache.close()


@pytest.mark.parametrize("workers", [1, 5])
def test_embeddings_come_in_order_and_are_their_photos(
    workers: int, tile_folder: Path, tiny_encoder: Encoder, tmp_path: Path
) -> None:
    photos = read_source(tile_folder).photos * 4  # most come out of the cache, some while they are put into it
    found = embedded(photos, tiny_encoder, tmp_path / "cache.sqlite", workers)
    assert [one.photo for one in found] == list(photos)
    expected = {photo.path: tiny_encoder.embed(photo.path)[0] for photo in photos[:36]}
    assert all(one.embedded and (one.embedded.vector == expected[one.photo.path]).all() for one in found)
    assert len({one.sha256 for one in found}) == 36
    again = embedded(photos[:36], tiny_encoder, tmp_path / "cache.sqlite", workers)
    assert [one.embedded.vector.tolist() for one in again if one.embedded] == [
        expected[photo.path].tolist() for photo in photos[:36]
    ]


def test_photos_without_an_embedding_come_with_the_reason(
    tile_folder: Path, tiny_encoder: Encoder, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no photo")
    good = read_source(tile_folder).photos[0]
    black = tmp_path / "black.png"  # an average of nothing but zeros points nowhere
    tile_photo(0, 0).point(lambda value: 0).save(black)
    photos = [
        SourcePhoto(str(tmp_path / "text.png"), "text.png", "a"),
        good,
        SourcePhoto(str(tmp_path / "missing.png"), "missing.png", "b"),
        SourcePhoto(str(black), "black.png", "c"),
    ]
    found = embedded(tuple(photos), tiny_encoder, tmp_path / "cache.sqlite", 2)
    assert [one.embedded is None for one in found] == [True, False, True, True]
    assert "not a photo" in found[0].problem and found[1].problem == ""
    assert "missing.png" in found[2].problem and "says nothing" in found[3].problem
    assert not any(str(tmp_path) in one.problem for one in found)


def test_leaving_early_keeps_what_was_embedded(tile_folder: Path, tiny_encoder: Encoder, tmp_path: Path) -> None:
    photos = read_source(tile_folder).photos
    cache = EmbeddingCache(tmp_path / "cache.sqlite", tiny_encoder)
    stream = embed_photos(photos, tiny_encoder, cache, 2)
    first = [next(stream) for _ in range(5)]
    stream.close()
    cache.close()
    cache = EmbeddingCache(tmp_path / "cache.sqlite", tiny_encoder)
    kept = [cache.get(one.sha256, views=0) for one in first]
    for one, found in zip(first, kept, strict=True):
        assert one.embedded and found and (found.vector == one.embedded.vector).all()
    assert cache.get(b"of another photo", views=0) is None
    cache.close()


def test_views_are_embedded_with_their_photo_and_kept(tile_folder: Path, tiny_encoder: Encoder, tmp_path: Path) -> None:
    photos = read_source(tile_folder).photos[:4]
    cache = EmbeddingCache(tmp_path / "cache.sqlite", tiny_encoder)
    first = list(embed_photos(photos, tiny_encoder, cache, 2, views=3))
    for one in first:
        assert one.embedded and one.embedded.views.shape == (3, tiny_encoder.card.dimension)
        assert len(np.unique(one.embedded.views, axis=0)) == 3
        fewer, more = (cache.get(one.sha256, views) for views in (2, 4))
        assert fewer and (fewer.views == one.embedded.views[:2]).all() and more is None
    again = list(embed_photos(photos, tiny_encoder, cache, 2, views=3))
    assert all(
        a.embedded and b.embedded and (a.embedded.views == b.embedded.views).all()
        for a, b in zip(first, again, strict=True)
    )
    cache.close()


def test_a_cache_that_is_none_is_begun_anew(tiny_encoder: Encoder, tmp_path: Path) -> None:
    """It asked to be deleted by hand; it holds nothing that can't be made again."""
    (tmp_path / "cache.sqlite").write_text("text" * 1000)
    cache = EmbeddingCache(tmp_path / "cache.sqlite", tiny_encoder)
    assert cache.get(bytes(32), 0) is None
    cache.close()
    assert not (tmp_path / "cache.sqlite").exists()
    (tmp_path / "folder").mkdir()
    with pytest.raises(CatalogError, match="folder can't be written"):
        EmbeddingCache(tmp_path / "folder", tiny_encoder)


@pytest.mark.parametrize("worn", ["leaves", "all but the first page"])
def test_a_cache_that_has_lost_pages_costs_no_build(
    worn: str, tile_folder: Path, tiny_encoder: Encoder, tmp_path: Path
) -> None:
    """It ended each run of the same build: "a database can't be used: database disk image is malformed; is the disk full?"."""
    photos, path = read_source(tile_folder).photos, tmp_path / "cache.sqlite"
    whole = embedded(photos, tiny_encoder, path, 2)
    data = bytearray(path.read_bytes())
    kept = 4096 if worn == "all but the first page" else len(data) // 2
    path.write_bytes(data[:kept] + b"\xaa" * (len(data) - kept))
    again = embedded(photos, tiny_encoder, path, 2)
    vectors = [[one.embedded.vector.tolist() for one in found if one.embedded] for found in (whole, again)]
    assert vectors[0] == vectors[1] and len(vectors[0]) == len(photos)
    assert not path.exists()  # so that the next build's can be kept
    embedded(photos, tiny_encoder, path, 2)
    cache = EmbeddingCache(path, tiny_encoder)
    assert all(cache.get(one.sha256, 0) for one in again)
    cache.close()


def test_no_embedding_comes_out_of_a_page_that_was_lost(tiny_encoder: Encoder, tmp_path: Path) -> None:
    """The last page of a long row could be zeros without a word from SQLite, and the bundle had wrong embeddings."""
    path, random, dimension = tmp_path / "cache.sqlite", np.random.default_rng(0), tiny_encoder.card.dimension
    kept = {
        bytes([number]) * 32: random.normal(size=(1 + 10_000 // dimension, dimension)).astype(np.float32)
        for number in range(6)
    }
    cache = EmbeddingCache(path, tiny_encoder)
    for digest, rows in kept.items():
        cache.put(digest, Embedded(rows[0], rows[1:], False))
    cache.close()
    whole, lost = path.read_bytes(), 0
    for start in range(4096, len(whole), 4096):
        path.write_bytes(whole[:start] + bytes(4096) + whole[start + 4096 :])
        cache = EmbeddingCache(path, tiny_encoder)
        for digest, rows in kept.items():
            found = cache.get(digest, len(rows) - 1)
            lost += found is None
            assert found is None or ((found.vector == rows[0]).all() and (found.views == rows[1:]).all())
        cache.close()
        assert not path.exists()
    assert lost >= len(whole) // 4096 - 1


def test_what_a_photo_looks_like_is_kept_with_its_embedding(
    tile_folder: Path, tiny_encoder: Encoder, tmp_path: Path
) -> None:
    """A build that goes on after a kill reports dark and blank photos that were embedded before it, too."""
    grey, dark = tmp_path / "grey.png", tmp_path / "dark.png"
    Image.new("RGB", (64, 64), (128, 130, 126)).save(grey)
    tile_photo(3, 0).point(lambda value: value // 12).save(dark)
    photos = (
        *read_source(tile_folder).photos[:3],
        SourcePhoto(str(grey), "grey.png", "grey"),
        SourcePhoto(str(dark), "dark.png", "dark"),
    )
    first, again = (embedded(photos, tiny_encoder, tmp_path / "cache.sqlite", 2) for _ in range(2))
    assert [one.look and one.look.fault for one in first] == [None, None, None, "blank", "dark"]
    assert [one.look for one in again] == [one.look for one in first]
