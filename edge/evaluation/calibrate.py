"""A bundle calibrated with photos of the shop's own camera, in place."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import arguments
from ..bundle.manifest import BranchRecord, role_of
from ..bundle.writer import BundleWriter
from ..catalog.listing import few
from ..catalog.photo_folder import photos_in
from ..errors import BundleError, CatalogError, ImageError, VectorError
from ..matching.matcher import Matcher
from ..matching.opinions import shows_nothing
from ..scoring.decision import Decision
from ..threads import in_order
from .camera import FEWEST, Calibrated, Seen, calibrate
from .evaluate import UNKNOWN_FOLDER, read_queries, sku_in

if TYPE_CHECKING:
    from ..catalog.catalog import Catalog
    from ..progress import Progress

_EXPECTED = "a folder of photos, a CSV with the header image,sku, or a list of photos' paths"


@dataclass(slots=True)
class CalibrateReport:
    """What came of it: how many photos were used, and how many of them were labelled; (label, reason) of those that can't be read
    or show nothing; whether queries are centred anew (`recentred`) and the decision is another one (`rescaled`), with the reasons;
    the decisions `before` and `after`, and the bundle's `generation` now."""

    photos: int
    labelled: int
    recentred: bool
    rescaled: bool
    reasons: tuple[str, ...]
    before: Decision
    after: Decision
    generation: int
    left_out: list[tuple[str, str]] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether the bundle is another one now."""
        return self.recentred or self.rescaled

    def to_dict(self) -> dict[str, Any]:
        """The document of `calibrate --json`."""
        return {
            "generation": self.generation,
            "photos": self.photos,
            "labelled": self.labelled,
            "left_out": [{"image": label, "message": reason} for label, reason in self.left_out],
            "recentred": self.recentred,
            "rescaled": self.rescaled,
            "reasons": list(self.reasons),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
        }


def calibrate_bundle(
    bundle: str | os.PathLike[str],
    photos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    workers: int = 0,
    wait_s: float = 0.0,
    progress: Progress | None = None,
) -> CalibrateReport:
    """Fit a bundle's decision to photos of the shop's own camera: where queries lie in the adapter's space, and how sure an answer
    must be for the rate of false accepts that the bundle was built for.

    `photos`: a folder of photos, or their paths, unlabelled: twenty of its products say a good deal. Or labelled, as for
    `evaluate`: a CSV with the header image,sku (an empty sku: not in the catalogue), or a folder of folders named by SKU, or
    "unknown"; then confidences are fitted, too. A photo counts once, also where it comes again in a later call. What can't be
    told from chance changes nothing, and the report says so. `wait_s`: seconds to wait for another writer.

    Raises BundleError for a bundle with two encoders or built before decisions could be tuned, CatalogError for one with fewer
    than two products, labels that it doesn't have, photos beside labelled ones or fewer than FEWEST that can be used, BundleLocked.
    """
    arguments.count("workers", workers, 0)
    if not isinstance(photos, (str, os.PathLike)):
        photos = arguments.paths("photos", photos, _EXPECTED)
    with BundleWriter(bundle, existing=True, wait_s=wait_s) as writer:
        with Matcher.open(bundle, follow=False) as matcher:
            snapshot = matcher.snapshot
            manifest = snapshot.bundle.manifest
            if not manifest.products:
                raise CatalogError(f"{bundle} has no products to calibrate with; add some first: shelfmatch add")
            if manifest.products == 1:
                # Held against nothing, each photo would be an unknown query that nothing is like.
                raise CatalogError(
                    f"{bundle} has one product; expected two or more, a photo is held against all but its own; add some first: "
                    "shelfmatch add"
                )
            _check(bundle, manifest.branches, snapshot.decision)
            listed = _listed(photos, matcher)
            every, left_out = _embedded(listed, matcher, workers, progress)
            seen, contradicted = _distinct(every, matcher.catalog)
            left_out += contradicted
            if len(seen) < FEWEST:
                more = len(every) - len(contradicted) - len(seen)
                copies = f"; {more} more are copies of them" if more else ""
                first = f"; the first left out: {': '.join(left_out[0])}" if left_out else ""
                raise CatalogError(
                    f"{len(seen)} photos that can be used arrived; expected at least {FEWEST}{copies}{first}"
                )
            fresh = _fresh(seen, manifest.branches[0])
            if len(fresh) < FEWEST:
                why = f"{len(seen) - len(fresh)} of {len(seen)} photos were counted before, and at least {FEWEST} others are needed"
                return _unchanged(seen, why, snapshot.decision, manifest.generation, left_out)
            found = calibrate(snapshot, fresh)
        generation = manifest.generation
        if found.changed:
            writer.drop_work()
            generation = _committed(writer, found)
    again = len(seen) - len(fresh)
    return CalibrateReport(
        len(fresh),
        sum(photo.product != -1 for photo in fresh),
        found.adapter is not None,
        found.rescaled.moved,
        (
            f"centre: {found.centre}",
            f"decision: {found.rescaled.why}",
            *([f"{again} of {len(seen)} photos were counted before"] if again else []),
        ),
        snapshot.decision,
        found.rescaled.decision,
        generation,
        left_out,
    )


def _fresh(seen: Sequence[Seen], branch: BranchRecord) -> list[Seen]:
    """The photos that no calibration has counted yet. Counted again and again, twenty photos would be believed like hundreds."""
    before = frozenset() if branch.camera is None else branch.camera.counted_before()
    return [photo for photo in seen if photo.fingerprint not in before]


def _unchanged(
    photos: Sequence[Seen], why: str, decision: Decision, generation: int, left_out: list[tuple[str, str]]
) -> CalibrateReport:
    labelled = sum(photo.product != -1 for photo in photos)
    return CalibrateReport(len(photos), labelled, False, False, (why,), decision, decision, generation, left_out)


def _check(bundle: str | os.PathLike[str], branches: Sequence[BranchRecord], decision: Decision) -> None:
    if len(branches) > 1:
        raise BundleError(f"{bundle} has two encoders; expected one, only such bundles are calibrated with photos")
    if decision.confidences is None:
        raise BundleError(
            f"{bundle} doesn't say how sure it is of unknown queries, it was built before that was kept; build it again"
        )


def _listed(
    photos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], matcher: Matcher
) -> list[tuple[Path, str, int | None]]:
    """(path, label, product or -1 where it isn't told) of each photo."""
    if not isinstance(photos, (str, os.PathLike)):
        return [(Path(path), os.fspath(path), -1) for path in photos]
    path = Path(photos)
    if not path.exists():
        raise CatalogError(f"{path} does not exist; expected {_EXPECTED}")
    if path.is_dir():
        inside = [Path(photo) for photo in photos_in(path)]
        if any(photo.parent == path for photo in inside):
            _refuse_mixed(path, inside, matcher.catalog)
            return [(photo, photo.relative_to(path).as_posix(), -1) for photo in inside]
    found: list[tuple[Path, str, int | None]] = []
    for query in read_queries(path, matcher.catalog):
        product = matcher.catalog.product_id(query.sku) if query.sku else None
        if query.sku and product is None:
            raise CatalogError(
                f"photo {query.label} has the SKU {query.sku!r}, which the bundle doesn't; leave the SKU empty for products that "
                "are not in the catalogue"
            )
        found.append((query.path, query.label, product))
    return found


def _refuse_mixed(folder: Path, photos: Sequence[Path], catalog: Catalog) -> None:
    """Raise CatalogError for photos in a folder and labelled ones below it: read as unlabelled, all labels would be lost."""
    stray = next(photo for photo in photos if photo.parent == folder)
    around = (photo.relative_to(folder).parts[:-1] for photo in photos)
    labels = (UNKNOWN_FOLDER if UNKNOWN_FOLDER in folders else sku_in(folders, catalog) for folders in around)
    label = next((label for label in labels if label is not None), None)
    if label is not None:
        raise CatalogError(
            f"{stray} lies beside folders whose names are labels, like {label}; move it into the folder of its product, or into "
            f"{folder.name}/{UNKNOWN_FOLDER} if that is not in the catalogue"
        )


def _embedded(
    listed: Sequence[tuple[Path, str, int | None]], matcher: Matcher, workers: int, progress: Progress | None
) -> tuple[list[tuple[str, Seen]], list[tuple[str, str]]]:
    """(label, photo) of those that say something, and why others don't."""
    own = matcher.catalog.photo_digests()

    def one(photo: tuple[Path, str, int | None]) -> Seen | str:
        try:
            embedding = matcher.encoder.embed_timed(photo[0])
            with photo[0].open("rb") as file:
                if hashlib.file_digest(file, "sha256").digest() in own:
                    # It finds itself: as sure as can be, and of a camera it says nothing.
                    return "is one of the catalogue's own photos; expected photos that the camera took"
        except (ImageError, VectorError, OSError) as error:
            return str(error)
        return "shows nothing" if shows_nothing(embedding) else Seen(embedding, photo[2])

    stream: Any = in_order(one, listed, workers=workers or os.cpu_count() or 1, ahead=16)
    if progress is not None:
        stream = progress(stream, len(listed))
    seen: list[tuple[str, Seen]] = []
    left_out = []
    for (_, label, _), found in zip(listed, stream, strict=True):
        if isinstance(found, Seen):
            seen.append((label, found))
        else:
            left_out.append((label, found))
    return seen, left_out


def _distinct(every: Sequence[tuple[str, Seen]], catalog: Catalog) -> tuple[list[Seen], list[tuple[str, str]]]:
    """Each photo once: of a copy nothing more is learned, and one that is held out would be tried on itself. And (label, reason)
    of those that come with several labels: one of them is wrong, and nobody knows which."""
    copies: dict[bytes, list[tuple[str, Seen]]] = {}
    for label, photo in every:
        copies.setdefault(photo.embedding.vector.tobytes(), []).append((label, photo))
    seen, left_out = [], []
    for same in copies.values():
        products = dict.fromkeys(photo.product for _, photo in same)
        if len(products) == 1:
            seen.append(same[0][1])
            continue
        named = few(UNKNOWN_FOLDER if product is None else catalog.product(product).sku for product in products)
        reason = f"the same photo is given as {named}; expected one label, correct it and calibrate again"
        left_out += [(label, reason) for label, _ in same]
    return seen, left_out


def _committed(writer: BundleWriter, found: Calibrated) -> int:
    """The bundle's next generation, which has the adapter and the decision; its number."""
    manifest = writer.opened().manifest
    branch, decision = replace(manifest.branches[0], camera=found.shift), manifest.decision
    if branch.local is None:
        decision = found.rescaled.decision
    else:
        branch = replace(branch, local=replace(branch.local, decision=found.rescaled.decision))
    if found.adapter is not None:
        writer.stage(role_of("adapter", 0)).write_bytes(found.adapter.to_bytes())
    return writer.recommit(branches=(branch,), decision=decision).manifest.generation
