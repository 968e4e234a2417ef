"""One whole generation of a bundle, loaded and hashed: what answers rest on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..bundle.bundle import Bundle
from ..bundle.manifest import role_of
from ..catalog.attributes import Where
from ..catalog.catalog import Catalog
from ..encoders.encoder import Encoder, Vector
from ..errors import BundleError
from ..index.vector_index import VectorIndex
from ..scoring.adapter import Adapter
from ..scoring.blank import Blanks
from ..scoring.cascade import Cascade
from ..scoring.decision import Decision
from ..scoring.evidence import Evidence
from ..scoring.gallery import Gallery
from ..scoring.local import Cells
from .results import Candidate

if TYPE_CHECKING:
    from ..bundle.manifest import BranchRecord
    from .labels import Label
    from .local_pass import LocalMatching


@dataclass(frozen=True, slots=True)
class Branch:
    """One encoder of a bundle, and what its embeddings are compared with."""

    encoder: Encoder
    gallery: Gallery


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One whole generation of a bundle, loaded and hashed. Answers use one from start to end.

    `branches`: every photo goes through the first one; `cascade` says when the others run, None where there is one branch.
    `local`: local matching, None in bundles without; `decision` is then on its fused scores, `first` on those before.
    `blanks`: what tells photos of nothing, None in bundles of earlier versions.
    """

    bundle: Bundle
    branches: tuple[Branch, ...]
    catalog: Catalog
    decision: Decision
    cascade: Cascade | None = None
    local: LocalMatching | None = None
    blanks: Blanks | None = None

    @property
    def first(self) -> Decision | None:
        """The decision on the first search alone, where another pass may follow; None where it is `decision`."""
        if self.cascade is not None:
            return self.cascade.first
        return None if self.local is None else self.bundle.manifest.decision

    @property
    def encoder(self) -> Encoder:
        """The first branch's, which every photo goes through."""
        return self.branches[0].encoder

    @property
    def gallery(self) -> Gallery:
        """The first branch's."""
        return self.branches[0].gallery

    @property
    def galleries(self) -> tuple[Gallery, ...]:
        """One a branch, over the same references."""
        return tuple(branch.gallery for branch in self.branches)

    def allowed(self, where: Where | None, branch: int = 0) -> NDArray[np.bool_] | None:
        """Which of a branch's references a filter lets pass, (N,) in the order of its index; None without a filter."""
        return self.catalog.passing(self.branches[branch].gallery.index.ids, where) if where else None

    @property
    def reads_barcodes(self) -> bool:
        """Whether a bar code can settle what a look leaves open: the reader is installed and the catalogue has article numbers."""
        from ..imaging.barcodes import reader

        return reader() is not None and bool(self.catalog.by_gtin())

    def is_blank(self, embedding: Vector) -> bool:
        """Whether a photo of this plain (D,) embedding is of no goods: a bare shelf, a wall, a hand. A part of it may show some."""
        return self.blanks is not None and self.blanks.has(embedding)

    def accepts(self, candidates: tuple[Candidate, ...]) -> bool:
        """Whether the best candidate is sure enough to be the answer."""
        return bool(candidates) and candidates[0].confidence >= self.decision.threshold

    def candidates(self, evidence: Evidence, decision: Decision | None = None) -> tuple[Candidate, ...]:
        """What the evidence comes to by a decision, best first; by default the bundle's own."""
        references = [self.gallery.references(product) for product, _ in evidence.ranked]
        confidences = (decision or self.decision).confidences_of(evidence, references)
        return tuple(
            Candidate(self.catalog.product(product), score, confidence)
            for (product, score), confidence in zip(evidence.ranked, confidences, strict=True)
        )

    def labels(
        self, vector: Vector, attributes: Sequence[str], allowed: NDArray[np.bool_] | None
    ) -> Mapping[str, Label | None]:
        """What the nearest products say of the attributes; nothing is loaded or computed for none."""
        if not attributes:
            return {}
        from .labels import labels_of

        return labels_of(self.gallery.index, self.catalog, vector, attributes, allowed)


def load_snapshot(bundle: Bundle, settings: Mapping[str, Any], previous: Snapshot | None) -> Snapshot:
    """Load and hash what a bundle holds. `settings`: of the encoders, as `Matcher.open` makes them; `previous`: the snapshot
    whose encoders are used again where they are the same. Raises BundleError and its kin."""
    manifest = bundle.manifest
    known = [] if previous is None else [branch.encoder for branch in previous.branches]
    local = _load_local(bundle) if settings["local"] else None
    branches = [
        _load_branch(bundle, settings, record, number, known) for number, record in enumerate(manifest.branches)
    ]
    if local is not None and not np.array_equal(local.cells.ids, np.sort(branches[0].gallery.index.ids)):
        raise BundleError(f"{bundle.path}: vectors and cells disagree; build the bundle again")
    if not all(_same_references(branches[0], branch) for branch in branches[1:]):
        raise BundleError(f"{bundle.path}: the vectors of the two encoders disagree; build the bundle again")
    catalog = Catalog(bundle.check("catalog"))
    decision = manifest.decision if local is None else manifest.final_decision
    rule = manifest.branches[0].blank
    blanks = None if rule is None else Blanks(rule)
    return Snapshot(bundle, tuple(branches), catalog, decision, manifest.cascade, local, blanks)


