"""Opens a bundle and hands each question to a function of the generation in use."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .. import arguments, device
from ..bundle.bundle import Bundle
from ..catalog.attributes import Where
from ..catalog.catalog import Catalog
from ..catalog.product import Reference
from ..encoders.encoder import Encoder
from ..errors import EncoderError, ImageError, VectorError
from ..imaging.image import DEFAULT_LIMITS, ImageSource, Limits
from ..index.vector_index import VectorIndex
from ..scoring.gallery import Gallery
from .finder import Finder, Mode
from .generations import Generations
from .pipeline import match
from .results import MatchResult
from .snapshot import Snapshot

if TYPE_CHECKING:
    from ..detection.detector import Detector
    from .explanation import Explanation
    from .photos import ProductPhoto
    from .refusal import Refusal
    from .scene import Scene
    from .similar import Neighbour
    from .tracking import Tracker


class Matcher:
    """Names the products on photos. Safe to share between threads; follows the bundle when it is changed.

    with Matcher.open("shop.bundle") as matcher:
        print(matcher.match("query.jpg").sku)
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        limits: Limits,
        follow: bool,
        look_again: bool,
        finder: Finder,
        options: Mapping[str, Any],
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._follow = follow
        self._look_again = look_again
        self._finder = finder
        self._asked = options
        self._generations = Generations(path, settings, follow)

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
        local: bool = True,
        locate: Mode = "auto",
        detector: str | os.PathLike[str] | Detector | None = None,
    ) -> Matcher:
        """Load a bundle and check every byte that answers will rest on.

        `threads` per interpreter (default: 1) and `runtime` are taken from this machine's device.toml where there is one and they
        aren't given (see `device`); `sessions` how many interpreters there may be (default: one a core, opened as threads ask
        for them). `resizer` "auto" takes what the catalogue was made with where it is installed. `follow`: take over what the
        bundle was changed to before each answer (2 µs). `look_again`: mend a rejected photo and rank once more. `local`:
        compare photos with candidates part by part, in bundles that can. `locate`: "auto" finds the product on photos of which the
        whole isn't sure, and names that part; "always" on all; "off" never. `detector`: what finds it, a name, file, card or
        `Detector`, loaded when it is first needed (default: the package's own). Raises BundleError and its kin, RuntimeUnavailable,
        EncoderError, DetectorError, DeviceError; ImageError for limits or a resizer that there aren't.
        """
        arguments.bundle_path(path)
        arguments.limits(limits)
        for name, value in (("threads", threads), ("sessions", sessions)):
            if value is not None:
                arguments.count(name, value, 0 if name == "sessions" else 1, EncoderError)
        finder = Finder.of(locate, detector, sessions or os.cpu_count() or 1)
        options: dict[str, Any] = {"threads": threads, "sessions": sessions, "runtime": runtime, "resizer": resizer}
        options |= {"locate": locate, "detector": detector}
        tuned = device.load() if threads is None or runtime == "auto" else None
        if threads is None:
            threads = (tuned.threads if tuned is not None else None) or 1
        settings = {
            "threads": threads,
            "sessions": sessions or os.cpu_count() or 1,
            "runtime": runtime,
            "resizer": resizer,
            "tuned": tuned,
            "local": local,
        }
        return cls(Path(path), settings, limits, follow, look_again, finder, options)

    def __reduce__(self) -> tuple[Any, ...]:
        """To copy and pickle: the other one opens the bundle anew, as this one was asked to. Raises BundleError if it is closed."""
        self._current()
        options = {**self._asked, "limits": self._limits, "follow": self._follow, "look_again": self._look_again}
        return _open_again, (self._generations.path, options)

    def __enter__(self) -> Matcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the bundle; later calls raise BundleError."""
        self._generations.close()

    @property
    def bundle(self) -> Bundle:
        """The generation that the next answer uses."""
        return self._current().bundle

    @property
    def refused(self) -> Refusal | None:
        """The bundle's newest generation, if it was tried and can't be used; None where the one in use is the newest known.

        Tried before each answer (with `follow`) and by `reload`: a readiness probe calls `reload` first. The answers go on from
        the generation in use; each refusal is logged once, as a warning.
        """
        return self._generations.refused

    @property
    def encoder(self) -> Encoder:
        """The encoder in use; of two, the one that every photo goes through."""
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

    @property
    def snapshot(self) -> Snapshot:
        """The generation that the next answer uses, as the functions beside this class take it."""
        return self._current()

    @property
    def has_local(self) -> bool:
        """Whether photos are compared with candidates part by part."""
        return self._current().local is not None

    def match(
        self,
        image: ImageSource,
        *,
        top_k: int = 5,
        where: Where | None = None,
        labels: Sequence[str] = (),
        locate: Mode | None = None,
    ) -> MatchResult:
        """Name the product on a photo: a path, bytes, a PIL image, or an (H, W, 3) uint8 RGB array.

        `where` keeps only products with these attributes, {"category": "tea"}; of several values, {"category": ["tea",
        "coffee"]}, either. `labels`: attributes that the nearest products (that pass `where`) vote on, also for products the
        catalogue doesn't have. `locate`: as for `open`, for this photo. Raises ImageError if the photo can't be read, CatalogError
        for an attribute that no product has, or of which no product has one of the values, DetectorError.
        """
        arguments.check_question(top_k=top_k, where=where, labels=labels)
        return match(
            self._fresh(),
            image,
            top_k=top_k,
            where=where,
            labels=labels,
            limits=self._limits,
            look_again=self._look_again,
            locate=self._finder.locator(locate),
        )

    def match_scene(
        self,
        image: ImageSource,
        *,
        top_k: int = 5,
        where: Where | None = None,
        labels: Sequence[str] = (),
        gaps: bool = False,
        workers: int = 0,
        detector: str | os.PathLike[str] | Detector | None = None,
    ) -> Scene:
        """Find every product of a photo and name each: box, decision and candidates as if it were a photo of its own.

        A shelf of hundreds is looked at in tiles. `gaps`: also find empty places on shelves; `workers`: threads (default: one a
        core); `detector`: another one than the matcher's; the rest as for `match`. Raises ImageError, CatalogError, DetectorError.
        """
        from .scene import match_scene

        arguments.check_question(top_k=top_k, where=where, labels=labels)
        sessions = int(self._settings["sessions"])
        finder = self._finder if detector is None else Finder.of("auto", detector, sessions)
        return match_scene(
            self._fresh(),
            finder.detector.get(),
            image,
            top_k=top_k,
            where=where,
            labels=labels,
            limits=self._limits,
            look_again=self._look_again,
            kinds=("product", "gap") if gaps else ("product",),
            workers=arguments.count("workers", workers, 0) or sessions,
        )

    def track(self, *, top_k: int = 5, where: Where | None = None, locate: Mode | None = None) -> Tracker:
        """Decide over several frames of one product: `tracker.add(frame)` gives the decision so far. A product that was found on a
        frame (`locate`, as for `open`) is followed over the next."""
        from .tracking import track

        arguments.check_question(top_k=top_k, where=where)
        locator = self._finder.locator(locate)
        return track(self._fresh, top_k=top_k, where=where, limits=self._limits, locate=locator)

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
        """The heat map of the evidence, over the part of the photo that the answer rests on: `grid` (rows, columns) parts of it are
        covered in turn, a run of the encoder each.

        `top_k`, `where` and `labels` as for `match`; `photos`: the folder or CSV that the bundle was built from, to show the
        reference; bundles hold no pictures. Raises ImageError if the photo can't be read, CatalogError if the folder isn't there.
        """
        from .explanation import explain

        arguments.check_question(top_k=top_k, where=where, labels=labels)
        grid = arguments.grid(grid)
        if photos is not None:
            arguments.path_of("photos", photos, "photos")
        return explain(
            self._fresh(),
            image,
            photos=photos,
            grid=grid,
            top_k=top_k,
            where=where,
            labels=labels,
            limits=self._limits,
            look_again=self._look_again,
            locate=self._finder.locator(None),
        )

    def match_many(
        self,
        images: Iterable[ImageSource],
        *,
        top_k: int = 5,
        where: Where | None = None,
        labels: Sequence[str] = (),
        locate: Mode | None = None,
        workers: int = 0,
    ) -> Iterator[MatchResult | ImageError]:
        """Answers in the order of the images, computed by several threads (default: one a core).

        An image that can't be read yields its ImageError in its place; the others go on. Raises CatalogError as `match` does, and
        ImageError for one image that isn't in a list.
        """
        arguments.images(images)
        arguments.check_question(top_k=top_k, where=where, labels=labels)
        count = arguments.count("workers", workers, 0) or int(self._settings["sessions"])

        def one(image: ImageSource) -> MatchResult | ImageError:
            try:
                return self.match(image, top_k=top_k, where=where, labels=labels, locate=locate)
            except (ImageError, VectorError) as error:
                return error if isinstance(error, ImageError) else ImageError(str(error))

        if count == 1:
            return map(one, images)
        from ..threads import in_order  # concurrent.futures costs 9 ms of a cold start, for one photo

        return in_order(one, images, workers=count, ahead=4 * count)

    def reload(self) -> bool:
        """Load the bundle's current generation now; False if it is the one in use. Raises BundleError and its kin, and the
        generation in use stays; it is in `refused` then, too."""
        return self._generations.reload()

    def _current(self) -> Snapshot:
        return self._generations.current()

    def _fresh(self) -> Snapshot:
        return self._generations.fresh()

    def similar(self, sku: str, *, top_k: int = 5, where: Where | None = None) -> tuple[Neighbour, ...]:
        """The other products most like this one, best first: see `similar.similar`. `where` as for `match`.

        Raises CatalogError if the shop doesn't have the SKU, and like `match`.
        """
        from .similar import similar

        arguments.check_question(top_k=top_k, where=where)
        arguments.text("sku", sku, "4006381333931")
        snapshot = self._fresh()
        return similar(snapshot.gallery.index, snapshot.catalog, sku, top_k, snapshot.allowed(where))

    def find(self, words: str, *, limit: int = 10, where: Where | None = None) -> tuple[Neighbour, ...]:
        """The products that have, for each of the words, one that begins with it, in SKU, name or attributes; best first.

        Made for a search box: upper case, accents and punctuation don't matter, where nothing is found a typing error is forgiven,
        and no text raises. `where`: only products that pass this filter, as for `match`. See `catalog.text_search`. Raises
        CatalogError for a filter with a value that no product has.
        """
        from .similar import find

        arguments.text("words", words, "green tea")
        arguments.count("limit", limit)
        return find(self._fresh().catalog, words, limit, where)

    def photos(self, sku: str) -> tuple[ProductPhoto, ...]:
        """A product's catalogued photos by number, with how alike each is to the others: see `remove_photos_from_bundle`. Raises
        CatalogError if the shop doesn't have the SKU."""
        from .photos import photos_of

        arguments.text("sku", sku, "4006381333931")
        snapshot = self._fresh()
        return photos_of(snapshot.gallery.index, snapshot.catalog, sku)

    def nearest_photos(self, image: ImageSource, sku: str) -> tuple[Reference, ...]:
        """A product's catalogued photos, the ones most like this image first. Raises ImageError, CatalogError."""
        from .similar import nearest_photos

        arguments.text("sku", sku, "4006381333931")
        snapshot = self._fresh()
        vector = snapshot.gallery.adapted(snapshot.encoder.embed_timed(image, self._limits).vector)
        return nearest_photos(snapshot.gallery.index, snapshot.catalog, vector, sku)


def _open_again(path: Path, options: Mapping[str, Any]) -> Matcher:
    return Matcher.open(path, **options)
