"""Changes to a bundle in place: photos and products come and go; every change is whole or hasn't happened."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .. import arguments
from ..bundle.bundle import Bundle
from ..bundle.manifest import BranchRecord, FitRecord, role_of
from ..bundle.writer import BundleWriter
from ..catalog.contradictions import shared_gtins
from ..catalog.editor import CatalogEditor
from ..catalog.ids import MAX_PHOTOS
from ..catalog.listing import CatalogSource, few
from ..catalog.product import Reference
from ..catalog.source import read_source
from ..encoders.encoder import Encoder
from ..errors import BundleError, CatalogError
from ..fitting.prior import Prior
from ..imaging.views import views_per_photo
from ..index.vector_index import VectorIndex
from ..progress import Progress
from ..scoring.adapter import Adapter
from . import commit
from .changes import Ledger
from .cut_photos import PhotoCutter
from .draft import BranchDraft, Draft, extend, recalibrated, remove
from .enroll import Enrolled, Entries, Replaced, enroll
from .keep import load_kept
from .localize import head_of, load_local
from .priors import prior_for
from .refit import check_keeps_embeddings, refitted
from .report import BuildReport, report_of

if TYPE_CHECKING:
    from ..detection.detector import Detector

logger = logging.getLogger(__name__)


def add_to_bundle(
    bundle: str | os.PathLike[str],
    source: str | os.PathLike[str] | CatalogSource,
    *,
    replace: bool = False,
    refit: bool = False,
    workers: int = 0,
    locate: bool = False,
    detector: str | os.PathLike[str] | Detector | None = None,
    progress: Progress | None = None,
    wait_s: float = 0.0,
) -> BuildReport:
    """Add the photos of a source to a bundle: new products, and more photos of those it has.

    `replace`: the products of the source lose the photos they had; those of which no new photo can be used keep them, and the
    report lists them (`not_replaced`). `refit`: then fit it again, see `refit_bundle`; without, the
    shop's adapter stays as it was fitted. `locate`, `detector`: cut each photo to its product, as for `build_bundle`. `wait_s`:
    seconds to wait for another writer. Raises like build_bundle, and BundleLocked; BundleError for a refit of a bundle that
    keeps no embeddings.
    """
    start = time.perf_counter()
    arguments.count("workers", workers, 0)
    catalogue = read_source(source)
    entries = Entries(unreadable=list(catalogue.unreadable))
    photos = len(catalogue.photos)
    with BundleWriter(bundle, existing=True, wait_s=wait_s) as writer:
        current = writer.opened()
        if refit:
            check_keeps_embeddings(current.manifest, writer.path)
        workers = workers or os.cpu_count() or 1
        branches = load_branches(current)
        encoders = _bundled_encoders(current, branches, workers)
        with contextlib.closing(copied_catalog(writer, current)) as editor:
            ledger = Ledger(editor, catalogue.skus())
            replaced = Replaced(editor, catalogue.skus() if replace else ())
            stream = enroll(
                editor,
                catalogue,
                encoders,
                entries,
                work_folder=writer.work_folder(),
                workers=workers,
                views=_views_for(branches, catalogue),
                progress=progress,
                cutter=PhotoCutter(detector, workers) if locate else None,
                replaced=replaced,
            )
            dimensions = [encoder.card.dimension for encoder in encoders]
            every = Enrolled.collect_each(stream, dimensions, photos, writer.work_folder())
            gone = {sku: len(ids) for sku, ids in replaced.gone.items()}
            _remove_each(branches, [one for ids in replaced.gone.values() for one in ids])
            for branch, enrolled in zip(branches, every, strict=True):
                extend(branch, enrolled, editor.pruned())
            if not entries.references and not entries.duplicates:
                raise CatalogError(f"none of the {photos} photos in {source} can be used; {entries.unreadable[0][1]}")
            changes = ledger.changes(gone)
            shared = shared_gtins(editor.products(), catalogue.attributes.values())
            said = [set(one.skus) for one in catalogue.findings if one.kind == "gtin"]
            entries.findings += [one for one in shared if set(one.skus) not in said]
            if changes or refit:
                committed, why = commit_change(writer, editor, branches, refit=refit, progress=progress)
            else:  # all of it was there already
                committed, why = _unchanged(writer), ""
    removed = sum(gone.values())
    taken = time.perf_counter() - start
    logger.info("%s: %d references added, %d removed in %.1f s", bundle, entries.references, removed, taken)
    return report_of(
        committed, entries, catalogue=catalogue, removed=removed, seconds=taken, local_reason=why, changes=changes
    )


def refit_bundle(
    bundle: str | os.PathLike[str], *, progress: Progress | None = None, wait_s: float = 0.0
) -> BuildReport:
    """Fit a bundle again to the products and photos that it has now: adapter, threshold, local matching and, of two encoders, when
    the second one runs. Without the photos, where it was built with `keep_embeddings`.

    Raises BundleError where it wasn't, BundleLocked."""
    start = time.perf_counter()
    with BundleWriter(bundle, existing=True, wait_s=wait_s) as writer:
        writer.drop_work()
        current = writer.opened()
        check_keeps_embeddings(current.manifest, writer.path)
        if not current.manifest.products:
            raise BundleError(f"{bundle} has no products; add some first, there is nothing to fit it to")
        branches = load_branches(current)
        with contextlib.closing(copied_catalog(writer, current)) as editor:
            committed, why = commit_change(writer, editor, branches, refit=True, progress=progress)
    return report_of(committed, Entries(), seconds=time.perf_counter() - start, local_reason=why)


