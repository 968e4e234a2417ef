"""Fetch a known encoder: resumed where a connection broke, verified, renamed when whole, and given its card."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final

from ..edge.encoders.infer_card import inspect_encoder
from ..edge.encoders.registry import encoders_folder, read_card
from ..edge.errors import EncoderError
from ..edge.files import chunks, sha256_of, sync_file, sync_folder, write_atomic
from ..edge.terminal import quiet_native
from ..export.cutting import cut
from .known import KnownEncoder

Advance = Callable[[int], None]

TIMEOUT_S: Final = 30
"""Without a byte for so long, the connection counts as broken; the next pull goes on from there."""
_CHUNK: Final = 1 << 16


def pull(
    encoder: KnownEncoder,
    folder: Path | None = None,
    mirror: str | os.PathLike[str] | None = None,
    advance: Advance = lambda size: None,
) -> Path:
    """Fetch `encoder` into `folder` (default: `edge.encoder.encoders_folder()`, where `--encoder NAME` finds it); its card.

    `mirror`: a folder, or an address to which the file's name is appended, in the place of the public address. `advance`
    hears of every piece, in bytes; where it begins again, of those thrown away, below zero. What is there already and whole
    is not fetched again.

    Raises EncoderError: nothing to fetch, no way to the address, a wrong file; nothing wrong is kept.
    """
    if encoder.kind in ("embedded", "own"):
        raise EncoderError(f"{encoder.name} is here already; use it with --encoder {encoder.name}")
    if encoder.kind == "export":
        raise EncoderError(f"{encoder.name} is made from a trained network, not fetched: {encoder.how()}")
    target = folder or encoders_folder()
    try:
        target.mkdir(parents=True, exist_ok=True)
        with _only_one(target, encoder.name):
            return _card(encoder, target) or _fetch_whole(encoder, target, mirror, advance)
    except OSError as error:
        raise EncoderError(
            f"{target} can't be written to ({error.strerror or error}); name a folder with --to"
        ) from error


@contextlib.contextmanager
def _only_one(folder: Path, name: str) -> Iterator[None]:
    """Two pulls into one folder could write into the same unfinished copy."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise EncoderError(f"another process is fetching into {folder} just now; try {name} again after it") from error
    finally:
        os.close(descriptor)


def _card(encoder: KnownEncoder, folder: Path) -> Path | None:
    """The card of an earlier pull, if what it stands for is still whole and of this very file."""
    path = folder / f"{encoder.name}.json"
    with contextlib.suppress(EncoderError, OSError):
        card, model = read_card(path)
        if sha256_of(model) == card.sha256 and encoder.sha256 in card.provenance:
            return path
    return None


def _fetch_whole(encoder: KnownEncoder, folder: Path, mirror: Any, advance: Advance) -> Path:
    part = folder / f".{encoder.file}.part"
    went_on = _fetch(encoder, part, mirror, advance)
    if went_on and sha256_of(part) != encoder.sha256:
        # What an earlier pull left may be of another place: this one is judged by its own bytes.
        advance(-part.stat().st_size)
        part.unlink()
        _fetch(encoder, part, mirror, advance)
    size, digest = part.stat().st_size, sha256_of(part)
    if (size, digest) != (encoder.size_bytes, encoder.sha256):
        part.unlink()
        raise EncoderError(
            f"{_place(encoder, mirror)} has {size:,} bytes and sha256 {digest[:12]}…, expected {encoder.size_bytes:,} and "
            f"{encoder.sha256[:12]}…: another file, or a damaged one; nothing was kept"
        )
    sync_file(part)
    model = folder / f"{encoder.name}.tflite"
    if encoder.output is None:
        part.replace(model)
    else:
        # The cut needs the suffix; the whole classifier is not kept.
        whole = part.with_suffix(".tflite")
        part.replace(whole)
        try:
            cut(whole, encoder.output, model)
        finally:
            whole.unlink()
    sync_folder(folder)
    with quiet_native():
        inspected = inspect_encoder(model)
    card = replace(
        inspected,
        name=encoder.name,
        resize=encoder.resize,  # type: ignore[arg-type]  # the card checks it
        license=encoder.license,
        provenance=f"{encoder.url}, sha256 {encoder.sha256}" + (f", cut at {encoder.output}" if encoder.output else ""),
    )
    path = folder / f"{encoder.name}.json"
    write_atomic(path, (json.dumps(card.to_dict(), indent=2) + "\n").encode())
    return path


