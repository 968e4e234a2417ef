"""Catalogue → bundle, and changes to a bundle: every one is whole or hasn't happened."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence

import numpy as np

from .. import device
from ..bundle.bundle import ENCODER_ROLES, Bundle, BundleWriter
from ..bundle.manifest import EncoderCard, IndexRecord, SecondRecord
from ..catalog.attributes import clean_sku
from ..catalog.editor import CatalogEditor
from ..catalog.product import Product
from ..catalog.source import CatalogSource, read_source
from ..encoders.encoder import Encoder
from ..encoders.registry import EncoderNames, find_encoders
from ..encoders.runtimes import choose_runtime, probe
from ..errors import CatalogError, RuntimeUnavailable, VectorError
from ..fitting.calibration import calibrate, leave_one_out
from ..imaging.resize import Resizer
from ..imaging.views import views_per_photo
from ..index._codes import Dtype
from ..index._vectors import checked_vectors
from ..index.vector_index import VectorIndex, choose_kind
from ..scoring.adapter import Adaptation, Adapter, Floats
from ..scoring.cascade import Cascade
from ..scoring.decision import Decision
from .draft import (
    Adapt,
    Contents,
    compose,
    compose_each,
    decide,
    decide_pair,
    decided_alone,
    extend,
    not_adapted,
    recalibrated,
    remove,
)
from .enroll import Enrolled, Progress, enroll
from .report import BuildReport

__all__ = ["BuildReport", "Progress", "add_to_bundle", "build_bundle", "remove_from_bundle", "write_bundle"]

_BATCH = 1024


def build_bundle(
    source: str | os.PathLike[str] | CatalogSource,
    bundle: str | os.PathLike[str],
    *,
    encoder: EncoderNames | None = None,
    output: str | None = None,
    runtime: str = "auto",
    index: str = "auto",
    vectors: Dtype = "i8",
    adapt: Adapt = "auto",
    max_references: int = 0,
    false_accept: float = 0.05,
    workers: int = 0,
    resizer: str = "auto",
    progress: Progress | None = None,
) -> BuildReport:
    """Make a bundle from a folder of folders named by SKU, or a CSV with the header image,sku; replaces one that is there.

    `encoder`: a name, a .tflite or .onnx file, or a card (default: device.toml's, else the embedded one); `output`: which of a
    file's outputs. Two, ("a", "b") or "a,b": the second looks where the first isn't sure, and their scores are added up. `adapt`:
    whether the embedding is tuned to this shop; "auto" does so where held-out photos are found no worse for it, and embeds
    synthetic views to learn from; "off" is several times faster. `max_references`: keep at most so many photos a product (0:
    all). `workers`: threads, each with an interpreter of its own (0: one a core). Interrupted, the same call goes on where it
    stopped. Photos that can't be read are in the report; CatalogError only if none can. Raises also EncoderError, DeviceError,
    RuntimeUnavailable, BundleError.
    """
    start = time.perf_counter()
    if adapt not in ("auto", "on", "off"):
        raise CatalogError(f"adapt is {adapt!r}; expected auto, on or off")
    if max_references < 0:
        raise CatalogError(f"max_references is {max_references}; expected 1 or more photos a product, or 0 for all")
    catalogue = read_source(source)
    encoder = device.encoder_for_builds() if encoder is None else encoder
    index = device.index_for_builds() if index == "auto" else index
    found = find_encoders(encoder, output, runtime)
    workers = workers or os.cpu_count() or 1
    encoders = []
    for card, model_path in found:
        _probe(card, runtime)
        encoders.append(Encoder(card, model_path.read_bytes(), sessions=workers, runtime=runtime, resizer=resizer))
        encoders[-1].warm_up()
    report = _report_of(catalogue)
    photos, products = len(catalogue.photos), len(catalogue.skus())
    # A cascade of two is measured on views where products have one photo each.
    no_views = adapt == "off" and (len(encoders) == 1 or photos >= 2 * products)
    views = 0 if no_views else views_per_photo(photos, products)
    with BundleWriter(bundle) as writer:
        for one, role in zip(encoders, ENCODER_ROLES, strict=False):
            writer.stage(role).write_bytes(one.model)
        editor = CatalogEditor(writer.stage("catalog"))
        try:
            stream = enroll(
                writer, editor, catalogue, encoders, workers=workers, views=views, report=report, progress=progress
            )
            dimensions = [one.card.dimension for one in encoders]
            every: list[Enrolled] = []
            if adapt == "off" and not max_references and len(encoders) == 1:
                kind = choose_kind((photos, dimensions[0]), index)
                built = VectorIndex(dimensions[0], kind=kind, dtype=vectors)
                built.extend(((one, embedded[0].vector) for one, embedded in stream), batch=_BATCH)
                contents = [Contents(built, not_adapted(dimensions[0], len(built)))]
            else:
                every = Enrolled.collect_each(stream, dimensions, photos)
                contents, keep, report.pruned = compose_each(every, adapt, max_references, index, vectors)
                editor.prune_references(every[0].ids[~keep].tolist())
                report.references -= int((~keep).sum())
            if not len(contents[0].index):
                first = ": ".join(report.unreadable[0]) if report.unreadable else "no photos"
                raise CatalogError(f"none of the {report.photos} photos in {source} can be used; the first: {first}")
            cascade = None
            if len(encoders) == 1:
                decision = decided_alone(contents[0], false_accept, catalogue, encoders[0])
            else:
                cascade, decision = decide_pair(every, contents, false_accept)
            cards = [one.card for one in encoders]
            _finish(writer, editor, contents, cards, decision, encoders[0].resizer, report, cascade)
        finally:
            editor.close()
    report.seconds = time.perf_counter() - start
    return report


def add_to_bundle(
    bundle: str | os.PathLike[str],
    source: str | os.PathLike[str] | CatalogSource,
    *,
    replace: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> BuildReport:
    """Add the photos of a source to a bundle: new products, and more photos of those it has.

    `replace`: the products of the source lose the photos they had. The shop's adapter stays as it was fitted; build again after
    many changes. Raises like build_bundle, and BundleLocked.
    """
    start = time.perf_counter()
    catalogue = read_source(source)
    report = _report_of(catalogue)
    with BundleWriter(bundle, existing=True) as writer:
        current = writer.opened()
        workers = workers or os.cpu_count() or 1
        encoders = _bundled_encoders(current, workers)
        contents = load_contents(current)
        editor = copied_catalog(writer, current)
        try:
            if replace:
                stale = [i for sku in catalogue.skus() for i in _reference_ids(editor, sku)]
                editor.remove_references(stale)
                for one in contents:
                    remove(one, np.array(stale, np.uint32))
                report.removed = len(stale)
            views = 0
            if any(one.prototypes is not None for one in contents):
                views = views_per_photo(len(catalogue.photos), len(catalogue.skus()))
            stream = enroll(
                writer, editor, catalogue, encoders, workers=workers, views=views, report=report, progress=progress
            )
            dimensions = [encoder.card.dimension for encoder in encoders]
            every = Enrolled.collect_each(stream, dimensions, len(catalogue.photos))
            for one, enrolled in zip(contents, every, strict=True):
                extend(one, enrolled, editor.pruned())
            if not report.references and not report.duplicates:
                raise CatalogError(
                    f"none of the {report.photos} photos in {source} can be used; {report.unreadable[0][1]}"
                )
            if replace:
                report.without_photos = [sku for sku in catalogue.skus() if not _reference_ids(editor, sku)]
                for sku in report.without_photos:
                    _forget(editor, sku)
            finish_change(writer, editor, contents, report)
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
        contents = load_contents(current)
        editor = copied_catalog(writer, current)
        try:
            unknown = [sku for sku in skus if editor.product_id(sku) is None]
            if unknown:
                raise CatalogError(f"{bundle} has no product {unknown[0]!r}; shelfmatch info --products lists them")
            gone = [i for sku in dict.fromkeys(skus) for i in _forget(editor, sku)]
            for one in contents:
                remove(one, np.array(gone, np.uint32))
            report.removed = len(gone)
            finish_change(writer, editor, contents, report)
        finally:
            editor.close()
    report.seconds = time.perf_counter() - start
    return report


def write_bundle(
    bundle: str | os.PathLike[str],
    encoder: Encoder,
    products: Sequence[Product],
    references: Sequence[int],
    vectors: Floats,
    *,
    index: str = "auto",
    dtype: Dtype = "i8",
    adapt: Adapt = "auto",
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
    report = BuildReport(photos=len(vectors), references=len(vectors))
    with BundleWriter(bundle) as writer:
        writer.stage("encoder").write_bytes(encoder.model)
        editor = CatalogEditor(writer.stage("catalog"))
        try:
            ids = [
                editor.put_product(clean_sku(product.sku), {**product.attributes, "name": product.name})
                for product in products
            ]
            reference_ids = [editor.add_reference(ids[place], f"{row}", b"") for row, place in enumerate(references)]
            enrolled = Enrolled.of_vectors(
                np.array(reference_ids, np.uint32), checked_vectors(vectors, vectors.shape[1])
            )
            contents, _, _ = compose(enrolled, adapt=adapt, index=index, dtype=dtype)
            decision = decide(contents, false_accept) or calibrate(
                *leave_one_out(contents.index), false_accept, "leave-one-out"
            )
            _finish(writer, editor, [contents], [encoder.card], decision, encoder.resizer, report, None)
        finally:
            editor.close()
    report.seconds = time.perf_counter() - start
    return report


def _report_of(catalogue: CatalogSource) -> BuildReport:
    """Of a source that was read, before its photos are."""
    return BuildReport(
        photos=len(catalogue.photos),
        ignored=list(catalogue.ignored),
        unreadable=list(catalogue.unreadable),
        left_out=list(catalogue.left_out),
        findings=list(catalogue.findings),
    )


def _probe(card: EncoderCard, runtime: str) -> None:
    """A runtime that dies on import should end a build with a sentence, not with a signal."""
    chosen = choose_runtime(card.format, runtime)
    result = probe(chosen)
    if not result.ok:
        raise RuntimeUnavailable(f"{chosen.name} can't be used here: {result.problem}")


def _bundled_encoders(bundle: Bundle, workers: int) -> list[Encoder]:
    manifest = bundle.manifest
    encoders = []
    for card, role in zip(_cards_of(bundle), ENCODER_ROLES, strict=False):
        encoders.append(Encoder(card, bundle.read(role), sessions=workers, resizer=manifest.resizer))
        encoders[-1].warm_up()
    return encoders


def _cards_of(bundle: Bundle) -> list[EncoderCard]:
    second = bundle.manifest.second
    return [bundle.manifest.encoder, *([] if second is None else [second.encoder])]


def load_contents(bundle: Bundle) -> list[Contents]:
    """What each encoder of a bundle has, to be changed."""

    def index_of(role: str) -> VectorIndex:
        return VectorIndex.load(bundle.file(role), sha256=bundle.entry(role).sha256, writable=True)

    def contents_of(adaptation: Adaptation, suffix: str) -> Contents:
        adapter = None
        if adaptation.method != "none":
            adapter = Adapter.from_bytes(bundle.read(f"adapter{suffix}"), str(bundle.file(f"adapter{suffix}")))
        means = index_of(f"prototypes{suffix}") if adaptation.scoring == "prototype" else None
        return Contents(index_of(f"vectors{suffix}"), adaptation, adapter, means)

    second = bundle.manifest.second
    own = contents_of(bundle.manifest.adaptation, "")
    return [own, *([] if second is None else [contents_of(second.adaptation, "2")])]


def copied_catalog(writer: BundleWriter, current: Bundle) -> CatalogEditor:
    staged = writer.stage("catalog")
    shutil.copyfile(current.check("catalog"), staged)
    return CatalogEditor(staged)


def _reference_ids(editor: CatalogEditor, sku: str) -> list[int]:
    product_id = editor.product_id(sku)
    return [] if product_id is None else [reference.id for reference in editor.references(product_id)]


def _forget(editor: CatalogEditor, sku: str) -> list[int]:
    product_id = editor.product_id(sku)
    return [] if product_id is None else editor.remove_product(product_id)


def finish_change(
    writer: BundleWriter,
    editor: CatalogEditor,
    contents: Sequence[Contents],
    report: BuildReport,
    decision: Decision | None = None,
) -> None:
    """After a change of what is in a bundle. A cascade stays as it was fitted, like an adapter: both rest on photos held out.
    `decision`: for changes that leave it as it is."""
    current = writer.opened()
    second = current.manifest.second
    cascade = None if second is None else Cascade.from_dict(second.cascade)
    if decision is None:
        decision = Decision.from_dict(current.manifest.decision) if cascade else recalibrated(contents[0], current)
    _finish(writer, editor, contents, _cards_of(current), decision, current.manifest.resizer, report, cascade)


def _finish(
    writer: BundleWriter,
    editor: CatalogEditor,
    contents: Sequence[Contents],
    cards: Sequence[EncoderCard],
    decision: Decision,
    resizer: Resizer,
    report: BuildReport,
    cascade: Cascade | None,
) -> None:
    report.products = editor.count()
    editor.finish()
    records = []
    for one, suffix in zip(contents, ("", "2"), strict=False):
        one.index.save(writer.stage(f"vectors{suffix}"))
        if one.adapter is not None:
            writer.stage(f"adapter{suffix}").write_bytes(one.adapter.to_bytes())
        if one.prototypes is not None:
            one.prototypes.save(writer.stage(f"prototypes{suffix}"))
        records.append(IndexRecord(one.index.kind, one.index.dtype, one.index.dimension, len(one.index)))
    report.index, report.cascade = records[0], cascade
    report.decision, report.adaptation = decision, contents[0].adaptation
    second = None
    if cascade is not None:
        second = SecondRecord(cards[1], records[1], contents[1].adaptation, cascade.to_dict())
    committed = writer.commit(
        encoder=cards[0],
        index=records[0],
        products=report.products,
        decision=decision.to_dict(),
        adaptation=contents[0].adaptation,
        resizer=resizer,
        second=second,
    )
    report.encoder = ", ".join(card.name for card in cards)
    report.size_bytes = sum(entry.size_bytes for entry in committed.manifest.files.values())
