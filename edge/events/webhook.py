"""Events by HTTP: one POST each, as the Standard Webhooks specification has them (standardwebhooks.com), signed if wanted.

The receiver drops what arrives twice by the header `webhook-id`. urllib is enough: one small request at a time, no redirects.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from .._version import __version__
from ..errors import EventError
from .delivery import NotDelivered, Outcome, checked_seconds, is_host
from .entry import Entry

DEFAULT_TIMEOUT_S: Final = 15.0
"""Standard Webhooks recommends 15 to 30 s."""
_SECRET: Final = "whsec_"
_TRY_AGAIN: Final = (404, 408, 409, 423, 425, 429)
"""A receiver that is being set up or is busy; any other 4xx means that this message will never be taken."""
_LONGEST_WISH_S: Final = 3600.0
_NAMED: Final = re.compile(r"[\w.:%-]*")
"""A host that can be shown."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where events go. `secret`: `whsec_` and base64 of 24 to 64 bytes, or empty for no signature. Raises EventError."""

    url: str
    secret: str = ""
    timeout_s: float = DEFAULT_TIMEOUT_S

    def __post_init__(self) -> None:
        if not _is_address(self.url):
            raise EventError(
                f"{self.place or 'an odd address'} arrived as a webhook; expected https://HOST/PATH or https://HOST:PORT/PATH "
                "without a user name, a password or a space, the path in ASCII"
            )
        checked_seconds("the webhook's timeout", self.timeout_s, 0.1, 300)
        self._key()

    @property
    def place(self) -> str:
        """The address without its path, which may be a secret; empty where it can't be taken apart."""
        parts = _parts(self.url)
        if parts is None:
            return ""
        host = parts.hostname or ""
        host = host if _NAMED.fullmatch(host) else ""  # a mistyped address may have its path in there
        return f"{parts.scheme}://{host}" + (f":{parts.port}" if _port(parts) else "")

    @property
    def name(self) -> str:
        """What the log calls this receiver: the same for the same address, which can't be read from it."""
        return f"webhook {self.place} {hashlib.sha256(self.url.encode()).hexdigest()[:8]}"

    def _key(self) -> bytes:
        if not self.secret:
            return b""
        try:
            key = base64.b64decode(self.secret.removeprefix(_SECRET), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not self.secret.startswith(_SECRET) or not 24 <= len(key) <= 64:
            raise EventError("the webhook's secret can't be used; expected whsec_ and base64 of 24 to 64 bytes")
        return key

    def headers(self, entry: Entry, body: bytes, time_s: int) -> dict[str, str]:
        """Of one request, signed for this time."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"shelfmatch/{__version__}",
            "webhook-id": entry.message_id,
            "webhook-timestamp": str(time_s),
        }
        if key := self._key():
            signed = f"{entry.message_id}.{time_s}.".encode() + body
            digest = hmac.new(key, signed, hashlib.sha256).digest()
            headers["webhook-signature"] = "v1," + base64.b64encode(digest).decode()
        return headers

    def send(self, entry: Entry) -> Outcome:
        """Take one entry there. Raises NotDelivered where it should be tried again."""
        body = json.dumps(entry.to_dict(), ensure_ascii=False, allow_nan=False).encode()
        request = urllib.request.Request(self.url, body, self.headers(entry, body, int(time.time())), method="POST")
        try:
            with _OPENER.open(request, timeout=self.timeout_s) as answer:
                answer.read(1 << 16)
        except urllib.error.HTTPError as error:
            with error:
                return self._judged(error)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise NotDelivered(f"{self.place} can't be reached: {reason}") from error
        return "arrived"

    def _judged(self, error: urllib.error.HTTPError) -> Outcome:
        if 400 <= error.code < 500 and error.code not in _TRY_AGAIN:
            return "refused"
        wish = _seconds_of(error.headers.get("Retry-After", ""))
        raise NotDelivered(f"{self.place} answered {error.code}; expected 2xx", wish)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry events, and their signature, to a place that nobody named."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(_NoRedirect)


def _parts(url: str) -> urllib.parse.SplitResult | None:
    try:
        return urllib.parse.urlsplit(url)
    except ValueError:  # its message may show what is secret
        return None


def _is_address(url: str) -> bool:
    """Whether urllib can post there: it raises for a space, and says the whole path then."""
    parts = _parts(url)
    if parts is None or parts.scheme not in ("http", "https"):
        return False
    if "@" in parts.netloc or not is_host(parts.hostname or ""):
        return False
    return _port(parts) != 0 and f"{parts.path}?{parts.query}".isascii() and url.isprintable() and " " not in url


def _port(parts: urllib.parse.SplitResult) -> int | None:
    """None where there is none, 0 for one that can't be: 99999, or no number."""
    try:
        return parts.port
    except ValueError:
        return 0


def _seconds_of(text: str) -> float:
    """What Retry-After asks for (RFC 9110, 10.2.3), 0 where it is absent or can't be read."""
    try:
        wish = float(text) if text.strip().isdecimal() else parsedate_to_datetime(text).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):  # OverflowError: an offset of more days than there are
        return 0.0
    return min(max(wish, 0.0), _LONGEST_WISH_S)
