"""The shop adapter: what is fitted, whether it helps, when there is none, and that scikit-learn's arithmetic agrees."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shelfmatch.edge import BundleDamaged, BundleError, VectorError
from shelfmatch.edge.build import enroll
from shelfmatch.edge.build.draft import compose, decide
from shelfmatch.edge.build.enroll import Enrolled, centered_on_packshots, merge_prototypes
from shelfmatch.edge.build.pruning import prune
from shelfmatch.edge.catalog.ids import PHOTO_BITS
from shelfmatch.edge.fitting.adapter_fit import fit, prototypes
from shelfmatch.edge.fitting.calibration import confidences_of, leave_one_out, left_out_products
from shelfmatch.edge.fitting.discriminant import _axes_of, discriminants, reduced, weighted_sums
from shelfmatch.edge.fitting.held_out import GROUPS, _clusters, rounds
from shelfmatch.edge.fitting.pictures import FEWEST_PHOTOS, Pictures, has_second_photos
from shelfmatch.edge.fitting.prior import generic_prior
from shelfmatch.edge.index.vector_index import VectorIndex
from shelfmatch.edge.scoring.adapter import MAX_DIMENSION, Adaptation, Adapter, Floats


def unit(rows: NDArray[np.floating]) -> Floats:
    result: Floats = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    return result


def shop(
    products: int, photos: int, *, views: int = 0, seed: int = 0, dimension: int = 64, nuisance: float = 3.0
) -> Pictures:
    """Products that differ in half of the directions, photos that differ in the other half, and there more."""
    random = np.random.default_rng(seed)
    half = dimension // 2
    centers = random.normal(size=(products, half))
    each = photos * (1 + views)
    own = np.repeat(centers, each, axis=0) + random.normal(scale=0.4, size=(products * each, half))
    rows = unit(np.concatenate([own, random.normal(scale=nuisance, size=own.shape)], axis=1) + 0.2)
    numbers = np.arange(products * photos)
    is_view = np.tile(np.arange(1 + views) > 0, products * photos)
    return Pictures(
        rows,
        np.repeat(np.arange(products), each),
        np.repeat(numbers, 1 + views),
        is_view,
        np.zeros(len(rows), bool),
    )


def recall(fitted_on: Pictures, queries: Pictures, adapter: Adapter | None) -> float:
    rows, asked = fitted_on.vectors, queries.vectors
    if adapter is not None:
        rows, asked = adapter.apply(rows), adapter.apply(asked)
    return float((fitted_on.products[(asked @ rows.T).argmax(axis=1)] == queries.products).mean())


def test_it_learns_what_products_differ_in() -> None:
    both = shop(20, 16)
    first = np.arange(len(both)) % 2 == 0
    known, asked = both.take(first), both.take(~first)
    found = fit(known)
    assert found.adapter is not None and found.adaptation.method == "lda"
    plain, adapted = recall(known, asked, None), recall(known, asked, found.adapter)
    assert plain < 0.7 and adapted > plain + 0.2
    told = found.adaptation
    assert told.recall_with is not None and told.recall_without is not None
    assert told.recall_with > told.recall_without + 0.2 and "held-out photos" in told.reason
    assert told.dimension == found.adapter.dimension == 19 and told.photos == 160


def test_fitting_twice_gives_the_same() -> None:
    first, second = fit(shop(12, 6)), fit(shop(12, 6))
    assert first.adapter is not None and second.adapter is not None
    assert first.adapter.to_bytes() == second.adapter.to_bytes() and first.adaptation == second.adaptation


def test_held_out_queries_are_told_as_many_references_as_the_shop_has() -> None:
    """The confidence counts references: fitted on fewer than there will be, it would be too modest in the shop."""
    for found in (fit(shop(12, 8)), fit(shop(12, 1, views=10), views=10)):
        photos = 8 if found.by_photo else 1
        assert set(found.known.references) == set(found.unknown.references) == {photos}


def test_views_stand_in_for_photos_where_products_have_one() -> None:
    pictures = shop(30, 1, views=10)
    found = fit(pictures, views=10)
    assert found.adapter is not None and "held-out views" in found.adaptation.reason
    asked = shop(30, 4, seed=0)
    assert recall(pictures.take(~pictures.is_view), asked, found.adapter) > recall(
        pictures.take(~pictures.is_view), asked, None
    )


@pytest.mark.parametrize(("products", "photos", "views"), [(1, 9, 0), (2, 9, 0), (9, 1, 0), (1, 1, 0), (2, 1, 4)])
def test_shops_too_small_have_none_and_say_why(products: int, photos: int, views: int) -> None:
    found = fit(shop(products, photos, views=views))
    assert found.adapter is None and found.adaptation.method == "none" and found.adaptation.scoring == "max"
    assert "products" in found.adaptation.reason or "one picture" in found.adaptation.reason


def test_an_adapter_that_would_find_fewer_is_not_used_unless_asked_for() -> None:
    """Where photos of a product don't differ, and products do in every direction, there is nothing to gain."""
    pictures = alike(20)
    found, forced = fit(pictures), fit(pictures, force=True)
    assert forced.adapter is not None
    if found.adapter is None:
        assert "would find fewer" in found.adaptation.reason
        told = forced.adaptation
        assert (
            told.recall_with is not None and told.recall_without is not None and told.recall_with < told.recall_without
        )