def remove_from_bundle(bundle: str | os.PathLike[str], skus: Sequence[str], *, wait_s: float = 0.0) -> BuildReport:
    """Remove products; `wait_s` as for `add_to_bundle`. Raises CatalogError, changing nothing, if the shop doesn't have one of
    them; BundleLocked."""
    start = time.perf_counter()
    arguments.texts("skus", skus, "4006381333931")
    with BundleWriter(bundle, existing=True, wait_s=wait_s) as writer:
        writer.drop_work()
        current = writer.opened()
        branches = load_branches(current)
        with contextlib.closing(copied_catalog(writer, current)) as editor:
            products: dict[int, None] = {}  # a SKU that comes in two spellings is one product
            for sku in skus:
                product_id = editor.product_id(sku)
                if product_id is None:
                    raise CatalogError(f"{bundle} has no product {sku!r}; shelfmatch info --products lists them")
                products[product_id] = None
            ledger = Ledger(editor, [editor.sku(product_id) for product_id in products])
            gone = [one for product_id in products for one in editor.remove_product(product_id)]
            _remove_each(branches, gone)
            changes = ledger.changes()
            committed = commit_change(writer, editor, branches)[0] if products else _unchanged(writer)
    taken = time.perf_counter() - start
    logger.info("%s: %d references removed in %.1f s", bundle, len(gone), taken)
    return report_of(committed, Entries(), removed=len(gone), seconds=taken, changes=changes)


def remove_photos_from_bundle(
    bundle: str | os.PathLike[str], sku: str, photos: Sequence[str | int], *, wait_s: float = 0.0
) -> BuildReport:
    """Remove some photos of one product: by number, or by label where only one photo of it bears that (`Matcher.photos` lists
    both). `wait_s` as for `add_to_bundle`.

    Raises CatalogError, changing nothing, if the product or one of the photos isn't there, or no photo would be left;
    BundleLocked."""
    start = time.perf_counter()
    arguments.text("sku", sku, "4006381333931")
    arguments.photo_names(photos)
    with BundleWriter(bundle, existing=True, wait_s=wait_s) as writer:
        writer.drop_work()
        branches = load_branches(writer.opened())
        with contextlib.closing(copied_catalog(writer, writer.opened())) as editor:
            product_id = editor.product_id(sku)
            if product_id is None:
                raise CatalogError(f"{bundle} has no product {sku!r}; shelfmatch info --products lists them")
            sku = editor.sku(product_id)
            gone = numbered(editor.references(product_id), sku, photos)
            ledger = Ledger(editor, [sku])
            editor.remove_references(gone)
            editor.forget_pruned_of(product_id)
            _remove_each(branches, gone)
            changes = ledger.changes({sku: len(gone)})
            committed, _ = commit_change(writer, editor, branches)
    taken = time.perf_counter() - start
    return report_of(committed, Entries(), removed=len(gone), seconds=taken, changes=changes)


def numbered(references: Sequence[Reference], sku: str, photos: Sequence[str | int]) -> list[int]:
    """Ids of a product's photos that are meant by number or label. Raises CatalogError."""
    chosen: dict[int, None] = {}
    for wanted in photos:
        found = [one.id for one in references if one.photo == wanted]
        if not found:
            found = [one.id for one in references if str(one.id % MAX_PHOTOS) == str(wanted)]
        if not found:
            raise CatalogError(
                f"{sku} has no photo {wanted!r}; shelfmatch photos lists them, with their numbers: "
                + few(f"{one.id % MAX_PHOTOS} {one.photo}" for one in references)
            )
        if len(found) > 1:
            numbers = ", ".join(str(one % MAX_PHOTOS) for one in found)
            raise CatalogError(f"{sku} has {len(found)} photos called {wanted!r}; give the number of one: {numbers}")
        chosen[found[0]] = None
    if len(chosen) == len(references):
        raise CatalogError(
            f"{sku} would have no photo left; remove the product instead (shelfmatch remove), or add another photo first"
        )
    return list(chosen)


