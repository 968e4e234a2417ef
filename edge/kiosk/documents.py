"""What goes in and out of the API: the types that validate it, and that its OpenAPI document is made from."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Sku = Annotated[str, Meta(min_length=1, max_length=200, description="the shop's number for a product")]
Attributes = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=60)], Annotated[str, Meta(max_length=500)]],
    Meta(description="name of an attribute → its value; an empty value takes one away", max_length=40),
]
TopK = Annotated[int, Meta(ge=1, le=50, description="so many products at most")]
Where = Annotated[
    list[Annotated[str, Meta(max_length=300)]],
    Meta(max_length=20, description="only such products: category=tea, price<3; several values of one key mean either"),
]


class Product(msgspec.Struct):
    """A product. `picture`: where its picture is, null where there is none; `is_taught`: staff taught or changed it here."""

    sku: str
    name: str
    attributes: dict[str, str]
    picture: str | None
    is_taught: bool


class Candidate(Product):
    """A product that the photo may show: its score (higher is nearer) and the probability, 0 to 1, that it is right."""

    score: float
    confidence: float


class Label(msgspec.Struct):
    """The likely value of an attribute, and the probability, 0 to 1, that it is right."""

    value: str
    confidence: float


class BarCode(msgspec.Struct):
    """A bar code in view, and the product that has it; null where none has."""

    text: str
    format: str
    product: Product | None


class FoundProduct(msgspec.Struct):
    """One product of a scene: where it is (`box`: x0, y0, x1, y1 in pixels of the upright photo), how sure the detector is, and
    the answer to that part of the photo."""

    box: Annotated[list[float], Meta(min_length=4, max_length=4)]
    detection_score: float
    decision: Literal["match", "unknown"]
    sku: str | None
    confidence: float
    candidates: list[Candidate]


Advice = Literal["too dark", "too blurred", "nothing to see", "closer", "turn", "steady"]


class Match(msgspec.Struct):
    """The answer to a photo, or to the frames of a session so far.

    `sure`: more frames won't change it. `is_still`: the frame is as good as the last one and wasn't looked at anew. `advice`:
    what would help, null where nothing is needed. `products`: with `all`, every product in the photo, else null. `bundle`:
    begin of the sha256 of the bundle that all of it comes from, and its `generation`.
    """

    decision: Literal["match", "unknown"]
    sku: str | None
    confidence: float
    threshold: float
    candidates: list[Candidate]
    advice: Advice | None
    frames: int
    sure: bool
    changed: bool
    is_still: bool
    labels: dict[str, Label | None]
    bar_code: BarCode | None
    latency_ms: dict[str, float]
    bundle: str
    generation: int
    products: list[FoundProduct] | None = None


class MatchQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How to answer a photo."""

    top_k: TopK | None = None
    where: Where = msgspec.field(default_factory=list)
    labels: Annotated[
        list[Annotated[str, Meta(max_length=60)]],
        Meta(max_length=10, description="also name these attributes, voted by the nearest products"),
    ] = msgspec.field(default_factory=list)
    session: (
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="frames of one session are weighed together")]
        | None
    ) = None
    bar_code: Annotated[bool, Meta(description="also look for a bar code")] = False
    all: Annotated[bool, Meta(description="also find and name every product in the photo")] = False


class PageQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which part of a list."""

    offset: Annotated[int, Meta(ge=0, le=10_000_000, description="skip so many")] = 0
    limit: Annotated[int, Meta(ge=1, le=200, description="so many at most")] = 50
    taught: Annotated[bool, Meta(description="only what staff taught or changed here")] = False


class SimilarQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How many products."""

    top_k: TopK = 6
    where: Where = msgspec.field(default_factory=list)


class SearchQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Words, or how they begin."""

    q: Annotated[str, Meta(max_length=300, description="words, or how they begin")]
    limit: Annotated[int, Meta(ge=1, le=50, description="so many at most")] = 12


class NoQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing is taken here."""


class Products(msgspec.Struct):
    """A part of the products, by number; `total`: of all."""

    total: int
    offset: int
    products: list[Product]


class Found(msgspec.Struct):
    """Products, best first. `instead`: words that were looked for instead of words with typing errors."""

    products: list[Product]
    instead: dict[str, list[str]]


class Neighbours(msgspec.Struct):
    """Products, the most similar first."""

    products: list[Product]


class ProductDetails(Product):
    """A product with its photos: how many the catalogue has, and numbers of those that staff took here."""

    photos: int
    taught_photos: list[int]


class Enrolled(msgspec.Struct):
    """What was taught: the product as it is now, how many photos are new, and how many are the same file as one before, of staff
    or of the bundle: these aren't kept again."""

    product: ProductDetails
    photos_added: int
    photos_known: int


class Enrolment(msgspec.Struct):
    """A new product, as multipart/form-data: photos, from different sides, and what is known of it. Without a SKU the bar code is
    taken for one; without that, one is made."""

    photos: Annotated[
        list[str],
        Meta(min_length=1, max_length=12, extra_json_schema={"items": {"type": "string", "format": "binary"}}),
    ]
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    sku: Annotated[str, Meta(max_length=200)] = ""
    gtin: Annotated[str, Meta(max_length=32)] = ""
    price: Annotated[str, Meta(max_length=40)] = ""
    category: Annotated[str, Meta(max_length=100)] = ""


class OnePhoto(msgspec.Struct):
    """A photo, as multipart/form-data."""

    photo: Annotated[str, Meta(extra_json_schema={"format": "binary"})]


class MorePhotos(msgspec.Struct):
    """More photos of a product, as multipart/form-data."""

    photos: Annotated[
        list[str],
        Meta(min_length=1, max_length=12, extra_json_schema={"items": {"type": "string", "format": "binary"}}),
    ]


class ProductChange(msgspec.Struct, forbid_unknown_fields=True):
    """What to change of a product: attributes over those it has, the name among them."""

    attributes: Attributes


class Health(msgspec.Struct):
    """Whether the process answers at all."""

    status: Literal["ok"]


class RefusedBundle(msgspec.Struct):
    """A bundle that lies there and can't be used: why, since when."""

    reason: str
    error: str
    generation: int | None
    since: str


class Readiness(msgspec.Struct):
    """What is being answered from. `refused`: a newer bundle that can't be used; answers go on from the one before. `waiting`:
    products that staff must teach again, since the bundle has another encoder. `is_overlay_damaged`: what staff taught was
    damaged and set aside at the start."""

    status: Literal["ready", "degraded"]
    bundle: str
    generation: int
    products: int
    since: str
    swaps: int
    refused: RefusedBundle | None
    waiting: list[str]
    is_overlay_damaged: bool


class UnknownCrop(msgspec.Struct):
    """A kept crop of an unknown product: its name, when it was taken (UTC), where its picture is."""

    name: str
    taken: str
    picture: str


class UnknownCrops(msgspec.Struct):
    """Crops of unknown products, the newest first; `kept`: whether any are kept on this kiosk."""

    kept: bool
    crops: list[UnknownCrop]


class Removed(msgspec.Struct):
    """How many were removed."""

    removed: int


class StaffState(msgspec.Struct):
    """Whether there is a staff mode, and whether the code that came along is right."""

    is_on: bool
    is_staff: bool


class PageSettingsDocument(msgspec.Struct):
    """What the page needs to know."""

    title: str
    language: str
    currency: str
    camera: Literal["browser", "device", "off", "auto"]
    has_device_camera: bool
    mirror: bool
    idle_seconds: float
    has_staff: bool
    has_bar_codes: bool
    keeps_unknowns: bool
    version: str
