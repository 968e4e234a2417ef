"""Photo → the document of its answer: one snapshot from start to end, in one call of a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..catalog.gtin import canonical, check
from ..catalog.product import Product
from ..errors import CatalogError
from ..imaging.image import DEFAULT_LIMITS, Limits
from ..matching.barcode_pass import upright_pixels
from ..matching.pipeline import match
from ..matching.results import Candidate
from . import documents
from .shop import Served

if TYPE_CHECKING:
    from ..matching.finder import Finder
    from ..matching.labels import Label
    from ..matching.look_again import LookAgain
    from .sessions import Session, Sessions

PictureOf = Callable[[Served, str], "str | None"]
"""Where a product's picture is, by its SKU; None where there is none."""


def product_document(served: Served, product: Product, picture_of: PictureOf) -> documents.Product:
    """A product for the API."""
    return documents.Product(
        product.sku,
        product.name,
        dict(product.attributes),
        picture_of(served, product.sku),
        product.sku in served.composed.taught,
    )


def _candidates(served: Served, candidates: Iterable[Candidate], picture_of: PictureOf) -> list[documents.Candidate]:
    return [
        documents.Candidate(
            sku=one.sku,
            name=one.name,
            attributes=dict(one.product.attributes),
            picture=picture_of(served, one.sku),
            is_taught=one.sku in served.composed.taught,
            score=round(one.score, 6),
            confidence=round(one.confidence, 6),
        )
        for one in candidates
    ]


def answer_photo(
    served: Served,
    photo: bytes,
    query: documents.MatchQuery,
    top_k: int,
    where: Mapping[str, list[str]],
    limits: Limits,
    picture_of: PictureOf,
    finder: Finder | None = None,
) -> documents.Match:
    """Name the product on one photo, and all products of it where the query says so; `finder`: what finds them. Raises ImageError,
    CatalogError, VectorError, DetectorError."""
    locate = None if finder is None else finder.locator(None)
    result = match(served.snapshot, photo, top_k=top_k, where=where, labels=query.labels, limits=limits, locate=locate)
    products = None
    if query.all and finder is not None:
        products = _all_products(served, photo, top_k, where, limits, picture_of, finder)
    return documents.Match(
        decision=result.decision,
        sku=result.sku,
        confidence=round(result.confidence, 6),
        threshold=round(result.threshold, 6),
        candidates=_candidates(served, result.candidates, picture_of),
        advice=None if result.decision == "match" else advice_of(result.look_again),
        frames=1,
        sure=False,
        changed=False,
        is_still=False,
        labels=_labels(result.labels),
        bar_code=bar_code_of(served, photo, limits, picture_of) if query.bar_code else None,
        latency_ms={stage: round(value, 3) for stage, value in result.latency_ms.items()},
        bundle=served.bundle_id,
        generation=served.generation,
        products=products,
    )


def _all_products(
    served: Served,
    photo: bytes,
    top_k: int,
    where: Mapping[str, list[str]],
    limits: Limits,
    picture_of: PictureOf,
    finder: Finder,
) -> list[documents.FoundProduct]:
    """Every product of a scene. One thread: the pool's others answer other people."""
    from ..matching.scene import match_scene

    scene = match_scene(served.snapshot, finder.detector.get(), photo, top_k=top_k, where=where, limits=limits)
    return [
        documents.FoundProduct(
            box=[round(edge, 1) for edge in one.box],
            detection_score=round(one.detection_score, 4),
            decision=one.decision,
            sku=one.sku,
            confidence=round(one.confidence, 6),
            candidates=_candidates(served, one.candidates, picture_of),
        )
        for one in scene.products
    ]


def answer_frame(
    served: Served,
    photo: bytes,
    query: documents.MatchQuery,
    sessions: Sessions,
    session: Session,
    limits: Limits,
    picture_of: PictureOf,
) -> documents.Match:
    """One more frame of a session. Raises ImageError, CatalogError."""
    start = time.perf_counter()
    decision, is_still = sessions.add(session, photo)
    advice: documents.Advice | None = None
    if decision.decision == "unknown":
        advice = "steady" if not decision.sure else "turn"
        if decision.problem:
            advice = "nothing to see"
        elif decision.sure and not is_still:
            advice = advice_of(_examined(served, photo, limits)) or advice
    return documents.Match(
        decision=decision.decision,
        sku=decision.sku,
        confidence=round(decision.confidence, 6),
        threshold=round(decision.threshold, 6),
        candidates=_candidates(served, decision.candidates, picture_of),
        advice=advice,
        frames=decision.frames,
        sure=decision.sure,
        changed=decision.changed,
        is_still=is_still,
        labels={},
        bar_code=bar_code_of(served, photo, limits, picture_of) if query.bar_code else None,
        latency_ms={"total": round((time.perf_counter() - start) * 1e3, 3)},
        bundle=served.bundle_id,
        generation=served.generation,
    )


def _labels(labels: Mapping[str, Label | None]) -> dict[str, documents.Label | None]:
    return {
        attribute: None if label is None else documents.Label(label.value, round(label.confidence, 6))
        for attribute, label in labels.items()
    }


def _examined(served: Served, photo: bytes, limits: Limits) -> LookAgain:
    """What is wrong with a photo, and no variants of it."""
    from ..matching.look_again import problem_of
    from ..matching.passes import blank_pass

    again = blank_pass(served.snapshot, photo, limits)
    from dataclasses import replace

    return replace(again, problem=problem_of(again.quality))


def advice_of(again: LookAgain | None) -> documents.Advice | None:
    """What would help an unknown photo: what makes it useless first, then its faults; else to turn the product."""
    if again is None:
        return "turn"
    if again.problem is not None:
        return again.problem
    faults = again.quality.faults
    if "dark" in faults:
        return "too dark"
    if "blurred" in faults:
        return "too blurred"
    return "closer" if again.variant in ("closer", "cropped to the product") else "turn"


def has_bar_codes() -> bool:
    """Whether bar codes can be read on this machine."""
    from ..imaging.barcodes import reader

    return reader() is not None


def bar_code_of(
    served: Served, photo: bytes, limits: Limits = DEFAULT_LIMITS, picture_of: PictureOf = lambda served, sku: None
) -> documents.BarCode | None:
    """The first article number in view, and whose it is; None where there is none, or nothing to read it with."""
    from ..imaging.barcodes import read_codes

    if not has_bar_codes():
        return None
    for found in read_codes(upright_pixels(photo, limits)):
        if found.text and not found.text.isspace():
            product = product_with_code(served, found.text)
            document = None if product is None else product_document(served, product, picture_of)
            return documents.BarCode(found.text[:200], found.format, document)
    return None


def product_with_code(served: Served, text: str) -> Product | None:
    """The product whose gtin or SKU is this number, however many digits it is written with; None where there is none."""
    catalog = served.snapshot.catalog
    checked = check(text)
    for key, value in (("gtin", checked.value), ("gtin", text), ("sku", checked.value), ("sku", text)):
        try:
            found: Any = catalog.where({key: value})
        except CatalogError:  # no product has a gtin at all
            continue
        if len(found):
            return catalog.product(int(found[0]))
    for number in canonical(text):  # a SKU of 12 digits that a scanner gives as 13
        for product in catalog.by_gtin().get(number, ()):
            return catalog.product(product)
    return None