def reindex(bundle: str | os.PathLike[str], kind: str) -> None:
    """Search a bundle's references in another way, "exact" or "hnsw"; nothing else changes. Raises BundleError, VectorError."""
    with BundleWriter(bundle, existing=True) as writer:
        current = writer.opened()
        branches = load_branches(current)
        for branch in branches:
            before = branch.index
            branch.index = VectorIndex.build(before.vectors(), before.ids, kind=kind, dtype=before.dtype)
        with contextlib.closing(copied_catalog(writer, current)) as editor:
            commit_change(writer, editor, branches, recalibrate=False)


def load_branches(bundle: Bundle) -> list[BranchDraft]:
    """What each encoder of a bundle has, to be changed. Raises BundleDamaged."""
    return [_load_branch(bundle, record, number) for number, record in enumerate(bundle.manifest.branches)]


def _load_branch(bundle: Bundle, record: BranchRecord, number: int) -> BranchDraft:
    def index_of(role: str) -> VectorIndex:
        return VectorIndex.load(bundle.file(role), sha256=bundle.entry(role).sha256, writable=True)

    adapter = prototypes = None
    if record.adaptation.method != "none":
        role = role_of("adapter", number)
        adapter = Adapter.from_bytes(bundle.read(role), str(bundle.file(role)))
    if record.adaptation.scoring == "prototype":
        prototypes = index_of(role_of("prototypes", number))
    index, local = index_of(role_of("vectors", number)), load_local(bundle, number)
    return BranchDraft(
        index,
        record.adaptation,
        adapter,
        prototypes,
        local=local,
        kept=load_kept(bundle, number),
        blank=record.blank,
        camera=record.camera,
    )


def copied_catalog(writer: BundleWriter, current: Bundle) -> CatalogEditor:
    """The current catalogue, staged to be changed."""
    staged = writer.stage("catalog")
    shutil.copyfile(current.check("catalog"), staged)
    return CatalogEditor(staged)


def commit_change(
    writer: BundleWriter,
    editor: CatalogEditor,
    branches: list[BranchDraft],
    *,
    recalibrate: bool = True,
    refit: bool = False,
    progress: Progress | None = None,
) -> tuple[Bundle, str]:
    """Commit what a bundle was changed to; with `refit` why there is local matching or not. A cascade stays as it was fitted, like
    an adapter: both rest on photos held out. `recalibrate`: fit the decision again where that is sound."""
    manifest = writer.opened().manifest
    decision, cascade, fit, why = manifest.decision, manifest.cascade, manifest.fit, ""
    if refit:
        branches, cascade, decision, why = refitted(branches, manifest, _prior_of(writer.opened()), progress)
        editor.forget_pruned()
        fit = FitRecord(editor.count(), len(branches[0].index))
    elif recalibrate and cascade is None:
        decision = recalibrated(branches[0], decision, lambda: _prior_of(writer.opened()))
    cards = tuple(record.encoder for record in manifest.branches)
    draft = Draft(cards, branches, manifest.resizer, decision, cascade, fit)
    return commit.commit(writer, editor, draft), why


def _unchanged(writer: BundleWriter) -> Bundle:
    """The bundle as it is, without a generation of its own: each one is loaded anew by all who have the bundle open."""
    writer.drop_work()
    return writer.opened()


def _prior_of(bundle: Bundle) -> Prior:
    manifest = bundle.manifest
    return prior_for(Encoder(manifest.encoder, bundle.read(role_of("encoder", 0)), resizer=manifest.resizer))


def _views_for(branches: Sequence[BranchDraft], catalogue: CatalogSource) -> int:
    """Views of each photo that is added: as many as are kept of the others, else what prototypes want."""
    kept = branches[0].kept
    if kept is not None:
        return kept.count
    if all(branch.prototypes is None for branch in branches):
        return 0
    return views_per_photo(len(catalogue.photos), len(catalogue.skus()))


def _bundled_encoders(bundle: Bundle, branches: Sequence[BranchDraft], workers: int) -> list[Encoder]:
    encoders = []
    for number, (record, branch) in enumerate(zip(bundle.manifest.branches, branches, strict=True)):
        model = bundle.read(role_of("encoder", number))
        local, resizer = head_of(bundle, number), bundle.manifest.resizer
        if branch.kept is not None:  # its cells are to be kept, whether local matching helped so far or not
            local = branch.kept.local_head
        encoders.append(Encoder(record.encoder, model, sessions=workers, resizer=resizer, local=local))
        encoders[-1].warm_up()
    return encoders


def _remove_each(branches: Sequence[BranchDraft], reference_ids: Sequence[int]) -> None:
    for branch in branches:
        remove(branch, np.array(reference_ids, np.uint32))
