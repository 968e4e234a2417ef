"""`shelf edit`: a page for this device alone, on which a plan's corners are dragged and its slots named."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from PIL import Image

from ..errors import ShelfError
from ..files import write_atomic
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


class PlanChanged(ShelfError):
    """The plan's file isn't the one that the page was made from any more."""


class PlanEditor:
    """One plan that is edited. Raises ShelfError where it has no photo to edit on.

    `skus`: those of the shop, to choose from."""

    def __init__(self, path: Path, skus: Sequence[str] = ()) -> None:
        self.path, self.skus = path, list(skus)
        self._lock = threading.Lock()
        photos_of(read_planogram(path))

    def photo(self) -> bytes:
        """The taught photo as JPEG, as it is now: a page that is loaded again after a new `teach` shows the new one. Raises
        ShelfError."""
        target = io.BytesIO()
        Image.fromarray(photos_of(read_planogram(self.path))[0]).save(target, "JPEG", quality=88)
        return target.getvalue()

    def stamp(self) -> str:
        """What tells this plan from a changed one, as an HTTP entity tag; "" where it isn't there."""
        try:
            return self._stamp_of(self.path.read_bytes())
        except OSError:
            return ""

    def _stamp_of(self, data: bytes) -> str:
        """Of the plan's bytes and its photo's file: after another `teach` corners lie on another photo."""
        digest = hashlib.sha256(data)
        with contextlib.suppress(ValueError, TypeError, KeyError, OSError):
            info = self.path.with_name(json.loads(data)["photo"]["full"]).stat()
            digest.update(f"{info.st_mtime_ns} {info.st_size}".encode())
        return f'"{digest.hexdigest()}"'

    def document(self) -> dict[str, Any]:
        """What the page begins with. Raises ShelfError where the plan can't be used."""
        plan = read_planogram(self.path)
        return {"plan": plan.to_document(), "skus": self.skus or list(plan.skus)}

    def take(self, data: bytes, stamp: str) -> tuple[Planogram, str]:
        """Check an edited plan and write it, whole or not at all; the plan and its stamp. New SKUs join its products. `stamp`: of
        the plan that was edited. Raises ShelfError, and PlanChanged where that plan isn't there any more."""
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ShelfError(f"no JSON arrived: {error}; expected a plan") from error
        body = document.get("planogram") if isinstance(document, dict) else None
        if (
            isinstance(body, dict)
            and isinstance(body.get("products"), list)
            and isinstance(body.get("positions"), list)
        ):
            known = {one["id"] for one in body["products"] if isinstance(one, dict) and isinstance(one.get("id"), str)}
            named = [one.get("productId") for one in body["positions"] if isinstance(one, dict)]
            if known:
                skus = dict.fromkeys(sku for sku in named if isinstance(sku, str) and sku)
                body["products"] += [{"id": sku} for sku in skus if sku not in known]
        plan = planogram_of(document, "the plan", self.path.parent)
        written = plan.to_json("the plan")
        with self._lock:
            if not stamp or stamp != self.stamp():
                raise PlanChanged(
                    f"not saved: {self.path.name} was changed or removed meanwhile (shelf teach, another page); load this page "
                    "again and change the plan as it is now, what was changed here is lost then"
                )
            write_atomic(self.path, written)
        return plan, self._stamp_of(written)


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
            elif self.path in ("/photo.jpg", "/plan.json"):
                try:
                    if self.path == "/photo.jpg":
                        self._answer(200, "image/jpeg", editor.photo())
                    else:
                        stamp = editor.stamp()  # before the plan: one that changes in between is told by its old stamp
                        self._answer_json(200, editor.document(), stamp)
                except ShelfError as error:
                    self._answer_json(500 if editor.stamp() else 404, {"message": str(error)})
            else:
                self.send_error(404)

        def do_PUT(self) -> None:
            host, origin = self.headers.get("Host"), self.headers.get("Origin")
            size = self.headers.get("Content-Length", "")
            if not is_of_this_device(host) or origin != f"http://{host}" or self.path != "/plan.json":
                self.send_error(403, "only this device's own page may write")
            elif (
                not (size.isdecimal() and len(size) < 9 and int(size) <= _MOST_BYTES)
                or self.headers.get_content_type() != "application/json"
            ):
                self.send_error(413, "expected a plan as JSON, at most 4 MB")
            else:
                try:
                    plan, stamp = editor.take(self.rfile.read(int(size)), self.headers.get("If-Match", ""))
                except PlanChanged as error:
                    self._answer_json(409, {"message": str(error)})
                except (ShelfError, OSError) as error:
                    self._answer_json(422, {"message": str(error)})
                else:
                    self._answer_json(200, {"message": f"saved: {len(plan.slots)} slots"}, stamp)

        def _answer_json(self, status: int, record: dict[str, Any], stamp: str = "") -> None:
            # A path that isn't UTF-8 comes as escapes that JSON has, too.
            data = json.dumps(record, ensure_ascii=False).encode(errors="backslashreplace")
            self._answer(status, "application/json", data, stamp)

        def _answer(self, status: int, kind: str, data: bytes, stamp: str = "") -> None:
            self.send_response(status)
            if stamp:
                self.send_header("ETag", stamp)
            for name, value in (("Content-Type", kind), ("Content-Length", str(len(data))), ("Cache-Control", "no-store"),
                                ("Content-Security-Policy", _POLICY), ("X-Content-Type-Options", "nosniff")):  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    return listening(port, Handler)
