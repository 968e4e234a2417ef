"""Files that survive a kill at any moment, and the hashes that prove it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

from .errors import BundleDamaged, BundleError

_CHUNK = 1 << 20
_NAME_BYTES = 255
"""Longest name of a file on Linux, macOS and Windows (limits.h NAME_MAX on the first)."""
SQLITE_PATH_BYTES = 512
"""Longest path that SQLite opens, with the "-journal" that it keeps room for (MAX_PATHNAME in its os_unix.c)."""

OutputKind: TypeAlias = Literal["page", "picture", "measurement", "settings", "table", "state"]


def write_atomic(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write beside, sync, rename: after a kill or a power cut, `path` has the old bytes or the new ones, whole. `mode`: who may
    read it, from its first byte on (default: as the process's umask says)."""
    with replacing(path, mode) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def write_together(files: Sequence[tuple[Path, bytes]]) -> None:
    """Write files that belong to one another, all beside and synced before the first is renamed: a disk that fills up leaves the
    old ones. They are renamed at once, in this order: after a kill in between, the later ones are old ones."""
    with contextlib.ExitStack() as opened:
        for path, data in reversed(files):  # the stack renames the last one first
            file = opened.enter_context(replacing(path))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    for folder in {path.parent for path, _ in files}:
        sync_folder(folder)


@contextmanager
def replacing(path: Path, mode: int | None = None) -> Iterator[BinaryIO]:
    """A file to write beside `path`, which takes its name at the end. Whoever has the old one open keeps it. `mode`: who may read
    it, as for `write_atomic`. An OSError names `path`, which its reader knows, and not the file beside it."""
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    if len(os.fsencode(temporary.name)) > _NAME_BYTES:  # the name itself may be just short enough
        temporary = path.with_name(f".{os.urandom(12).hex()}.tmp")
    try:
        with open(
            temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o666 if mode is None else mode)
        ) as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)  # what the umask took away
            yield file
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and str(error.filename) in ("None", str(temporary)):
            error.filename = str(path)
            del error.filename2  # None would be shown as another name
        raise


def check_can_write(given: str | os.PathLike[str]) -> None:
    """Before long work whose result goes there: whether `write_atomic` could write this file now. Raises OSError that names it
    and says what is wrong with it."""
    name = os.fspath(given)
    path = Path(name)
    if path.is_dir() or path.name in ("", "..") or name.endswith("/"):
        raise OSError(errno.EISDIR, "a folder arrived; expected the name of a file to write", name or "''")
    if not path.parent.is_dir():
        raise OSError(errno.ENOENT, f"{path.parent} is no folder; make it first", name)
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is a device or a pipe; expected the name of a file to write", name)
    try:
        with contextlib.suppress(_Probed), replacing(path):
            raise _Probed
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; name a file that can be written", name) from error


