"""Catalogue → bundle, and changes to a bundle: every one is whole or hasn't happened."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from .bundle import Bundle, BundleWriter
from .calibration import MIN_SAMPLES, Samples, calibrate, leave_one_out
from .catalog import CatalogEditor, Product, product_of
from .cataloguing import EmbeddedPhoto, EmbeddingCache, embed_photos, synthetic_view
from .decision import Decision, best_products, margin_of
from .encoder import DEFAULT_ENCODER, Encoder, find_encoder
from .errors import CatalogError, ImageError, RuntimeUnavailable, VectorError
from .image import Resizer, decode, fit
from .index import VectorIndex, choose_kind
from .manifest import EncoderCard, IndexRecord
from .runtime import choose_runtime, probe
from .source import CatalogSource, read_source

Progress = Callable[[Iterator[EmbeddedPhoto], int], Iterable[EmbeddedPhoto]]
"""Wraps the stream of embedded photos, told how many will come: a progress bar, or nothing."""

_BATCH = 1024
_SYNTHETIC_PRODUCTS = 300


@dataclass(slots=True)
class BuildReport:
    """What became of the photos. `unreadable` and `duplicates` list (label, reason)."""

    products: int = 0
    references: int = 0
    photos: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    without_photos: list[str] = field(default_factory=list)
    removed: int = 0
    seconds: float = 0.0
    decision: Decision | None = None
    index: IndexRecord | None = None
    encoder: str = ""
    size_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The document of `build --json`."""
        return {
            "products": self.products,
            "references": self.references,
            "photos": self.photos,
            "unreadable": [{"image": label, "message": reason} for label, reason in self.unreadable],
            "duplicates": [{"image": label, "message": reason} for label, reason in self.duplicates],
            "ignored": self.ignored,
            "without_photos": self.without_photos,
            "removed": self.removed,
            "seconds": round(self.seconds, 3),
            "encoder": self.encoder,
            "index": None if self.index is None else {"kind": self.index.kind, "dtype": self.index.dtype},
            "decision": None if self.decision is None else self.decision.to_dict(),
            "size_bytes": self.size_bytes,
        }


def build_bundle(
    source: str | os.PathLike[str],
    bundle: str | os.PathLike[str],
    *,
    encoder: str | os.PathLike[str] = DEFAULT_ENCODER,
    output: str | None = None,
    runtime: str = "auto",
    index: str = "auto",
    vectors: Literal["i8", "f16", "f32"] = "i8",
    false_accept: float = 0.05,
    workers: int = 0,
    resizer: str = "auto",
    progress: Progress | None = None,
) -> BuildReport:
    """Make a bundle from a folder of folders named by SKU, or a CSV with the header image,sku; replaces one that is there.

    `encoder`: a name, a .tflite or .onnx file, or a card; `output`: which of a file's outputs. `workers`: threads, each with
    an interpreter of its own (0: one a core). Interrupted, the same call goes on where it stopped. Photos that can't be read
    are in the report; CatalogError only if none can. Raises also EncoderError, RuntimeUnavailable, BundleError.
    """
    start = time.perf_counter()
    catalogue = read_source(source)
    card, model_path = find_encoder(encoder, output)
    _probe(card, runtime)
    workers = workers or os.cpu_count() or 1
    loaded = Encoder(card, model_path.read_bytes(), sessions=workers, runtime=runtime, resizer=resizer)
    loaded.warm_up()
    report = BuildReport(photos=len(catalogue.photos), ignored=list(catalogue.ignored), encoder=card.name)
    with BundleWriter(bundle) as writer:
        writer.stage("encoder").write_bytes(loaded.model)
        kind = choose_kind((len(catalogue.photos), card.dimension), index)
        built = VectorIndex(card.dimension, kind=kind, dtype=vectors)
        editor = CatalogEditor(writer.stage("catalog"))
        try:
            _enroll(writer, editor, built, catalogue, loaded, workers, report, progress)
            if not len(built):
                first = report.unreadable[0][1] if report.unreadable else "no photos"
                raise CatalogError(f"none of the {report.photos} photos in {source} can be used; the first: {first}")
            decision = _calibrate(built, false_accept, catalogue, loaded)
            _finish(writer, editor, built, loaded.card, decision, loaded.resizer, report)
        finally:
            editor.close()
    report.seconds = time.perf_counter() - start
    return report


