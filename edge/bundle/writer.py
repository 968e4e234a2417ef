"""Changing a bundle on disk, or making one: all of it or nothing, whatever happens in between.

New files are written beside the old ones under names that hold their hash, synced, and then the manifest is replaced in one
rename. One writer at a time holds a lock on the directory, which the system drops when the process dies.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal

from .. import arguments
from .._version import __version__
from ..errors import BundleError, BundleLocked
from ..files import sha256_of, sync_file, sync_folder, write_atomic
from ..scoring.cascade import Cascade
from ..scoring.decision import Decision
from .bundle import MANIFEST, WORK_FOLDER, Bundle, not_a_bundle
from .manifest import (
    BUNDLE_VERSION,
    SUFFIXES,
    BranchRecord,
    FileEntry,
    FitRecord,
    Manifest,
    is_role,
    role_of,
    roles_of,
    suffix_of,
)

logger = logging.getLogger(__name__)

_STAGING = ".staging-"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOCK_POLL_S = 0.1


class BundleWriter:
    """Changes a bundle, or makes one, holding its lock.

    with BundleWriter(path) as writer:
        …write to writer.stage("vectors") and writer.stage("catalog")…
        writer.commit(…)

    Leaving without commit, or dying at any point, leaves the bundle as it was. `existing`: only a whole bundle can be
    changed; without, one is made, and one that is there is replaced even if it is damaged. `wait_s`: for how long to wait for
    another process that is changing it, in seconds.
    """

    def __init__(self, path: str | os.PathLike[str], *, existing: bool = False, wait_s: float = 0.0) -> None:
        arguments.bundle_path(path)
        arguments.seconds("wait_s", wait_s)
        self.path = Path(path)
        self.current: Bundle | None = None
        self._existing = existing
        self._wait_s = wait_s
        self._generation = 0
        self._lock = -1
        self._was_empty = False

    def __enter__(self) -> BundleWriter:
        if self._existing and not (self.path / MANIFEST).exists():
            raise BundleError(not_a_bundle(self.path))
        self._refuse_foreign_folder()
        self._take_lock()
        try:
            self._open_current()
            self._was_empty = self._was_empty and not any(self.path.iterdir())
            self._sweep()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with contextlib.suppress(FileNotFoundError):  # somebody removed the whole folder
                self._sweep()
            if _is_disk_full(error):  # what it would save is less than the room it takes from the next change
                self.drop_work()
            with contextlib.suppress(OSError):  # a work folder with something in it stays
                (self.path / WORK_FOLDER).rmdir()
            if self.current is None and not self._was_empty and not (self.path / MANIFEST).exists():
                with contextlib.suppress(OSError):  # a build that came to nothing leaves nothing
                    self.path.rmdir()
        finally:
            os.close(self._lock)  # drops the lock
        if error is not None and _is_sqlite(error) and _is_disk_full(error):
            raise BundleError(
                f"{self.path} can't be written: {error}; make room on its disk, nothing was changed"
            ) from error
        if isinstance(error, OSError) and error.errno in _FULL and self._is_inside(error.filename):
            # Python names no file where a write fails; still an OSError, whose number callers look at.
            what = f"{os.strerror(error.errno)}; make room on its disk, nothing was changed"
            raise OSError(error.errno, what, os.fspath(self.path)) from error

    def _is_inside(self, name: str | bytes | int | None) -> bool:
        """Whether a file that can't be written is the bundle's, as is one that isn't named."""
        return name is None or (isinstance(name, str) and Path(name).absolute().is_relative_to(self.path.absolute()))

    def _take_lock(self) -> None:
        until = time.monotonic() + self._wait_s
        while True:
            self._was_empty = self.path.is_dir()  # as far as is known: somebody's own folder, to be left there
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                raise BundleError(f"{self.path} can't be written: {error.strerror or error}") from error
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(lock)
                if isinstance(error, BlockingIOError) and time.monotonic() < until:
                    time.sleep(_LOCK_POLL_S)  # not a blocking flock: that may wait for ever
                    continue
                if isinstance(error, BlockingIOError):
                    still = f", still after {self._wait_s:g} s" if self._wait_s else ""
                    raise BundleLocked(
                        f"{self.path} is being changed by another process{still}; wait for it to finish"
                    ) from error
                raise BundleError(f"{self.path} can't be locked: {error.strerror or error}") from error
            try:
                if os.path.samestat(os.fstat(lock), self.path.stat()):
                    self._lock = lock
                    return
            except FileNotFoundError:
                pass
            os.close(lock)  # a build that came to nothing removed the folder in between

    def _open_current(self) -> None:
        manifest_path = self.path / MANIFEST
        if not manifest_path.exists():
            return
        try:
            self.current = Bundle.open(self.path)
            self._generation = self.current.manifest.generation
        except BundleError:
            if self._existing or not self._is_replaceable():
                raise
            with contextlib.suppress(BundleError, OSError):
                self._generation = Manifest.from_bytes(manifest_path.read_bytes(), str(manifest_path)).generation

    def _is_replaceable(self) -> bool:
        """Whether what can't be opened is ours for a build to replace: not somebody else's manifest.json, or something of theirs
        beside ours, nor a bundle that a newer shelfmatch can read."""
        names = {entry.name for entry in self.path.iterdir()} - {MANIFEST, WORK_FOLDER}
        if not any(map(_is_ours, names)) or not all(_is_ours(name) or _is_staged(name) for name in names):
            return False
        try:
            version = json.loads((self.path / MANIFEST).read_bytes())["format_version"]
        except OSError:
            return False
        except (ValueError, RecursionError, LookupError, TypeError):
            return True
        return not (isinstance(version, int) and version > BUNDLE_VERSION)

    def _refuse_foreign_folder(self) -> None:
        """Never write into somebody's folder of photos."""
        if self.path.is_symlink() and not self.path.exists():
            raise BundleError(
                f"{self.path} is a link to what isn't there; expected the name of a bundle, or of a folder that doesn't exist yet"
            )
        if self.path.exists() and not self.path.is_dir():
            raise BundleError(
                f"{self.path} is a file; expected the name of a bundle, or of a folder that doesn't exist yet"
            )
        if self.path.is_dir() and not (self.path / MANIFEST).exists():
            for entry in self.path.iterdir():
                if entry.name != WORK_FOLDER and not _is_staged(entry.name) and not _is_ours(entry.name):
                    raise BundleError(
                        f"{self.path} exists and is not a bundle (it holds {entry.name}); choose another name"
                    )

    def opened(self) -> Bundle:
        """The bundle that is being changed."""
        if self.current is None:
            raise BundleError(not_a_bundle(self.path))
        return self.current

    def work_folder(self) -> Path:
        """A place for what an interrupted build can use again; gone after commit."""
        folder = self.path / WORK_FOLDER
        folder.mkdir(exist_ok=True)
        return folder

    def drop_work(self) -> None:
        """Remove what an interrupted build or `add` left to go on with: of no use to a change without photos, which may need
        its room."""
        _remove(self.path / WORK_FOLDER)

    def stage(self, role: str) -> Path:
        """Where to write the next generation's file of a role: see `roles_of`."""
        return self.path / f"{_STAGING}{role}"

    def commit(
        self,
        branches: Sequence[BranchRecord],
        *,
        products: int,
        decision: Decision,
        resizer: Literal["pillow", "opencv"],
        cascade: Cascade | None = None,
        fit: FitRecord | None = None,
    ) -> Bundle:
        """Make the staged files the bundle's. Roles that weren't staged keep the file they have, if they are still needed.

        `branches`: the encoders with what was made of them; their cards get the names that the files have here.
        """
        files: dict[str, FileEntry] = {} if self.current is None else dict(self.current.manifest.files)
        roles = roles_of(branches)
        for role in roles:
            staged = self.stage(role)
            if staged.exists():
                files[role] = self._take_over(role, staged, suffix_of(role, branches))
        sync_folder(self.path)
        manifest = Manifest(
            generation=self._generation + 1,
            created_by=f"shelfmatch {__version__}",
            files={role: files[role] for role in roles},
            branches=tuple(
                replace(branch, encoder=replace(branch.encoder, file=files[role_of("encoder", number)].name))
                for number, branch in enumerate(branches)
            ),
            products=products,
            decision=decision,
            resizer=resizer,
            cascade=cascade,
            fit=fit,
        )
        write_atomic(self.path / MANIFEST, manifest.to_bytes())
        sync_folder(self.path.absolute().parent)
        self.current = Bundle.open(self.path)
        self._generation = manifest.generation
        self._sweep()
        _remove(self.path / WORK_FOLDER)
        logger.info("%s: committed generation %d with %d products", self.path, manifest.generation, products)
        return self.current

    def recommit(self, *, branches: Sequence[BranchRecord] | None = None, decision: Decision | None = None) -> Bundle:
        """Make the staged files the bundle's; all that the manifest says stays, but for what is given."""
        manifest = self.opened().manifest
        return self.commit(
            manifest.branches if branches is None else branches,
            products=manifest.products,
            decision=manifest.decision if decision is None else decision,
            resizer=manifest.resizer,
            cascade=manifest.cascade,
            fit=manifest.fit,
        )

    def _take_over(self, role: str, staged: Path, suffix: str) -> FileEntry:
        """Give a staged file the name that holds its hash."""
        sync_file(staged)
        digest = sha256_of(staged)
        name = f"{role}-{digest[:12]}{suffix}"
        entry = FileEntry(name, staged.stat().st_size, digest)
        if (self.path / name).is_dir():
            _remove(self.path / name)
        staged.replace(self.path / name)
        return entry

    def _named(self) -> set[str] | None:
        """The files of the manifest that lies there, None where none can be read. Not of `current`: an interrupt just after the
        manifest's rename finds the bundle changed and `current` as it was."""
        path = self.path / MANIFEST
        try:
            return {file.name for file in Manifest.from_bytes(path.read_bytes(), str(path)).files.values()}
        except (BundleError, OSError, MemoryError):
            return None

    def _sweep(self) -> None:
        """Remove what a killed writer staged, and files of versions before the current one."""
        named = self._named()
        for entry in self.path.iterdir():
            if _is_staged(entry.name) or (named is not None and _is_ours(entry.name) and entry.name not in named):
                _remove(entry)


def _is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, is that there was no room to write."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if _is_sqlite(error) and ("full" in str(error) or "disk I/O" in str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_sqlite(error: BaseException) -> bool:
    return type(error).__module__ == "sqlite3"  # not imported by every reader


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        import shutil  # only writers need it, and it loads three compressors

        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_ours(name: str) -> bool:
    """Whether a file bears a name that commit gives."""
    role, _, rest = name.partition("-")
    digest, dot, suffix = rest.partition(".")
    return (
        is_role(role)
        and len(digest) == 12
        and not set(digest) - set("0123456789abcdef")
        and dot + suffix in (*SUFFIXES.values(), ".tflite", ".onnx")
    )


def _is_staged(name: str) -> bool:
    """Whether a file is one that a writer was writing."""
    return name.startswith(_STAGING) or (name.endswith(".tmp") and name.startswith((f".{MANIFEST}.", f".{_STAGING}")))
