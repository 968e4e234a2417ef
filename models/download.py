"""A file over HTTP, resumed where a connection broke: what is there already is not fetched again."""

from __future__ import annotations

import http
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from ..edge.errors import EncoderError

Advance = Callable[[int], None]
"""Hears of every piece, in bytes; where it begins again, of those thrown away, below zero."""

TIMEOUT_S: Final = 30
"""Without a byte for so long, the connection counts as broken; the next download goes on from there."""
_CHUNK: Final = 1 << 16


class DownloadError(EncoderError):
    """The file can't be had from this address; what has arrived is kept, the next download goes on from there."""


class WrongSize(EncoderError):
    """The server's file has another size than expected; nothing is kept."""


def download(url: str, part: Path, size: int, advance: Advance = lambda size: None) -> bool:
    """Append to `part` what it lacks of the `size` bytes at `url`; whether it had something that counted.

    `part` is then `size` bytes long, or longer by what shows that it is another file: hold it against a hash before using it.
    A `part` that is long enough already is left alone. Raises DownloadError for a wrong address, a server that refuses, or a
    connection that breaks; WrongSize; OSError where `part` can't be written.
    """
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"{url} arrived; expected an address with http:// or https://")
    try:
        return _resume(url, part, size, advance)
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
        ValueError,
        EOFError,
    ) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"{url} can't be fetched ({' '.join(str(reason).split())})") from error


def _resume(url: str, part: Path, size: int, advance: Advance) -> bool:
    """`download`, with the errors of the network as they come; EOFError where the connection ends early."""
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
                raise WrongSize(
                    f"{url} has {whole:,} bytes, expected {size:,}: another file, a cut one, or a log-in page of this network; "
                    "nothing was kept"
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
        return _resume(url, part, size, advance)
    got = part.stat().st_size
    if got < size:
        raise EOFError(f"the connection ended after {got:,} of {size:,} bytes")
    return goes_on


def _whole_size(answer: Any) -> int | None:
    """How long the file is that an answer brings, or brings a part of; None where the server doesn't say."""
    if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
        stated = str(answer.headers.get("Content-Range", "")).rpartition("/")[2]
    else:
        stated = str(answer.headers.get("Content-Length", ""))
    return int(stated) if stated.strip().isdecimal() else None


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