def add_to_bundle(
    bundle: str | os.PathLike[str],
    source: str | os.PathLike[str],
    *,
    replace: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> BuildReport:
    """Add the photos of a source to a bundle: new products, and more photos of those it has.

    `replace`: the products of the source lose the photos they had. Raises like build_bundle, and BundleLocked.
    """
    start = time.perf_counter()
    catalogue = read_source(source)
    report = BuildReport(photos=len(catalogue.photos), ignored=list(catalogue.ignored))
    with BundleWriter(bundle, existing=True) as writer:
        current = writer.opened()
        workers = workers or os.cpu_count() or 1
        encoder = _bundled_encoder(current, workers)
        changed = _load_index(current)
        editor = _copied_catalog(writer, current)
        try:
            if replace:
                stale = [i for sku in _skus(catalogue) for i in _reference_ids(editor, sku)]
                editor.remove_references(stale)
                changed.remove(np.array(stale, np.uint32))
                report.removed = len(stale)
            _enroll(writer, editor, changed, catalogue, encoder, workers, report, progress)
            if not report.references and not report.duplicates:
                raise CatalogError(
                    f"none of the {report.photos} photos in {source} can be used; {report.unreadable[0][1]}"
                )
            if replace:
                report.without_photos = [sku for sku in _skus(catalogue) if not _reference_ids(editor, sku)]
                for sku in report.without_photos:
                    _forget(editor, sku)
            decision = _recalibrate(changed, current)
            _finish(writer, editor, changed, current.manifest.encoder, decision, current.manifest.resizer, report)
        finally:
            editor.close()
    report.seconds = time.perf_counter() - start
    return report


def remove_from_bundle(bundle: str | os.PathLike[str], skus: Sequence[str]) -> BuildReport:
    """Remove products. Raises CatalogError, changing nothing, if the shop doesn't have one of them; BundleLocked."""
    start = time.perf_counter()
    report = BuildReport()
    with BundleWriter(bundle, existing=True) as writer:
        current = writer.opened()
        changed = _load_index(current)
        editor = _copied_catalog(writer, current)
        try:
            unknown = [sku for sku in skus if editor.product_id(sku) is None]
            if unknown:
                raise CatalogError(f"{bundle} has no product {unknown[0]!r}; shelfmatch info --products lists them")
            gone = [i for sku in dict.fromkeys(skus) for i in _forget(editor, sku)]
            changed.remove(np.array(gone, np.uint32))
            report.removed = len(gone)
            decision = _recalibrate(changed, current)
            _finish(writer, editor, changed, current.manifest.encoder, decision, current.manifest.resizer, report)
        finally:
            editor.close()
    report.seconds = time.perf_counter() - start
    return report


def write_bundle(
    bundle: str | os.PathLike[str],
    encoder: Encoder,
    products: Sequence[Product],
    references: Sequence[int],
    vectors: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    *,
    index: str = "auto",
    dtype: Literal["i8", "f16", "f32"] = "i8",
    false_accept: float = 0.05,
) -> BuildReport:
    """Make a bundle from embeddings that exist already: `vectors` (N, D), `references` (N,) the product each shows, as its
    position in `products`. Raises VectorError, CatalogError or BundleError."""
    start = time.perf_counter()
    if np.shape(vectors)[1:] != (encoder.card.dimension,) or len(references) != len(vectors):
        raise VectorError(
            f"vectors {np.shape(vectors)} for {len(references)} references arrived; "
            f"expected ({len(references)}, {encoder.card.dimension}), as encoder {encoder.card.name} makes them"
        )
    strays = [place for place in references if not 0 <= place < len(products)]
    if strays:
        raise CatalogError(f"reference to product {strays[0]} arrived; expected positions in {len(products)} products")
    report = BuildReport(photos=len(vectors), references=len(vectors), encoder=encoder.card.name)
    with BundleWriter(bundle) as writer:
        writer.stage("encoder").write_bytes(encoder.model)
        editor = CatalogEditor(writer.stage("catalog"))
        try:
            ids = [
                editor.put_product(product.sku, {**product.attributes, "name": product.name}) for product in products
            ]
            reference_ids = [editor.add_reference(ids[place], f"{row}", b"") for row, place in enumerate(references)]
            built = VectorIndex.build(vectors, np.array(reference_ids, np.uint32), kind=index, dtype=dtype)
            decision = calibrate(*leave_one_out(built), false_accept, "leave-one-out")
            _finish(writer, editor, built, encoder.card, decision, encoder.resizer, report)
        finally:
            editor.close()
    report.seconds = time.perf_counter() - start
    return report


def _probe(card: EncoderCard, runtime: str) -> None:
    """A runtime that dies on import should end a build with a sentence, not with a signal."""
    chosen = choose_runtime(card.format, runtime)
    result = probe(chosen)
    if not result.ok:
        raise RuntimeUnavailable(f"{chosen.name} can't be used here: {result.problem}")


def _bundled_encoder(bundle: Bundle, workers: int) -> Encoder:
    manifest = bundle.manifest
    encoder = Encoder(manifest.encoder, bundle.read("encoder"), sessions=workers, resizer=manifest.resizer)
    encoder.warm_up()
    return encoder


def _load_index(bundle: Bundle) -> VectorIndex:
    return VectorIndex.load(bundle.file("vectors"), sha256=bundle.entry("vectors").sha256, writable=True)


def _copied_catalog(writer: BundleWriter, current: Bundle) -> CatalogEditor:
    staged = writer.stage("catalog")
    shutil.copyfile(current.check("catalog"), staged)
    return CatalogEditor(staged)


def _skus(catalogue: CatalogSource) -> list[str]:
    return list(dict.fromkeys(photo.sku for photo in catalogue.photos))


def _reference_ids(editor: CatalogEditor, sku: str) -> list[int]:
    product_id = editor.product_id(sku)
    return [] if product_id is None else [reference.id for reference in editor.references(product_id)]


def _forget(editor: CatalogEditor, sku: str) -> list[int]:
    product_id = editor.product_id(sku)
    return [] if product_id is None else editor.remove_product(product_id)


def _enroll(
    writer: BundleWriter,
    editor: CatalogEditor,
    index: VectorIndex,
    catalogue: CatalogSource,
    encoder: Encoder,
    workers: int,
    report: BuildReport,
    progress: Progress | None,
) -> None:
    """Embed a source's photos and put them into catalogue and index, in the source's order."""
    cache = EmbeddingCache(writer.work_folder() / "embeddings.sqlite", encoder)
    seen: dict[tuple[str, bytes], str] = {}
    owner: dict[bytes, tuple[str, str]] = {}
    for sku, label, digest in editor.photos():
        seen[sku, digest] = label
        owner.setdefault(digest, (sku, label))

    def rows() -> Iterator[tuple[int, Any]]:
        stream = embed_photos(catalogue.photos, encoder, cache, workers)
        for embedded in progress(stream, len(catalogue.photos)) if progress is not None else stream:
            photo = embedded.photo
            if embedded.vector is None:
                report.unreadable.append((photo.label, embedded.problem))
                continue
            product_id = editor.put_product(photo.sku, catalogue.attributes.get(photo.sku, {}))
            twin = seen.get((photo.sku, embedded.sha256))
            if twin is not None:
                report.duplicates.append((photo.label, f"the same file as {twin}"))
                continue
            other_sku, other = owner.setdefault(embedded.sha256, (photo.sku, photo.label))
            if other_sku != photo.sku:
                reason = f"the same file as {other} of {other_sku}; kept for both, they can't be told apart"
                report.duplicates.append((photo.label, reason))
            seen[photo.sku, embedded.sha256] = photo.label
            report.references += 1
            yield editor.add_reference(product_id, photo.label, embedded.sha256), embedded.vector

    try:
        index.extend(rows(), batch=_BATCH)
    finally:
        cache.close()
    report.without_photos = [sku for sku in _skus(catalogue) if editor.product_id(sku) is None]


def _calibrate(index: VectorIndex, false_accept: float, catalogue: CatalogSource, encoder: Encoder) -> Decision:
    known, unknown = leave_one_out(index)
    if len(known) >= MIN_SAMPLES:
        return calibrate(known, unknown, false_accept, "leave-one-out")
    return calibrate(*_synthetic_samples(index, catalogue, encoder, unknown), false_accept, "synthetic-views")


def _synthetic_samples(
    index: VectorIndex, catalogue: CatalogSource, encoder: Encoder, unknown: Samples
) -> tuple[Samples, Samples]:
    """Known and unknown queries from synthetic views of the photos, for shops with one photo a product."""
    first = {photo.sku: photo for photo in reversed(catalogue.photos)}
    photos = [first[sku] for sku in list(first)[:: max(1, len(first) // _SYNTHETIC_PRODUCTS)]]
    rows: dict[bool, list[tuple[float, float, bool]]] = {True: [], False: []}
    for number, photo in enumerate(photos):
        try:
            pixels = fit(decode(photo.path, encoder.card), encoder.card, encoder.resizer)
            own = int(product_of(index.search(encoder.embed_pixels(pixels), 1)[0][0])[0])
            view = encoder.embed_pixels(synthetic_view(pixels, seed=number))
        except (ImageError, VectorError):
            continue
        ids, scores = index.search(view, 64)
        ranked = best_products(ids[0], scores[0])
        others = [hit for hit in ranked if hit[0] != own]
        for is_known, hits in ((True, ranked), (False, others)):
            if hits:
                rival = hits[1][1] if len(hits) > 1 else None
                rows[is_known].append((hits[0][1], margin_of(hits[0][1], rival), is_known and hits[0][0] == own))

    def samples(of: list[tuple[float, float, bool]]) -> Samples:
        table = np.array(of, float).reshape(-1, 3)
        return Samples(table[:, 0], table[:, 1], table[:, 2].astype(bool))

    return samples(rows[True]), samples(rows[False])


def _recalibrate(index: VectorIndex, current: Bundle) -> Decision:
    """Fit again after a change; where photos are too few for that, what was fitted at build stays."""
    before = Decision.from_dict(current.manifest.decision)
    known, unknown = leave_one_out(index)
    if len(known) < MIN_SAMPLES or len(unknown) < MIN_SAMPLES:
        return before
    return calibrate(known, unknown, before.target_false_accept_rate, "leave-one-out")


def _finish(
    writer: BundleWriter,
    editor: CatalogEditor,
    index: VectorIndex,
    card: EncoderCard,
    decision: Decision,
    resizer: Resizer,
    report: BuildReport,
) -> None:
    report.products = editor.count()
    editor.finish()
    index.save(writer.stage("vectors"))
    report.index = IndexRecord(index.kind, index.dtype, index.dimension, len(index))
    report.decision = decision
    committed = writer.commit(
        encoder=card, index=report.index, products=report.products, decision=decision.to_dict(), resizer=resizer
    )
    report.encoder = card.name
    report.size_bytes = sum(entry.size_bytes for entry in committed.manifest.files.values())


def attributes_of(product: Product) -> Mapping[str, str]:
    """A product's columns as a CSV would hold them."""
    return {"sku": product.sku, "name": product.name, **product.attributes}
