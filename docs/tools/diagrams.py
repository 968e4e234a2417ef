"""Boxes and arrows as SVG, on white, with text that any browser has letters for."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Final

INK: Final = "#1f2937"
PALE: Final = "#6b7280"
COLOURS: Final = {
    "blue": ("#e8f0ff", "#2e6bff"),
    "green": ("#e7f7ee", "#1a8f52"),
    "amber": ("#fff4de", "#c67c00"),
    "grey": ("#f3f4f6", "#9ca3af"),
    "red": ("#fdeaea", "#c93434"),
}
FONT: Final = "font-family='system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif'"


@dataclass(frozen=True)
class Box:
    """A box at (x, y), its upper left corner, in pixels. `lines` stand below its title."""

    x: float
    y: float
    wide: float
    high: float
    title: str
    lines: tuple[str, ...] = ()
    colour: str = "blue"

    @property
    def middle(self) -> tuple[float, float]:
        return self.x + self.wide / 2, self.y + self.high / 2


@dataclass
class Drawing:
    """A picture of this size in pixels, with what `box`, `arrow` and `text` add."""

    wide: int
    high: int
    title: str
    parts: list[str] = field(default_factory=list)

    def box(self, box: Box) -> Box:
        """Draw a box; the same box, to draw arrows to."""
        fill, line = COLOURS[box.colour]
        self.parts.append(
            f"<rect x='{box.x:g}' y='{box.y:g}' width='{box.wide:g}' height='{box.high:g}' rx='8' fill='{fill}' "
            f"stroke='{line}' stroke-width='1.5'/>"
        )
        top = box.middle[1] - 8.5 * len(box.lines) + 5
        self.text(box.middle[0], top, box.title, bold=True)
        for place, line_of_text in enumerate(box.lines, start=1):
            self.text(box.middle[0], top + 17 * place, line_of_text, size=12, colour=PALE)
        return box

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: int = 14,
        bold: bool = False,
        colour: str = INK,
        anchor: str = "middle",
    ) -> None:
        """One line, its baseline at y."""
        weight = " font-weight='600'" if bold else ""
        self.parts.append(
            f"<text x='{x:g}' y='{y:g}' font-size='{size}'{weight} fill='{colour}' text-anchor='{anchor}'>{escape(words)}</text>"
        )

    def arrow(
        self,
        points: list[tuple[float, float]],
        label: str = "",
        *,
        at: tuple[float, float] | None = None,
        colour: str = INK,
    ) -> None:
        """Through these points; the label stands at `at`, or over the middle of the first part."""
        path = " ".join(f"{'M' if place == 0 else 'L'}{x:g},{y:g}" for place, (x, y) in enumerate(points))
        self.parts.append(f"<path d='{path}' fill='none' stroke='{colour}' stroke-width='1.5' marker-end='url(#tip)'/>")
        if label:
            (x0, y0), (x1, y1) = points[0], points[1]
            x, y = at or ((x0 + x1) / 2, (y0 + y1) / 2 - 7)
            self.text(x, y, label, size=12, colour=PALE)

    def to_svg(self) -> str:
        """The whole picture."""
        return (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {self.wide} {self.high}' width='{self.wide}' "
            f"height='{self.high}' {FONT} role='img'>\n<title>{escape(self.title)}</title>\n"
            "<defs><marker id='tip' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='7' markerHeight='7' orient='auto'>"
            f"<path d='M0,0 L10,5 L0,10 z' fill='{INK}'/></marker></defs>\n"
            f"<rect width='{self.wide}' height='{self.high}' rx='10' fill='white'/>\n"
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )


def right_to(start: Box, end: Box) -> list[tuple[float, float]]:
    """From the right side of one box to the left side of another."""
    return [(start.x + start.wide, start.middle[1]), (end.x - 2, end.middle[1])]


def down_to(start: Box, end: Box) -> list[tuple[float, float]]:
    """From the lower side of one box to the upper side of another."""
    return [(start.middle[0], start.y + start.high), (end.middle[0], end.y - 2)]
