"""The shop that a kiosk answers from: a bundle, what staff taught over it, and the swap to the next between two requests."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from .. import device
from ..bundle.bundle import Bundle, Stamp, read_stamp, read_whole
from ..catalog.catalog import Catalog
from ..errors import KioskError, ShelfmatchError
from ..matching.refusal import Refusal, refusal_of
from ..matching.snapshot import Snapshot, load_snapshot
from .compose import Composed, compose, copy_bundle, read_composed
from .overlay import Overlay

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")
_LONGEST_WAIT_S: Final = 60.0
"""Between two tries of a bundle that can't be used."""
_NOTHING: Final = Composed(frozenset(), ())


@dataclass(frozen=True, slots=True)
class Served:
    """What requests are answered from, start to end: a whole snapshot; `bundle_id`: the first 12 hexadecimal digits of the sha256
    of the manifest that came from headquarters, `generation` its number; what of it staff taught."""

    snapshot: Snapshot
    bundle_id: str
    generation: int
    composed: Composed = _NOTHING
    since: float = field(default_factory=time.time)


class Shop:
    """Opens a bundle, follows it, and changes what is over it. Requests take `served` once and answer from that.

    `folder`: where the overlay and what is made of it lies; None where nobody teaches. Raises BundleError and its kin, KioskError,
    RuntimeUnavailable where there is nothing to begin with.
    """

    def __init__(self, bundle: Path, settings: Mapping[str, Any], folder: Path | None = None) -> None:
        self.path = bundle.absolute()
        self._settings = settings
        self._folder = None if folder is None else folder.absolute()
        self._lock = threading.Lock()
        self._lock_file = -1
        self.refused: Refusal | None = None
        self.swaps = 0
        self._wait_s, self._retry_at = 1.0, 0.0
        self.overlay = None if self._folder is None else Overlay(self._claimed(self._folder) / "taught.sqlite")
        try:
            self._served, self._stamp = self._begin()
        except BaseException:
            self.close()
            raise
        self._sweep()

    def _claimed(self, folder: Path) -> Path:
        """The folder, held for this process alone: two kiosks would undo each other's work."""
        import fcntl

        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock_file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock_file)
            raise KioskError(f"{folder} is used by another kiosk; expected a staff.folder of its own") from error
        except OSError as error:
            raise KioskError(f"{folder} can't be used: {error.strerror}; expected a folder to write to") from error
        return folder

    def close(self) -> None:
        """Let go of the folder."""
        if self.overlay is not None:
            self.overlay.close()
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    @property
    def served(self) -> Served:
        """What the next request is answered from."""
        return self._served

    def _begin(self) -> tuple[Served, Stamp]:
        """The bundle that lies there; where it can't be used, the last one that could (its copy in the folder)."""
        try:
            return self._taken(None)
        except ShelfmatchError as error:
            copies = (
                [] if self._folder is None else sorted(self._folder.glob("base-*"), key=lambda one: one.stat().st_mtime)
            )
            if not copies:
                raise
            logger.error("%s is refused, going on with the copy %s: %s", self.path, copies[-1].name, error)
            self.refused = refusal_of(self.path, error, _stamp_or_none(self.path))
            return self._from_base(Bundle.open(copies[-1]), None), _stamp_or_none(self.path) or (0, 0, 0)

    def _taken(self, previous: Snapshot | None) -> tuple[Served, Stamp]:
        """The bundle as it lies there now, verified and warmed up. Raises BundleError and its kin."""

        def take(bundle: Bundle) -> tuple[Served, Stamp]:
            if self._folder is None:
                return self._warmed(load_snapshot(bundle, self._settings, previous), bundle), bundle.stamp
            return self._from_base(self._kept(bundle), previous), bundle.stamp

        return read_whole(self.path, take)

    def _kept(self, bundle: Bundle) -> Bundle:
        """A copy of a bundle in the folder: staff can teach while headquarters' next one is half-copied or broken."""
        assert self._folder is not None
        copy = self._folder / f"base-{_id_of(bundle)}"
        if not copy.is_dir():
            problems = bundle.verify()
            if problems:
                from ..errors import BundleDamaged

                raise BundleDamaged(problems[0])
            copy_bundle(bundle, copy)
        return Bundle.open(copy)

    def _from_base(self, base: Bundle, previous: Snapshot | None) -> Served:
        """A kept bundle with all changes over it."""
        assert self._folder is not None and self.overlay is not None
        if self.overlay.is_empty:
            return self._warmed(load_snapshot(base, self._settings, previous), base)
        changes = self.overlay.taught()
        target = self._folder / f"shop-{_id_of(base)}-{self.overlay.mark}"
        made = read_composed(target)
        if made is not None:  # by an earlier process
            with contextlib.suppress(ShelfmatchError):  # made again, it is as new
                return self._warmed(load_snapshot(Bundle.open(target), self._settings, previous), base, made)
        shutil.rmtree(target, ignore_errors=True)
        composed = compose(base, changes, target)
        if composed.waiting:
            logger.warning(
                "%s: taught with another encoder, to be taught again: %s", target, ", ".join(composed.waiting)
            )
        return self._warmed(load_snapshot(Bundle.open(target), self._settings, previous), base, composed)

    def _warmed(self, snapshot: Snapshot, base: Bundle, composed: Composed = _NOTHING) -> Served:
        """Run all once, so that no shopper waits for what is loaded at the first answer."""
        for branch in snapshot.branches:
            branch.encoder.warm_up()
        snapshot.catalog.find("a", 1)
        return Served(snapshot, _id_of(base), base.manifest.generation, composed)

    def refresh(self, *, force: bool = False) -> bool:
        """Take the bundle over if it was changed; whether it was. Where it can't be used, `refused` says why, the one in use stays,
        and it is tried again when it changes or after 1, 2, 4 … s. `force`: try now."""
        with self._lock:
            stamp = _stamp_or_none(self.path)
            if stamp is None or (stamp == self._stamp and self.refused is None):
                return False
            refused = self.refused
            if not force and refused is not None and refused.stamp == stamp and time.monotonic() < self._retry_at:
                return False
            if stamp == self._stamp and refused is not None and refused.stamp != stamp:
                self.refused = None  # the old one is back
                return False
            try:
                self._served, self._stamp = self._taken(self._served.snapshot)
            except (ShelfmatchError, OSError) as error:
                self._refuse(error, stamp)
                return False
            self.refused = None
            self.swaps += 1
            logger.info("%s: took over generation %d", self.path, self._served.generation)
            self._sweep()
            return True

    def _refuse(self, error: Exception, stamp: Stamp) -> None:
        """Remember why a bundle can't be used, and say so once for each that comes."""
        again = self.refused is not None and self.refused.stamp == stamp
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S) if again else 1.0
        self._retry_at = time.monotonic() + self._wait_s
        if not again:
            known = error if isinstance(error, ShelfmatchError) else KioskError(str(error))
            self.refused = refusal_of(self.path, known, stamp)
            logger.warning(
                "%s is refused, answers go on from generation %d: %s", self.path, self._served.generation, error
            )

    def change(self, act: Callable[[Overlay], _Result]) -> _Result:
        """Change what staff taught, and serve it. When this returns, the change is on the disk and in the next answer; when it
        raises (CatalogError, BundleError, OSError), nothing has changed."""
        if self.overlay is None or self._folder is None:
            raise KioskError("this kiosk has no staff mode; expected staff.tokens and staff.folder in its settings")
        with self._lock:
            base = Bundle.open(self._folder / f"base-{self._served.bundle_id}")
            with self.overlay.changing():
                result = act(self.overlay)
                served = self._from_base(base, self._served.snapshot)
            self._served = served
            self._sweep()
            return result

    def photos_of_bundle(self, sku: str) -> frozenset[bytes]:
        """sha256 of the photos that headquarters' bundle has of a product, also of one that staff hid. For what `change` calls:
        until that returns, no other bundle comes."""
        assert self._folder is not None
        catalog = Catalog(Bundle.open(self._folder / f"base-{self._served.bundle_id}").check("catalog"))
        try:
            product_id = catalog.product_id(sku)
            return (
                frozenset()
                if product_id is None
                else frozenset(one.photo_sha256 for one in catalog.references(product_id))
            )
        finally:
            catalog.close()

    def _sweep(self) -> None:
        """Remove what no answer comes from any more; open files outlive their names."""
        if self._folder is None or self.overlay is None:
            return
        keep = {f"base-{self._served.bundle_id}", f"shop-{self._served.bundle_id}-{self.overlay.mark}"}
        for entry in self._folder.iterdir():
            if entry.name.startswith(("base-", "shop-", ".building-", ".copying-")) and entry.name not in keep:
                shutil.rmtree(entry, ignore_errors=True)


def matcher_settings(*, threads: int, workers: int, runtime: str) -> dict[str, Any]:
    """Settings of the encoders, as `load_snapshot` takes them. Raises DeviceError."""
    tuned = device.load() if threads == 0 or runtime == "auto" else None
    return {
        "threads": threads or (tuned.threads if tuned is not None else None) or 1,
        "sessions": workers,
        "runtime": runtime,
        "resizer": "auto",
        "tuned": tuned,
        "local": True,
    }


def _id_of(bundle: Bundle) -> str:
    return hashlib.sha256(bundle.manifest.to_bytes()).hexdigest()[:12]


def _stamp_or_none(path: Path) -> Stamp | None:
    """None while there is no manifest, for instance in the middle of somebody's copying."""
    with contextlib.suppress(OSError):
        return read_stamp(path)
    return None
