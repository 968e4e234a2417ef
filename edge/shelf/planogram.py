"""The plan of a shelf: which product belongs where, as a JSON document that is a superset of Azure's planogram.

Azure's planogram (Planogram Compliance API, 2023-04-01-preview) has `width`, `height`, `products` (id, name, w, h), `fixtures`
(id, w, h, x, y) and `positions` (id, productId, fixtureId, x, y), from the top left, in any unit. Ours has these fields with the
same meaning, and for a camera: the reference photos (`photo`), and for each position its place in them (`polygon`), how many
facings stand there (`facings`), from how many on it counts as full (`minStock`) and other SKUs that are as right (`alternatives`).
"""

from __future__ import annotations

import json
import math
import reprlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ..errors import ShelfError
from ..events.event import LONGEST_NAME, is_name
from ..files import write_atomic
from . import geometry
from .geometry import Quad

VERSION: Final = 1
"""Of the document's format."""
MAX_SLOTS, MAX_FACINGS = 2000, 60
LEAST_SIDE = 10.0
"""Pixels of a facing: with fewer across or down nothing can be told apart."""
MOST_SHARED = 0.3
"""Of a slot in another one. Photos from below or aside make neighbours overlap; what lies deeper in another is a mistake."""
LONGEST_ID: Final = LONGEST_NAME - 20
"""Of a slot's id, in characters: an event's id is the slot's with a hyphen and milliseconds since 1970, 14 characters and more."""
_LARGEST: Final = 1e12
"""Of a number: in any unit more than a shop has, and what is computed from it stays finite."""
_NOT_IN_LINES: Final = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of what ends a line, controls a terminal or, being half a character, can't be written as UTF-8."""
_SHOWN: Final = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 60
brief = _SHOWN.repr
"""Shows what arrived in a message, cut where it is long."""


@dataclass(frozen=True, slots=True)
class PlanProduct:
    """A product of the plan by its SKU; `w` and `h` in the plan's unit, 0 where they aren't known."""

    id: str
    name: str = ""
    w: float = 0.0
    h: float = 0.0


@dataclass(frozen=True, slots=True)
class Fixture:
    """A shelf board, a bay or a cabinet: its box in the plan's unit."""

    id: str
    w: float
    h: float
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one product. `polygon`: its four corners in the reference photo, pixels; None before it has been placed.
    `sku`: what belongs there, "" where that isn't named yet; `alternatives`: SKUs that are as right; `facings` side by side;
    `min_stock`: from so many visible facings on the slot is full. `x`, `y`: Azure's, in the plan's unit."""

    id: str
    sku: str
    polygon: Quad | None = None
    facings: int = 1
    min_stock: int = 1
    alternatives: tuple[str, ...] = ()
    fixture: str = ""
    x: float = 0.0
    y: float = 0.0

    @property
    def skus(self) -> tuple[str, ...]:
        """All that are right here."""
        return (self.sku, *self.alternatives) if self.sku else self.alternatives


@dataclass(frozen=True, slots=True)
class Photo:
    """The reference photos: their size in pixels, and the files of the full and the empty shelf beside the plan, "" for none."""

    width: int
    height: int
    full: str = ""
    empty: str = ""


@dataclass(frozen=True, slots=True)
class Planogram:
    """A plan that has been checked. `folder`: where its photos lie."""

    name: str
    slots: tuple[Slot, ...]
    products: tuple[PlanProduct, ...] = ()
    fixtures: tuple[Fixture, ...] = ()
    photo: Photo | None = None
    width: float = 0.0
    height: float = 0.0
    folder: Path = field(default=Path(), compare=False)

    def slot(self, slot_id: str) -> Slot:
        """A slot by its id. Raises ShelfError that lists some of those there are."""
        for one in self.slots:
            if one.id == slot_id:
                return one
        names = ", ".join(one.id for one in self.slots[:6])
        raise ShelfError(f"the plan has no slot {slot_id!r}; it has {names}{' …' if len(self.slots) > 6 else ''}")

    @property
    def skus(self) -> tuple[str, ...]:
        """All SKUs that slots expect, each once, in the order of the slots."""
        return tuple(dict.fromkeys(sku for slot in self.slots for sku in slot.skus))

    def to_document(self) -> dict[str, Any]:
        """The JSON document."""
        document: dict[str, Any] = {"version": VERSION, "name": self.name}
        if self.photo is not None:
            files = {"full": self.photo.full, "empty": self.photo.empty}
            document["photo"] = {"width": self.photo.width, "height": self.photo.height}
            document["photo"] |= {name: file for name, file in files.items() if file}
        document["planogram"] = {
            "width": self.width,
            "height": self.height,
            "products": [{"id": one.id, "name": one.name, "w": one.w, "h": one.h} for one in self.products],
            "fixtures": [{"id": one.id, "w": one.w, "h": one.h, "x": one.x, "y": one.y} for one in self.fixtures],
            "positions": [_position(slot) for slot in self.slots],
        }
        return document

    def to_json(self, where: str) -> bytes:
        """The document as a file has it, UTF-8. Raises ShelfError, `where` first, for what `read_planogram` would refuse."""
        document = self.to_document()
        planogram_of(document, where)
        return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()

    def save(self, path: Path) -> None:
        """Write the document, whole or not at all. Raises ShelfError as `to_json` does, and OSError."""
        write_atomic(path, self.to_json(str(path)))


def _position(slot: Slot) -> dict[str, Any]:
    record: dict[str, Any] = {"id": slot.id, "productId": slot.sku, "fixtureId": slot.fixture, "x": slot.x, "y": slot.y}
    record |= {"facings": slot.facings, "minStock": slot.min_stock}
    if slot.alternatives:
        record["alternatives"] = list(slot.alternatives)
    if slot.polygon is not None:
        record["polygon"] = [[round(x, 2), round(y, 2)] for x, y in slot.polygon]
    return record


def read_planogram(path: Path) -> Planogram:
    """Read and check a plan. Raises ShelfError, one line that names the field."""
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        raise ShelfError(f"{path} is a folder; expected a planogram, which shelfmatch shelf init writes") from None
    except FileNotFoundError:
        raise ShelfError(f"{path} isn't there; shelfmatch shelf init or propose writes a planogram") from None
    except OSError as error:
        raise ShelfError(f"{path} can't be read: {error.strerror}; expected a planogram") from error
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ShelfError(f"{path} is no JSON: {error}; expected a planogram") from error
    return planogram_of(document, str(path), path.parent)


def planogram_of(document: object, where: str = "planogram", folder: Path = Path()) -> Planogram:
    """A plan from its document, ours or Azure's. Raises ShelfError."""
    return _Reader(where).read(document, folder)


