"""The kiosk's ASGI application: operations, their routes, and what stands before and around all of them."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import documents as d
from .guard import App, Guard, Receive, Scope, Send
from .kiosk import Kiosk
from .openapi import PHOTO_TYPES, Handler, Operation, openapi
from .problems import Problem
from .reading import SLASH
from .service_api import ServiceApi
from .shop_api import ShopApi
from .staff_api import StaffApi

_JPEG = "image/jpeg"


def make_app(kiosk: Kiosk) -> App:
    """The application of one kiosk."""
    service, shop = ServiceApi(kiosk), ShopApi(kiosk)
    staff = StaffApi(kiosk, shop)
    listed = [*_shop_operations(shop), *_staff_operations(staff), *_service_operations(service)]
    service.document = openapi(listed)
    routes = [Route(one.path, _counted(kiosk, one), methods=[one.method]) for one in listed]
    routes += [Route(path, service.page, methods=["GET"]) for path in ("/", "/v1/docs", "/page/{file}")]
    inner = Starlette(
        routes=routes, exception_handlers={HTTPException: _routing_problem, Problem: _problem, Exception: _internal}
    )
    inner.router.redirect_slashes = False
    return Guard(_with_slashes(inner), kiosk.settings.server, lambda: kiosk.pool.longest_wait_s)


def _shop_operations(shop: ShopApi) -> Sequence[Operation]:
    photo: dict[str, type | None] = {**dict.fromkeys(PHOTO_TYPES), "multipart/form-data": d.OnePhoto}
    sku = "/v1/products/{sku}"
    return (
        Operation("POST", "/v1/match", "Name the product on a photo", shop.match, {200: d.Match}, d.MatchQuery,
                  photo, ("photo", "media", "frames")),
        Operation("GET", "/v1/products", "List products", shop.products, {200: d.Products}, d.PageQuery),
        Operation("GET", sku, "One product", shop.product, {200: d.ProductDetails}, problems=("not-found",)),
        Operation("GET", f"{sku}/picture", "A product's picture", shop.picture, {200: _JPEG, 304: ""}, problems=("not-found",)),
        Operation("GET", "/v1/similar/{sku}", "Products that look like one", shop.similar, {200: d.Neighbours},
                  d.SimilarQuery, problems=("not-found",)),
        Operation("GET", "/v1/search", "Products by words", shop.search, {200: d.Found}, d.SearchQuery),
    )  # fmt: skip


def _staff_operations(staff: StaffApi) -> Sequence[Operation]:
    form, sku = "multipart/form-data", "/v1/products/{sku}"

    def operation(
        method: str, path: str, summary: str, handler: object, answers: dict[int, type | str], **more: object
    ) -> Operation:
        return Operation(method, path, summary, handler, answers, is_staff=True, tag="staff", **more)  # type: ignore[arg-type]

    change = ("not-found", "conflict", "storage")
    return (
        Operation("GET", "/v1/staff", "Whether there is a staff mode, and whether the code is right", staff.state,
                  {200: d.StaffState}, problems=("code", "staff-off", "attempts"), tag="staff"),
        operation("POST", "/v1/products", "Teach a product", staff.enrol, {201: d.Enrolled}, body={form: d.Enrolment},
                  problems=("photo", "media", "conflict", "storage")),
        operation("PATCH", sku, "Correct a product", staff.change, {200: d.ProductDetails},
                  body={"application/json": d.ProductChange}, problems=("media", *change)),
        operation("DELETE", sku, "Remove a product", staff.remove, {204: ""}, problems=change),
        operation("POST", f"{sku}/photos", "More photos of a product", staff.add_photos, {201: d.Enrolled},
                  body={form: d.MorePhotos}, problems=("photo", "media", *change)),
        operation("DELETE", f"{sku}/photos/{{number}}", "Take a photo away", staff.remove_photo, {204: ""}, problems=change),
        operation("GET", "/v1/unknown", "Crops of unknown products", staff.unknowns, {200: d.UnknownCrops}),
        operation("GET", "/v1/unknown/{name}", "One of them", staff.unknown, {200: _JPEG}, problems=("not-found",)),
        operation("DELETE", "/v1/unknown", "Delete all of them", staff.forget_unknowns, {200: d.Removed}),
    )  # fmt: skip


def _service_operations(service: ServiceApi) -> Sequence[Operation]:
    return (
        Operation("GET", "/healthz", "Whether the process answers", service.health, {200: d.Health}, tag="service"),
        Operation("GET", "/readyz", "What is being answered from", service.ready, {200: d.Readiness},
                  problems=("not-ready",), tag="service"),
        Operation("GET", "/metrics", "For Prometheus", service.metrics, {200: "text/plain"}, tag="service"),
        Operation("GET", "/v1/settings", "What the page needs to know", service.settings,
                  {200: d.PageSettingsDocument}, tag="service"),
        Operation("GET", "/v1/openapi.json", "This document", service.openapi, {200: "application/json"}, tag="service"),
        Operation("GET", "/v1/stream", "The device's camera as MJPEG", service.stream,
                  {200: "multipart/x-mixed-replace"}, problems=("not-found",), tag="service"),
        Operation("GET", "/v1/stream/answers", "Its answers, as server-sent events", service.stream_answers,
                  {200: "text/event-stream"}, problems=("not-found",), tag="service"),
    )  # fmt: skip


def _counted(kiosk: Kiosk, operation: Operation) -> Handler:
    """A handler that counts what it answers, by route: no address, no SKU."""

    async def handle(request: Request) -> Response:
        status = 500
        try:
            response = await operation.handler(request)
            status = response.status_code
            return response
        except Problem as problem:
            status = problem.status
            raise
        finally:
            kiosk.metrics.requests.labels(operation.method, operation.path, str(status)).inc()

    return handle


def _with_slashes(inner: App) -> App:
    """Slashes that a client escaped stay inside their segment: a SKU may have one."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raw: bytes = scope.get("raw_path", b"")
        if b"%2f" in raw.lower():
            segments = raw.decode("latin-1").split("?")[0].split("/")
            scope = {**scope, "path": "/".join(urllib.parse.unquote(one).replace("/", SLASH) for one in segments)}
        await inner(scope, receive, send)

    return app


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return Response(error.body(request.url.path), error.status, error.answer_headers())


async def _internal(request: Request, error: Exception) -> Response:
    """A fault; the guard logs it."""
    return await _problem(request, Problem("internal", "this is a fault of shelfmatch; its log says more"))


async def _routing_problem(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        problem = Problem("method", f"{request.method[:20]} arrived; expected {allowed}", {"Allow": allowed})
    else:
        problem = Problem("not-found", f"there is nothing at {request.url.path[:120]!r}; /v1/docs lists the API")
    return await _problem(request, problem)
