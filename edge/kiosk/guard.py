"""Before any handler: who calls by which name and from which page, how large and how slow a request may be. ASGI.

After it: the headers that keep the page to itself.
"""

from __future__ import annotations

import asyncio
import logging
import re
import urllib.parse
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from .problems import Problem, busy
from .settings import ServerSettings

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::\d{1,5})?", re.ASCII)
_UNKNOWN_LENGTH: Final = 1 << 20
"""A body that doesn't say its length counts as so many bytes at first, and as so many more each time that they are reached."""
_LONGEST_PAUSE_S: Final = 2.0
HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
        b"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


@dataclass(slots=True)
class _Claim:
    """Bytes that a request has room for; `is_open`: it doesn't say how many there will be."""

    size: int = 0
    is_open: bool = False


class Guard:
    """Wraps an ASGI application. `port`: one that names may carry is any; the name is what counts. `pause_s`: for how long the
    connection of who was told to come again isn't read, in seconds."""

    def __init__(self, app: App, settings: ServerSettings, pause_s: Callable[[], float] = lambda: 0.0) -> None:
        self._app = app
        self._settings = settings
        self._pause_s = pause_s
        self._names = {*LOCAL_NAMES, *(name.lower() for name in settings.hosts)}
        self._receiving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        reply = _Reply(send, self._pause_s)
        claim = _Claim()
        try:
            headers = _single(scope["headers"])
            self._check_caller(headers, scope["method"])
            self._claim(claim, headers)
            await self._app(scope, self._limited(receive, claim), reply)
        except Problem as problem:
            await self._answer(scope, reply, problem)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            await self._answer(scope, reply, Problem("internal", "this is a fault of shelfmatch; its log says more"))
        finally:
            self._receiving -= claim.size
        await reply.end()

    def _check_caller(self, headers: dict[bytes, str], method: str) -> None:
        """Raise Problem for a name that isn't this kiosk's, and for another site's page: what a page on the web could make a
        shopper's or the shop's browser do (DNS rebinding, cross-site requests)."""
        found = _HOST.fullmatch(headers.get(b"host", ""))
        if found is None or found[1].lower() not in self._names:
            raise Problem(
                "host",
                f"Host {headers.get(b'host', '')[:80]!r} arrived; expected {', '.join(sorted(self._names))}, "
                "or add it to server.hosts",
            )  # fmt: skip
        origin = headers.get(b"origin")
        if origin is not None and _netloc(origin) != headers[b"host"].lower():
            raise Problem("origin", f"Origin {origin[:80]!r} arrived; expected this kiosk's own page, or no page")
        is_visit = method == "GET" and headers.get(b"sec-fetch-mode") == "navigate"
        if headers.get(b"sec-fetch-site") == "cross-site" and not is_visit:
            raise Problem("origin", "a page of another site asked; expected this kiosk's own page, or no page")

    def _claim(self, claim: _Claim, headers: dict[bytes, str]) -> None:
        """Room for the body, counted while it is there. Raises Problem."""
        text = headers.get(b"content-length", "")
        claim.is_open = not text.isdecimal() and b"transfer-encoding" in headers
        size = int(text) if text.isdecimal() else _UNKNOWN_LENGTH if claim.is_open else 0
        most = self._settings.body_bytes
        if size > most:
            raise Problem("too-large", f"{size:,} bytes arrived; at most {most:,} are taken, make the photo smaller")
        self._enlarge(claim, size)

    def _enlarge(self, claim: _Claim, size: int) -> None:
        """So many bytes more. Raises Problem where all requests together have no room for them."""
        if self._receiving + size > self._settings.memory_bytes:
            raise busy(2, "requests")
        self._receiving += size
        claim.size += size

    def _limited(self, receive: Receive, claim: _Claim) -> Receive:
        """Receive no more than was said, and no slower than is borne."""
        most = self._settings.body_bytes if claim.is_open else claim.size
        received, until, is_whole = 0, asyncio.get_running_loop().time() + self._settings.body_seconds, False

        async def limited() -> Message:
            nonlocal received, is_whole
            if is_whole:  # what comes now is the end of the connection, whenever that is
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                seconds = self._settings.body_seconds
                raise Problem("too-slow", f"the body wasn't whole after {seconds:g} s; send it faster") from None
            received += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if received > most:
                raise Problem("too-large", f"more than {most:,} bytes arrived; make the photo smaller")
            while received > claim.size:
                self._enlarge(claim, _UNKNOWN_LENGTH)
            return message

        return limited

    async def _answer(self, scope: Scope, reply: _Reply, problem: Problem) -> None:
        if reply.has_begun:  # too late for another status; uvicorn closes what isn't whole
            return
        body = problem.body(scope["path"])
        headers = {"content-length": str(len(body)), **problem.answer_headers()}
        encoded = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await reply({"type": "http.response.start", "status": problem.status, "headers": encoded})
        await reply({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class _Reply:
    """Sends, with this kiosk's headers, and knows whether it has begun.

    Who is told to come again has the whole answer at once, but its connection isn't read before the queue has been worked off:
    clients that don't wait would otherwise take the processor from the photos in work, by being refused hundreds of times a second.
    """

    def __init__(self, send: Send, pause_s: Callable[[], float]) -> None:
        self._send = send
        self.has_begun = False
        self._pause_of = pause_s
        self._pause_s = 0.0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            present = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(one for one in HEADERS if one[0] not in present)]
            if b"retry-after" in {name.lower() for name, _ in message["headers"]} and message["status"] == 503:
                self._pause_s = min(self._pause_of(), _LONGEST_PAUSE_S)
        elif self._pause_s and not message.get("more_body", False):
            message["more_body"] = True
        await self._send(message)

    async def end(self) -> None:
        """Of an answer that was held open."""
        if self._pause_s:
            await asyncio.sleep(self._pause_s)
            await self._send({"type": "http.response.body", "body": b""})


def _netloc(origin: str) -> str:
    """The name and port of an origin, "" where it has none."""
    try:
        return urllib.parse.urlsplit(origin).netloc.lower()
    except ValueError:  # "http://[": half an address of IPv6
        return ""


def _single(headers: list[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """Names and values; of one that came twice a value that fits nothing."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        text = value.decode("latin-1")
        found[name] = f"{found[name]},{text}" if name in found else text
    return found
