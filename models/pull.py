"""Fetch a known encoder: resumed where a connection broke, verified, renamed when whole, and given its card."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..edge.encoders.infer_card import inspect_encoder
from ..edge.encoders.registry import encoders_folder, read_card
from ..edge.errors import EncoderError
from ..edge.files import chunks, sha256_of, sync_file, sync_folder, write_atomic
from ..edge.terminal import quiet_native
from ..export.cutting import cut
from .download import Advance, DownloadError, WrongSize, download
from .known import KnownEncoder


def pull(
    encoder: KnownEncoder,
    folder: Path | None = None,
    mirror: str | os.PathLike[str] | None = None,
    advance: Advance = lambda size: None,
) -> Path:
    """Fetch `encoder` into `folder` (default: `registry.encoders_folder()`, where `--encoder NAME` finds it); its card.

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
        return download(place, part, encoder.size_bytes, advance)
    except WrongSize as error:
        raise EncoderError(
            f"{error}, name a folder or another address that has {encoder.file} with --mirror"
        ) from error
    except DownloadError as error:
        raise EncoderError(
            f"{error}; try again and it goes on from there, or name a folder that has {encoder.file} with --mirror"
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
