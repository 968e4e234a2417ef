"""One whole version of a bundle, loaded and hashed: what answers rest on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..bundle.bundle import Bundle
from ..catalog.attributes import Where
from ..catalog.catalog import Catalog
from ..encoders.encoder import Encoder, Vector
from ..errors import BundleError
from ..index.vector_index import VectorIndex
from ..scoring.adapter import Adaptation, Adapter
from ..scoring.cascade import Cascade, Second
from ..scoring.decision import Decision, margin_of
from ..scoring.gallery import Gallery
from .results import Candidate

if TYPE_CHECKING:
    from ..bundle.manifest import EncoderCard, IndexRecord
    from .labels import Label


@dataclass(frozen=True, slots=True)
class Version:
    """One whole version of a bundle, loaded and hashed. Answers use one from start to end."""

    bundle: Bundle
    encoder: Encoder
    gallery: Gallery
    catalog: Catalog
    decision: Decision
    second: Second | None = None

    @property
    def galleries(self) -> tuple[Gallery, ...]:
        """Of one encoder, or of both."""
        return (self.gallery,) if self.second is None else (self.gallery, self.second.gallery)

    def allowed(self, where: Where | None) -> NDArray[np.bool_] | None:
        """Which references a filter lets pass; None without a filter."""
        return self.catalog.passing(self.gallery.index.ids, where) if where else None

    def accepts(self, candidates: tuple[Candidate, ...]) -> bool:
        """Whether the best candidate is sure enough to be the answer."""
        return bool(candidates) and candidates[0].confidence >= self.decision.threshold

    def candidates(self, ranked: list[tuple[int, float]], *, alone: bool = False) -> tuple[Candidate, ...]:
        """What scores come to. `alone`: they are the first encoder's, which a bundle with two judges by a confidence of its own."""
        decision = self.decision
        if alone and self.second is not None:
            decision = self.second.cascade.first
        candidates = []
        for place, (product_id, score) in enumerate(ranked):
            rival = ranked[1 if place == 0 else 0][1] if len(ranked) > 1 else None
            references = self.gallery.references(product_id)
            confidence = decision.confidence(score, margin_of(score, rival), references)
            candidates.append(Candidate(self.catalog.product(product_id), score, confidence))
        return tuple(candidates)

    def labels(
        self, vector: Vector, attributes: Sequence[str], allowed: NDArray[np.bool_] | None
    ) -> Mapping[str, Label | None]:
        """What the nearest products say of the attributes; nothing is loaded or computed for none."""
        if not attributes:
            return {}
        from .labels import labels_of

        return labels_of(self.gallery.index, self.catalog, vector, attributes, allowed)


def load_version(bundle: Bundle, settings: Mapping[str, Any], previous: Version | None) -> Version:
    """Load and hash what a bundle holds. `settings`: of the encoders, as `Matcher.open` makes them; `previous`: the version
    whose encoders are used again where they are the same. Raises BundleError and its kin."""
    manifest = bundle.manifest
    second = None
    before = [] if previous is None else [previous.encoder]
    if manifest.second is not None:
        if previous is not None and previous.second is not None:
            before.append(previous.second.encoder)
        other = manifest.second
        cascade = Cascade.from_dict(other.cascade)
        second = Second(*_look_of(bundle, settings, other.encoder, other.index, other.adaptation, "2", before), cascade)
    encoder, gallery = _look_of(bundle, settings, manifest.encoder, manifest.index, manifest.adaptation, "", before)
    if second is not None and not _same_references(gallery.index, second.gallery.index):
        raise BundleError(f"{bundle.path}: the vectors of the two encoders disagree; build the bundle again")
    catalog = Catalog(bundle.check("catalog"))
    return Version(bundle, encoder, gallery, catalog, Decision.from_dict(manifest.decision), second)


def _look_of(
    bundle: Bundle,
    settings: Mapping[str, Any],
    card: EncoderCard,
    record: IndexRecord,
    adaptation: Adaptation,
    suffix: str,
    before: Sequence[Encoder],
) -> tuple[Encoder, Gallery]:
    """An encoder and what its embeddings are compared with. `suffix`: of its files' roles, "2" for the second encoder's;
    `before`: the previous version's encoders, used again where they are the same."""
    roles = {role: f"{role}{suffix}" for role in ("encoder", "vectors", "adapter", "prototypes")}

    def index_of(role: str) -> VectorIndex:
        return VectorIndex.load(bundle.file(role), sha256=bundle.entry(role).sha256)

    # Hashing and packing the vectors needs no interpreter lock: it goes on beside the runtime's loading.
    index_loading = _Loading(lambda: index_of(roles["vectors"]))
    try:
        encoder = _encoder_of(bundle, settings, card, roles["encoder"], before)
    finally:
        index = index_loading.result()
    adapter = prototypes = None
    if adaptation.method != "none":
        adapter = Adapter.from_bytes(bundle.read(roles["adapter"]), str(bundle.file(roles["adapter"])))
    if adaptation.scoring == "prototype":
        prototypes = index_of(roles["prototypes"])
    _check_dimensions(bundle, card, record, index, adapter, prototypes)
    return encoder, Gallery(index, adapter, prototypes)


def _encoder_of(
    bundle: Bundle, settings: Mapping[str, Any], card: EncoderCard, role: str, before: Sequence[Encoder]
) -> Encoder:
    """An encoder of the bundle with one session open; the previous version's where it is the same."""
    for encoder in before:
        if encoder.card == card:
            return encoder
    settings = dict(settings)
    tuned = settings.pop("tuned")
    if settings["runtime"] == "auto" and tuned is not None:
        settings["runtime"] = tuned.runtime_for(card.format)
    if settings["resizer"] == "auto":
        settings["resizer"] = _same_resizer(bundle.manifest.resizer)
    encoder = Encoder(card, bundle.read(role), **settings)
    encoder.prepare()
    return encoder


def _check_dimensions(
    bundle: Bundle,
    card: EncoderCard,
    record: IndexRecord,
    index: VectorIndex,
    adapter: Adapter | None,
    prototypes: VectorIndex | None,
) -> None:
    """Hold the loaded files against each other and the manifest. Raises BundleError."""
    takes = len(adapter.mean) if adapter is not None else index.dimension
    gives = adapter.dimension if adapter is not None else card.dimension
    if takes != card.dimension or index.dimension != gives or len(index) != record.references:
        raise BundleError(f"{bundle.path}: vectors and manifest disagree; build the bundle again")
    if prototypes is not None and prototypes.dimension != gives:
        raise BundleError(f"{bundle.path}: prototypes and vectors disagree; build the bundle again")


def _same_references(first: VectorIndex, second: VectorIndex) -> bool:
    return np.array_equal(np.sort(first.ids), np.sort(second.ids))


class _Loading:
    """A function begun on a thread of its own; its result, or what it raised, when asked for."""

    def __init__(self, function: Callable[[], VectorIndex]) -> None:
        self._function = function
        self._index: VectorIndex | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="shelfmatch-load")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._index = self._function()
        except BaseException as error:  # handed to whoever asks for the result
            self._error = error

    def result(self) -> VectorIndex:
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._index is not None
        return self._index


def _same_resizer(made_with: str) -> str:
    """The catalogue's resizer where it is installed, else Pillow, which always is."""
    from importlib.util import find_spec

    return made_with if made_with == "pillow" or find_spec("cv2") is not None else "pillow"
