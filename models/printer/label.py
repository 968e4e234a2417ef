"""Where things stand on a label: fronts and sides of a design, by layouts that a family keeps and its variants share."""

from __future__ import annotations

import random

from PIL import Image, ImageDraw

from shelfmatch.models.printer import art
from shelfmatch.models.printer.design import RGB, Design, colour, mix, readable
from shelfmatch.models.printer.stock import Stock


def _plate(image: Image.Image, box: art.Box, fill: RGB, rng: random.Random) -> None:
    """A field behind type: rectangle, rounded, or ellipse."""
    draw, kind = ImageDraw.Draw(image), rng.random()
    if kind < 0.4:
        draw.rectangle(box, fill=fill)
    elif kind < 0.75:
        draw.rounded_rectangle(box, radius=max(1, int((box[3] - box[1]) * 0.3)), fill=fill)
    else:
        draw.ellipse(box, fill=fill, outline=readable(fill, rng), width=rng.choice((0, 1, 2)))


def _brand(image: Image.Image, box: art.Box, design: Design) -> None:
    rng = design.rng("brand")
    ink: RGB = design.palette[3]
    x0, y0, x1, y1 = box
    if rng.random() < 0.5:
        fill = rng.choice((design.palette[1], design.palette[2], (255, 255, 255), (20, 20, 24)))
        _plate(image, box, fill, rng)
        ink = readable(fill, rng)
        box = (x0 + (x1 - x0) * 0.1, y0 + (y1 - y0) * 0.15, x1 - (x1 - x0) * 0.1, y1 - (y1 - y0) * 0.15)
    art.set_type(image, box, design.brand, design.brand_face, ink, rng)


def _name(image: Image.Image, box: art.Box, design: Design) -> None:
    rng = design.rng("name")
    ink = rng.choice((design.palette[3], readable(design.palette[0], rng)))
    lines = design.name.split() if rng.random() < 0.6 else [design.name]
    pitch = (box[3] - box[1]) / len(lines)
    for number, line in enumerate(lines):
        at = (box[0], box[1] + number * pitch, box[2], box[1] + (number + 0.92) * pitch)
        art.set_type(image, at, line, design.text_face, ink, rng)


def _flavour(image: Image.Image, box: art.Box, design: Design) -> None:
    rng = design.rng("flavour")
    ink = design.band
    if rng.random() < 0.75 or "band" in design.differs:
        wide = rng.random() < 0.6
        field = (0, box[1], image.width, box[3]) if wide else box
        _plate(image, field, design.band, random.Random(0) if wide else rng)
        ink = readable(design.band, random.Random(design.family))
    pad = (box[3] - box[1]) * 0.16
    art.set_type(
        image, (box[0] + 3, box[1] + pad, box[2] - 3, box[3] - pad), design.flavour, design.text_face, ink, rng
    )


def _row(image: Image.Image, what: str, box: art.Box, design: Design, stock: Stock) -> None:
    if what == "brand":
        _brand(image, box, design)
    elif what == "name":
        _name(image, box, design)
    elif what == "flavour":
        _flavour(image, box, design)
    elif what == "picture":
        art.picture(image, box, design.picture, stock, design.rng("picture"))
    elif what == "small":
        art.small_print(image, box, design, stock, design.rng("small"), design.rng("pitch").uniform(5, 8))


def front(design: Design, size: tuple[int, int], stock: Stock) -> Image.Image:
    """The front of a package (RGB, `size` in pixels)."""
    rng = design.rng("layout")
    image = art.ground(design, size, stock)
    wide, high = size
    rows = {"brand": rng.uniform(0.12, 0.32), "name": rng.uniform(0.08, 0.25), "flavour": rng.uniform(0.07, 0.16)}
    if rng.random() < 0.85:
        rows["picture"] = rng.uniform(0.2, 0.55)
    if rng.random() < 0.5:
        rows["small"] = rng.uniform(0.06, 0.2)
    order = list(rows) if rng.random() < 0.45 else rng.sample(list(rows), len(rows))
    beside = design.aspect > 1.5 and rng.random() < 0.7
    turned = design.aspect < 0.5 and rng.random() < 0.5
    area = [wide * 0.05, high * 0.03, wide * 0.95, high * 0.97]
    if beside:  # the picture takes one side of a wide package
        cut = wide * rng.uniform(0.3, 0.55)
        left = rng.random() < 0.5
        art.picture(
            image,
            (0, 0, cut, high) if left else (wide - cut, 0, wide, high),
            design.picture,
            stock,
            design.rng("picture"),
        )
        area[0 if left else 2] = cut if left else wide - cut
        order = [name for name in order if name != "picture"]
    if turned:  # the brand runs up a tall package
        cut = wide * rng.uniform(0.35, 0.6)
        art.set_type(
            image,
            (wide * 0.04, high * 0.1, cut, high * 0.9),
            design.brand,
            design.brand_face,
            design.palette[3],
            rng,
            upright=True,
        )
        area[0] = cut
        order = [name for name in order if name != "brand"]
    total = sum(rows[name] for name in order) / rng.uniform(0.8, 1.0)
    y = area[1]
    for name in order:
        height = (area[3] - area[1]) * rows[name] / total
        _row(image, name, (area[0], y, area[2], y + height * 0.95), design, stock)
        y += height
    _extras(image, design, stock)
    return image


