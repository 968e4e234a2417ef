"""Self-contained pages that people look at: one HTML file, pictures and plots inside, no script, nothing fetched."""

from __future__ import annotations

import base64
import contextlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ..errors import ImageError
from ..files import write_atomic
from ..imaging.image import ImageSource, decode, upright
from ..metrics import ReliabilityBin

if TYPE_CHECKING:
    from ..build.report import BuildReport

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


def page(title: str, body: Iterable[str]) -> bytes:
    """One HTML document."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
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


def bars(values: Mapping[str, float], unit: str) -> str:
    """A horizontal bar for each value."""
    longest = max(values.values(), default=0.0) or 1.0
    rows = []
    for place, (caption, value) in enumerate(values.items()):
        y, width = 34 * place, max(2.0, 560 * value / longest)
        rows.append(
            f'<text x="0" y="{y + 20}">{escape(caption)}</text>'
            f'<rect x="120" y="{y + 4}" width="{width:.1f}" height="22" rx="5" fill="#528bff"/>'
            f'<text x="{130 + width:.1f}" y="{y + 20}">{value:.2f} {escape(unit)}</text>'
        )
    return f'<svg viewBox="0 0 800 {34 * len(values)}" width="100%" role="img">{"".join(rows)}</svg>'


def histogram(groups: Mapping[str, Sequence[float]], threshold: float, caption: str) -> str:
    """Values from 0 to 1 of up to two groups as shares per bin, and a line at the threshold."""
    bins, wide, high = 25, 760, 200
    parts = []
    tallest = max((max(_shares(values, bins)) for values in groups.values()), default=0.0) or 1.0
    for place, (name, values) in enumerate(groups.items()):
        color = ("#12b76a", "#f04438")[place % 2]
        bar = wide / bins / 2
        for number, share in enumerate(_shares(values, bins)):
            tall, x = high * share / tallest, number * wide / bins + place * bar
            if share:
                box = f'x="{x:.1f}" y="{high - tall:.1f}" width="{bar - 1:.1f}" height="{tall:.1f}"'
                parts.append(f'<rect {box} fill="{color}"/>')
        parts.append(
            f'<rect x="{250 * place}" y="{high + 34}" width="12" height="12" fill="{color}"/>'
            f'<text x="{250 * place + 18}" y="{high + 45}">{escape(name)}</text>'
        )
    x = threshold * wide
    return (
        f'<svg viewBox="0 -16 800 {high + 70}" width="100%" role="img">'
        f'<line x1="0" y1="{high}" x2="{wide}" y2="{high}" stroke="#98a2b3"/>'
        f'{"".join(parts)}<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{high}" stroke="#1d2430" stroke-dasharray="5 4"/>'
        f'<text x="{min(max(x, 34), wide - 34):.1f}" y="-5" text-anchor="middle">threshold</text>'
        f'<text x="0" y="{high + 17}">0</text><text x="{wide - 8}" y="{high + 17}">1</text>'
        f'<text x="{wide / 2 - 60}" y="{high + 17}">{escape(caption)}</text></svg>'
    )


def reliability_plot(rows: Sequence[ReliabilityBin]) -> str:
    """A reliability diagram: what share is right at each confidence. True confidences lie on the diagonal; a dot's area
    grows with the answers in its bin."""
    side, left = 300, 88
    most = max((row.count for row in rows), default=0) or 1
    parts = [f'<rect x="{left}" y="0" width="{side}" height="{side}" fill="#f9fafb" stroke="#e4e7ec"/>']
    for tick in (0, 25, 50, 75, 100):
        along = side * tick / 100
        parts.append(
            f'<text x="{left - 8}" y="{side - along + 5:.0f}" text-anchor="end">{tick} %</text>'
            f'<text x="{left + along:.0f}" y="{side + 18}" text-anchor="middle">{tick} %</text>'
        )
    parts.append(f'<line x1="{left}" y1="{side}" x2="{left + side}" y2="0" stroke="#98a2b3" stroke-dasharray="5 4"/>')
    for row in rows:
        if row.confidence is not None and row.accuracy is not None:
            x, y, true = left + side * row.confidence, side * (1 - row.accuracy), side * (1 - row.confidence)
            radius = max(2.5, 16 * math.sqrt(row.count / most))
            parts.append(
                f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{true:.1f}" stroke="#f04438" stroke-width="2"/>'
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="#528bff" fill-opacity=".75">'
                f"<title>{row.count:,} answers: {row.confidence:.1%} sure, {row.accuracy:.1%} right</title></circle>"
            )
    return (
        f'<svg viewBox="0 -18 800 {side + 62}" width="100%" role="img">{"".join(parts)}'
        f'<text x="{left + side / 2:.0f}" y="{side + 38}" text-anchor="middle">how sure</text>'
        f'<text x="14" y="{side / 2:.0f}" text-anchor="middle" transform="rotate(-90 14 {side / 2:.0f})">right</text></svg>'
    )


def _shares(values: Sequence[float], bins: int) -> list[float]:
    """What part of the values, from 0 to 1 each, falls into each bin."""
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int(value * bins))] += 1
    return [count / max(1, len(values)) for count in counts]


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
    image.save(buffer, "JPEG", quality=78)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def write_build_page(path: Path, report: BuildReport, bundle: str) -> None:
    """The page of `build --report`."""
    decision = report.decision
    body = [
        f"<h1>{escape(Path(bundle).name)}</h1><p>Built with {escape(report.encoder)} in {report.seconds:.1f} s.</p>",
        figures(
            {
                "products": f"{report.products:,}",
                "photos in the index": f"{report.references:,}",
                "photos that can't be read": f"{len(report.unreadable):,}",
                "bundle": f"{report.size_bytes / 1e6:.1f} MB",
            }
        ),
    ]
    if decision is not None and decision.correct_accept_rate is not None and decision.false_accept_rate is not None:
        rows = [
            ("fitted on", f"{decision.known:,} known and {decision.unknown:,} unknown queries, {decision.method}"),
            ("threshold", f"confidence {decision.threshold:.3f}"),
            ("products the shop doesn't sell, accepted", f"{decision.false_accept_rate:.1%}"),
            ("the shop's own photos, accepted and right", f"{decision.correct_accept_rate:.1%}"),
        ]
        note = "Measured by leaving the shop's own photos out; photos of a camera in the shop are harder."
        body.append(section("Match or unknown", table(rows), note=note))
        curve = [ReliabilityBin(0, 1, count, mean, share) for mean, share, count in decision.reliability]
        note = (
            "How often held-out photos were right at each confidence; on the diagonal, a confidence is a probability."
        )
        body.append(section("Reliability of the confidence", reliability_plot(curve), note=note))
    if report.adaptation is not None:
        rows = [("the shop's adapter", report.adaptation.sentence())]
        if report.pruned is not None:
            before, after = report.pruned.recall_before, report.pruned.recall_after
            found = f"{before:.1%} of them find their product among all photos, {after:.1%} among those kept"
            rows.append((f"{report.pruned.removed:,} photos left out", found))
        body.append(section("Tuned to this shop", table(rows)))
    for heading, listed in (("Photos that can't be read", report.unreadable), ("Duplicates", report.duplicates)):
        if listed:
            body.append(section(heading, table(listed)))
    if report.without_photos:
        body.append(section("Products left out for want of a photo", table([(sku,) for sku in report.without_photos])))
    if report.ignored:
        body.append(section("Files that are no photos", table([(label,) for label in report.ignored])))
    write_atomic(path, page(f"{Path(bundle).name} – build", body))
