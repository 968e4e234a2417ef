"""`shelf edit`: a page for this device alone, on which a plan's corners are dragged and its slots named."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from PIL import Image

from ..errors import ShelfError
from .live_page import is_of_this_device, listening
from .planogram import Planogram, planogram_of, read_planogram
from .teach import photos_of

_MOST_BYTES: Final = 4 << 20
_PAGES: Final = {
    "/": ("edit.html", "text/html; charset=utf-8"),
    "/edit.js": ("edit.js", "text/javascript; charset=utf-8"),
}
_POLICY: Final = (
    "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'"
)


class PlanEditor:
    """One plan that is edited. Raises ShelfError where it has no photo to edit on.

    `skus`: those of the shop, to choose from."""

    def __init__(self, path: Path, skus: Sequence[str] = ()) -> None:
        self.path, self.skus = path, list(skus)
        plan = read_planogram(path)
        target = io.BytesIO()
        Image.fromarray(photos_of(plan)[0]).save(target, "JPEG", quality=88)
        self.photo = target.getvalue()

    def document(self) -> dict[str, Any]:
        """What the page begins with."""
        plan = read_planogram(self.path)
        return {"plan": plan.to_document(), "skus": self.skus or list(plan.skus)}

    def take(self, data: bytes) -> Planogram:
        """Check an edited plan and write it, whole or not at all. New SKUs join its products. Raises ShelfError."""
        try:
            document = json.loads(data)
        except ValueError as error:
            raise ShelfError(f"no JSON arrived: {error}; expected a plan") from error
        body = document.get("planogram") if isinstance(document, dict) else None
        if (
            isinstance(body, dict)
            and isinstance(body.get("products"), list)
            and isinstance(body.get("positions"), list)
        ):
            known = {one.get("id") for one in body["products"] if isinstance(one, dict)}
            named = [one.get("productId") for one in body["positions"] if isinstance(one, dict)]
            if known:
                body["products"] += [
                    {"id": sku} for sku in dict.fromkeys(named) if isinstance(sku, str) and sku and sku not in known
                ]
        plan = planogram_of(document, "the plan", self.path.parent)
        plan.save(self.path)
        return plan


def start_editor(editor: PlanEditor, port: int) -> ThreadingHTTPServer:
    """A server on loopback that isn't served yet; port 0 takes a free one. Raises ShelfError where the port can't be had."""

    class Handler(BaseHTTPRequestHandler):
        """One request; only pages of this server may write (Host, Origin and the type of what is sent)."""

        def do_GET(self) -> None:
            if not is_of_this_device(self.headers.get("Host")):
                self.send_error(403, "only this device is answered")
            elif self.path in _PAGES:
                name, kind = _PAGES[self.path]
                self._answer(200, kind, (Path(__file__).parent / "page" / name).read_bytes())
            elif self.path == "/photo.jpg":
                self._answer(200, "image/jpeg", editor.photo)
            elif self.path == "/plan.json":
                self._answer_json(200, editor.document())
            else:
                self.send_error(404)

        def do_PUT(self) -> None:
            host, origin = self.headers.get("Host"), self.headers.get("Origin")
            size = self.headers.get("Content-Length", "")
            if not is_of_this_device(host) or origin != f"http://{host}" or self.path != "/plan.json":
                self.send_error(403, "only this device's own page may write")
            elif (
                not size.isdecimal() or int(size) > _MOST_BYTES or self.headers.get_content_type() != "application/json"
            ):
                self.send_error(413, "expected a plan as JSON, at most 4 MB")
            else:
                try:
                    plan = editor.take(self.rfile.read(int(size)))
                except (ShelfError, OSError) as error:
                    self._answer_json(422, {"message": str(error)})
                else:
                    self._answer_json(200, {"message": f"saved: {len(plan.slots)} slots"})

        def _answer_json(self, status: int, record: dict[str, Any]) -> None:
            self._answer(status, "application/json", json.dumps(record, ensure_ascii=False).encode())

        def _answer(self, status: int, kind: str, data: bytes) -> None:
            self.send_response(status)
            for name, value in (("Content-Type", kind), ("Content-Length", str(len(data))), ("Cache-Control", "no-store"),
                                ("Content-Security-Policy", _POLICY), ("X-Content-Type-Options", "nosniff")):  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    return listening(port, Handler)
