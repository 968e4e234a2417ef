"""A source's photos on their way into a bundle: embedded by every encoder, and entered into the catalogue."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..catalog.editor import CatalogEditor
from ..catalog.examine import Looks
from ..catalog.ids import PHOTO_BITS, product_of
from ..catalog.listing import CatalogSource, Finding, SourcePhoto
from ..encoders.encoder import Encoder
from ..errors import CatalogError
from ..fitting.pictures import FEWEST_PHOTOS, MAX_PHOTOS, MIN_PACKSHOTS, Pictures, has_second_photos
from ..index.vector_index import VectorIndex
from ..progress import Progress
from ..scoring.adapter import Adapter, Floats
from .cut_photos import PhotoCutter
from .embed_photos import Embedded, EmbeddedPhoto, EmbeddingCache, embed_photos
from .spool import Rows, Spool

_ADAPTED = 1024
"""Vectors, at a time."""


@dataclass(slots=True)
class Entries:
    """What became of a source's photos as they were entered into the catalogue; filled as they come.

    `references`: how many were entered. `unreadable` and `duplicates` list (label, reason), `without_photos` the SKUs of the
    source that the catalogue hasn't got after all, `not_replaced` those that keep the photos they had, `cut` the labels of photos
    that were cut to their product, `findings` what the source's owner should know of the pictures.
    """

    references: int = 0
    findings: list[Finding] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    without_photos: list[str] = field(default_factory=list)
    not_replaced: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)


class Replaced:
    """Products whose photos a source replaces: they lose those they had, `gone` (SKU → ids), once one of the new ones is there."""

    def __init__(self, editor: CatalogEditor, skus: Collection[str]) -> None:
        self._editor = editor
        self.waiting = set(skus)
        self.gone: dict[str, list[int]] = {}

    def make_room(self, sku: str, product_id: int) -> None:
        """A photo of a product can be used: the old ones go, if they are still there."""
        if sku in self.waiting:
            self.waiting.discard(sku)
            self.gone[sku] = [reference.id for reference in self._editor.references(product_id)]
            self._editor.remove_references(self.gone[sku])

    def kept(self) -> list[str]:
        """At the end: the products that keep what they had, since none of their new photos can be used."""
        return sorted(sku for sku in self.waiting if self._editor.product_id(sku) is not None)


def _device_of(folder: str) -> int | None:
    """The file system that a folder is on, None where it isn't there. Where a share or drive was, another may be: the empty folder
    that it was mounted on."""
    try:
        return os.stat(folder or ".").st_dev  # noqa: PTH116  (the paths of 50,000 folders are 20 MB)
    except OSError:  # a share that went may say anything
        return None


def enroll(
    editor: CatalogEditor,
    catalogue: CatalogSource,
    encoders: Sequence[Encoder],
    entries: Entries,
    *,
    work_folder: Path,
    workers: int,
    views: int,
    every: int = 1,
    progress: Progress | None,
    cutter: PhotoCutter | None = None,
    replaced: Replaced | None = None,
) -> Iterator[tuple[int, tuple[Embedded, ...]]]:
    """(reference id, embeddings by each encoder) of a source's photos as they are entered into the catalogue, in the source's
    order. A photo that one of the encoders can't use isn't entered.

    `views`: of each `every`-th photo. `entries`: takes what became of each; whole when the stream has ended. `work_folder`: for
    what an interrupted build can use again. `cutter`: what cuts photos to their product. `replaced`: the products that lose the
    photos they had. Raises CatalogError where a folder of photos goes meanwhile, as of a network share: a bundle of the rest would
    take the place of the whole one.
    """
    # A file each: SQLite has one writer at a time.
    names = ["embeddings.sqlite", *(f"embeddings{number}.sqlite" for number in range(2, len(encoders) + 1))]
    caches = [EmbeddingCache(work_folder / name, encoder) for name, encoder in zip(names, encoders, strict=True)]
    replaced = replaced or Replaced(editor, ())
    fresh = frozenset(replaced.waiting)  # what these have now is nothing to compare their new photos with
    devices = {folder: _device_of(folder) for folder in {one.folder for one in catalogue.photos}}
    files, looks, pruned = _Files(), Looks(), {one for one in editor.pruned_files() if one[0] not in fresh}
    for sku, label, digest in editor.photos():
        if sku not in fresh:
            files.add(SourcePhoto("", label, sku), digest)
    try:
        streams = [
            embed_photos(catalogue.photos, encoder, cache, workers, views, every, cutter)
            for encoder, cache in zip(encoders, caches, strict=True)
        ]
        visible = progress(streams[0], len(catalogue.photos)) if progress is not None else streams[0]
        for embeddings in zip(visible, *streams[1:], strict=True):
            done, photo, problem = embeddings[0], embeddings[0].photo, _problem_of(embeddings)
            embedded = tuple(one.embedded for one in embeddings if one.embedded is not None)
            if problem:
                before = devices[photo.folder]
                if before is not None and _device_of(photo.folder) != before:
                    raise CatalogError(
                        f"{photo.label} went with its folder while photos were read; nothing was changed, run it again when the "
                        "share or drive is back: it goes on where it stopped"
                    )
                entries.unreadable.append((photo.label, problem))
                continue
            product_id = editor.put_product(photo.sku, catalogue.attributes.get(photo.sku, {}))
            replaced.make_room(photo.sku, product_id)
            looks.add(photo, done.sha256, done.look)
            if (photo.sku, done.sha256) in pruned:
                entries.duplicates.append((photo.label, "left out before, by max_references: it adds little"))
                continue
            same = files.add(photo, done.sha256)
            if same is not None and same.sku == photo.sku:
                entries.duplicates.append((photo.label, f"the same file as {same.label}"))
                continue
            if same is not None:
                reason = f"the same file as {same.label} of {same.sku}; kept for both, they can't be told apart"
                entries.duplicates.append((photo.label, reason))
            entries.references += 1
            if done.is_cut:
                entries.cut.append(photo.label)
            yield editor.add_reference(product_id, photo.label, done.sha256), embedded
    finally:
        for cache in caches:
            cache.close()
    entries.findings += looks.findings()
    entries.not_replaced = replaced.kept()
    entries.without_photos = [sku for sku in catalogue.skus() if editor.product_id(sku) is None]


class _Files:
    """The files that were entered, by their bytes: 100 bytes a file, of which 50,000 have as many SKUs."""

    def __init__(self) -> None:
        self._first: dict[bytes, SourcePhoto] = {}
        self._of_other_skus: dict[tuple[str, bytes], SourcePhoto] = {}

    def add(self, photo: SourcePhoto, sha256: bytes) -> SourcePhoto | None:
        """Enter a file. The one that was entered before with the same bytes: of the same SKU, then it stays alone; else the first
        of another SKU, None where there is none."""
        first = self._first.setdefault(sha256[:16], photo)
        if first is photo:
            return None
        if first.sku == photo.sku:
            return first
        own = self._of_other_skus.setdefault((photo.sku, sha256), photo)
        return first if own is photo else own


def _problem_of(seen: Sequence[EmbeddedPhoto]) -> str:
    """Why a photo can't be entered, "" where each encoder has embedded the same bytes."""
    for one in seen:
        if one.embedded is None:
            return one.problem
    changed = any(one.sha256 != seen[0].sha256 for one in seen)
    return f"{seen[0].photo.label} changed while it was read" if changed else ""


