"""`shelf edit` in a browser: a corner is dragged, a slot is named, and what is saved is the plan."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from shelfmatch.edge.shelf.edit_page import PlanEditor, start_editor
from shelfmatch.edge.shelf.planogram import read_planogram
from shelfmatch.edge.shelf.simulate import Simulation

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("size", [(1440, 900), (800, 480)])
def test_a_corner_is_dragged_and_a_slot_named(tmp_path: Path, size: tuple[int, int]) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium: apt-get install chromium")
    path = tmp_path / "plan.json"
    before = Simulation(0).write_plan(path)
    server = start_editor(PlanEditor(path, ["OATS-500", *before.skus]), 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    complaints: list[str] = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        page.wait_for_selector("circle")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert page.locator("polygon").count() == len(before.slots)
        polygon = before.slots[1].polygon
        assert polygon is not None and before.photo is not None
        page.select_option("#slot", "1")
        drag(page, polygon[0], (40.0, 30.0), before.photo.width)
        page.fill("#productId", "OATS-500")
        page.fill("#facings", "2")
        saved(page, f"saved: {len(before.slots)} slots")
        after = read_planogram(path)
        moved = after.slots[1].polygon
        assert moved is not None and after.slots[1].sku == "OATS-500" and after.slots[1].facings == 2
        assert moved[0] == pytest.approx((polygon[0][0] + 40, polygon[0][1] + 30), abs=4)
        for corner, stayed in zip(moved[1:], polygon[1:], strict=True):
            assert corner == pytest.approx(stayed, abs=0.1)
        others = [slot for slot in after.slots if slot.id != before.slots[1].id]
        assert [(one.id, one.sku, one.facings) for one in others] == [
            (one.id, one.sku, one.facings) for one in before.slots if one.id != before.slots[1].id
        ]
        page.fill("#minStock", "9")
        saved(page, "position r1c2")
        page.fill("#minStock", "1")
        page.click("#add")
        saved(page, f"saved: {len(before.slots) + 1} slots")
        written = path.read_bytes()
        path.write_bytes(written + b"\n")
        saved(page, "not saved: plan.json was changed")
        assert path.read_bytes() == written + b"\n"
        assert json.loads(path.read_text())["planogram"]["positions"][-1]["productId"] == ""
        server.shutdown()
        server.server_close()
        saved(page, "not saved: shelfmatch shelf edit has ended")
        browser.close()
    assert complaints == []


def drag(page: Any, corner: tuple[float, float], by: tuple[float, float], width: int) -> None:
    """Drag a corner of the chosen slot by pixels of the photo, in steps, as a hand does."""
    box = page.locator("#draw").bounding_box()
    scale = box["width"] / width
    page.evaluate("(y) => scrollTo(0, y)", box["y"] + corner[1] * scale - 100)
    box = page.locator("#draw").bounding_box()
    x, y = box["x"] + corner[0] * scale, box["y"] + corner[1] * scale
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by[0] * scale, y + by[1] * scale, steps=5)
    page.mouse.up()


def saved(page: Any, expected: str) -> None:
    """Save, and read what the page says."""
    page.click("button[type=submit]")
    page.wait_for_function(
        "(text) => document.getElementById('said').textContent.includes(text)", arg=expected, timeout=10_000
    )
