"""A bundle on disk: a directory whose manifest names every other file by its content.

What is guaranteed when: opening checks the manifest against its own sha256 and the size of every file. Each file is hashed
whole the first time this process reads it, before anything from it can reach an answer. `verify` hashes all of them.

How it changes: new files are written beside the old ones under names that hold their hash, synced, and then the manifest is
replaced in one rename. Whoever opened the old version keeps it: open files outlive their names. One writer at a time holds
a lock on the directory, which the system drops when the process dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from .._version import __version__
from ..encoders.encoder import renamed
from ..errors import BundleDamaged, BundleError, BundleLocked
from ..files import sha256_of, sync_file, sync_folder, write_atomic
from ..scoring.adapter import Adaptation
from .manifest import BUNDLE_VERSION, EncoderCard, FileEntry, IndexRecord, Manifest, SecondRecord

MANIFEST = "manifest.json"
WORK_FOLDER = ".work"
ENCODER_ROLES = ("encoder", "encoder2")
_STAGING = ".staging-"
_ROLES = ("encoder", "vectors", "catalog")
_OF_AN_ENCODER = {"vectors": ".vec", "adapter": ".adapter", "prototypes": ".vec"}
_SUFFIXES = {"catalog": ".sqlite", **_OF_AN_ENCODER, **{f"{role}2": suffix for role, suffix in _OF_AN_ENCODER.items()}}
"""Every bundle has an encoder, vectors and a catalogue; an adapter and prototypes where `adaptation` says so; with a second encoder
"encoder2", "vectors2" and so on."""

Stamp = tuple[int, int, int]
_Read = TypeVar("_Read")


class Bundle:
    """One version of a bundle: its manifest, and its files as they are asked for."""

    def __init__(self, path: Path, manifest: Manifest, stamp: Stamp) -> None:
        self.path = path
        self.manifest = manifest
        self.stamp = stamp

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Read the manifest and check every file's size; of the next version, if a writer swept files in between. Raises
        BundleError, BundleDamaged or BundleVersion."""
        folder = Path(path)
        while True:
            bundle = cls._of_manifest(folder)
            problems = (_size_problem(folder, entry) for entry in bundle.manifest.files.values())
            problem = next((one for one in problems if one), None)
            if problem is None:
                return bundle
            if not bundle.was_replaced():
                raise BundleDamaged(problem)

    @classmethod
    def _of_manifest(cls, folder: Path) -> Bundle:
        manifest_path = folder / MANIFEST
        try:
            stamp = read_stamp(folder)
            data = manifest_path.read_bytes()
        except OSError as error:
            raise BundleError(_not_a_bundle(folder)) from error
        bundle = cls(folder, Manifest.from_bytes(data, str(manifest_path)), stamp)
        second = bundle.manifest.second
        for role in roles_of(bundle.manifest.adaptation, second):
            if role not in bundle.manifest.files:
                raise BundleError(f"{manifest_path} names no {role} file; build the bundle again")
        made_by = (
            {"encoder": bundle.manifest.encoder}
            if second is None
            else {"encoder": bundle.manifest.encoder, "encoder2": second.encoder}
        )
        if any(bundle.manifest.files[role].sha256 != card.sha256 for role, card in made_by.items()):
            raise BundleError(f"{manifest_path}: the encoder file is not the one that made the vectors; build it again")
        return bundle

    def was_replaced(self) -> bool:
        """Whether there is another manifest by now: then a file that is missing is none of today's version."""
        try:
            return read_stamp(self.path) != self.stamp
        except OSError:  # no manifest: nothing took this version's place
            return False

    def file(self, role: str) -> Path:
        """Where the file of a role lies."""
        return self.path / self.manifest.files[role].name

    def entry(self, role: str) -> FileEntry:
        """Name, size and sha256 of the file of a role."""
        return self.manifest.files[role]

    def read(self, role: str) -> bytes:
        """A file's bytes, hashed. Raises BundleDamaged."""
        entry = self.entry(role)
        try:
            data = self.file(role).read_bytes()
        except OSError as error:
            raise BundleDamaged(f"{self.file(role)} can't be read: {error}; copy or build the bundle again") from error
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleDamaged(_differs(self.file(role)))
        return data

    def check(self, role: str) -> Path:
        """Hash a file without keeping it. Raises BundleDamaged."""
        path = self.file(role)
        try:
            digest = sha256_of(path)
        except OSError as error:
            raise BundleDamaged(f"{path} can't be read: {error}; copy or build the bundle again") from error
        if digest != self.entry(role).sha256:
            raise BundleDamaged(_differs(path))
        return path

    def verify(self) -> list[str]:
        """Hash every file; one line for each that isn't as built, none when all are."""
        problems = []
        for role in self.manifest.files:
            try:
                self.check(role)
            except BundleDamaged as error:
                problems.append(str(error))
        return problems


