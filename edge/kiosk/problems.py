"""Errors of the API as problem documents (RFC 9457): what arrived, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

MEDIA_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: the HTTP status and the title that goes with it."""

    status: int
    title: str


KINDS: Final[dict[str, Kind]] = {
    "invalid": Kind(422, "The request isn't what was expected"),
    "photo": Kind(422, "The photo can't be read"),
    "not-found": Kind(404, "There is no such thing here"),
    "method": Kind(405, "This method isn't offered here"),
    "host": Kind(421, "This kiosk isn't called by that name"),
    "origin": Kind(403, "Another page may not ask this kiosk"),
    "too-large": Kind(413, "The request is too large"),
    "too-slow": Kind(408, "The request came too slowly"),
    "media": Kind(415, "This kind of content isn't taken"),
    "code": Kind(401, "A staff code is needed"),
    "staff-off": Kind(403, "This kiosk has no staff mode"),
    "attempts": Kind(429, "Too many wrong staff codes"),
    "frames": Kind(429, "A frame of this session is still in work"),
    "conflict": Kind(409, "That can't be done to this product"),
    "busy": Kind(503, "Busy"),
    "not-ready": Kind(503, "Not ready"),
    "storage": Kind(507, "There is no room to keep that"),
    "internal": Kind(500, "A fault of this program"),
}
"""Last part of `type` → its kind; the page /v1/docs lists them."""


_ENDING: Final = frozenset({"too-large", "too-slow", "host", "origin"})
"""A client that is only told to come again keeps its connection: to open another costs both more than the answer."""


class ProblemDocument(msgspec.Struct):
    """A problem document, RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = ""


class Problem(Exception):
    """Answered as a problem document. `headers`: what else the answer says, Retry-After for one."""

    def __init__(self, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        return KINDS[self.kind].status

    def answer_headers(self) -> dict[str, str]:
        """Of the answer. Where a body may still be on its way, the connection ends with it: nobody reads the rest."""
        ending = {"connection": "close"} if self.kind in _ENDING else {}
        return {"content-type": MEDIA_TYPE, "cache-control": "no-store", **ending, **self.headers}

    def body(self, path: str) -> bytes:
        """The document, as the answer to a request for this path."""
        kind = KINDS[self.kind]
        return msgspec.json.encode(ProblemDocument(f"/v1/docs#{self.kind}", kind.title, kind.status, self.detail, path))


def busy(retry_s: int, what: str = "photos") -> Problem:
    """503 with Retry-After."""
    return Problem(
        "busy",
        f"as many {what} as this kiosk takes are in work; come again in {retry_s} s",
        {"Retry-After": str(retry_s)},
    )
