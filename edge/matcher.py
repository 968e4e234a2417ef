"""Photo → product, or "unknown": the pipeline, short enough to read in one look."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import device
from .adapter import Adaptation, Adapter
from .attributes import Where
from .bundle import Bundle, Stamp, read_stamp
from .cascade import Cascade, Second
from .catalog import Catalog, Product, Reference
from .decision import Decision, margin_of
from .encoder import Encoder, Vector
from .errors import BundleDamaged, BundleError, ImageError, ShelfmatchError, VectorError
from .gallery import Gallery
from .image import DEFAULT_LIMITS, ImageSource, Limits, source_name
from .index import VectorIndex

if TYPE_CHECKING:
    from .explanation import Explanation
    from .labels import Label
    from .lookagain import LookAgain
    from .manifest import EncoderCard, IndexRecord
    from .neighbours import Neighbour
    from .tracking import Tracker


@dataclass(frozen=True, slots=True)
class Candidate:
    """A product that the photo may show: its cosine (of its best reference or of its prototype, see `adapter.Adaptation`; where
    two encoders looked, the weighted mean of both), and the probability that it is right."""

    product: Product
    score: float
    confidence: float

    @property
    def sku(self) -> str:
        return self.product.sku

    @property
    def name(self) -> str:
        return self.product.name

    def to_dict(self) -> dict[str, Any]:
        """As in `match --json`; attributes only where there are any."""
        record: dict[str, Any] = {
            "sku": self.sku,
            "name": self.name,
            "score": self.score,
            "confidence": self.confidence,
        }
        if self.product.attributes:
            record["attributes"] = dict(self.product.attributes)
        return record


@dataclass(frozen=True, slots=True)
class MatchResult:
    """The answer to one photo. `sku` is None for "unknown"; `candidates` are distinct products, best first, in both cases.
    `second_encoder`: whether both encoders looked, in a bundle with two; None in one with one.
    `labels`: attribute → its likely value, for those that were asked for; None where no product that may vote has one.
    `look_again`: how a rejected photo was mended and looked at again; None where the first look was enough."""

    image: str
    decision: Literal["match", "unknown"]
    sku: str | None
    confidence: float
    candidates: tuple[Candidate, ...]
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    generation: int = 0
    labels: Mapping[str, Label | None] = field(default_factory=dict)
    look_again: LookAgain | None = None
    second_encoder: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """The document of `match --json`; labels only where they were asked for, "look_again" only after a second look."""
        record: dict[str, Any] = {
            "image": self.image,
            "decision": self.decision,
            "sku": self.sku,
            "confidence": round(self.confidence, 6),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "latency_ms": {stage: round(value, 3) for stage, value in self.latency_ms.items()},
        }
        if self.labels:
            record["labels"] = {
                attribute: None if label is None else label.to_dict() for attribute, label in self.labels.items()
            }
        if self.second_encoder is not None:
            record["second_encoder"] = self.second_encoder
        if self.look_again is not None:
            record["look_again"] = self.look_again.to_dict()
        return record


@dataclass(frozen=True, slots=True)
class _Version:
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


class Matcher:
    """Names the products on photos. Safe to share between threads; follows the bundle when it is changed.

    with Matcher.open("shop.bundle") as matcher:
        print(matcher.match("query.jpg").sku)
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], limits: Limits, follow: bool, look_again: bool) -> None:
        self._path = path
        self._settings = settings
        self._limits = limits
        self._follow = follow
        self._looks_again = look_again
        self._reload_lock = threading.Lock()
        self._refused: Stamp | None = None
        self._version: _Version | None = self._load(None)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        sessions: int | None = None,
        runtime: str = "auto",
        resizer: str = "auto",
        limits: Limits = DEFAULT_LIMITS,
        follow: bool = True,
        look_again: bool = True,
    ) -> Matcher:
        """Load a bundle and check every byte that answers will rest on.

        `threads` per interpreter (default: 1) and `runtime` are taken from this machine's device.toml where there is one and they
        aren't given (see `device`); `sessions` how many interpreters there may be (default: one a core, opened as threads ask
        for them). `resizer` "auto" takes what the catalogue was made with where it is installed. `follow`: look for a new
        version before each answer (2 µs). `look_again`: mend a rejected photo and look once more. Raises
        BundleError and its kin, RuntimeUnavailable, EncoderError, DeviceError.
        """
        tuned = device.load() if threads is None or runtime == "auto" else None
        if threads is None:
            threads = (tuned.threads if tuned is not None else None) or 1
        settings = {
            "threads": threads,
            "sessions": sessions or os.cpu_count() or 1,
            "runtime": runtime,
            "resizer": resizer,
            "tuned": tuned,
        }
        return cls(Path(path), settings, limits, follow, look_again)

    def __enter__(self) -> Matcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the bundle; later calls raise BundleError."""
        with self._reload_lock:  # a version that is being loaded would open it again
            self._version = None  # the last answer that uses it closes its files

    @property
    def bundle(self) -> Bundle:
        """The version that the next answer uses."""
        return self._current().bundle

    @property
    def encoder(self) -> Encoder:
        """The encoder in use; of two, the one that looks at every photo."""
        return self._current().encoder

    @property
    def catalog(self) -> Catalog:
        """The products."""
        return self._current().catalog

    @property
    def index(self) -> VectorIndex:
        """The references' vectors, in the adapter's space. Don't change it: answers come from it."""
        return self._current().gallery.index

    @property
    def gallery(self) -> Gallery:
        """References, prototypes and the adapter."""
        return self._current().gallery

    def match(
        self, image: ImageSource, *, top_k: int = 5, where: Where | None = None, labels: Sequence[str] = ()
    ) -> MatchResult:
        """Name the product on a photo: a path, bytes, a PIL image, or an (H, W, 3) uint8 RGB array.

        `where` keeps only products with these attributes, {"category": "tea"}; of several values, {"category": ["tea",
        "coffee"]}, either. `labels`: attributes that the nearest products (that pass `where`) vote on, also for products the
        shop doesn't sell. Raises ImageError if the photo can't be read, CatalogError for an attribute that no product has.
        """
        start = time.perf_counter()
        version = self._fresh()
        embedding = version.encoder.embed_timed(image, self._limits)
        before_search = time.perf_counter()
        allowed = _allowed(version, where)
        vector = version.gallery.adapted(embedding.vector)
        ranked = version.gallery.rank(vector, max(2, top_k), allowed)
        voted = _labels(version, vector, labels, allowed)
        after_search = time.perf_counter()
        candidates = _candidates(version, ranked, alone=True)
        after_decide = after_second = end = time.perf_counter()
        second = look = None
        if version.second is not None:
            second = bool(candidates) and not version.second.cascade.is_sure(candidates[0].confidence)
            if second:
                from .looking import ask_second  # a photo of which the first encoder is sure doesn't pay for it

                candidates = ask_second(version, image, self._limits, vector, candidates, max(2, top_k), where)
                after_second = end = time.perf_counter()
        if self._looks_again and not _accepted(version, candidates):
            from .looking import look_again  # only rejected photos pay for it

            look, candidates = look_again(version, image, self._limits, candidates, max(2, top_k), where)
            end = time.perf_counter()
        best = candidates[0] if candidates else None
        accepted = _accepted(version, candidates)
        return MatchResult(
            image=source_name(image),
            decision="match" if accepted else "unknown",
            sku=best.sku if best is not None and accepted else None,
            confidence=best.confidence if best is not None else 0.0,
            candidates=candidates[:top_k],
            latency_ms={
                "decode": embedding.decode_ms,
                "preprocess": embedding.preprocess_ms,
                "encode": embedding.encode_ms,
                "search": (after_search - before_search) * 1e3,
                "decide": (after_decide - after_search) * 1e3,
                **({"second_encoder": (after_second - after_decide) * 1e3} if second else {}),
                **({"look_again": (end - after_second) * 1e3} if look is not None else {}),
                "total": (end - start) * 1e3,
            },
            generation=version.bundle.manifest.generation,
            labels=voted,
            look_again=look,
            second_encoder=second,
        )

    def track(self, *, top_k: int = 5, where: Where | None = None) -> Tracker:
        """Decide over several frames of one product: `tracker.add(frame)` gives the decision so far."""
        from .looking import tracker_of

        return tracker_of(self, self._limits, top_k, where)

    def explain(
        self,
        image: ImageSource,
        *,
        photos: str | os.PathLike[str] | None = None,
        grid: tuple[int, int] = (8, 8),
        where: Where | None = None,
    ) -> Explanation:
        """What a match rests on: `grid` (rows, columns) parts of the photo are covered one by one, a run of the encoder each.

        `photos`: the folder or CSV that the bundle was built from, to show the reference; bundles hold no pictures. Raises
        ImageError if the photo can't be read, CatalogError if the folder isn't there.
        """
        from .looking import explanation_of

        return explanation_of(self, image, photos, grid, where, self._limits)

    def match_many(
        self,
        images: Iterable[ImageSource],
        *,
        top_k: int = 5,
        where: Where | None = None,
        labels: Sequence[str] = (),
        workers: int = 0,
    ) -> Iterator[MatchResult | ImageError]:
        """Answers in the order of the images, computed by several threads (default: one a core).

        An image that can't be read yields its ImageError in its place; the others go on.
        """

        def one(image: ImageSource) -> MatchResult | ImageError:
            try:
                return self.match(image, top_k=top_k, where=where, labels=labels)
            except (ImageError, VectorError) as error:
                return error if isinstance(error, ImageError) else ImageError(str(error))

        count = workers or int(self._settings["sessions"])
        if count == 1:
            yield from map(one, images)
            return
        from .threads import in_order  # concurrent.futures costs 9 ms of a cold start, for one photo

        yield from in_order(one, images, workers=count, ahead=4 * count)

    def reload(self) -> bool:
        """Load the bundle's current version now; False if it is the one in use. Raises BundleError and its kin, and the
        version in use stays."""
        with self._reload_lock:
            current = self._current()
            if read_stamp_or_none(self._path) == current.bundle.stamp:
                return False
            self._version = self._load(current)
            return True

    def _current(self) -> _Version:
        version = self._version
        if version is None:
            raise BundleError(f"{self._path}: this matcher is closed; open it again")
        return version

    def _fresh(self) -> _Version:
        """The version in use, after taking over a new one if the bundle changed.

        A new version that can't be used (half copied, damaged) is left alone until it changes again: a kiosk goes on with
        the one it has.
        """
        version = self._current()
        if not self._follow:
            return version
        stamp = read_stamp_or_none(self._path)
        if stamp is None or stamp in (version.bundle.stamp, self._refused):
            return version
        if self._reload_lock.acquire(blocking=False):  # one thread loads, the others go on with what there is
            try:
                if self._version is not None:
                    self._version = self._load(version)
            except ShelfmatchError:
                self._refused = stamp
            finally:
                self._reload_lock.release()
        return self._current()

    def _load(self, previous: _Version | None) -> _Version:
        """Load a version, again if a writer replaced it meanwhile."""
        while True:
            bundle = Bundle.open(self._path)
            try:
                return self._load_version(bundle, previous)
            except (BundleDamaged, OSError) as error:
                if read_stamp_or_none(self._path) not in (None, bundle.stamp):
                    continue
                if isinstance(error, OSError):
                    raise BundleDamaged(f"{error.filename} can't be read: {error.strerror}") from error
                raise

    def _load_version(self, bundle: Bundle, previous: _Version | None) -> _Version:
        manifest = bundle.manifest
        second = None
        before = [] if previous is None else [previous.encoder]
        if manifest.second is not None:
            if previous is not None and previous.second is not None:
                before.append(previous.second.encoder)
            other = manifest.second
            cascade = Cascade.from_dict(other.cascade)
            second = Second(*self._look_of(bundle, other.encoder, other.index, other.adaptation, "2", before), cascade)
        encoder, gallery = self._look_of(bundle, manifest.encoder, manifest.index, manifest.adaptation, "", before)
        if second is not None and not _same_references(gallery.index, second.gallery.index):
            raise BundleError(f"{bundle.path}: the vectors of the two encoders disagree; build the bundle again")
        catalog = Catalog(bundle.check("catalog"))
        return _Version(bundle, encoder, gallery, catalog, Decision.from_dict(manifest.decision), second)

    def _look_of(
        self,
        bundle: Bundle,
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
            encoder = self._encoder_of(bundle, card, roles["encoder"], before)
        finally:
            index = index_loading.result()
        adapter = prototypes = None
        if adaptation.method != "none":
            adapter = Adapter.from_bytes(bundle.read(roles["adapter"]), str(bundle.file(roles["adapter"])))
        if adaptation.scoring == "prototype":
            prototypes = index_of(roles["prototypes"])
        _check_dimensions(bundle, card, record, index, adapter, prototypes)
        return encoder, Gallery(index, adapter, prototypes)

    def _encoder_of(self, bundle: Bundle, card: EncoderCard, role: str, before: Sequence[Encoder]) -> Encoder:
        """An encoder of the bundle with one session open; the previous version's where it is the same."""
        for encoder in before:
            if encoder.card == card:
                return encoder
        settings = dict(self._settings)
        tuned = settings.pop("tuned")
        if settings["runtime"] == "auto" and tuned is not None:
            settings["runtime"] = tuned.runtime_for(card.format)
        if settings["resizer"] == "auto":
            settings["resizer"] = _same_resizer(bundle.manifest.resizer)
        encoder = Encoder(card, bundle.read(role), **settings)
        encoder.prepare()
        return encoder

    def similar(self, sku: str, *, top_k: int = 5, where: Where | None = None) -> tuple[Neighbour, ...]:
        """The other products most like this one, best first: see `neighbours.similar`. `where` as for `match`.

        Raises CatalogError if the shop doesn't have the SKU, or no product an attribute of `where`.
        """
        from .neighbours import similar

        version = self._fresh()
        return similar(version.gallery.index, version.catalog, sku, top_k, _allowed(version, where))

    def find(self, words: str, *, limit: int = 10) -> tuple[Neighbour, ...]:
        """The products that have, for each of the words, one that begins with it, in SKU, name or attributes; best first.

        Made for a search box: upper case, accents and punctuation don't matter, and no text raises. See `words`.
        """
        from .neighbours import find

        return find(self._fresh().catalog, words, limit)

    def nearest_photos(self, image: ImageSource, sku: str) -> tuple[Reference, ...]:
        """A product's catalogued photos, the ones most like this image first. Raises ImageError, CatalogError."""
        from .neighbours import nearest_photos

        version = self._fresh()
        vector = version.gallery.adapted(version.encoder.embed_timed(image, self._limits).vector)
        return nearest_photos(version.gallery.index, version.catalog, vector, sku)


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


def read_stamp_or_none(path: Path) -> Stamp | None:
    """None while there is no manifest, for instance in the middle of somebody's copying."""
    try:
        return read_stamp(path)
    except OSError:
        return None


def _labels(
    version: _Version, vector: Vector, attributes: Sequence[str], allowed: NDArray[np.bool_] | None
) -> Mapping[str, Label | None]:
    """What the nearest products say of the attributes; nothing is loaded or computed for none."""
    if not attributes:
        return {}
    from .labels import labels_of

    return labels_of(version.gallery.index, version.catalog, vector, attributes, allowed)


def _allowed(version: _Version, where: Where | None) -> NDArray[np.bool_] | None:
    """Which references a filter lets pass; None without a filter."""
    return version.catalog.passing(version.gallery.index.ids, where) if where else None


def _accepted(version: _Version, candidates: tuple[Candidate, ...]) -> bool:
    """Whether the best candidate is sure enough to be the answer."""
    return bool(candidates) and candidates[0].confidence >= version.decision.threshold


def _candidates(version: _Version, ranked: list[tuple[int, float]], *, alone: bool = False) -> tuple[Candidate, ...]:
    """What scores come to. `alone`: they are the first encoder's, which a bundle with two judges by a confidence of its own."""
    decision, catalog = version.decision, version.catalog
    if alone and version.second is not None:
        decision = version.second.cascade.first
    candidates = []
    for place, (product_id, score) in enumerate(ranked):
        rival = ranked[1 if place == 0 else 0][1] if len(ranked) > 1 else None
        references = version.gallery.references(product_id)
        confidence = decision.confidence(score, margin_of(score, rival), references)
        candidates.append(Candidate(catalog.product(product_id), score, confidence))
    return tuple(candidates)
