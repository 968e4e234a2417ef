"""Photo → product, or "unknown": the pipeline, short enough to read in one look."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .. import device
from ..bundle.bundle import Bundle, Stamp, read_stamp, read_whole
from ..catalog.attributes import Where
from ..catalog.catalog import Catalog
from ..catalog.product import Reference
from ..encoders.encoder import Encoder
from ..errors import BundleError, ImageError, ShelfmatchError, VectorError
from ..imaging.image import DEFAULT_LIMITS, ImageSource, Limits, source_name
from ..index.vector_index import VectorIndex
from ..scoring.gallery import Gallery
from .results import MatchResult
from .snapshot import Version, load_version

if TYPE_CHECKING:
    from .explanation import Explanation
    from .similar import Neighbour
    from .tracking import Tracker

_LONGEST_WAIT_S = 60.0
"""Between two looks at a version that can't be used."""


class Matcher:
    """Names the products on photos. Safe to share between threads; follows the bundle when it is changed.

    with Matcher.open("shop.bundle") as matcher:
        print(matcher.match("query.jpg").sku)
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], limits: Limits, follow: bool, look_again: bool) -> None:
        absolute = path.absolute()  # a relative one would name another bundle after os.chdir
        self._path = path  # while it is opened: messages name what was asked for
        self._settings = settings
        self._limits = limits
        self._follow = follow
        self._looks_again = look_again
        self._reload_lock = threading.Lock()
        self._refused: Stamp | None = None
        self._wait_s, self._look_from = 1.0, 0.0
        self._version: Version | None = self._load(None)
        self._path = absolute

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
        return self._match(None, image, top_k, where, labels)

    def _match(
        self, version: Version | None, image: ImageSource, top_k: int, where: Where | None, labels: Sequence[str]
    ) -> MatchResult:
        """`version`: to match with; None for the bundle's current one."""
        start = time.perf_counter()
        version = version or self._fresh()
        embedding = version.encoder.embed_timed(image, self._limits)
        before_search = time.perf_counter()
        allowed = version.allowed(where)
        vector = version.gallery.adapted(embedding.vector)
        ranked = version.gallery.rank(vector, max(2, top_k), allowed)
        voted = version.labels(vector, labels, allowed)
        after_search = time.perf_counter()
        candidates = version.candidates(ranked, alone=True)
        after_decide = after_second = end = time.perf_counter()
        second = look = None
        if version.second is not None:
            second = bool(candidates) and not version.second.cascade.is_sure(candidates[0].confidence)
            if second:
                from .second_encoder import ask_second  # a photo of which the first encoder is sure doesn't pay for it

                candidates = ask_second(version, image, self._limits, vector, candidates, max(2, top_k), where)
                after_second = end = time.perf_counter()
        if self._looks_again and not version.accepts(candidates):
            from .second_encoder import look_again  # only rejected photos pay for it

            look, candidates = look_again(version, image, self._limits, candidates, max(2, top_k), where)
            end = time.perf_counter()
        best = candidates[0] if candidates else None
        accepted = version.accepts(candidates)
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
        from .second_encoder import tracker_of

        return tracker_of(self, self._limits, top_k, where)

    def explain(
        self,
        image: ImageSource,
        *,
        photos: str | os.PathLike[str] | None = None,
        grid: tuple[int, int] = (8, 8),
        top_k: int = 5,
        where: Where | None = None,
        labels: Sequence[str] = (),
    ) -> Explanation:
        """What a match rests on: `grid` (rows, columns) parts of the photo are covered one by one, a run of the encoder each.

        `top_k`, `where` and `labels` as for `match`; `photos`: the folder or CSV that the bundle was built from, to show the
        reference; bundles hold no pictures. Raises ImageError if the photo can't be read, CatalogError if the folder isn't there.
        """
        from .second_encoder import explanation_of

        return explanation_of(self, image, photos, grid, top_k, where, labels, self._limits)

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
        from ..threads import in_order  # concurrent.futures costs 9 ms of a cold start, for one photo

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

    def _current(self) -> Version:
        version = self._version
        if version is None:
            raise BundleError(f"{self._path}: this matcher is closed; open it again")
        return version

    def _fresh(self) -> Version:
        """The version in use, after taking over a new one if the bundle changed.

        A new version that can't be used (half copied, damaged) is looked at again when its manifest changes, and after 1, 2, 4 …
        s: copied in the order of their names, the vectors come after the manifest. A kiosk goes on with the one it has.
        """
        version = self._current()
        if not self._follow:
            return version
        stamp = read_stamp_or_none(self._path)
        if stamp is None or stamp == version.bundle.stamp:
            return version
        if stamp == self._refused and time.monotonic() < self._look_from:
            return version
        if self._reload_lock.acquire(blocking=False):  # one thread loads, the others go on with what there is
            try:
                if self._version is not None:
                    self._version = self._load(version)
            except ShelfmatchError:
                self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S) if stamp == self._refused else 1.0
                self._refused, self._look_from = stamp, time.monotonic() + self._wait_s
            finally:
                self._reload_lock.release()
        return self._current()

    def _load(self, previous: Version | None) -> Version:
        """Load a version, again if a writer replaced it meanwhile."""
        return read_whole(self._path, lambda bundle: load_version(bundle, self._settings, previous))

    def similar(self, sku: str, *, top_k: int = 5, where: Where | None = None) -> tuple[Neighbour, ...]:
        """The other products most like this one, best first: see `neighbours.similar`. `where` as for `match`.

        Raises CatalogError if the shop doesn't have the SKU, or no product an attribute of `where`.
        """
        from .similar import similar

        version = self._fresh()
        return similar(version.gallery.index, version.catalog, sku, top_k, version.allowed(where))

    def find(self, words: str, *, limit: int = 10) -> tuple[Neighbour, ...]:
        """The products that have, for each of the words, one that begins with it, in SKU, name or attributes; best first.

        Made for a search box: upper case, accents and punctuation don't matter, and no text raises. See `words`.
        """
        from .similar import find

        return find(self._fresh().catalog, words, limit)

    def nearest_photos(self, image: ImageSource, sku: str) -> tuple[Reference, ...]:
        """A product's catalogued photos, the ones most like this image first. Raises ImageError, CatalogError."""
        from .similar import nearest_photos

        version = self._fresh()
        vector = version.gallery.adapted(version.encoder.embed_timed(image, self._limits).vector)
        return nearest_photos(version.gallery.index, version.catalog, vector, sku)


def read_stamp_or_none(path: Path) -> Stamp | None:
    """None while there is no manifest, for instance in the middle of somebody's copying."""
    try:
        return read_stamp(path)
    except OSError:
        return None
