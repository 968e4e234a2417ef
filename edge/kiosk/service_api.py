"""Handlers about the service itself: health, readiness, metrics, the OpenAPI document, the page, the device's camera."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from .._version import __version__
from ..errors import CatalogError, ImageError, VectorError
from . import answers, documents
from .kiosk import Kiosk
from .pool import Busy
from .problems import Problem, busy
from .reading import body_of
from .shop_api import answered

PAGE: Final = Path(__file__).with_name("page")
_TYPES: Final = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".json": "application/json", ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json",
}  # fmt: skip
_MOST_VIEWERS: Final = 8
"""Pictures and answers count each: four screens."""
_OPENS_WITHIN_S: Final = 10.0
"""A camera that has said nothing for so long can't be used: network cameras take seconds to open, and that is no failure."""
_BOUNDARY: Final = b"shelfmatch-frame"
_SESSION: Final = "device camera"
"""No client can name it: the API takes no session with a space."""


class ServiceApi:
    """What is not about products."""

    def __init__(self, kiosk: Kiosk) -> None:
        self._kiosk = kiosk
        self._viewers = 0
        self.document: dict[str, Any] = {}

    async def health(self, request: Request) -> Response:
        """Whether the process answers at all."""
        return answered(documents.Health("ok"))

    async def ready(self, request: Request) -> Response:
        """What is being answered from, and what is wrong with a newer bundle, if it is."""
        kiosk = self._kiosk
        if kiosk.is_stopping:
            raise Problem("not-ready", "this kiosk is stopping")
        shop = kiosk.shop
        served, refused = shop.served, shop.refused
        overlay_damaged = shop.overlay is not None and shop.overlay.was_damaged
        is_well = refused is None and not served.composed.waiting and not overlay_damaged
        return answered(
            documents.Readiness(
                status="ready" if is_well else "degraded",
                bundle=served.bundle_id,
                generation=served.generation,
                products=served.snapshot.bundle.manifest.products,
                since=datetime.fromtimestamp(served.since, UTC).isoformat(timespec="seconds"),
                swaps=shop.swaps,
                refused=None if refused is None else documents.RefusedBundle(**refused.to_dict()),
                waiting=list(served.composed.waiting),
                is_overlay_damaged=overlay_damaged,
            )
        )

    async def metrics(self, request: Request) -> Response:
        """For Prometheus."""
        kiosk = self._kiosk
        served, metrics = kiosk.shop.served, kiosk.metrics
        metrics.swaps.set(kiosk.shop.swaps)
        metrics.generation.set(served.generation)
        metrics.bundle_refused.set(int(kiosk.shop.refused is not None))
        metrics.products.set(served.snapshot.bundle.manifest.products)
        metrics.inside.set(kiosk.pool.inside)
        metrics.waiting.set(kiosk.pool.waiting)
        metrics.sessions.set(len(kiosk.sessions))
        text = await kiosk.looked_up(metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, request: Request) -> Response:
        """This document."""
        return Response(msgspec.json.encode(self.document), media_type="application/json")

    async def settings(self, request: Request) -> Response:
        """What the page needs to know."""
        page, kiosk = self._kiosk.settings.page, self._kiosk
        return answered(
            documents.PageSettingsDocument(
                title=page.title,
                language=page.language,
                currency=page.currency,
                camera=page.camera,  # type: ignore[arg-type]
                has_device_camera=kiosk.camera is not None,
                mirror=page.mirror,
                idle_seconds=page.idle_seconds,
                has_staff=kiosk.gate is not None,
                has_bar_codes=answers.has_bar_codes(),
                keeps_unknowns=kiosk.unknowns is not None,
                version=__version__,
            )
        )

    async def page(self, request: Request) -> Response:
        """A file of the page, from memory."""
        name = request.path_params.get("file") or ("docs.html" if request.url.path == "/v1/docs" else "index.html")
        data = page_files().get(name)
        if data is None:
            raise Problem("not-found", f"there is no {name[:80]!r} here; the page is at /, the API at /v1/docs")
        headers = {"cache-control": "no-cache"}
        return Response(data, media_type=_TYPES[Path(name).suffix], headers=headers)

    async def stream(self, request: Request) -> Response:
        """The device's camera as MJPEG."""
        media = f"multipart/x-mixed-replace; boundary={_BOUNDARY.decode()}"
        return await self._viewed(request, self._frames(), media)

    async def stream_answers(self, request: Request) -> Response:
        """The answers to the device's camera, as server-sent events."""
        return await self._viewed(request, self._events(), "text/event-stream")

    async def _viewed(self, request: Request, content: AsyncIterator[bytes], media: str) -> Response:
        """A stream, which counts from now on: many that come at once would all find room if each counted from its first bytes. A
        body is waited for first: one that is too large or too slow can't be answered any more in the middle of a stream."""
        await body_of(request)
        if self._kiosk.camera is None:
            raise Problem("not-found", "this kiosk has no camera of its own; camera.source in its settings names one")
        if self._viewers >= _MOST_VIEWERS:
            raise busy(5, "viewers")
        self._viewers += 1
        return _Viewed(content, media, self._end_viewing)

    def _end_viewing(self) -> None:
        self._viewers -= 1

    async def _frames(self) -> AsyncIterator[bytes]:
        number = 0
        while not self._kiosk.is_stopping:
            number, frame = await self._newest(number)
            if frame is not None:
                head = b"--%s\r\ncontent-type: image/jpeg\r\ncontent-length: %d\r\n\r\n" % (_BOUNDARY, len(frame))
                yield head + frame + b"\r\n"

    async def _newest(self, number: int) -> tuple[int, bytes | None]:
        camera = self._kiosk.camera
        assert camera is not None
        # A thread of its own: waiting for a camera must not keep look-ups waiting.
        return await asyncio.to_thread(camera.newest, number)

    async def _events(self) -> AsyncIterator[bytes]:
        """One answer after the other; frames that come meanwhile are dropped."""
        kiosk, number = self._kiosk, 0
        query = documents.MatchQuery(bar_code=answers.has_bar_codes())
        since = time.monotonic()
        while not kiosk.is_stopping:
            number, frame = await self._newest(number)
            if frame is None:
                problem = "" if kiosk.camera is None else kiosk.camera.problem
                if problem or time.monotonic() - since > _OPENS_WITHIN_S:
                    yield b"event: problem\ndata: %s\n\n" % msgspec.json.encode(problem)
                continue
            since = time.monotonic()
            served = kiosk.shop.served
            try:
                with kiosk.sessions.taken(_SESSION, served.snapshot, kiosk.settings.answers.top_k, None) as session:
                    found = await kiosk.pool.run(
                        answers.answer_frame,
                        served,
                        frame,
                        query,
                        kiosk.sessions,
                        session,
                        kiosk.limits,
                        kiosk.picture_of,
                    )
            except (Busy, Problem):
                await asyncio.sleep(0.2)
                continue
            except (ImageError, VectorError, CatalogError):
                continue
            kiosk.metrics.decisions.labels(found.decision).inc()
            yield b"event: answer\ndata: %s\n\n" % msgspec.json.encode(found)
            await asyncio.sleep(1.0 if found.is_still else 0.05)


class _Viewed(StreamingResponse):
    """A stream; `end` is called once when it is over, also where the viewer left before its first bytes."""

    def __init__(self, content: AsyncIterator[bytes], media: str, end: Callable[[], None]) -> None:
        super().__init__(content, media_type=media, headers={"cache-control": "no-store"})
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()


@cache
def page_files() -> dict[str, bytes]:
    """The page's files by name; read once."""
    return {path.name: path.read_bytes() for path in sorted(PAGE.iterdir()) if path.suffix in _TYPES}
