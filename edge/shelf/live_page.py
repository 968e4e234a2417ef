"""The live page of a watch, for this device alone: the taught photo with the slots' states over it, and the same as JSON.

It shows the photo that was taught, never what the camera sees now: nobody who passes is on it.
"""

from __future__ import annotations

import html
import io
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from ..errors import ShelfError
from .draw import drawn
from .service import ShelfService

logger = logging.getLogger(__name__)

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;margin:1rem;color:#222;background:#fff}}img{{max-width:100%}}
table{{border-collapse:collapse}}td,th{{padding:.2rem .8rem;border-bottom:1px solid #ccc;text-align:left}}</style>
<h1>{title}</h1><p>Camera: <strong>{camera}</strong>{problem}</p>
<img src="/shelf.jpg" alt="The taught photo with each slot's state">
<table><tr><th>Slot<th>State<th>View<th>Facings<th>Expected<th>Instead</tr>{rows}</table>
</html>
"""


def start_page(service: ShelfService, port: int) -> ThreadingHTTPServer:
    """Serve the page on loopback from a thread of its own. Raises ShelfError where the port can't be had."""

    class Handler(BaseHTTPRequestHandler):
        """One request; only names of this device are answered (DNS rebinding)."""

        def do_GET(self) -> None:
            if not is_of_this_device(self.headers.get("Host")):
                self.send_error(403, "only this device is answered")
                return
            answer = _answer(service, self.path)
            if answer is None:
                self.send_error(404)
                return
            kind, data = answer
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Security-Policy", "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            logger.debug(format, *args)

    server = listening(port, Handler)
    threading.Thread(target=server.serve_forever, name="shelfmatch-page", daemon=True).start()
    return server


def listening(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """A server on loopback. Raises ShelfError where the port can't be had."""
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ShelfError(f"127.0.0.1:{port} can't be listened at: {reason}; expected a free port (--port)") from error
    server.daemon_threads = True
    return server


def is_of_this_device(host: str | None) -> bool:
    """Whether a request's Host header names loopback: a page of another site that points its name here doesn't (DNS rebinding)."""
    name = (host or "").rpartition(":")[0] or (host or "")
    return name in LOOPBACK


def _answer(service: ShelfService, path: str) -> tuple[str, bytes] | None:
    # A problem may name a path that isn't UTF-8; it comes as escapes, that JSON has, too.
    if path == "/status.json":
        return "application/json", json.dumps(service.status(), ensure_ascii=False).encode(errors="backslashreplace")
    if path == "/shelf.jpg":
        return "image/jpeg", _picture(service)
    if path == "/":
        return "text/html; charset=utf-8", _page(service).encode(errors="backslashreplace")
    return None


def _picture(service: ShelfService) -> bytes:
    plan, photo, slots = service.shown()
    states = {one["id"]: one["state"] if one["view"] == "clear" else one["view"] for one in slots}
    target = io.BytesIO()
    drawn(plan, photo, states).save(target, "JPEG", quality=80)
    return target.getvalue()


def _page(service: ShelfService) -> str:
    status = service.status()
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}" for cell in (
            one["id"], one["state"], one["view"], f"{one['facings']} of {one['of']}", one["expected"], one.get("by", ""),
        )) + "</tr>" for one in status["slots"]
    )  # fmt: skip
    problem = f"; {html.escape(status['problem'])}" if status["problem"] else ""
    return _PAGE.format(
        title=html.escape(status["plan"]), camera=html.escape(status["camera"]), problem=problem, rows=rows
    )
