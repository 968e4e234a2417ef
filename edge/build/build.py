"""Catalogue → bundle, in stages: read the source, embed its photos, fit, calibrate, commit. It is whole or hasn't happened."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .. import arguments, device
from ..bundle.bundle import Bundle
from ..bundle.manifest import FitRecord, role_of
from ..bundle.writer import BundleWriter
from ..catalog.attributes import clean_sku
from ..catalog.editor import CatalogEditor
from ..catalog.listing import CatalogSource
from ..catalog.product import Product
from ..catalog.source import read_source
from ..encoders.card import EncoderCard
from ..encoders.encoder import Encoder
from ..encoders.local import LocalHead
from ..encoders.registry import EncoderNames, encoder_names, find_encoders, names_resize
from ..encoders.runtimes import choose_runtime, probe
from ..errors import BundleError, CatalogError, RuntimeUnavailable, VectorError
from ..fitting.prior import Prior
from ..imaging.views import view_plan
from ..index._codes import Dtype
from ..index._vectors import checked_vectors
from ..index.kinds import choose_kind
from ..index.vector_index import VectorIndex
from ..machine.memory import give_back
from ..progress import Progress
from ..scoring.adapter import Floats
from ..scoring.decision import Decision
from . import commit
from .blanks import blank_rule
from .cut_photos import PhotoCutter
from .draft import Adapt, BranchDraft, Draft, calibrated, compose, compose_each, decided_by_vectors, not_adapted
from .enroll import Enrolled, Entries, enroll
from .keep import Kept
from .localize import heads_for, localized
from .priors import prior_for
from .pruning import Pruned
from .report import BuildReport, report_of
from .resize_rule import suited

if TYPE_CHECKING:
    from ..detection.detector import Detector

logger = logging.getLogger(__name__)

_BATCH = 1024


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """What `build_bundle` was asked for, see there. Raises CatalogError for values that mean nothing."""

    encoder: EncoderNames | None = None
    output: str | None = None
    runtime: str = "auto"
    index: str = "auto"
    vectors: Dtype = "i8"
    adapt: Adapt = "auto"
    max_references: int = 0
    false_accept: float = 0.05
    workers: int = 0
    resizer: str = "auto"
    local: Adapt = "auto"
    keep_embeddings: bool = False
    locate: bool = False
    detector: str | os.PathLike[str] | Detector | None = None

    def __post_init__(self) -> None:
        if self.adapt not in ("auto", "on", "off"):
            raise CatalogError(f"adapt is {self.adapt!r}; expected auto, on or off")
        if self.local not in ("auto", "on", "off"):
            raise CatalogError(f"local is {self.local!r}; expected auto, on or off")
        arguments.count("max_references", self.max_references, 0)
        arguments.count("workers", self.workers, 0)
        # As a float: numpy's float32 can't be written to a manifest, which would come out after all the work.
        rate = arguments.share("false_accept", self.false_accept, BundleError)
        object.__setattr__(self, "false_accept", rate)


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
    local: Adapt = "auto",
    keep_embeddings: bool = False,
    locate: bool = False,
    detector: str | os.PathLike[str] | Detector | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Make a bundle from a folder of folders named by SKU, or a CSV with the header image,sku; replaces one that is there.

    `encoder`: a name, a .tflite or .onnx file, or a card (default: device.toml's, else the embedded one); `output`: which of a
    file's outputs. Two, ("a", "b") or "a,b": the second runs where the first isn't sure, and their scores are added up.
    `adapt`: whether the embedding is tuned to this shop; "auto" does so where held-out photos are found no worse for it, and
    embeds synthetic views to learn from; "off" is several times faster. `max_references`: keep at most so many photos a product
    (0: all). `workers`: threads, each with an interpreter of its own (0: one a core). `local`: whether a photo is compared part
    by part with the best candidates where the first search isn't sure; "auto" does so where the encoder can and held-out photos
    are found better for it. `keep_embeddings`: so that `refit_bundle` can fit it anew when it has grown; of photos and views, 4
    to 50 KB a photo. `locate`: cut each photo to its product where `detector` (default: the package's own) is certain which
    thing on it that is; the report says which were cut. `progress` is shown the photos, and the stages after them where it has
    `named`. Interrupted, the same call goes on where it stopped. Photos that can't be read are in the report; CatalogError only
    if none can. Raises also EncoderError, DeviceError, RuntimeUnavailable, BundleError.
    """
    start = time.perf_counter()
    settings = BuildSettings(
        encoder,
        output,
        runtime,
        index,
        vectors,
        adapt,
        max_references,
        false_accept,
        workers,
        resizer,
        local,
        keep_embeddings,
        locate,
        detector,
    )
    inputs = _read(source, settings)
    committed, embedded, fitted, why = _written(source, bundle, inputs, settings, progress)
    catalogue, taken = inputs.catalogue, time.perf_counter() - start
    logger.info("%s: built from %d photos in %.1f s", bundle, len(catalogue.photos), taken)
    return report_of(
        committed,
        embedded.entries,
        catalogue=catalogue,
        pruned=fitted.pruned,
        seconds=taken,
        local_reason=why,
    )


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What was read: the catalogue's source, the encoders, ready to run, and the first one's `prior`; `views`: synthetic ones to
    make of each `every`-th photo; `model`: the first encoder's file."""

    catalogue: CatalogSource
    encoders: list[Encoder]
    prior: Prior
    views: int
    every: int
    index: str
    workers: int
    model: Path