def _extras(image: Image.Image, design: Design, stock: Stock) -> None:
    rng, (wide, high) = design.rng("extras"), image.size
    if rng.random() < 0.5 or "seal" in design.differs:
        radius = min(wide, high) * rng.uniform(0.1, 0.2)
        centre = (rng.choice((0.18, 0.82)) * wide, rng.uniform(0.15, 0.85) * high)
        art.seal(image, centre, radius, design.seal, design.small_face, rng)
    tall = high * (rng.uniform(0.08, 0.17) if "size" in design.differs else rng.uniform(0.035, 0.08))
    x = wide * rng.choice((0.04, 0.5, 0.62))
    ink = readable(design.palette[0], rng)
    at = (x, high - tall - 3, x + wide * 0.34, high - 3)
    art.set_type(image, at, design.size, design.small_face, ink, rng)
    if rng.random() < 0.35:  # a second language
        script = rng.choice(("latin", "ar", "zh", "ru", "th", "ja"))
        y = rng.uniform(0.3, 0.8) * high
        art.set_type(
            image,
            (wide * 0.08, y, wide * 0.6, y + high * 0.06),
            stock.word(rng, script),
            stock.face(rng, script),
            ink,
            rng,
        )


def side(design: Design, size: tuple[int, int], stock: Stock) -> Image.Image:
    """Another side: the family's colours, small print, a table, a bar code, the brand again."""
    rng = design.rng("side")
    wide, high = size
    fill = rng.choice(
        (design.palette[0], design.palette[0], design.palette[1], mix(design.palette[0], (255, 255, 255), 0.7))
    )
    image = Image.new("RGB", size, fill)
    parts = rng.sample(["brand", "small", "table", "code", "name", "flavour"], rng.randint(3, 5))
    y, ink = high * 0.03, readable(fill, rng)
    for part in parts:
        height = high * (0.94 / len(parts))
        box = (wide * 0.06, y, wide * 0.94, y + height * 0.92)
        if part == "brand":
            art.set_type(image, box, design.brand, design.brand_face, ink, rng, upright=wide * 1.6 < height)
        elif part == "small":
            art.small_print(image, box, design, stock, rng, rng.uniform(4.5, 7))
        elif part == "table":
            art.table(image, box, design, rng)
        elif part == "code":
            art.bar_code(image, (box[0], box[1], box[2], min(box[3], box[1] + wide * 0.6)), rng)
        elif part == "name":
            _name(image, box, design)
        else:
            _flavour(image, (box[0], box[1], box[2], min(box[3], box[1] + high * 0.14)), design)
        y += height
    return image


def sticker(image: Image.Image, rng: random.Random, stock: Stock) -> None:
    """A price label stuck somewhere on the product."""
    wide = max(18, int(image.width * rng.uniform(0.14, 0.3)))
    high = max(10, int(wide * rng.uniform(0.4, 0.7)))
    if wide >= image.width or high >= image.height:
        return
    x, y = rng.randrange(image.width - wide), rng.randrange(image.height - high)
    fill = rng.choice(((255, 255, 255), (255, 225, 60), (255, 120, 60), colour(rng, (0.8, 1), (0.2, 0.8))))
    ImageDraw.Draw(image).rectangle((x, y, x + wide, y + high), fill=fill)
    text = f"{rng.uniform(0.3, 40):.2f}{rng.choice(('', ' €', ' $', ' kr', ' ₽'))}"
    art.set_type(image, (x + 2, y + 2, x + wide - 2, y + high - 2), text, stock.face(rng), (10, 10, 10), rng)