def read_whole(path: str | os.PathLike[str], read: Callable[[Bundle], _Read]) -> _Read:
    """What `read` makes of a bundle's files: of the next version, if a writer swept them before they were opened. Raises
    BundleError and its kin, and what else `read` raises."""
    while True:
        bundle = Bundle.open(path)
        try:
            return read(bundle)
        except (BundleDamaged, OSError) as error:
            if bundle.was_replaced():
                continue
            if isinstance(error, OSError):
                raise BundleDamaged(f"{error.filename} can't be read: {error.strerror}") from error
            raise


def read_stamp(folder: Path) -> Stamp:
    """What changes whenever the manifest is replaced: inode, time of change and size. Two microseconds."""
    info = os.stat(f"{folder}/{MANIFEST}")  # noqa: PTH116  (Path.stat costs three times as much, on every match)
    return info.st_ino, info.st_mtime_ns, info.st_size


def _not_a_bundle(folder: Path) -> str:
    if not folder.exists():
        return f"{folder} does not exist; expected a bundle made by shelfmatch build"
    if (folder / WORK_FOLDER).is_dir():
        return f"{folder} is a bundle whose build did not finish; run the same build again, it goes on where it stopped"
    return f"{folder} is not a bundle: it has no readable {MANIFEST}; expected a directory made by shelfmatch build"


def _size_problem(folder: Path, entry: FileEntry) -> str | None:
    path = folder / entry.name
    if Path(entry.name).name != entry.name:
        return f"{folder / MANIFEST} names {entry.name!r}, which lies elsewhere; build the bundle again"
    try:
        info = path.stat()
    except OSError:
        return f"{path} is missing; copy or build the bundle again"
    if not stat.S_ISREG(info.st_mode):
        return f"{path} is damaged: it is not a file; copy or build the bundle again"
    if info.st_size != entry.size_bytes:
        return f"{path} is damaged: {info.st_size} bytes, expected {entry.size_bytes}; copy or build the bundle again"
    return None


def _differs(path: Path) -> str:
    return f"{path} is damaged: its sha256 differs from the manifest's; copy or build the bundle again"


def roles_of(adaptation: Adaptation, second: SecondRecord | None = None) -> tuple[str, ...]:
    """The files that a bundle of this adaptation, and perhaps of a second encoder, has."""
    adapter = ("adapter",) if adaptation.method != "none" else ()
    own = *_ROLES, *adapter, *(("prototypes",) if adaptation.scoring == "prototype" else ())
    if second is None:
        return own
    return *own, *(f"{role}2" for role in roles_of(second.adaptation) if role != "catalog")