@dataclass(frozen=True, slots=True)
class _Embedded:
    """What became of the photos, and their embeddings: by each encoder (`every`), or in an index where nothing is fitted."""

    entries: Entries
    every: list[Enrolled]
    index: VectorIndex | None = None


@dataclass(frozen=True, slots=True)
class _Fitted:
    """The branches, and what pruning took from them."""

    branches: list[BranchDraft]
    pruned_ids: list[int]
    pruned: Pruned | None = None
    keep: NDArray[np.bool_] | None = None


def _written(
    source: str | os.PathLike[str] | CatalogSource,
    bundle: str | os.PathLike[str],
    inputs: _Inputs,
    settings: BuildSettings,
    progress: Progress | None,
) -> tuple[Bundle, _Embedded, _Fitted, str]:
    """The stages up to the commit, and why there is local matching or not."""
    with BundleWriter(bundle) as writer:
        for number, one in enumerate(inputs.encoders):
            writer.stage(role_of("encoder", number)).write_bytes(one.model)
        with contextlib.closing(CatalogEditor(writer.stage("catalog"))) as editor:
            embedded = _embed(inputs, settings, editor, writer.work_folder(), progress)
            if not embedded.entries.references:
                raise CatalogError(_nothing_usable(source, inputs.catalogue, embedded.entries))
            for one in inputs.encoders:
                one.rest()
            give_back()  # each stage's pieces lie between what stays, and would add up
            fitted = _fit(embedded, inputs, settings, progress)
            give_back()
            cascade, decision = calibrated(
                fitted.branches,
                embedded.every,
                settings.false_accept,
                inputs.catalogue,
                inputs.encoders[0],
                inputs.prior,
                progress,
            )
            give_back()
            why = _localize(fitted, embedded, inputs, settings, decision)
            first = embedded.every[0].vectors if embedded.every else fitted.branches[0].index.vectors()
            fitted.branches[0].blank = blank_rule(first, inputs.encoders[0], inputs.model)
            editor.prune_references(fitted.pruned_ids)
            cards = tuple(one.card for one in inputs.encoders)
            fitted_to = FitRecord(editor.count(), len(fitted.branches[0].index))
            draft = Draft(cards, fitted.branches, inputs.encoders[0].resizer, decision, cascade, fitted_to)
            committed = commit.commit(writer, editor, draft)
    return committed, embedded, fitted, why


def _read(source: str | os.PathLike[str] | CatalogSource, settings: BuildSettings) -> _Inputs:
    """Stage 1: the list of photos, and encoders that have run once."""
    catalogue = read_source(source)
    give_back()
    names = device.encoder_for_builds() if settings.encoder is None else settings.encoder
    index = device.index_for_builds() if settings.index == "auto" else settings.index
    workers = settings.workers or os.cpu_count() or 1
    encoders = []
    photos, products = len(catalogue.photos), len(catalogue.skus())
    chosen = find_encoders(names, settings.output, settings.runtime)
    heads = heads_for(settings.local, chosen, photos)
    for name, (card, model_path), head in zip(encoder_names(names), chosen, heads, strict=True):
        _probe(card, settings.runtime)
        made = _ready(card, model_path, head, workers, settings)
        if not names_resize(name):
            better, finding = suited(made, catalogue.photos)
            if finding is not None:
                logger.info("%s", finding.message)
                catalogue = replace(catalogue, findings=(*catalogue.findings, finding))
                made = _ready(better, model_path, head, workers, settings)
        encoders.append(made)
    # A cascade and local matching are measured on views where products have one photo each.
    alone = len(encoders) == 1 and heads[0] is None
    no_views = settings.adapt == "off" and (alone or photos >= 2 * products)
    views, every = (0, 1) if no_views else view_plan(photos, products)
    logger.info("%s: %d photos of %d products, %d views of each %d.", source, photos, products, views, every)
    return _Inputs(
        catalogue, encoders, prior_for(encoders[0], chosen[0][1]), views, every, index, workers, chosen[0][1]
    )


def _ready(card: EncoderCard, model: Path, head: LocalHead | None, workers: int, settings: BuildSettings) -> Encoder:
    """An encoder that has run once."""
    runtime, resizer = settings.runtime, settings.resizer
    made = Encoder(card, model.read_bytes(), sessions=workers, runtime=runtime, resizer=resizer, local=head)
    made.warm_up()
    return made


