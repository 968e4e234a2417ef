"""Self-contained pages that people look at: one HTML file, pictures and plots inside, no script, nothing fetched."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from ..errors import ImageError
from ..imaging.decode import decode
from ..imaging.image import ImageSource, upright

if TYPE_CHECKING:
    pass

_STYLE = """
:root { color-scheme: light; --ink: #1d2430; --soft: #667085; --line: #e4e7ec; --good: #067647; --bad: #b42318; --open: #175cd3; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; color: var(--ink); background: #f6f7f9; margin: 0; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 30px; margin: 0 0 4px; } h2 { font-size: 20px; margin: 40px 0 12px; }
p { margin: 0 0 12px; color: var(--soft); max-width: 75ch; }
section.card { background: #fff; border: 1px solid var(--line); border-radius: 14px; padding: 20px 24px; margin-top: 20px; }
.figures { display: flex; flex-wrap: wrap; gap: 16px; margin-top: 24px; }
.figures div { background: #fff; border: 1px solid var(--line); border-radius: 14px; padding: 14px 20px; min-width: 168px; }
.figures b { display: block; font-size: 28px; line-height: 1.2; } .figures span { color: var(--soft); font-size: 13px; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: 7px 12px 7px 0; vertical-align: top; }
tr + tr td { border-top: 1px solid var(--line); } td:first-child { color: var(--soft); width: 36%; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 16px; }
figure { margin: 0; background: #fff; border: 1px solid var(--line); border-radius: 12px; overflow: hidden; }
figure .pair { display: flex; height: 132px; background: #eef0f3; }
figure .pair img { width: 50%; height: 100%; object-fit: cover; }
figure .pair .none { width: 50%; display: grid; place-items: center; color: var(--soft); font-size: 40px; }
figure .pair .shot { position: relative; flex: 1 1 0; min-width: 0; height: 100%; border-left: 2px solid #fff; }
figure .pair .shot:first-child { border-left: 0; } figure .pair .shot img { width: 100%; }
figure .pair .shot .none { width: 100%; height: 100%; font-size: 12px; padding: 26px 8px 8px; text-align: center; }
figure .pair .shot i { position: absolute; left: 6px; top: 6px; padding: 1px 7px; border-radius: 9px;
  font: 11px/1.5 system-ui, sans-serif; color: #fff; background: rgba(16, 24, 40, .66); }
.gallery.wide { grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); }
table.grid th { color: var(--soft); font-weight: 500; font-size: 13px; }
table.grid td { border-top: 1px solid var(--line); width: auto; }
table.grid td + td, table.grid th + th { text-align: right; } table.grid td:first-child { color: var(--ink); width: auto; }
figcaption { padding: 9px 12px 11px; font-size: 13px; line-height: 1.4; border-top: 3px solid var(--line); }
figcaption small { color: var(--soft); display: block; }
figure.good figcaption { border-color: var(--good); } figure.bad figcaption { border-color: var(--bad); }
figure.open figcaption { border-color: var(--open); }
svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
"""


def page(title: str, body: Iterable[str], style: str = "") -> bytes:
    """One HTML document; `style`: rules after those of all pages."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="generator" content="shelfmatch">'
        f"<title>{escape(title)}</title>"
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}{style}</style></head>'
        f"<body><main>{''.join(body)}</main></body></html>\n"
    ).encode(errors="backslashreplace")  # names of files that aren't UTF-8


def figures(values: Mapping[str, str]) -> str:
    """Headline numbers: caption → figure."""
    cells = "".join(
        f"<div><b>{escape(value)}</b><span>{escape(caption)}</span></div>" for caption, value in values.items()
    )
    return f'<div class="figures">{cells}</div>'


def table(rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells, the first one a caption."""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{body}</table>"


def grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a header, its first column to the left and the others to the right."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="grid"><tr>{head}</tr>{body}</table>'


def section(heading: str, *parts: str, note: str = "") -> str:
    """A titled card."""
    lead = f"<p>{escape(note)}</p>" if note else ""
    return f'<h2>{escape(heading)}</h2><section class="card">{lead}{"".join(parts)}</section>'


def pair(kind: str, query: ImageSource, reference: ImageSource | None, headline: str, detail: str) -> str:
    """A query beside what was found for it; `kind` good, bad or open colours the edge."""
    found = (
        f'<img src="{thumbnail(reference)}" alt="reference">' if reference is not None else '<div class="none">?</div>'
    )
    return (
        f'<figure class="{kind}"><div class="pair"><img src="{thumbnail(query)}" alt="query">{found}</div>'
        f"<figcaption>{escape(headline)}<small>{escape(detail)}</small></figcaption></figure>"
    )


def shots(kind: str, pictures: Iterable[tuple[str, ImageSource | None, str]], headline: str, detail: str) -> str:
    """Pictures in a row, each with a tag; `pictures` are (tag, picture, words instead where there is none to show)."""
    boxes = "".join(
        f'<div class="shot">{_shot(picture, instead)}<i>{escape(tag)}</i></div>' for tag, picture, instead in pictures
    )
    return (
        f'<figure class="{kind}"><div class="pair">{boxes}</div>'
        f"<figcaption>{escape(headline)}<small>{escape(detail)}</small></figcaption></figure>"
    )


def _shot(picture: ImageSource | None, instead: str) -> str:
    if picture is not None:
        with contextlib.suppress(ImageError):  # gone since it was matched
            return f'<img src="{thumbnail(picture)}" alt="{escape(instead, quote=True)}">'
    return f'<div class="none">{escape(instead)}</div>'


def gallery(cells: Iterable[str], *, wide: bool = False) -> str:
    """A grid of pairs; `wide` for three pictures a cell."""
    return f'<div class="gallery{" wide" if wide else ""}">{"".join(cells)}</div>'


def thumbnail(source: ImageSource, size: int = 220) -> str:
    """A picture as a data URL."""
    image = upright(decode(source)).copy()
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=78, comment=b"")  # Pillow would take over the photo's own
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
