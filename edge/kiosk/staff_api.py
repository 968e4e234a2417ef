"""Handlers for staff: teach a product, correct it, remove it, and look through what was unknown."""

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..build.embed_photos import Embedded, embed_photo
from ..catalog.attributes import clean_sku
from ..catalog.gtin import canonical, check
from ..catalog.sku import sku_problem
from ..errors import BundleError, CatalogError, ImageError, ShelfmatchError, VectorError
from ..imaging.views import views_per_photo
from . import documents
from .compose import encoder_keys
from .kiosk import Kiosk
from .overlay import MOST_PHOTOS, Overlay
from .pictures import small_jpeg
from .pool import Busy
from .problems import Problem, busy
from .reading import fields_as, form_of, json_of, query_of, sku_of
from .shop import Served, Shop
from .shop_api import ShopApi, answered

_Result = TypeVar("_Result")
_MOST_FILES = 12


@dataclass(frozen=True, slots=True)
class _Photo:
    """A photo that was embedded: sha256 of its file, embeddings by encoder key, a small JPEG for the page, and
    that without people, where it may be kept on the disk."""

    sha256: bytes
    embedded: dict[bytes, Embedded]
    picture: bytes
    kept: bytes | None


class StaffApi:
    """Everything here asks for a staff code first."""

    def __init__(self, kiosk: Kiosk, shop_api: ShopApi) -> None:
        self._kiosk = kiosk
        self._shop_api = shop_api

    async def state(self, request: Request) -> Response:
        """Whether there is a staff mode, and whether the code that came along is right."""
        query_of(request, documents.NoQuery)
        if "authorization" in request.headers:
            await self._kiosk.require_staff(request)
            return answered(documents.StaffState(True, True))
        return answered(documents.StaffState(self._kiosk.gate is not None, False))

    async def enrol(self, request: Request) -> Response:
        """Teach a product: photos and what is known of it; one that is there gets more photos and these attributes."""
        await self._kiosk.require_staff(request)
        query_of(request, documents.NoQuery)
        photos, fields = await form_of(request, _MOST_FILES)
        form = fields_as(fields, documents.Enrolment, photos)
        attributes = _attributes_of(form)
        sku = _sku_of(form, attributes)
        return await self._taught(sku, partial(_teach, self._kiosk.shop, sku, attributes), photos, status=201)

    async def add_photos(self, request: Request) -> Response:
        """More photos of a product."""
        await self._kiosk.require_staff(request)
        query_of(request, documents.NoQuery)
        sku = self._known_sku(sku_of(request))
        photos, fields = await form_of(request, _MOST_FILES)
        fields_as(fields, documents.MorePhotos, photos)
        return await self._taught(sku, partial(_teach_more, self._kiosk.shop, sku), photos, status=201)

    async def _taught(
        self, sku: str, teach: Callable[[Sequence[_Photo], Overlay], int], photos: Sequence[bytes], status: int
    ) -> Response:
        served = self._kiosk.shop.served
        embedded = [await self._embedded(served, photo) for photo in photos]
        added = await self._changed(partial(teach, embedded))
        self._kiosk.pictures.remember(sku, embedded[0].sha256, embedded[0].picture)
        served = self._kiosk.shop.served
        product = await self._kiosk.looked_up(self._shop_api.details, served, sku)
        return answered(documents.Enrolled(product, added, len(photos) - added), status)

    async def _embedded(self, served: Served, photo: bytes) -> _Photo:
        try:
            return await self._kiosk.pool.run(self._embed, served, photo)
        except Busy as error:
            raise busy(error.retry_s) from None
        except (ImageError, VectorError) as error:
            raise Problem("photo", str(error)) from error

    def _embed(self, served: Served, photo: bytes) -> _Photo:
        """A photo by every encoder. Raises ImageError, VectorError."""
        snapshot, limits = served.snapshot, self._kiosk.limits
        has_prototypes = any(branch.gallery.prototypes is not None for branch in snapshot.branches)
        views = views_per_photo(3, 1) if has_prototypes else 0
        embedded = {
            key: embed_photo(photo, branch.encoder, views, limits)[0]
            for key, branch in zip(encoder_keys(snapshot.bundle), snapshot.branches, strict=True)
        }
        picture = small_jpeg(photo, limits)
        unknowns = self._kiosk.unknowns
        kept = None if unknowns is None else unknowns.finder.without_people(picture)
        return _Photo(hashlib.sha256(photo).digest(), embedded, picture, kept)

    async def change(self, request: Request) -> Response:
        """Correct a product's name and attributes."""
        await self._kiosk.require_staff(request)
        query_of(request, documents.NoQuery)
        sku = self._known_sku(sku_of(request))
        change = await json_of(request, documents.ProductChange)
        attributes = _checked(change.attributes)
        await self._changed(partial(_correct, self._kiosk.shop, sku, attributes))
        return answered(await self._kiosk.looked_up(self._shop_api.details, self._kiosk.shop.served, sku))

    async def remove(self, request: Request) -> Response:
        """Take a product out; one of the bundle stays hidden until it is taught again."""
        await self._kiosk.require_staff(request)
        query_of(request, documents.NoQuery)
        sku = self._known_sku(sku_of(request))
        await self._changed(partial(self._without_product, sku))
        self._kiosk.pictures.forget(sku)
        return Response(status_code=204)

    def _without_product(self, sku: str, overlay: Overlay) -> None:
        """Forget a product, or hide it where headquarters' bundle has it: where not all photos are staff's own. Raises Problem. For
        what `change` calls: until that returns, no new bundle comes and nobody else removes it."""
        details = self._shop_api.details(self._kiosk.shop.served, sku)
        overlay.remove_product(sku, in_bundle=details.photos > len(details.taught_photos))

    async def remove_photo(self, request: Request) -> Response:
        """Take one photo that staff took away again."""
        await self._kiosk.require_staff(request)
        query_of(request, documents.NoQuery)
        sku, number = self._known_sku(sku_of(request)), _number_of(request)
        sha256 = await self._changed(partial(self._without_photo, sku, number))
        if sha256 is not None:
            self._kiosk.pictures.forget(sku, sha256)
        return Response(status_code=204)

    def _without_photo(self, sku: str, number: int, overlay: Overlay) -> bytes | None:
        """Forget one photo; the sha256 of its file. Raises Problem. For what `change` calls: until that returns, no other photo of
        the product goes."""
        details = self._shop_api.details(self._kiosk.shop.served, sku)
        if number not in details.taught_photos:
            raise Problem(
                "not-found", f"{sku[:80]!r} has no taught photo {number}; it has {details.taught_photos[:20]}"
            )
        if details.photos == 1:
            raise Problem(
                "conflict", "this is the product's only photo; remove the product, or add another photo first"
            )
        return overlay.remove_photo(sku, number)

    async def unknowns(self, request: Request) -> Response:
        """Crops of unknown products that were kept, the newest first."""
        await self._kiosk.require_staff(request)
        query_of(request, documents.NoQuery)
        unknowns = self._kiosk.unknowns
        if unknowns is None:
            return answered(documents.UnknownCrops(False, []))
        names = await self._kiosk.looked_up(unknowns.names)
        crops = [documents.UnknownCrop(name, taken, f"/v1/unknown/{name}") for name, taken in names]
        return answered(documents.UnknownCrops(True, crops))

    async def unknown(self, request: Request) -> Response:
        """One of them."""
        await self._kiosk.require_staff(request)
        query_of(request, documents.NoQuery)
        unknowns = self._kiosk.unknowns
        data = None if unknowns is None else await self._kiosk.looked_up(unknowns.read, request.path_params["name"])
        if data is None:
            raise Problem("not-found", "there is no such crop; /v1/unknown lists them")
        return Response(data, media_type="image/jpeg", headers={"cache-control": "no-store"})

    async def forget_unknowns(self, request: Request) -> Response:
        """Delete all of them."""
        await self._kiosk.require_staff(request)
        query_of(request, documents.NoQuery)
        unknowns = self._kiosk.unknowns
        count = 0 if unknowns is None else await self._kiosk.looked_up(unknowns.delete_all)
        return answered(documents.Removed(count))

    def _known_sku(self, sku: str) -> str:
        """The SKU as the catalogue spells it. Raises Problem."""
        catalog = self._kiosk.shop.served.snapshot.catalog
        product_id = catalog.product_id(sku)
        if product_id is None:
            raise Problem("not-found", f"there is no product {sku[:80]!r}; /v1/products lists them")
        return catalog.product(product_id).sku

    async def _changed(self, act: Callable[[Overlay], _Result]) -> Any:
        """Change the shop. Raises Problem; then nothing has changed."""
        try:
            return await self._kiosk.changed(self._kiosk.shop.change, act)
        except Problem:
            raise
        except (CatalogError, BundleError) as error:
            raise Problem("conflict", str(error)) from error
        except (OSError, ShelfmatchError) as error:
            raise _storage_problem(error) from error
        except Exception as error:
            if type(error).__module__ != "sqlite3":
                raise
            raise _storage_problem(error) from error


