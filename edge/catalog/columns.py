"""Which column of a spreadsheet is the image, the SKU and the name: as the user says, or by what the columns are usually called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..errors import CatalogError
from . import gtin
from .listing import few

_IMAGE = """
image images imagefile imagepath imagename photo photos photofile picture pictures img file filename filepath
bild bilder bilddatei bildname foto fotos datei dateiname dateipfad abbildung
fichier nomdefichier nomfichier photographie imagen imagenes imágenes archivo immagine immagini afbeelding zdjęcie
图片 图像 照片 图片路径 图片文件 图片名称 文件 文件名
"""
_SKU = """
sku skus skucode skuid articlenumber articleno articlecode articleid article itemnumber itemno itemcode itemid item
productid productcode productnumber productsku
artikelnummer artikelnr artnr artikelcode artikelid artikel produktnummer produktnr produktid
référence reference réf ref référencearticle codearticle codeproduit numéroarticle numérodarticle
artículo código codigo codice articolo 货号 商品编号 商品编码 商品货号 产品编号 产品编码 编号 编码
"""
_NAME = """
name names productname producttitle title itemname articlename
artikelname artikelbezeichnung bezeichnung produktname produktbezeichnung
nom nomproduit nomduproduit désignation designation libellé libelle intitulé
nombre denominación nome naam nazwa 名称 商品名称 产品名称 品名 商品名
"""
NAMES: Mapping[str, tuple[str, ...]] = {
    "image": tuple(_IMAGE.split()),
    "sku": tuple(_SKU.split()),
    "name": tuple(_NAME.split()),
}
"""What image, SKU and name are called in English, German, French, Chinese and some more, as `plain` writes it, surest first."""

_CASE_ONLY = ("gtin", "price", "category", "brand")
"""Named in the documents: written in small letters whatever the case in the header."""


def plain(column: str) -> str:
    """A column's name without what nobody means by it: case, blanks, dots, underscores."""
    return re.sub(r"[\s_.:\-/()#*°'’]", "", column.casefold())


def matched(
    header: Sequence[str], columns: Mapping[str, str], required: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A header with our names, and what was guessed, in words. `columns`: our name → the spreadsheet's, which is no guess. Raises
    CatalogError where the spreadsheet has no such column. What is required and can't be found stays missing."""
    found: dict[str, int] = {}
    for ours, theirs in columns.items():
        column = _named(header, theirs, ours)
        other = next((name for name, taken in found.items() if taken == column), None)
        if other is not None:  # one of the two would be lost without a word
            raise CatalogError(
                f"--columns takes {header[column]!r} for {other} and for {ours}; expected a column for each, copy it in the table"
            )
        found[ours] = column
    guessed: list[str] = []
    for ours in ("image", "sku", "name"):
        if ours in found:
            continue
        if ours in header:
            found[ours] = header.index(ours)
            continue
        place = _usual(header, ours, set(found.values()))
        if place is None and ours == "sku" and ours in required:
            place = next((one for one, name in enumerate(header) if plain(name) in gtin.COLUMNS), None)
            if place is not None:
                guessed.append(f"no column is called sku, so {header[place]!r} is taken for it")
                found[ours] = place
            continue
        if place is not None:
            found[ours] = place
            if plain(header[place]) != ours:
                guessed.append(f"{header[place]!r} is taken for {ours}")
    named = [*header]
    for place, name in enumerate(header):
        if plain(name) in _CASE_ONLY and plain(name) not in header and place not in found.values():
            named[place] = plain(name)
        elif plain(name) == "newsku" and "new_sku" not in header:
            named[place] = "new_sku"
    for ours, place in found.items():
        named[place] = ours
    for place, name in enumerate(named):
        if name in columns and found[name] != place:  # another column bears the name that was given away
            named[place] = f"{name} 2"
    return tuple(named), tuple(guessed)


def _named(header: Sequence[str], theirs: str, ours: str) -> int:
    for place, name in enumerate(header):
        if name == theirs:
            return place
    for place, name in enumerate(header):
        if plain(name) == plain(theirs):
            return place
    raise CatalogError(f"--columns {ours}={theirs} arrived; the columns are {few(filter(None, header), 20)}")


def _usual(header: Sequence[str], ours: str, taken: set[int]) -> int | None:
    """The column that is usually called so, the surest name first."""
    places = {plain(name): place for place, name in reversed(list(enumerate(header))) if place not in taken}
    return next((places[name] for name in NAMES[ours] if name in places), None)


def columns_of(text: str) -> dict[str, str]:
    """--columns: image=foto,sku=artikel as a mapping of our names to the spreadsheet's. Raises CatalogError."""
    columns: dict[str, str] = {}
    for pair in text.split(","):
        ours, equals, theirs = pair.partition("=")
        ours, theirs = ours.strip(), " ".join(theirs.split())
        if not (equals and ours and theirs):
            raise CatalogError(f"--columns {text!r} arrived; expected OURS=YOURS, like image=foto,sku=artikel")
        if ours in columns:
            raise CatalogError(f"--columns {text!r} arrived; it says twice what {ours} is")
        columns[ours] = theirs
    return columns