def _load_local(bundle: Bundle) -> LocalMatching | None:
    record = bundle.manifest.branches[0].local
    if record is None:
        return None
    from .local_pass import LocalMatching

    return LocalMatching(record, Cells.load(bundle.check(role_of("cells", 0))))


def _load_branch(
    bundle: Bundle, settings: Mapping[str, Any], record: BranchRecord, number: int, known: Sequence[Encoder]
) -> Branch:
    """A branch of the bundle by its number; `known`: encoders that are loaded, used again where one is the same."""

    def index_of(role: str) -> VectorIndex:
        return VectorIndex.load(bundle.file(role), sha256=bundle.entry(role).sha256)

    # Hashing and packing the vectors needs no interpreter lock: it goes on beside the runtime's loading.
    index_loading = _Loading(lambda: index_of(role_of("vectors", number)))
    try:
        encoder = _encoder_of(bundle, settings, record, number, known)
    finally:
        index = index_loading.result()
    adapter = prototypes = None
    if record.adaptation.method != "none":
        role = role_of("adapter", number)
        adapter = Adapter.from_bytes(bundle.read(role), str(bundle.file(role)))
    if record.adaptation.scoring == "prototype":
        prototypes = index_of(role_of("prototypes", number))
    gallery = Gallery(index, adapter, prototypes)
    _check_dimensions(bundle, record, gallery)
    return Branch(encoder, gallery)


def _encoder_of(
    bundle: Bundle, settings: Mapping[str, Any], record: BranchRecord, number: int, known: Sequence[Encoder]
) -> Encoder:
    """An encoder of the bundle with one session open; a known one where it is the same."""
    card, settings = record.encoder, dict(settings)
    head = None
    if settings.pop("local") and record.local is not None:
        from ..encoders.local import LocalHead

        role = role_of("local", number)
        head = LocalHead.from_bytes(bundle.read(role), str(bundle.file(role)))
    for encoder in known:
        if encoder.card == card and (None if encoder.local is None else encoder.local.digest) == (head and head.digest):
            return encoder
    tuned = settings.pop("tuned")
    if settings["runtime"] == "auto" and tuned is not None:
        settings["runtime"] = tuned.runtime_for(card.format)
    if settings["resizer"] == "auto":
        settings["resizer"] = _same_resizer(bundle.manifest.resizer)
    encoder = Encoder(card, bundle.read(role_of("encoder", number)), local=head, **settings)
    encoder.prepare()
    return encoder


def _check_dimensions(bundle: Bundle, record: BranchRecord, gallery: Gallery) -> None:
    """Hold the loaded files against each other and the manifest. Raises BundleError."""
    card, index, adapter = record.encoder, gallery.index, gallery.adapter
    takes = len(adapter.mean) if adapter is not None else index.dimension
    gives = adapter.dimension if adapter is not None else card.dimension
    if takes != card.dimension or index.dimension != gives or len(index) != record.index.references:
        raise BundleError(f"{bundle.path}: vectors and manifest disagree; build the bundle again")
    if gallery.prototypes is not None and gallery.prototypes.dimension != gives:
        raise BundleError(f"{bundle.path}: prototypes and vectors disagree; build the bundle again")


def _same_references(one: Branch, other: Branch) -> bool:
    return np.array_equal(np.sort(one.gallery.index.ids), np.sort(other.gallery.index.ids))


class _Loading:
    """A function begun on a thread of its own; its result, or what it raised, when asked for."""

    def __init__(self, function: Callable[[], VectorIndex]) -> None:
        self._function = function
        self._index: VectorIndex | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="shelfmatch-load")
        try:
            self._thread.start()
        except RuntimeError:  # no memory for another thread
            self._run()

    def _run(self) -> None:
        try:
            self._index = self._function()
        except BaseException as error:  # handed to whoever asks for the result
            self._error = error

    def result(self) -> VectorIndex:
        if self._thread.ident is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._index is not None
        return self._index


def _same_resizer(made_with: str) -> str:
    """The catalogue's resizer where it is installed, else Pillow, which always is."""
    from importlib.util import find_spec

    return made_with if made_with == "pillow" or find_spec("cv2") is not None else "pillow"