@dataclass(slots=True)
class Enrolled:
    """N photos that were enrolled: `ids` (N,) uint32 of their references, their own embeddings `vectors` (N, D) float32, those of
    the `views` (S, V, D) of S of them, and which are packshots (N,). `viewed` (S,): whose views these are, as places among the
    photos; None: of all. `cells` (N, bytes) and `view_cells` (S, V, bytes), where the encoder has a local head."""

    ids: NDArray[np.uint32]
    vectors: Rows[np.float32]
    views: Floats
    is_packshot: NDArray[np.bool_]
    cells: Rows[np.uint8] | None = None
    view_cells: Rows[np.uint8] | None = None
    viewed: NDArray[np.intp] | None = None

    @classmethod
    def collect(cls, rows: Iterable[tuple[int, Embedded]], dimension: int, most: int, work_folder: Path) -> Enrolled:
        """From a stream of at most `most` photos of one encoder."""
        (one,) = cls.collect_each(((number, (embedded,)) for number, embedded in rows), (dimension,), most, work_folder)
        return one

    @classmethod
    def collect_each(
        cls, rows: Iterable[tuple[int, Sequence[Embedded]]], dimensions: Sequence[int], most: int, work_folder: Path
    ) -> list[Enrolled]:
        """One for each encoder. `work_folder`: where vectors and cells wait. Raises OSError where it is full."""
        collectors = [_Collector(dimension, most, work_folder) for dimension in dimensions]
        for reference_id, embeddings in rows:
            for collector, embedded in zip(collectors, embeddings, strict=True):
                collector.take(reference_id, embedded)
        return [collector.enrolled() for collector in collectors]

    @classmethod
    def of_vectors(cls, ids: NDArray[np.uint32], vectors: Floats) -> Enrolled:
        """Photos of which only the embeddings are known."""
        return cls(ids, vectors, np.empty((len(ids), 0, vectors.shape[1]), np.float32), np.zeros(len(ids), bool))

    @property
    def of_views(self) -> NDArray[np.intp]:
        """(S,): the photos, by place, that have views; ascending."""
        return np.arange(len(self.views)) if self.viewed is None else self.viewed

    def pictures(self, most: int | None = None, references: Mapping[int, int] | None = None) -> Pictures:
        """Photos and views side by side, of at most so many photos (default: MAX_PHOTOS), see `_spread`; `references` as in
        `Pictures`. Where a part of the photos has views, these come first."""
        most = MAX_PHOTOS if most is None else most
        rows = np.arange(len(self.ids))
        if len(rows) > most:
            rows = self._chosen(most)
            if references is None:
                references = counted(self.ids)
        count = self.views.shape[1]
        if not count and len(rows) == len(self.ids):  # no copy of what may be a large shop and in memory
            owners = product_of(self.ids).astype(np.int64)
            return Pictures(self._all_vectors, owners, rows, np.zeros(len(rows), bool), self.is_packshot, references)
        shots = self.is_packshot[rows]
        here = np.isin(self.of_views, rows)
        made = np.repeat(self.of_views[here], count)
        photos = np.concatenate([rows, made])
        return Pictures(
            np.concatenate([self.vectors[rows], self.views[here].reshape(-1, self.vectors.shape[1])]),
            product_of(self.ids[photos]).astype(np.int64),
            photos,
            np.repeat([False, True], [len(rows), len(made)]),
            np.concatenate([shots, np.zeros(len(made), bool)]),  # a packshot's views look like photos
            references,
        )

    def _chosen(self, most: int) -> NDArray[np.intp]:
        if self.viewed is None or len(self.viewed) >= most:
            return _spread(product_of(self.ids), most)
        others = np.setdiff1d(np.arange(len(self.ids)), self.viewed)
        return np.sort(
            np.concatenate([self.viewed, others[_spread(product_of(self.ids[others]), most - len(self.viewed))]])
        )

    def cells_of(self, pictures: Pictures, places: NDArray[np.intp]) -> NDArray[np.uint8]:
        """(n, bytes): the cells of some pictures, by place (n,), all of which came from here; zero where a view's weren't kept.
        Only where there are cells."""
        assert self.cells is not None
        is_view = pictures.is_view[places]
        photos = pictures.photos[places]
        found = np.zeros((len(places), self.cells.shape[1]), np.uint8)
        found[~is_view] = self.cells[photos[~is_view]]
        if self.view_cells is not None and is_view.any():
            slots = np.searchsorted(self.of_views, photos[is_view])
            first = int(np.argmax(pictures.is_view))  # views stand after the photos, a photo's side by side
            found[is_view] = self.view_cells[slots, (places[is_view] - first) % self.views.shape[1]]
        return found

    @property
    def has_second_photos(self) -> bool:
        """Whether enough products have two photos, see `fitting.pictures.has_second_photos`."""
        alone = Enrolled.of_vectors(self.ids, self._all_vectors)  # views say nothing of it
        return has_second_photos(alone.pictures(most=len(self.ids)))

    @property
    def _all_vectors(self) -> Floats:
        """(N, D) in memory; a view where they are there already."""
        return self.vectors[:]

    def references(self, most: int = 0, keep: NDArray[np.bool_] | None = None) -> dict[int, int]:
        """Product → how many of these photos it will have in the index: those in `keep` (N,), at most so many (0: all)."""
        counts = counted(self.ids if keep is None else self.ids[keep])
        return {product: min(count, most) for product, count in counts.items()} if most else counts

    def adapted(self, adapter: Adapter | None) -> Floats:
        """(N, d) vectors for the index."""
        vectors = self._all_vectors
        return vectors if adapter is None else adapter.apply(vectors, self.is_packshot)

    def references_for(self, keep: NDArray[np.bool_], adapter: Adapter | None) -> Iterator[tuple[int, Floats]]:
        """(id, (d,) vector for the index) of the references in `keep` (N,): some at a time, as all of 50,000 are 50 MB more."""
        places = np.flatnonzero(keep)
        for start in range(0, len(places), _ADAPTED):
            part = places[start : start + _ADAPTED]
            rows = self.vectors[part]
            rows = rows if adapter is None else adapter.apply(rows, self.is_packshot[part])
            yield from zip(self.ids[part].tolist(), rows, strict=True)