def alike(products: int) -> Pictures:
    """Four photos of each product, which differ in no direction more than in another."""
    random = np.random.default_rng(1)
    middles = np.repeat(random.normal(size=(products, 200)), 4, axis=0)
    numbers = np.arange(4 * products)
    none = np.zeros(4 * products, bool)
    rows = unit(middles + random.normal(scale=0.9, size=(4 * products, 200)))
    return Pictures(rows, numbers // 4, numbers, none, none)


def test_few_products_have_one_only_where_it_finds_clearly_more() -> None:
    """What tells eight products apart hardly tells others from them; it must be worth that."""
    found, forced = fit(alike(8)), fit(alike(8), force=True)
    assert found.adapter is None and forced.adapter is not None
    assert found.adaptation.reason.startswith("so few products are told from others better without; held-out photos")
    needed = fit(shop(10, 8))
    assert needed.adapter is not None
    told = needed.adaptation
    assert told.recall_with is not None and told.recall_without is not None
    assert told.recall_with - told.recall_without >= 0.05


def test_discriminants_equal_scikit_learns() -> None:
    """Without shrinkage to speak of, our directions span what sklearn.discriminant_analysis finds."""
    sklearn = pytest.importorskip("sklearn.discriminant_analysis", reason="scikit-learn is not installed")
    pictures = shop(6, 40, dimension=20)
    rows = pictures.vectors - pictures.vectors.mean(axis=0)
    (matrix,) = discriminants(rows, pictures.products, np.ones(len(rows), np.float32), (1e-7,))
    theirs = sklearn.LinearDiscriminantAnalysis(solver="eigen").fit(rows.astype(float), pictures.products)
    ours, reference = (np.linalg.qr(one.astype(float))[0] for one in (matrix, theirs.scalings_[:, :5]))
    overlaps = np.linalg.svd(ours.T @ reference, compute_uv=False)
    assert matrix.shape == (20, 5) and overlaps.min() > 0.999


def test_dimensions_stay_within_the_limit() -> None:
    (matrix,) = discriminants(
        shop(200, 3, dimension=256).vectors, np.repeat(np.arange(200), 3), np.ones(600, np.float32), (0.1,)
    )
    assert matrix.shape == (256, MAX_DIMENSION)


def test_groups_are_of_like_photos() -> None:
    random = np.random.default_rng(0)
    centers = np.eye(4, 16) * 5
    rows = np.repeat(centers, 6, axis=0) + random.normal(scale=0.2, size=(24, 16))
    groups = _clusters(unit(rows), GROUPS).reshape(4, 6)
    assert all(len(set(row)) == 1 for row in groups.tolist()) and len(set(groups[:, 0].tolist())) == 4


def in_copies(pictures: Pictures, products: int) -> Pictures:
    """The first products' photos all alike: one photo in several files."""
    rows = np.arange(len(pictures))
    for product in range(products):
        own = pictures.products == product
        rows[own] = np.flatnonzero(own)[0]
    return replace(pictures, vectors=pictures.vectors[rows])


def test_copies_of_one_photo_are_one_photo() -> None:
    assert has_second_photos(shop(20, 3)) and has_second_photos(in_copies(shop(20, 3), 10))
    assert not has_second_photos(in_copies(shop(20, 3), 11))
    pictures = in_copies(shop(20, 3, views=2), 8)
    asked_copies = 0
    for gallery, asked, strangers in rounds(pictures, reduced(pictures), by_photo=True):
        sold = np.unique(pictures.products[gallery])
        assert np.isin(pictures.products[asked & ~strangers], sold).all(), "held out whole, it must be a stranger"
        assert not np.isin(pictures.products[strangers], sold).any()
        asked_copies += int((strangers & (pictures.products < 8)).sum())
    assert asked_copies == 8 * 3  # as strangers, like any other


def test_copies_of_one_photo_do_not_find_each_other() -> None:
    one = in_copies(shop(12, 3), 6)
    ids = (one.products << PHOTO_BITS).astype(np.uint32) + np.tile(np.arange(3, dtype=np.uint32), 12)
    partly = one.vectors.copy()
    partly[0] = unit(np.random.default_rng(1).normal(size=64))  # two copies, and a photo that differs
    for vectors, known_photos in ((one.vectors, 18), (partly, 21)):
        known, unknown = leave_one_out(VectorIndex.build(vectors, ids, kind="exact", dtype="f32"))
        assert len(known) == known_photos and len(unknown) == 36
        assert known.scores.max() < 0.999


def test_the_adapter_survives_its_file() -> None:
    found = fit(shop(12, 6))
    assert found.adapter is not None
    again = Adapter.from_bytes(found.adapter.to_bytes(), "there")
    assert again.to_bytes() == found.adapter.to_bytes()
    rows = shop(12, 6).vectors
    assert (again.apply(rows) == found.adapter.apply(rows)).all()
    assert np.allclose(again.apply(rows[0]), again.apply(rows)[0], atol=1e-6)
    assert np.allclose(np.linalg.norm(again.apply(rows), axis=1), 1, atol=1e-5)
    for damaged in (b"", found.adapter.to_bytes()[:-1], b"x" + found.adapter.to_bytes()[1:]):
        with pytest.raises(BundleDamaged, match="there is damaged"):
            Adapter.from_bytes(damaged, "there")
    with pytest.raises(VectorError, match="takes"):
        again.apply(rows[:, :5])


def test_what_lies_at_the_mean_still_has_a_direction() -> None:
    adapter = Adapter(np.ones(4, np.float32), np.zeros(4, np.float32), np.eye(4, 2, dtype=np.float32))
    assert adapter.apply(np.ones((1, 4), np.float32)).tolist() == [[1, 0]]
    assert adapter.apply(np.ones(4, np.float32), packshot=True) == pytest.approx([0.5**0.5] * 2)


def test_the_record_survives_the_manifest() -> None:
    told = fit(shop(12, 6)).adaptation
    assert Adaptation.from_dict(json.loads(json.dumps(told.to_dict(), allow_nan=False))) == told
    for record in ({**told.to_dict(), "mood": "good"}, {"method": "lda"}, {**told.to_dict(), "scoring": "median"}):
        with pytest.raises(BundleError, match="adaptation"):
            Adaptation.from_dict(record)


def enrolled(products: list[int], rows: Floats, packshots: bool = False) -> Enrolled:
    numbers: dict[int, int] = {}
    ids = []
    for product in products:
        ids.append((product << PHOTO_BITS) + numbers.get(product, 0))
        numbers[product] = numbers.get(product, 0) + 1
    made = Enrolled.of_vectors(np.array(ids, np.uint32), rows)
    return replace(made, is_packshot=np.full(len(ids), packshots))


def test_prototypes_grow_as_if_built_at_once() -> None:
    pictures = shop(8, 9)
    adapter = fit(pictures).adapter
    assert adapter is not None
    labels, whole = prototypes(adapter, pictures)
    first = pictures.photos % 9 < 4
    old_labels, old = prototypes(adapter, pictures.take(first & (pictures.products < 6)))
    index = VectorIndex.build(old, (old_labels << PHOTO_BITS).astype(np.uint32), kind="exact", dtype="f32")
    rest = pictures.take(~first | (pictures.products >= 6))
    new_labels, new = prototypes(adapter, rest)
    before = np.array([4 if label < 6 else 0 for label in new_labels])
    added = np.array([(rest.products == label).sum() for label in new_labels])
    merge_prototypes(index, new_labels, new, before, added)
    merged = dict(zip((index.ids >> PHOTO_BITS).tolist(), index.vectors(), strict=True))
    assert sorted(merged) == labels.tolist()
    # A mean of two means of unit vectors is nearly the mean of all.
    assert all(float(merged[int(label)] @ row) > 0.99 for label, row in zip(labels, whole, strict=True))


def test_packshots_bring_their_own_mean_when_there_are_enough() -> None:
    adapter = fit(shop(12, 6)).adapter
    assert adapter is not None
    few, many = (enrolled(list(range(n)), unit(np.random.default_rng(0).normal(size=(n, 64))), True) for n in (3, 20))
    assert centered_on_packshots(adapter, few) is adapter
    moved = centered_on_packshots(adapter, many)
    assert np.allclose(moved.packshot_mean, many.vectors.mean(axis=0)) and (moved.mean == adapter.mean).all()
    assert centered_on_packshots(moved, few) is moved and centered_on_packshots(moved, many) is moved


def test_pruning_keeps_what_differs() -> None:
    random = np.random.default_rng(0)
    fronts, backs = np.eye(4, 32, dtype=np.float32), np.eye(4, 32, 8, dtype=np.float32)
    rows = unit(np.concatenate([np.repeat(fronts, 5, axis=0), backs]) + random.normal(scale=0.03, size=(24, 32)))
    one = enrolled([*np.repeat(np.arange(4), 5).tolist(), *range(4)], rows)
    keep, pruned = prune(one.ids, rows, 2)
    assert pruned is not None and pruned.removed == 16 and keep.sum() == 8
    assert keep[20:].all()  # the only picture of a back is never the one that goes
    assert pruned.recall_before == pruned.recall_after == 1.0
    assert prune(one.ids, rows, 6) == (pytest.approx(np.ones(24, bool)), None)


def test_large_shops_are_fitted_on_some_photos_of_all_products() -> None:
    counts = np.random.default_rng(5).integers(2, 40, 50)
    one = enrolled(np.repeat(np.arange(50), counts).tolist(), shop(50, 40).vectors[: counts.sum()])
    assert len(one.pictures()) == counts.sum() and one.pictures().references is None
    part = one.pictures(most=500)
    labels, taken = np.unique(part.products, return_counts=True)
    assert labels.tolist() == list(range(50)) and 450 < len(part) <= 500
    assert (taken == np.minimum(counts, taken.max())).all()  # as many of each, or all that it has
    for label in (3, 17):  # evenly: the first and the last, and no gap that is much wider than another
        own = part.photos[part.products == label] - np.cumsum([0, *counts])[label]
        assert own[0] == 0 and own[-1] == counts[label] - 1 and np.ptp(np.diff(own)) <= 1
    # What a held-out query is told is how many references the shop has, not how many were looked at.
    assert part.references_of(np.array([3, 17])).tolist() == counts[[3, 17]].tolist()


def test_shops_of_very_many_products_are_fitted_on_some_of_them() -> None:
    one = enrolled(np.repeat(np.arange(50), 10).tolist(), shop(50, 10).vectors)
    part = one.pictures(most=80)
    labels, taken = np.unique(part.products, return_counts=True)
    assert len(labels) == 25 and (taken == FEWEST_PHOTOS).all() and np.ptp(np.diff(labels)) == 0


def test_held_out_queries_are_told_the_references_that_are_kept() -> None:
    """20 photos a product, of which the index keeps 5."""
    vectors = shop(20, 20).vectors
    one = enrolled(np.repeat(np.arange(20), 20).tolist(), vectors)
    contents, keep, _ = compose(one, max_references=5)
    assert keep.sum() == 100 and contents.fit is not None
    assert set(contents.fit.known.references.tolist()) == set(contents.fit.unknown.references.tolist()) == {5.0}
    again = compose(one, keep=keep)[0].fit
    assert again is not None and set(again.known.references.tolist()) == {5.0}


def test_a_large_shops_adapter_knows_all_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fitted on whole products, a part of them, it would play down what tells the others apart."""
    both = shop(40, 16)
    first = np.arange(len(both)) % 2 == 0
    known, asked = both.take(first), both.take(~first)
    one = enrolled(known.products.tolist(), known.vectors)
    everything, _, _ = compose(one)
    monkeypatch.setattr(enroll, "MAX_PHOTOS", 160)
    some, _, _ = compose(one)
    assert some.whole and some.adapter is not None and everything.adapter is not None
    assert some.adapter.dimension == everything.adapter.dimension == 39
    assert recall(known, asked, some.adapter) > recall(known, asked, everything.adapter) - 0.1
    assert recall(known, asked, some.adapter) > recall(known, asked, None) + 0.1


def test_a_part_of_the_products_takes_its_threshold_from_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = shop(120, 8, nuisance=1.0, dimension=16).vectors
    one = enrolled(np.repeat(np.arange(120), 8).tolist(), vectors)
    monkeypatch.setattr(enroll, "MAX_PHOTOS", 120)
    contents, _, _ = compose(one)
    assert not contents.whole and contents.fit is not None
    decision = decide(contents, 0.05, generic_prior())
    assert decision is not None and decision.method == "held-out"
    of_part = decide(replace(contents, whole=True), 0.05, generic_prior())
    assert of_part is not None and decision.score_weight == of_part.score_weight
    strangers = confidences_of(decision, left_out_products([contents.gallery]))
    assert 0.03 < (strangers >= decision.threshold).mean() <= 0.05
    # The threshold of a third of the products would let more of the whole shop's strangers pass.
    assert (strangers >= of_part.threshold).mean() > (strangers >= decision.threshold).mean() + 0.02


def test_sums_and_axes_of_many_products_are_those_of_the_textbook() -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((2_000, 150)).astype(np.float32) * np.linspace(3, 0.1, 150, dtype=np.float32)
    place = np.concatenate([np.arange(700), random.integers(0, 700, 1_300)])
    weights = random.random(2_000).astype(np.float32)
    expected = np.zeros((700, 150), np.float64)
    np.add.at(expected, place, (rows * weights[:, np.newaxis]).astype(np.float64))
    assert np.allclose(weighted_sums(rows, place, weights), expected, atol=1e-4)
    strengths, axes = _axes_of(rows)
    _, by_svd, their_axes = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    assert np.allclose(strengths, by_svd, rtol=1e-4)
    assert np.allclose(np.abs((axes * their_axes).sum(axis=1)), 1, atol=1e-3)


def test_an_encoder_for_which_all_photos_are_nearly_one() -> None:
    """As one that is fed other numbers than it was trained with: what tells its vectors apart is whitened by a hundred thousand,
    more than float16 holds, and all vectors were refused as NaN."""
    pictures = shop(20, 4)
    flat = unit(1 + 3e-5 * pictures.vectors.astype(np.float64))
    near = replace(pictures, vectors=flat)
    with np.errstate(all="raise"):
        adapter = fit(near, force=True).adapter
    assert adapter is not None and np.isfinite(adapter.matrix).all()
    assert np.isfinite(adapter.apply(near.vectors)).all()
    exact = Adapter(adapter.mean, adapter.mean, np.float32(2e6) * np.eye(64, dtype=np.float32))
    assert np.allclose(exact.as_stored().apply(flat), exact.apply(flat), atol=1e-3)