class BundleWriter:
    """Changes a bundle, or makes one, holding its lock.

    with BundleWriter(path) as writer:
        …write to writer.stage("vectors") and writer.stage("catalog")…
        writer.commit(…)

    Leaving without commit, or dying at any point, leaves the bundle as it was. `existing`: only a whole bundle can be
    changed; without, one is made, and one that is there is replaced even if it is damaged.
    """

    def __init__(self, path: str | os.PathLike[str], *, existing: bool = False) -> None:
        self.path = Path(path)
        self.current: Bundle | None = None
        self._existing = existing
        self._generation = 0
        self._lock = -1
        self._was_empty = False

    def __enter__(self) -> BundleWriter:
        if self._existing and not (self.path / MANIFEST).exists():
            raise BundleError(_not_a_bundle(self.path))
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
            with contextlib.suppress(OSError):  # a work folder with something in it stays
                (self.path / WORK_FOLDER).rmdir()
            if self.current is None and not self._was_empty and not (self.path / MANIFEST).exists():
                with contextlib.suppress(OSError):  # a build that came to nothing leaves nothing
                    self.path.rmdir()
        finally:
            os.close(self._lock)  # drops the lock

    def _take_lock(self) -> None:
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
                if isinstance(error, BlockingIOError):
                    raise BundleLocked(
                        f"{self.path} is being changed by another process; wait for it to finish"
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
            raise BundleError(_not_a_bundle(self.path))
        return self.current

    def work_folder(self) -> Path:
        """A place for what an interrupted build can use again; gone after commit."""
        folder = self.path / WORK_FOLDER
        folder.mkdir(exist_ok=True)
        return folder

    def stage(self, role: str) -> Path:
        """Where to write the next version's file of a role: see `roles_of`."""
        return self.path / f"{_STAGING}{role}"

    def commit(
        self,
        *,
        encoder: EncoderCard,
        index: IndexRecord,
        products: int,
        decision: Mapping[str, Any],
        adaptation: Adaptation,
        resizer: Literal["pillow", "opencv"],
        second: SecondRecord | None = None,
    ) -> Bundle:
        """Make the staged files the bundle's. Roles that weren't staged keep the file they have, if they are still needed."""
        files: dict[str, FileEntry] = {} if self.current is None else dict(self.current.manifest.files)
        suffixes = {**_SUFFIXES, "encoder": f".{encoder.format}"}
        if second is not None:
            suffixes["encoder2"] = f".{second.encoder.format}"
        roles = roles_of(adaptation, second)
        for role, suffix in suffixes.items():
            staged = self.path / f"{_STAGING}{role}"
            if not staged.exists():
                continue
            sync_file(staged)
            digest = sha256_of(staged)
            name = f"{role}-{digest[:12]}{suffix}"
            files[role] = FileEntry(name, staged.stat().st_size, digest)
            if (self.path / name).is_dir():
                _remove(self.path / name)
            staged.replace(self.path / name)
        sync_folder(self.path)
        if second is not None:
            second = replace(second, encoder=renamed(second.encoder, files["encoder2"].name))
        manifest = Manifest(
            generation=self._generation + 1,
            created_by=f"shelfmatch {__version__}",
            files={role: files[role] for role in roles},
            encoder=renamed(encoder, files["encoder"].name),
            index=index,
            products=products,
            decision=decision,
            adaptation=adaptation,
            resizer=resizer,
            second=second,
        )
        write_atomic(self.path / MANIFEST, manifest.to_bytes())
        sync_folder(self.path.absolute().parent)
        self.current = Bundle.open(self.path)
        self._generation = manifest.generation
        self._sweep()
        _remove(self.path / WORK_FOLDER)
        return self.current

    def _sweep(self) -> None:
        """Remove what a killed writer staged, and files of versions before the current one."""
        named = None if self.current is None else {file.name for file in self.current.manifest.files.values()}
        for entry in self.path.iterdir():
            if _is_staged(entry.name) or (named is not None and _is_ours(entry.name) and entry.name not in named):
                _remove(entry)


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
        role in (*ENCODER_ROLES, *_SUFFIXES)
        and len(digest) == 12
        and not set(digest) - set("0123456789abcdef")
        and dot + suffix in (*_SUFFIXES.values(), ".tflite", ".onnx")
    )


def _is_staged(name: str) -> bool:
    """Whether a file is one that a writer was writing."""
    return name.startswith(_STAGING) or (name.endswith(".tmp") and name.startswith((f".{MANIFEST}.", f".{_STAGING}")))