def _storage_problem(error: Exception) -> Problem:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "the disk is full; make room" if full else f"it can't be kept: {error}"
    return Problem("storage", f"{what}. Nothing has changed")


def _teach(shop: Shop, sku: str, attributes: dict[str, str], photos: Sequence[_Photo], overlay: Overlay) -> int:
    """Put a product and its photos into the overlay; how many of the photos are new: those that the bundle has itself are not kept,
    since no answer would come from them and no address take them away. Raises Problem, CatalogError."""
    _check_gtin(shop, sku, attributes)
    in_bundle = shop.photos_of_bundle(sku)
    own = [photo for photo in photos if photo.sha256 not in in_bundle]
    if not own and not attributes:
        return 0
    before = overlay.photo_count(sku)
    overlay.put_product(sku, attributes)
    for photo in own:
        overlay.add_photo(sku, photo.sha256, photo.embedded, photo.kept)
    after = overlay.photo_count(sku)
    if after > MOST_PHOTOS:
        raise Problem("conflict", f"{after} photos of one product; at most {MOST_PHOTOS} are kept, remove some first")
    return after - before


def _teach_more(shop: Shop, sku: str, photos: Sequence[_Photo], overlay: Overlay) -> int:
    """More photos of a product that is there. Raises Problem."""
    _check_known(shop, sku)
    return _teach(shop, sku, {}, photos, overlay)