def is_line(text: str) -> bool:
    """Whether a text is one line that UTF-8 can write, without control characters."""
    return not any(unicodedata.category(letter) in _NOT_IN_LINES for letter in text)


class _Reader:
    """Reads one document; `where` begins every message."""

    def __init__(self, where: str) -> None:
        self.where = where

    def read(self, document: object, folder: Path) -> Planogram:
        top = self.mapping(document, "the document", ("version", "name", "photo", "planogram"))
        version = top.get("version", VERSION)
        if version != VERSION:
            raise self.wrong(f"version {brief(version)}; expected {VERSION}, as this shelfmatch writes")
        if "planogram" not in top:
            raise self.wrong("planogram missing; expected an object with products, fixtures and positions")
        body = self.mapping(top["planogram"], "planogram", ("width", "height", "products", "fixtures", "positions"))
        photo = self.photo(top["photo"]) if top.get("photo") is not None else None
        plan = Planogram(
            name=self.text(top.get("name", ""), "name", may_be_empty=True),
            slots=tuple(self.slot(one, n) for n, one in enumerate(self.records(body, "positions", MAX_SLOTS))),
            products=tuple(self.product(one, n) for n, one in enumerate(self.records(body, "products", 100_000))),
            fixtures=tuple(self.fixture(one, n) for n, one in enumerate(self.records(body, "fixtures", MAX_SLOTS))),
            photo=photo,
            width=self.number(body.get("width", 0), "planogram.width", 0),
            height=self.number(body.get("height", 0), "planogram.height", 0),
            folder=folder,
        )
        self.check(plan)
        return plan

    def wrong(self, what: str) -> ShelfError:
        return ShelfError(f"{self.where}: {what}")

    def mapping(self, value: object, name: str, known: Sequence[str]) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self.wrong(f"{name} is {type(value).__name__}; expected an object with {', '.join(known)}")
        unknown = sorted(set(map(str, value)) - set(known))
        if unknown:
            raise self.wrong(f"{name} has an unknown field {brief(unknown[0])}; the fields are {', '.join(known)}")
        return value

    def records(self, body: Mapping[str, Any], name: str, most: int) -> list[Any]:
        values = body.get(name, [])
        if not isinstance(values, list):
            raise self.wrong(f"planogram.{name} is {type(values).__name__}; expected a list of objects")
        if len(values) > most:
            raise self.wrong(f"planogram.{name} has {len(values)} entries; at most {most} are taken")
        return values

    def text(self, value: object, name: str, *, may_be_empty: bool = False) -> str:
        if not isinstance(value, str) or not (value.strip() or may_be_empty):
            raise self.wrong(f"{name} is {brief(value)}; expected text")
        if len(value) > 500 or not is_line(value):
            raise self.wrong(f"{name} is {brief(value)}; expected at most 500 letters on one line, in UTF-8")
        return value

    def slot_id(self, value: object, name: str) -> str:
        text = self.text(value, name)
        if len(text) > LONGEST_ID or not is_name(text):
            raise self.wrong(f"{name} is {brief(text)}; expected at most {LONGEST_ID} printable characters")
        return text

    def number(self, value: object, name: str, least: float) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= _LARGEST:
            raise self.wrong(f"{name} is {brief(value)}; expected a number from {least:g} to {_LARGEST:g}")
        return float(value)

    def whole(self, value: object, name: str, least: int, most: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(f"{name} is {brief(value)}; expected a whole number from {least} to {most}")
        return value

    def photo(self, value: object) -> Photo:
        one = self.mapping(value, "photo", ("width", "height", "full", "empty"))
        files = []
        for name in ("full", "empty"):
            file = self.text(one.get(name, ""), f"photo.{name}", may_be_empty=True)
            if file and (Path(file).name != file or file in (".", "..")):
                raise self.wrong(f"photo.{name} is {brief(file)}; expected the name of a file beside the plan")
            files.append(file)
        sides = [self.whole(one.get(name), f"photo.{name}", 32, 20_000) for name in ("width", "height")]
        return Photo(sides[0], sides[1], *files)

    def product(self, value: object, number: int) -> PlanProduct:
        name = f"products[{number}]"
        one = self.mapping(value, name, ("id", "name", "w", "h"))
        return PlanProduct(
            self.text(one.get("id"), f"{name}.id"),
            self.text(one.get("name", ""), f"{name}.name", may_be_empty=True),
            self.number(one.get("w", 0), f"{name}.w", 0),
            self.number(one.get("h", 0), f"{name}.h", 0),
        )

    def fixture(self, value: object, number: int) -> Fixture:
        name = f"fixtures[{number}]"
        one = self.mapping(value, name, ("id", "w", "h", "x", "y"))
        sides = [self.number(one.get(side, 0), f"{name}.{side}", 0) for side in ("w", "h")]
        return Fixture(
            self.text(one.get("id"), f"{name}.id"),
            *sides,
            *(self.number(one.get(side, 0), f"{name}.{side}", -1e9) for side in ("x", "y")),
        )

    def slot(self, value: object, number: int) -> Slot:
        known = ("id", "productId", "fixtureId", "x", "y", "polygon", "facings", "minStock", "alternatives")
        one = self.mapping(value, f"positions[{number}]", known)
        slot_id = self.slot_id(one.get("id"), f"positions[{number}].id")
        name = f"position {slot_id}"
        facings = self.whole(one.get("facings", 1), f"{name}: facings", 1, MAX_FACINGS)
        others = one.get("alternatives", [])
        if not isinstance(others, list):
            raise self.wrong(f"{name}: alternatives is {brief(others)}; expected a list of SKUs")
        return Slot(
            id=slot_id,
            sku=self.text(one.get("productId", ""), f"{name}: productId", may_be_empty=True),
            polygon=None if one.get("polygon") is None else self.polygon(one["polygon"], name, facings),
            facings=facings,
            min_stock=self.whole(one.get("minStock", facings), f"{name}: minStock", 1, facings),
            alternatives=tuple(self.text(other, f"{name}: alternatives") for other in others),
            fixture=self.text(one.get("fixtureId", ""), f"{name}: fixtureId", may_be_empty=True),
            x=self.number(one.get("x", 0), f"{name}: x", -1e9),
            y=self.number(one.get("y", 0), f"{name}: y", -1e9),
        )

    def polygon(self, value: object, name: str, facings: int) -> Quad:
        if not isinstance(value, list) or len(value) != 4:
            count = f"{len(value)} corners" if isinstance(value, list) else brief(value)
            raise self.wrong(f"{name}: polygon has {count}; expected four corners [x, y], from the top left clockwise")
        corners = []
        for corner in value:
            if not isinstance(corner, list) or len(corner) != 2:
                raise self.wrong(f"{name}: polygon has a corner {brief(corner)}; expected [x, y] in the photo's pixels")
            corners.append(tuple(self.number(one, f"{name}: a corner", -1e6) for one in corner))
        quad: Quad = tuple(corners)  # type: ignore[assignment]
        if not geometry.is_convex(quad):
            raise self.wrong(
                f"{name}: the polygon crosses itself or runs against the clock; expected its corners from the top left clockwise"
            )
        width = (math.dist(quad[0], quad[1]) + math.dist(quad[3], quad[2])) / 2 / facings
        height = (math.dist(quad[0], quad[3]) + math.dist(quad[1], quad[2])) / 2
        if min(width, height) < LEAST_SIDE:
            raise self.wrong(
                f"{name}: a facing of {width:.0f}x{height:.0f} pixels; expected at least {LEAST_SIDE:.0f}x{LEAST_SIDE:.0f}, "
                "from a photo with more pixels or nearer to the shelf"
            )
        return quad

    def check(self, plan: Planogram) -> None:
        """What single records can't show."""
        if not plan.slots:
            raise self.wrong("no positions; a plan needs at least one")
        for name, ids in (
            ("positions", [one.id for one in plan.slots]),
            ("products", [one.id for one in plan.products]),
            ("fixtures", [one.id for one in plan.fixtures]),
        ):
            twice = sorted(one for one, count in Counter(ids).items() if count > 1)
            if twice:
                raise self.wrong(f"{name} has {twice[0]!r} twice; expected each id once")
        known, fixtures = {one.id for one in plan.products}, {one.id for one in plan.fixtures}
        for slot in plan.slots:
            for sku in slot.skus:
                if known and sku not in known:
                    raise self.wrong(f"position {slot.id} expects {sku!r}, which products doesn't have; add it there")
            if slot.fixture and fixtures and slot.fixture not in fixtures:
                raise self.wrong(f"position {slot.id} stands on {slot.fixture!r}, which fixtures doesn't have")
        self.check_places({one.id: one.polygon for one in plan.slots if one.polygon is not None}, plan.photo)

    def check_places(self, quads: Mapping[str, Quad], photo: Photo | None) -> None:
        if quads and photo is None:
            raise self.wrong("positions have polygons but the plan has no photo; expected photo with width and height")
        for slot, quad in quads.items():
            assert photo is not None
            for x, y in quad:
                if not (-1 <= x <= photo.width + 1 and -1 <= y <= photo.height + 1):
                    raise self.wrong(
                        f"position {slot} has a corner at {x:g}, {y:g}, outside of the photo of {photo.width}x{photo.height}"
                    )
        if found := geometry.first_shared(list(quads.values()), MOST_SHARED):
            one, other = (list(quads)[number] for number in found[:2])
            raise self.wrong(f"positions {one} and {other} overlap by {found[2]:.0%}; expected places side by side")


def check_against(plan: Planogram, has: Callable[[str], bool], shop: str) -> None:
    """Raise ShelfError where the plan expects a product that the shop doesn't have, or a slot has no place or no product yet."""
    missing = [sku for sku in plan.skus if not has(sku)]
    if missing:
        many = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise ShelfError(
            f"the plan expects {missing[0]!r}{many}, which {shop} doesn't have; add them to the bundle, or change the plan"
        )
    for slot in plan.slots:
        if slot.polygon is None:
            raise ShelfError(
                f"position {slot.id} has no polygon yet; place it with shelfmatch shelf edit, or in the JSON"
            )
        if not slot.skus:
            raise ShelfError(
                f"position {slot.id} has no productId yet; name it with shelfmatch shelf edit, or in the JSON"
            )


def scaled(plan: Planogram, width: int, height: int) -> Planogram:
    """The plan for frames of another size with the same sides' ratio. Raises ShelfError for another ratio."""
    photo = plan.photo
    if photo is None or (photo.width, photo.height) == (width, height):
        return plan
    across, down = width / photo.width, height / photo.height
    if abs(across / down - 1) > 0.01:
        raise ShelfError(
            f"frames of {width}x{height} pixels arrived, the plan's photo has {photo.width}x{photo.height}, another shape; take "
            "the reference photo with the same camera and settings (shelfmatch shelf teach)"
        )
    slots = tuple(
        slot if slot.polygon is None else replace(slot, polygon=tuple((x * across, y * down) for x, y in slot.polygon))  # type: ignore[arg-type]
        for slot in plan.slots
    )
    return replace(plan, slots=slots, photo=replace(photo, width=width, height=height))