def _place(encoder: KnownEncoder, mirror: Any) -> str:
    """Where the file is asked for."""
    if mirror is None:
        return encoder.url
    text = os.fspath(mirror)
    return f"{text.rstrip('/')}/{encoder.file}" if "://" in text else str(Path(text) / encoder.file)


def _fetch(encoder: KnownEncoder, part: Path, mirror: Any, advance: Advance) -> bool:
    """Make `part` whole; whether it went on with what an earlier pull left."""
    place = _place(encoder, mirror)
    if "://" not in place:
        pieces = _pieces(encoder, Path(place), mirror)
        piece = next(pieces, b"")  # an unfinished copy isn't given up for a file that can't be read
        with part.open("wb") as file:
            while piece:
                file.write(piece)
                advance(len(piece))
                piece = next(pieces, b"")
        return False
    if not place.startswith(("https://", "http://")):
        raise EncoderError(f"mirror {mirror} arrived; expected a folder or an address with http:// or https://")
    try:
        return _download(place, part, encoder, advance)
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
        ValueError,
        EOFError,
    ) as error:
        reason = getattr(error, "reason", None) or error
        raise EncoderError(
            f"{place} can't be fetched ({' '.join(str(reason).split())}); try again and it goes on from there, or name a "
            f"folder that has {encoder.file} with --mirror"
        ) from error


def _pieces(encoder: KnownEncoder, source: Path, mirror: Any) -> Iterator[bytes]:
    """A mirror folder's file. Its errors become EncoderError here, so that none is taken for one of writing."""
    try:
        if not source.is_file():
            raise EncoderError(f"mirror {mirror} has no {encoder.file}; expected a folder with that file")
        yield from chunks(source)
    except OSError as error:
        raise EncoderError(
            f"the mirror's file {source} can't be read ({error.strerror or error}); name another folder or an address with --mirror"
        ) from error


def _download(url: str, part: Path, encoder: KnownEncoder, advance: Advance) -> bool:
    """Append to `part` what it lacks; whether it had something that counted. Raises EOFError where the connection ends early,
    EncoderError where the server has a file of another size."""
    size = encoder.size_bytes
    have = part.stat().st_size if part.exists() else 0
    if have >= size:
        # Whole, or too long: the hash decides, and a wrong one is thrown away.
        advance(have)
        return True
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            whole = _whole_size(answer)
            if whole not in (None, size):
                part.unlink(missing_ok=True)
                raise EncoderError(
                    f"{url} has {whole:,} bytes, expected {size:,}: another file, a cut one, or a log-in page of this network; "
                    f"nothing was kept, name a folder or another address that has {encoder.file} with --mirror"
                )
            goes_on = answer.status == 206 and str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-")
            with part.open("ab" if goes_on else "wb") as file:
                advance(have if goes_on else 0)
                _copy(answer, file, size - file.tell(), advance)
    except urllib.error.HTTPError as error:
        if not have or error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # The server's file ends before `part` does: one of them is another file. Once more, without a range.
        error.close()
        part.unlink()
        return _download(url, part, encoder, advance)
    got = part.stat().st_size
    if got < size:
        raise EOFError(f"the connection ended after {got:,} of {size:,} bytes")
    return goes_on


def _whole_size(answer: Any) -> int | None:
    """How long the file is that an answer brings, or brings a part of; None where the server doesn't say."""
    if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
        told = str(answer.headers.get("Content-Range", "")).rpartition("/")[2]
    else:
        told = str(answer.headers.get("Content-Length", ""))
    return int(told) if told.strip().isdecimal() else None


def _copy(answer: IO[bytes], file: IO[bytes], most: int, advance: Advance) -> None:
    """At most one byte more than expected: enough to see that the file is another one."""
    left = most + 1
    while left > 0 and (piece := _read(answer, min(_CHUNK, left))):
        file.write(piece)
        left -= len(piece)
        advance(len(piece))


def _read(answer: IO[bytes], most: int) -> bytes:
    """From the network. Errors of its sockets, of TLS above all, are OSErrors as those of a full disk are: told apart here."""
    try:
        return answer.read(most)
    except OSError as error:
        raise urllib.error.URLError(error) from error