def check_output(
    given: str | os.PathLike[str], kind: OutputKind, inputs: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Before anything is read or written: whether an output can be written and destroys nothing. `inputs`: files that the command
    reads, which the output may not be, under whatever spelling or link. What lies there already must be empty or of the same
    `kind`; a page or a picture must have been written by shelfmatch: it may be anybody's. Raises OSError that names the output
    and says what is wrong."""
    check_can_write(given)
    path = Path(given)
    if not path.exists():
        return
    if any(_is_same(path, one) for one in inputs):
        raise FileExistsError(errno.EEXIST, "it is also an input; name another file to write", os.fspath(given))
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT)
        file.seek(max(len(head), path.stat().st_size - _LOOKED_AT))
        tail = file.read(_LOOKED_AT)
    what, is_kind = _KINDS[kind]
    if head and not (is_kind(head) and (kind not in _MARKED or MADE_BY in head + tail)):
        made = f"no {what} that shelfmatch wrote" if kind in _MARKED else f"no {what}"
        message = f"a file that is {made} is there already; name another file to write, or remove this one"
        raise FileExistsError(errno.EEXIST, message, os.fspath(given))


def _is_same(path: Path, other: str | os.PathLike[str]) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):  # an input that isn't there, or is no path at all
        return False


MADE_BY = b"shelfmatch"
"""Stands in pages and pictures that this program writes, near the beginning or, as WebP has it, the end."""
_MARKED: tuple[OutputKind, ...] = ("page", "picture")
_LOOKED_AT = 4096
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")
_KINDS: dict[OutputKind, tuple[str, Callable[[bytes], bool]]] = {
    "page": (
        "HTML page",
        lambda head: head.lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower().startswith((b"<!doctype html", b"<html")),
    ),
    "picture": ("picture", lambda head: head.startswith(_PICTURES)),
    "measurement": (
        "result of shelfmatch bench",
        lambda head: head.lstrip()[:1] == b"{" and b"shelfmatch-bench" in head,
    ),
    "settings": ("settings", lambda head: b"version" in head and b"=" in head),
    "table": (
        "table of shelfmatch",
        lambda head: head.startswith((b"\xef\xbb\xbfimage,kind,row,place,", b"\xef\xbb\xbfevent,kind,slot,sku,")),
    ),
    # One of which a power cut left zeros is damaged, and still nobody else's.
    "state": (
        "state of a watch",
        lambda head: not head.strip(b"\0") or (head[:4] == b"PK\3\4" and b"record.npy" in head[:64]),
    ),
}
"""What each kind is called, and how a file of it begins."""


def check_sqlite_path(path: Path) -> None:
    """Whether SQLite can open a file there, and the ones that it writes beside it. Raises BundleError."""
    size = len(os.fsencode(path.absolute())) + len("-journal")
    if size > SQLITE_PATH_BYTES:
        raise BundleError(
            f"{path.parent} has a path of {len(os.fsencode(path.parent.absolute()))} bytes, too long for the catalogue in it; "
            f"choose a shorter one (SQLite opens paths of up to {SQLITE_PATH_BYTES} bytes)"
        )


class _Probed(Exception):
    """Leaves a file that is only tried."""


def shown_name(name: str) -> str:
    """A file's name that any document can hold: what isn't UTF-8 as escapes."""
    return name.encode(errors="backslashreplace").decode()


def sync_file(path: Path) -> None:
    """Push a finished file's bytes to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Push a folder's names to the disk, so that a rename outlives a power cut."""
    sync_file(folder)


def chunks(path: Path, size: int = _CHUNK) -> Iterator[bytes]:
    """A file's bytes, piece by piece: read, not mapped, so that they don't stay in this process's memory."""
    with path.open("rb", buffering=0) as file:
        while piece := file.read(size):
            yield piece


def sha256_of(path: Path) -> str:
    """The file's sha256, hexadecimal."""
    digest = hashlib.sha256()
    for piece in chunks(path):
        digest.update(piece)
    return digest.hexdigest()


class HashedReader:
    """A file read front to back once, piece by piece, hashed on the way."""

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self._path = path
        self._file = file
        self._digest = hashlib.sha256()

    def take(self, size: int) -> bytearray:
        """Exactly `size` bytes. Raises BundleDamaged where the file ends before."""
        data = bytearray(size)
        view, filled = memoryview(data), 0
        while filled < size:
            count = self._file.readinto(view[filled:])
            if not count:
                raise BundleDamaged(f"{self._path} is damaged: it ends too early; copy or build the bundle again")
            filled += count
        self._digest.update(data)
        return data

    def blocks(self, total: int, size: int) -> Iterator[bytearray]:
        """`total` bytes in pieces of `size`."""
        while total > 0:
            yield self.take(min(size, total))
            total -= size

    def finish(self) -> str:
        """Read what is left, and give the sha256 of it all."""
        while piece := self._file.read(_CHUNK):
            self._digest.update(piece)
        return self._digest.hexdigest()