class _Collector:
    """Photos of one encoder as they come."""

    def __init__(self, dimension: int, most: int, work_folder: Path) -> None:
        self._count, self._work_folder = 0, work_folder
        self._ids = np.empty(most, np.uint32)
        self._is_packshot = np.zeros(most, bool)
        self._vectors = Spool(work_folder, (dimension,), np.float32)
        self._cells: Spool[np.uint8] | None = None
        self._viewed: list[int] = []
        self._views: list[Floats] = []
        self._view_cells: Spool[np.uint8] | None = None

    def take(self, reference_id: int, embedded: Embedded) -> None:
        """One more."""
        row = self._count
        self._ids[row], self._is_packshot[row] = reference_id, embedded.is_packshot
        self._vectors.append(embedded.vector)
        if len(embedded.views):
            self._viewed.append(row)
            self._views.append(np.asarray(embedded.views, np.float32))
        if embedded.cells is not None:
            if self._cells is None:
                self._cells = Spool(self._work_folder, embedded.cells.shape[1:], np.uint8)
            self._cells.append(embedded.cells[0])
            if len(embedded.views):
                if self._view_cells is None:
                    self._view_cells = Spool(self._work_folder, embedded.cells[1:].shape, np.uint8)
                self._view_cells.append(embedded.cells[1:])
        self._count += 1

    def enrolled(self) -> Enrolled:
        """All that came."""
        count = self._count
        views = np.empty((count, 0, self._vectors.shape[1]), np.float32)
        if self._views:
            views = np.stack(self._views)
        return Enrolled(
            self._ids[:count],
            self._vectors,
            views,
            self._is_packshot[:count],
            self._cells,
            self._view_cells,
            np.array(self._viewed, np.intp) if 0 < len(self._viewed) < count else None,
        )