def _embed(
    inputs: _Inputs, settings: BuildSettings, editor: CatalogEditor, work_folder: Path, progress: Progress | None
) -> _Embedded:
    """Stage 2: every photo through every encoder, and into the catalogue."""
    entries = Entries(unreadable=list(inputs.catalogue.unreadable))
    stream = enroll(
        editor,
        inputs.catalogue,
        inputs.encoders,
        entries,
        work_folder=work_folder,
        workers=inputs.workers,
        views=inputs.views,
        every=inputs.every,
        progress=progress,
        cutter=PhotoCutter(settings.detector, inputs.workers) if settings.locate else None,
    )
    photos = len(inputs.catalogue.photos)
    dimensions = [one.card.dimension for one in inputs.encoders]
    alone = len(inputs.encoders) == 1 and inputs.encoders[0].local is None
    if settings.adapt == "off" and not settings.max_references and alone and not settings.keep_embeddings:
        kind = choose_kind((photos, dimensions[0]), inputs.index)
        index = VectorIndex(dimensions[0], kind=kind, dtype=settings.vectors)
        index.extend(((one, embedded[0].vector) for one, embedded in stream), batch=_BATCH)
        return _Embedded(entries, [], index)
    return _Embedded(entries, Enrolled.collect_each(stream, dimensions, photos, work_folder))


def _fit(embedded: _Embedded, inputs: _Inputs, settings: BuildSettings, progress: Progress | None) -> _Fitted:
    """Stage 3: the adapters, and the references that are kept."""
    if embedded.index is not None:
        plain = not_adapted(embedded.index.dimension, len(embedded.index))
        return _Fitted([BranchDraft(embedded.index, plain)], [])
    branches, keep, pruned = compose_each(
        embedded.every, settings.adapt, settings.max_references, inputs.index, settings.vectors, progress
    )
    if settings.keep_embeddings:
        for branch, enrolled, encoder in zip(branches, embedded.every, inputs.encoders, strict=True):
            branch.kept = Kept.of(enrolled, keep, encoder.local)
    gone: NDArray[np.uint32] = embedded.every[0].ids[~keep]
    return _Fitted(branches, gone.tolist(), pruned, keep)


def _localize(
    fitted: _Fitted, embedded: _Embedded, inputs: _Inputs, settings: BuildSettings, decision: Decision
) -> str:
    """Stage 4: local matching, where the encoder can and it helps; a sentence why or why not, "" where it can't be."""
    head = inputs.encoders[0].local
    if head is None or fitted.keep is None:
        return ""
    branch = fitted.branches[0]
    branch.local, why = localized(
        embedded.every[0], fitted.keep, head, branch.adaptation, decision, inputs.prior, force=settings.local == "on"
    )
    return why


def _nothing_usable(source: str | os.PathLike[str] | CatalogSource, catalogue: CatalogSource, entries: Entries) -> str:
    label, reason = entries.unreadable[0] if entries.unreadable else ("", "no photos")
    first = reason if label in reason else f"{label}: {reason}"
    return f"none of the {len(catalogue.photos)} photos in {source} can be used; the first: {first}"


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
    with BundleWriter(bundle) as writer:
        writer.stage(role_of("encoder", 0)).write_bytes(encoder.model)
        with contextlib.closing(CatalogEditor(writer.stage("catalog"))) as editor:
            ids = [
                editor.put_product(clean_sku(product.sku), {**product.attributes, "name": product.name})
                for product in products
            ]
            reference_ids = [editor.add_reference(ids[place], f"{row}", b"") for row, place in enumerate(references)]
            enrolled = Enrolled.of_vectors(
                np.array(reference_ids, np.uint32), checked_vectors(vectors, vectors.shape[1])
            )
            branch, _, _ = compose(enrolled, adapt=adapt, index=index, dtype=dtype)
            decision = decided_by_vectors(branch, false_accept, prior_for(encoder))
            branch.blank = blank_rule(enrolled.vectors, encoder)
            fitted_to = FitRecord(editor.count(), len(branch.index))
            draft = Draft((encoder.card,), [branch], encoder.resizer, decision, fitted_to=fitted_to)
            committed = commit.commit(writer, editor, draft)
    entries = Entries(references=len(vectors))
    return report_of(committed, entries, photos=len(vectors), seconds=time.perf_counter() - start)


def _probe(card: EncoderCard, runtime: str) -> None:
    """A runtime that dies on import should end a build with a sentence, not with a signal."""
    chosen = choose_runtime(card.format, runtime)
    result = probe(chosen)
    if not result.ok:
        raise RuntimeUnavailable(f"{chosen.name} can't be used here: {result.problem}")
