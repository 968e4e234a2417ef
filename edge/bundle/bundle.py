"""A bundle on disk: a directory whose manifest names every other file by its content.

What is guaranteed when: opening checks the manifest against its own sha256 and the size of every file. Each file is hashed
whole the first time this process reads it, before anything from it can reach an answer. `verify` hashes all of them.

`writer` changes it. Whoever opened the old generation keeps it: open files outlive their names.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .. import arguments
from ..errors import BundleDamaged, BundleError
from ..files import sha256_of
from .manifest import FileEntry, Manifest, role_of, roles_of

MANIFEST = "manifest.json"
WORK_FOLDER = ".work"

Stamp = tuple[int, int, int]
_Read = TypeVar("_Read")


class Bundle:
    """One generation of a bundle: its manifest, and its files as they are asked for."""

    def __init__(self, path: Path, manifest: Manifest, stamp: Stamp) -> None:
        self.path = path
        self.manifest = manifest
        self.stamp = stamp

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Read the manifest and check every file's size; of the next generation, if a writer swept files in between. Raises
        BundleError, BundleDamaged or BundleVersion."""
        arguments.bundle_path(path)
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
            raise BundleError(not_a_bundle(folder)) from error
        bundle = cls(folder, Manifest.from_bytes(data, str(manifest_path)), stamp)
        files, branches = bundle.manifest.files, bundle.manifest.branches
        for role in roles_of(branches):
            if role not in files:
                raise BundleError(f"{manifest_path} names no {role} file; build the bundle again")
        for number, branch in enumerate(branches):
            if files[role_of("encoder", number)].sha256 != branch.encoder.sha256:
                raise BundleError(
                    f"{manifest_path}: the encoder file is not the one that made the vectors; build it again"
                )
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
    """What `read` makes of a bundle's files: of the next generation, if a writer swept them before they were opened. Raises
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


def not_a_bundle(folder: Path) -> str:
    """What a folder that can't be opened is, as far as can be seen: a message for BundleError."""
    try:
        if not folder.exists():
            return f"{folder} does not exist; expected a bundle made by shelfmatch build"
        os.scandir(folder).close()
        if (folder / MANIFEST).exists():
            (folder / MANIFEST).open("rb").close()
    except PermissionError as error:
        return f"{error.filename} can't be read: {error.strerror}; read it as a user who may"
    except OSError:  # a file: said below
        pass
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