def counted(ids: NDArray[np.uint32]) -> dict[int, int]:
    """Product → how many of these (N,) references it has."""
    products, counts = np.unique(product_of(ids), return_counts=True)
    return dict(zip(products.tolist(), counts.tolist(), strict=True))


def _spread(products: NDArray[np.uint32], most: int) -> NDArray[np.intp]:
    """At most so many rows of (N,) products, evenly spread over each product's: as many of each as can be had of all, and where
    that were fewer than FEWEST_PHOTOS, so many of a part of the products, evenly spread."""
    _, counts = np.unique(products, return_counts=True)
    share = FEWEST_PHOTOS
    while np.minimum(counts, share + 1).sum() <= most:
        share += 1
    taken = np.minimum(counts, share)
    step = -(-int(taken.sum()) // most)
    order = np.argsort(products, kind="stable")
    starts = np.cumsum(counts) - counts
    chosen = [
        order[start + np.linspace(0, count - 1, take).astype(np.intp)]
        for start, count, take in zip(starts[::step], counts[::step], taken[::step], strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def centered_on_packshots(adapter: Adapter, enrolled: Enrolled) -> Adapter:
    """The adapter with the packshots' own mean, learnt now, if the shop had none when it was fitted and enough come now."""
    shots = enrolled.vectors[enrolled.is_packshot]
    if len(shots) < MIN_PACKSHOTS or not np.array_equal(adapter.mean, adapter.packshot_mean):
        return adapter
    return replace(adapter, packshot_mean=shots.mean(axis=0))


def merge_prototypes(
    old: VectorIndex, products: NDArray[np.int64], means: Floats, before: NDArray[np.intp], added: NDArray[np.intp]
) -> None:
    """Put more photos into prototypes: (P, d) `means` of `added` (P,) photos each, of products that had `before` (P,)."""
    ids = (products << PHOTO_BITS).astype(np.uint32)
    known = np.isin(ids, old.ids)
    joined = means * added[:, np.newaxis].astype(np.float32)
    if known.any():
        places = {int(one): place for place, one in enumerate(old.ids.tolist())}
        own = old.vectors(np.array([places[int(one)] for one in ids[known]], np.intp))
        joined[known] += own * before[known, np.newaxis].astype(np.float32)
    old.replace(ids, joined)
