"""Handlers that everybody may call: photos, products, search, pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..catalog.where_texts import where_of
from ..errors import CatalogError, DetectorError, ImageError, VectorError
from ..matching.similar import find_meant, similar
from . import answers, documents
from .kiosk import Kiosk
from .pool import Busy
from .problems import Problem, busy
from .reading import photo_of, query_of, sku_of
from .shop import Served

_Result = TypeVar("_Result")


def answered(document: Any, status: int = 200) -> Response:
    """A document as JSON."""
    return Response(
        msgspec.json.encode(document), status, media_type="application/json", headers={"cache-control": "no-store"}
    )


class ShopApi:
    """Photos in, products out."""

    def __init__(self, kiosk: Kiosk) -> None:
        self._kiosk = kiosk

    async def match(self, request: Request) -> Response:
        """Name the product on a photo."""
        kiosk = self._kiosk
        query = query_of(request, documents.MatchQuery)
        where = _where(query.where)
        if query.session and query.labels:
            raise Problem("invalid", "labels came with a session; expected them with single photos")
        if query.session and query.all:
            raise Problem("invalid", "all came with a session; expected it with single photos")
        self._check_room()
        photo = await photo_of(request)
        served = kiosk.shop.served
        top_k = query.top_k or kiosk.settings.answers.top_k
        if query.session is None:
            work = partial(
                answers.answer_photo, served, photo, query, top_k, where, kiosk.limits, kiosk.picture_of, kiosk.finder
            )
            found = await self._worked(work)
        else:
            with kiosk.sessions.taken(query.session, served.snapshot, top_k, where) as session:
                work = partial(
                    answers.answer_frame, served, photo, query, kiosk.sessions, session, kiosk.limits, kiosk.picture_of
                )
                found = await self._worked(work)
        self._count(found)
        self._keep_unknown(found, photo)
        return answered(found)

    def _check_room(self) -> None:
        """Before the body is received: 503 where there is no place for it."""
        try:
            self._kiosk.pool.check()
        except Busy as error:
            self._kiosk.metrics.refused.labels("busy").inc()
            raise busy(error.retry_s) from None

    async def _worked(self, work: Callable[[], _Result]) -> _Result:
        try:
            return await self._kiosk.pool.run(work)
        except Busy as error:
            self._kiosk.metrics.refused.labels("busy").inc()
            raise busy(error.retry_s) from None
        except (ImageError, VectorError) as error:
            raise Problem("photo", str(error)) from error
        except (CatalogError, DetectorError) as error:
            raise Problem("invalid", str(error)) from error

    def _count(self, found: documents.Match) -> None:
        metrics = self._kiosk.metrics
        metrics.decisions.labels(found.decision).inc()
        for stage, milliseconds in found.latency_ms.items():
            metrics.stage.labels(stage).observe(milliseconds / 1e3)

    def _keep_unknown(self, found: documents.Match, photo: bytes) -> None:
        """Where the shop wants it, and after people were looked for: a crop of what isn't in the catalogue."""
        unknowns = self._kiosk.unknowns
        if unknowns is None or found.decision == "match" or found.is_still:
            return
        if (found.frames > 1 and not found.sure) or not unknowns.is_due():
            return
        self._kiosk.lookups.submit(unknowns.keep, photo, self._kiosk.limits)

    async def products(self, request: Request) -> Response:
        """A part of the catalogue."""
        query = query_of(request, documents.PageQuery)
        served = self._kiosk.shop.served
        return answered(await self._kiosk.looked_up(self._listed, served, query))

    def _listed(self, served: Served, query: documents.PageQuery) -> documents.Products:
        catalog = served.snapshot.catalog
        if query.taught:
            ids = sorted(i for sku in served.composed.taught if (i := catalog.product_id(sku)) is not None)
            total, chosen = len(ids), ids[query.offset : query.offset + query.limit]
        else:
            total, chosen = catalog.page(query.offset, query.limit)
        found = [answers.product_document(served, catalog.product(one), self._kiosk.picture_of) for one in chosen]
        return documents.Products(total, query.offset, found)

    async def product(self, request: Request) -> Response:
        """One product."""
        query_of(request, documents.NoQuery)
        served = self._kiosk.shop.served
        return answered(await self._kiosk.looked_up(self.details, served, sku_of(request)))

    def details(self, served: Served, sku: str) -> documents.ProductDetails:
        """A product with its photos. Raises Problem where there is none."""
        catalog = served.snapshot.catalog
        product_id = catalog.product_id(sku)
        if product_id is None:
            raise Problem(
                "not-found", f"there is no product {sku[:80]!r}; /v1/products lists them, /v1/search finds them"
            )
        references = catalog.references(product_id)
        plain = answers.product_document(served, catalog.product(product_id), self._kiosk.picture_of)
        taught = [
            int(one.photo[7:]) for one in references if one.photo.startswith("taught/") and one.photo[7:].isdecimal()
        ]
        return documents.ProductDetails(
            sku=plain.sku,
            name=plain.name,
            attributes=plain.attributes,
            picture=plain.picture,
            is_taught=plain.is_taught,
            photos=len(references),
            taught_photos=taught,
        )

    async def picture(self, request: Request) -> Response:
        """A product's picture."""
        query_of(request, documents.NoQuery)
        served, sku = self._kiosk.shop.served, sku_of(request)
        overlay = self._kiosk.shop.overlay
        kept = None
        if overlay is not None and sku in served.composed.pictured:
            kept = await self._kiosk.looked_up(overlay.picture, sku)
        found = await self._kiosk.looked_up(self._kiosk.pictures.of, served, sku, kept)
        if found is None:
            raise Problem("not-found", f"there is no picture of {sku[:80]!r}; pictures.folder says where pictures lie")
        tag = f'"{hashlib.sha256(found).hexdigest()[:16]}"'
        headers = {"etag": tag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(found, media_type="image/jpeg", headers=headers)

    async def similar(self, request: Request) -> Response:
        """Products that look like one."""
        query = query_of(request, documents.SimilarQuery)
        served, sku = self._kiosk.shop.served, sku_of(request)
        where = _where(query.where)
        self._check_room()
        found = await self._worked(partial(self._neighbours, served, sku, query.top_k, where))
        return answered(found)

    def _neighbours(self, served: Served, sku: str, top_k: int, where: dict[str, list[str]]) -> documents.Neighbours:
        snapshot = served.snapshot
        if snapshot.catalog.product_id(sku) is None:
            raise Problem("not-found", f"there is no product {sku[:80]!r}; /v1/products lists them")
        found = similar(snapshot.gallery.index, snapshot.catalog, sku, top_k, snapshot.allowed(where))
        documents_found = [answers.product_document(served, one.product, self._kiosk.picture_of) for one in found]
        return documents.Neighbours(documents_found)

    async def search(self, request: Request) -> Response:
        """Products by words, or how they begin; by their bar code, too."""
        query = query_of(request, documents.SearchQuery)
        return answered(await self._kiosk.looked_up(self._searched, self._kiosk.shop.served, query))

    def _searched(self, served: Served, query: documents.SearchQuery) -> documents.Found:
        text = query.q.strip()
        found, instead = find_meant(served.snapshot.catalog, text, query.limit)
        products = [one.product for one in found]
        if not products and text.isdecimal():
            coded = answers.product_with_code(served, text)
            products = [] if coded is None else [coded]
        listed = [answers.product_document(served, one, self._kiosk.picture_of) for one in products]
        return documents.Found(listed, {word: list(meant) for word, meant in instead.items()})


def _where(texts: list[str]) -> dict[str, list[str]]:
    try:
        return where_of(texts, "where")
    except CatalogError as error:
        raise Problem("invalid", str(error)) from error
