"""`shelf report`: one page without a script, whatever names and states it shows, and a table beside it."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from shelfmatch.edge.cli import main
from shelfmatch.edge.events.event import Event
from shelfmatch.edge.events.history import PlanSlot, history
from shelfmatch.edge.events.log import EventLog
from shelfmatch.edge.pages.shelf_page import ShelfReport, shelf_page
from shelfmatch.edge.privacy.counts import NoisySum
from tests.conftest import tile_photo
from tests.support.kiosk import jpeg

HOSTILE = "<script>alert(1)</script>\"&'"
NOW = 1_771_570_800.0


def slots() -> list[PlanSlot]:
    """Two boards of five."""
    found = []
    for number in range(10):
        x, y = 30 + 200 * (number % 5), 20 + 300 * (number // 5)
        corners = ((x, y), (x + 190.0, y), (x + 190.0, y + 280.0), (x, y + 280.0))
        found.append(PlanSlot(f"s{number}", corners, f"SKU-{number}", HOSTILE if number == 3 else f"Product {number}"))
    return found


def fill(folder: Path, picture: bytes | None = None) -> None:
    """A log with some of everything, of the last hours."""
    begun = time.time() - 7200
    with EventLog.open(folder) as log:
        for number, state in enumerate(("empty", "low", "misplaced", "unknown")):
            said = {
                "state": state,
                "expected": f"SKU-{number}",
                "by": HOSTILE if state == "misplaced" else "",
                "time": begun,
            }
            alert = "alert" if state in ("empty", "misplaced") else "detection"
            start = begun + 60 * number
            log.append(
                Event(f"=e{number}", "new", "slot", f"s{number}", {"state": "full"}, said, start, None, alert), picture
            )
        back = {"state": "full", "expected": "SKU-0"}
        log.append(Event("=e0", "end", "slot", "s0", {"state": "empty"}, back, begun, begun + 1800, "alert"), picture)
        log.append(
            Event("c1", "new", "camera", None, {"state": "ok"}, {"state": "covered"}, begun + 4000, None, "alert")
        )


class Checked(HTMLParser):
    """Counts tags, and notes what a page must not have."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "iframe", "object"):
            self.wrong.append(tag)
        for name, value in attrs:
            if name.startswith("on") or (name in ("src", "href") and not (value or "").startswith("data:")):
                self.wrong.append(f"{tag} {name}={value}")
        if tag not in ("meta", "img", "rect", "polygon", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("rect", "polygon"):
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")


def checked(page: bytes) -> str:
    """A page's text, after it was found well-formed and self-contained."""
    parser = Checked()
    text = page.decode()
    parser.feed(text)
    assert parser.wrong == [] and parser.open == []
    assert "@import" not in text and "url(" not in text
    return text


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "log", jpeg(tile_photo(1, 1, 64)))
    assert main(["shelf", "report", "log", "--csv"]) == 0
    assert capsys.readouterr().out == "shelf-report.html: 4 slots, 5 events; shelf-report.csv\n"
    text = checked(Path("shelf-report.html").read_bytes())
    assert "data:image" not in text, "pictures are off"
    assert "Passers-by" not in text
    rows = list(csv.DictReader(io.StringIO(Path("shelf-report.csv").read_text(encoding="utf-8-sig"))))
    assert [row["state"] for row in rows] == ["empty", "low", "misplaced", "unknown", "covered"]
    assert rows[0]["event"] == "'=e0" and rows[0]["minutes"] == "30.00" and rows[1]["end"] == ""
    assert rows[2]["by"] == HOSTILE

    assert main(["shelf", "report", "log", "-o", "b.html", "--pictures", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["events"] == 4 and summary["open_alerts"] == 2 and summary["csv"] is None
    assert checked(Path("b.html").read_bytes()).count("data:image") == 5, "the first event has two"
    shutil.rmtree(tmp_path / "log" / "pictures")
    assert main(["shelf", "report", "log", "-o", "b.html", "--pictures"]) == 0
    assert "data:image" not in checked(Path("b.html").read_bytes())


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Berlin's time, spelled out so that it needs no table of time zones."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(("day", "hours"), [("2025-03-30", 23), ("2025-10-25", 24), ("2025-10-26", 25)])
def test_a_day_ends_at_the_next_midnight(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    berlin: None,
    day: str,
    hours: int,
) -> None:
    """Also when the clocks are changed: something was empty in the day's last half an hour, and in the next day's first."""
    monkeypatch.chdir(tmp_path)
    midnight = datetime.strptime(day, "%Y-%m-%d").timestamp()
    with EventLog.open("log") as log:
        for number, begin in enumerate((-1.0, hours - 0.5, hours + 0.5)):
            start, end = midnight + 3600 * begin, midnight + 3600 * (begin + 0.25)
            said = {"state": "empty", "expected": "TEA"}
            log.append(Event(f"e{number}", "new", "slot", "s1", {"state": "full"}, said, start, None, "alert"))
            log.append(Event(f"e{number}", "end", "slot", "s1", said, {"state": "full"}, start, end, "alert"))
    assert main(["shelf", "report", "log", "--day", day, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["start_time"], summary["end_time"]) == (midnight, midnight + 3600 * hours)
    assert summary["out_of_stock_minutes"] == {"TEA": 15.0}
    assert summary["compliance"] == pytest.approx(1 - 0.25 / hours)


def test_wrong_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    EventLog.open("empty").close()
    fill(tmp_path / "log")
    Path("mine.html").write_text("<html>not ours</html>")
    for words, code, complaint in (
        (["nothing"], 2, "isn't there; expected the folder"),
        (["log", "-o", "r.csv", "--csv"], 2, "name the page OUT.html"),
        ([str(tmp_path)], 2, "is no log"),
        (["empty"], 1, "no events yet"),
        (["log", "-o", "mine.html"], 2, "mine.html"),
        (["log", "-o", "no/such/page.html"], 2, "make it first"),
        (["log", "--day", "2001-01-01"], 1, "nothing of that day"),
        (["log", "--plan", "nothing.json"], 2, "nothing.json isn't there"),
    ):
        assert main(["shelf", "report", *words]) == code
        assert complaint in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["shelf", "report", "log", "--day", "yesterday"])
    assert "expected a day like" in capsys.readouterr().err
    assert not Path("shelf-report.html").exists()


def test_the_page_shows_it(tmp_path: Path) -> None:
    fill(tmp_path / "log")
    with EventLog.open(tmp_path / "log") as log:
        past = history(log.entries(), slots())
    sums = tuple(NoisySum(NOW + 3600 * n, NOW + 3600 * (n + 1), value, "1/2") for n, value in enumerate((12, -2, 30)))
    text = checked(shelf_page(ShelfReport(HOSTILE, past, None, sums)))
    assert text.count("<polygon") == 10
    assert HOSTILE not in text and "alert(1)" in text
    assert "The camera: covered." in text
    # Three hours with noise of variance 2q/(1-q)², q = exp(-1/2): twice the root of three of them is 9.7.
    assert "About 40 people passed (± 10 in 95 of 100 cases)" in text
    for state, count in (("full", 7), ("low", 1), ("empty", 0), ("misplaced", 1), ("unknown", 1)):
        assert (f"{state}: {count}" in text) == (count > 0)
    assert re.search(r"s0: Product 0 \(SKU-0\), full since", text)
    checked(shelf_page(ShelfReport("", history([]))))


@pytest.mark.slow
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    """Three sizes, light and dark: nothing wider than the screen, and axe-core finds nothing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="pip install --no-deps axe-playwright-python"
    )
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium: apt-get install chromium")
    fill(tmp_path / "log", jpeg(tile_photo(1, 1, 64)))
    with EventLog.open(tmp_path / "log") as log:
        past = history(log.entries(), slots())
    sums = (NoisySum(NOW, NOW + 3600, 12, "1/2"),)
    page = tmp_path / "report.html"
    page.write_bytes(shelf_page(ShelfReport("Bay 1", past, tmp_path / "log" / "pictures", sums)))
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, height in ((390, 844), (820, 1180), (1440, 900)):
            for scheme in ("light", "dark"):
                view = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                view.goto(page.as_uri())
                assert view.evaluate("document.documentElement.scrollWidth") <= width
                found = axe.Axe().run(view).response["violations"]
                assert found == [], [(one["id"], [node["html"][:120] for node in one["nodes"]][:3]) for one in found]
                view.close()
        browser.close()


@pytest.mark.parametrize(("days", "word", "most"), [(2, "Hour", 49), (30, "Day", 31), (3000, "Week", 430)])
def test_a_long_time_is_shown_in_bars_that_can_be_told_apart(days: int, word: str, most: int) -> None:
    """A month was 720 bars of 4 pixels: the last two thirds were cut off at the page's edge, under an axis of the whole month."""
    page = shelf_page(ShelfReport("Bay", history([], slots(), NOW - days * 86_400, NOW))).decode()
    section = page[page.index("As in the plan") :]
    assert f"{word} by {word.lower()}:" in section
    bars = re.search(r'<div class="bars( many)?">(.*?)</div>', section, re.DOTALL)
    assert bars is not None and most - 2 <= bars[2].count("<span") <= most
    assert bool(bars[1]) == (most > 60)


@pytest.mark.parametrize(("days", "ticks"), [(1, r"\d\d:\d\d"), (30, r"\d\d-\d\d"), (700, r"202[4-6]-\d\d")])
def test_the_slots_time_line_tells_one_year_from_the_next(days: int, ticks: str) -> None:
    page = shelf_page(ShelfReport("Bay", history([], slots(), NOW - days * 86_400, NOW))).decode()
    axis = re.search(r'<div class="line"><b></b><div class="axis">(.*?)</div>', page)
    assert axis is not None and re.fullmatch(rf"(<span>{ticks}</span>){{5}}", axis[1])


def test_one_event_of_a_clock_that_ran_ahead_makes_no_report_of_sixty_years(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "log")
    with EventLog.open(tmp_path / "log") as log:
        said = {"state": "empty", "expected": "SKU-7", "time": 3_810_000_000.0}
        log.append(Event("far", "new", "slot", "s7", {"state": "full"}, said, 3_810_000_000.0, None, "alert"))
    output = tmp_path / "report.html"
    assert main(["shelf", "report", str(tmp_path / "log"), "-o", str(output), "--json", "--csv"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["end_time"] - told["start_time"] < 3 * 86_400 and told["open_alerts"] >= 1
    assert output.stat().st_size < 100_000 and "2090" not in output.with_suffix(".csv").read_text()