def _correct(shop: Shop, sku: str, attributes: dict[str, str], overlay: Overlay) -> None:
    """Put attributes over those of a product. Raises Problem."""
    _check_known(shop, sku)
    _check_gtin(shop, sku, attributes)
    overlay.put_product(sku, attributes)


def _check_known(shop: Shop, sku: str) -> None:
    """Raise Problem for a product that somebody removed meanwhile: it would be back, and nobody asked for that. For what
    `change` calls."""
    if shop.served.snapshot.catalog.product_id(sku) is None:
        raise Problem("not-found", f"there is no product {sku[:80]!r} any more; /v1/products lists them")


def _check_gtin(shop: Shop, sku: str, attributes: dict[str, str]) -> None:
    """Raise Problem for a bar code that only other products have: a shopper who scans it would see whichever comes first. For what
    `change` calls: until that returns, nobody else gives it to a product."""
    catalog = shop.served.snapshot.catalog
    numbers = canonical(attributes.get("gtin", ""))
    owners = [one for number in numbers for one in catalog.by_gtin().get(number, ())]
    if owners and catalog.product_id(sku) not in owners:
        other = catalog.product(owners[0])
        called = f" ({other.name[:80]})" if other.name else ""
        raise Problem(
            "conflict",
            f"the bar code {attributes['gtin']} is that of {other.sku[:80]!r}{called}; expected one that no other product has: "
            "give the photos to that product, or correct its bar code first",
        )


def _number_of(request: Request) -> int:
    with contextlib.suppress(ValueError):
        number = int(request.path_params["number"])
        if 0 < number < 2**53:
            return number
    raise Problem("invalid", "expected the number of a photo in the path, as in taught_photos")


def _checked(attributes: dict[str, str]) -> dict[str, str]:
    """Attributes as a catalogue keeps them. Raises Problem."""
    cleaned: dict[str, str] = {}
    for key, value in attributes.items():
        name, text = key.strip(), value.strip()
        if not name or not name.isprintable() or any(sign in name for sign in "=<>") or name == "sku":
            raise Problem(
                "invalid", f"the attribute {key[:60]!r} arrived; expected a printable name without = < >, not sku"
            )
        if not text.isprintable():
            raise Problem("invalid", f"{name} is {text[:60]!r}; expected printable text on one line")
        if name == "gtin" and text:
            text = _gtin_of(text)
        cleaned[name] = text
    if "name" in cleaned and not cleaned["name"]:
        raise Problem("invalid", "an empty name arrived; expected what shoppers call the product")
    return cleaned


def _gtin_of(text: str) -> str:
    found = check(text)
    if found.problem:
        right = f"; {found.right} would be right" if found.right else ""
        raise Problem("invalid", f"the bar code {text[:40]!r}: {found.problem}{right}")
    return found.value


def _attributes_of(form: documents.Enrolment) -> dict[str, str]:
    record = msgspec.structs.asdict(form)
    given = {key: record[key] for key in ("name", "gtin", "price", "category") if record[key].strip()}
    return _checked(given)


def _sku_of(form: documents.Enrolment, attributes: dict[str, str]) -> str:
    """The SKU that was given, else the bar code, else one made of the name. Raises Problem."""
    if form.sku.strip():
        problem = sku_problem(form.sku)
        if problem:
            raise Problem("invalid", problem)
        return clean_sku(form.sku)
    if "name" not in attributes:
        raise Problem("invalid", "an empty name arrived; expected what shoppers call the product")
    made = hashlib.sha256(attributes["name"].encode(errors="replace")).hexdigest()[:8]
    return attributes.get("gtin") or f"taught-{made}"
