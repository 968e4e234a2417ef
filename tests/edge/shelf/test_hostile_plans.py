"""Plans, tables, photos and pages that were made to break something: one clear line each, and nobody's file is lost."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shelfmatch.edge import ShelfError
from shelfmatch.edge.events.event import Event
from shelfmatch.edge.imaging.image import Pixels
from shelfmatch.edge.shelf import geometry
from shelfmatch.edge.shelf.planogram import LONGEST_ID, planogram_of, read_planogram
from shelfmatch.edge.shelf.service import ShelfService, WatchOptions
from shelfmatch.edge.shelf.tables import grid
from shelfmatch.edge.shelf.teach import read_photo
from tests.support.shelf import Camera, SmallShelf, contents, document, line_of, run

HUGE = 10**400
DIGITS = "9" * 400


# What a plan may not have.

PLANS: dict[str, tuple[dict[str, Any], str]] = {
    "a width of 400 digits": ({"width": HUGE}, "planogram.width is 1000"),
    "a negative one": ({"x": -HUGE}, "position a: x is -1000"),
    "a corner": ({"polygon": [[HUGE, 1], [90, 1], [90, 90], [1, 90]]}, "position a: a corner is 1000"),
    "a corner whose square is infinite": ({"polygon": [[1, 1], [1e200, 1], [90, 90], [1, 90]]}, "a corner is 1e+200"),
    "a whole number": ({"facings": HUGE}, "facings is 1000"),
    "half a character in the name": ({"name": "a\ud800b"}, r"name is 'a\ud800b'; expected at most 500 letters"),
    "half a character in a SKU": ({"productId": "\udcff"}, r"productId is '\udcff'"),
    "half a character in a photo's name": (
        {"photo": {"width": 320, "height": 240, "full": "\udcff.png"}},
        "photo.full is",
    ),
    "half a character in an unknown field": ({"\udcff": 1}, r"unknown field '\udcff'"),
    "a line separator in the name": ({"name": "a\u2028b"}, "on one line"),
    "a control character in the name": ({"name": "a\x9bb"}, "on one line"),
    "a megabyte as the name": ({"name": "x" * 1_000_000}, "expected at most 500 letters"),
    "a megabyte as alternatives": ({"alternatives": {"x" * 1_000_000: 1}}, "expected a list of SKUs"),
    "an id that no event takes": (
        {"id": "s" * (LONGEST_ID + 1)},
        f"expected at most {LONGEST_ID} printable characters",
    ),
    "an id that turns text around": ({"id": "a\u202eb"}, r"positions[0].id is 'a\u202eb'; expected at most"),
    "an id with a private character": ({"id": "a\ue000"}, "printable characters"),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_hostile_plan_is_named(name: str) -> None:
    changes, message = PLANS[name]
    with pytest.raises(ShelfError) as error:
        planogram_of(document(**changes), "plan.json")
    assert message in line_of(error)


@pytest.mark.parametrize(
    "slot", ["क्\u200dष", "می\u200cخواهم", "棚1-左", "r1 c1", "s" * LONGEST_ID, "\U0001f468\u200d\U0001f469"]
)
def test_whatever_a_slot_is_called_an_event_takes(slot: str) -> None:
    (one, _) = planogram_of(document(id=slot)).slots
    assert one.id == slot
    latest = 253_402_300_800_000  # year 10000
    Event(id=f"{slot}-{latest}", type="new", kind="slot", slot=slot, after={"state": "empty"})


def test_names_may_be_longer_than_ids() -> None:
    assert planogram_of(document(name="n" * 500, productId="p" * 500)).skus[0] == "p" * 500


def test_a_plan_that_nobody_may_read_is_refused_and_the_one_in_use_stays(
    shelf: SmallShelf, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link to itself stands for a file without permissions, which root reads all the same."""
    monkeypatch.setattr("shelfmatch.edge.shelf.service.LOOK_EVERY_S", 0.0)
    path, camera = folder / "plan.json", Camera()
    service = ShelfService(path, shelf.matcher, WatchOptions())

    def frames() -> Iterator[Any]:
        yield camera.frame(shelf.full)
        path.unlink()
        path.symlink_to(path)
        yield camera.frame(shelf.full)
        assert "the plan in use stays" in service.refused and "can't be read: Too many levels" in service.refused

    assert service.run(frames(), lambda event, frame: None, lambda: False) == 2
    with pytest.raises(ShelfError, match=r"plan\.json can't be read: .*; expected a planogram"):
        read_planogram(path)


def test_two_thousand_slots_are_checked_in_a_moment(tmp_path: Path) -> None:
    plan = grid("bay", 4000, 3000, 40, 50)
    path = tmp_path / "plan.json"
    plan.save(path)
    begin = time.process_time()
    assert len(read_planogram(path).slots) == 2000
    assert time.process_time() - begin < 2


def test_a_hundred_thousand_products_are_checked_in_a_moment() -> None:
    products = [{"id": f"S{number}"} for number in range(99_999)] + [{"id": "S7"}]
    begin = time.process_time()
    with pytest.raises(ShelfError, match="products has 'S7' twice"):
        planogram_of(document(products=products))
    assert time.process_time() - begin < 5


def test_more_slots_than_a_plan_takes_are_refused_before_they_are_made() -> None:
    begin = time.process_time()
    with pytest.raises(ShelfError, match=r"100,000 rows of 100,000 slots arrived; a plan takes at most 2,000"):
        grid("bay", 1280, 960, 100_000, 100_000)
    assert time.process_time() - begin < 1


def turned(quad: geometry.Quad, degrees: float) -> geometry.Quad:
    across, down = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [(x * across - y * down, x * down + y * across) for x, y in quad]
    return corners[0], corners[1], corners[2], corners[3]


@given(st.floats(0, 360), st.floats(-30, 130), st.floats(-30, 130), st.floats(5, 80), st.floats(5, 80))
def test_what_two_boxes_share_is_the_same_however_they_are_turned(
    degrees: float, x: float, y: float, wide: float, high: float
) -> None:
    one, other = geometry.box(0, 0, 100, 100), geometry.box(x, y, x + wide, y + high)
    across, down = min(100, x + wide) - max(0, x), min(100, y + high) - max(0, y)
    expected = max(0, across) * max(0, down) / (wide * high)
    assert geometry.shared(turned(one, degrees), turned(other, degrees)) == pytest.approx(expected, abs=1e-6)


def test_the_first_two_places_that_share_too_much_are_named() -> None:
    boxes = [geometry.box(x, 0, x + 30, 40) for x in (0, 30, 55, 200, 210)]
    assert geometry.first_shared(boxes, 0.3) == (3, 4, pytest.approx(20 / 30))
    assert geometry.first_shared(boxes, 0.1) == (1, 2, pytest.approx(5 / 30))
    assert geometry.first_shared(boxes[:2], 0.0) is None and geometry.first_shared([], 0.3) is None


# Tables.


def test_the_places_of_a_table_are_places_in_its_photo(folder: Path, said: Any) -> None:
    (folder / "in.csv").write_text("sku,id,polygon\nA,s1,100 100 300 100 300 300 100 300\n")
    (folder / "out.csv").write_text("sku,id,polygon\nA,s1,2400 100 2900 100 2900 300 2400 300\n")
    assert run("init", "--from", folder / "out.csv", "--photo", folder / "mine.png", "-o", folder / "bay.json") == 2
    assert "position s1 has a corner at 2400, 100, outside of the photo of 1280x960" in said()
    assert not list(folder.glob("bay.*"))
    assert run("init", "--from", folder / "in.csv", "--photo", folder / "mine.png", "-o", folder / "bay.json") == 0
    plan = read_planogram(folder / "bay.json")
    assert plan.photo is not None and (plan.photo.width, plan.photo.height) == (1280, 960)
    assert plan.slots[0].polygon == geometry.box(100, 100, 300, 300)


# What is written.

NAMES = ["a\nb", "x" * 600, "a\udcff", "a\u2029b"]


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_that_nothing_can_read_isnt_written(name: str, folder: Path, said: Any) -> None:
    (folder / "t.csv").write_text("sku,id\nA,s1\n")
    before = contents(folder)
    for words in (["--photo", folder / "mine.png"], ["--from", folder / "t.csv"]):
        assert run("init", *words, "--name", name, "-o", folder / "bay.json") == 2
        assert "--name: name is " in said()
    assert run("propose", folder / "mine.png", "--bundle", "none", "--name", name, "-o", folder / "bay.json") == 2
    assert "--name: name is " in said()
    assert contents(folder) == before


def test_whoever_writes_a_plan_checks_it_first(tmp_path: Path) -> None:
    from dataclasses import replace

    plan = grid("bay", 1280, 960, 2, 2)
    (tmp_path / "plan.json").write_text("before")
    for wrong in (replace(plan, name="a\nb"), replace(plan, photo=None), replace(plan, slots=plan.slots * 2)):
        with pytest.raises(ShelfError, match=r"plan\.json: "):
            wrong.save(tmp_path / "plan.json")
    assert (tmp_path / "plan.json").read_text() == "before"


@pytest.mark.parametrize("command", ["init", "propose"])
def test_a_plan_whose_name_isnt_utf8_leaves_nothing_behind(command: str, folder: Path, said: Any) -> None:
    words = ["--photo", folder / "mine.png"] if command == "init" else [folder / "mine.png", "--bundle", "none"]
    before = contents(folder)
    assert run(command, *words, "-o", folder / "\udcff.json") == 2
    assert r"\udcff.json arrived as the plan; expected a name in UTF-8" in said()
    assert contents(folder) == before


def test_teaching_such_a_plan_leaves_nothing_behind(folder: Path, said: Any) -> None:
    plan = folder / "\udcff.json"
    plan.write_text(json.dumps(document(photo={"width": 1280, "height": 960})))
    (folder / "surr.json").write_text(json.dumps(document(name="a\ud800b")))
    before = contents(folder)
    assert run("teach", plan, "--full", folder / "mine.png") == 2
    assert "expected a name in UTF-8" in said()
    assert run("teach", folder / "surr.json", "--full", folder / "mine.png") == 2
    assert r"name is 'a\ud800b'" in said()
    assert contents(folder) == before


def test_somebodys_photo_beside_a_new_plan_stays(folder: Path, said: Any) -> None:
    (folder / "bay.full.png").write_bytes(b"not ours")
    before = contents(folder)
    words = ("init", "--photo", folder / "mine.png", "-o", folder / "bay.json")
    assert run(*words) == 2
    assert "bay.full.png is there already; name another plan, or replace it with --force" in said()
    assert run("propose", folder / "mine.png", "--bundle", "none", "-o", folder / "bay.json") == 2
    assert "bay.full.png is there already" in said()
    assert contents(folder) == before
    assert run(*words, "--force") == 0
    assert np.array_equal(read_photo(folder / "bay.full.png"), read_photo(folder / "mine.png"))


def test_a_photo_that_lies_in_its_place_is_taken_as_it_is(folder: Path) -> None:
    mine = (folder / "mine.png").read_bytes()
    (folder / "bay.full.png").write_bytes(mine)
    (folder / "bay.empty.png").write_bytes((folder / "bare.png").read_bytes())
    assert run("init", "--photo", folder / "bay.full.png", "-o", folder / "bay.json") == 0
    assert run("init", "--photo", folder / "bay.full.png", "-o", folder / "bay.json", "--force") == 0
    words = ("teach", folder / "bay.json", "--full", folder / "bay.full.png", "--empty", folder / "bay.empty.png")
    assert run(*words) == 0
    assert (folder / "bay.full.png").read_bytes() == mine
    assert (folder / "bay.empty.png").read_bytes() == (folder / "bare.png").read_bytes()
    plan = read_planogram(folder / "bay.json")
    assert plan.photo is not None and (plan.photo.full, plan.photo.empty) == ("bay.full.png", "bay.empty.png")


def test_the_plan_isnt_written_over_what_it_is_made_of(folder: Path, said: Any) -> None:
    (folder / "t.json").write_text("sku,id\nA,s1\n")
    assert run("init", "--from", folder / "t.json", "-o", folder / "t.json", "--force") == 2
    assert "is also an input" in said() and (folder / "t.json").read_text().startswith("sku")


def test_teaching_writes_over_its_own_photos_alone(folder: Path, said: Any) -> None:
    (folder / "t.csv").write_text("sku,id\nA,s1\n")
    assert run("init", "--from", folder / "t.csv", "-o", folder / "bay.json", "--json") == 0
    (folder / "bay.full.png").write_bytes((folder / "bare.png").read_bytes())
    before = contents(folder)
    assert run("teach", folder / "bay.json", "--full", folder / "mine.png") == 2
    assert "bay.full.png is there already and is no photo of this plan; rename it, or remove it" in said()
    assert contents(folder) == before
    (folder / "bay.full.png").unlink()
    words = ("teach", folder / "bay.json", "--full", folder / "mine.png")
    assert run(*words, "--empty", folder / "bare.png") == 0
    assert run(*words, "--no-empty") == 0
    assert run(*words, "--empty", folder / "bare.png") == 0  # what was forgotten and is shelfmatch's own


# One view.


def zoomed(pixels: Pixels, factor: float) -> Pixels:
    height, width = pixels.shape[:2]
    across, down = round(width / factor / 2), round(height / factor / 2)
    cut = pixels[height // 2 - down : height // 2 + down, width // 2 - across : width // 2 + across]
    return np.asarray(Image.fromarray(cut).resize((width, height)))


@pytest.mark.parametrize("view", ["moved", "smaller"])
def test_an_old_photo_of_the_empty_shelf_isnt_kept_beside_another_view(
    view: str, shelf: SmallShelf, folder: Path, said: Any
) -> None:
    full = {
        "moved": np.roll(shelf.full, 200, axis=1),
        "smaller": np.asarray(Image.fromarray(shelf.full).resize((640, 480))),
    }[view]
    Image.fromarray(full).save(folder / "new.png")
    before = contents(folder)
    assert run("teach", folder / "plan.json", "--full", folder / "new.png") == 2
    message = said()
    assert "the taught photo of the empty shelf" in message
    assert "give a new one (--empty), or none (--no-empty)" in message and contents(folder) == before
    assert run("teach", folder / "plan.json", "--full", folder / "new.png", "--no-empty") == 0
    plan = read_planogram(folder / "plan.json")
    assert plan.photo is not None and plan.photo.empty == ""


def test_an_old_photo_that_is_gone_is_said(folder: Path, said: Any) -> None:
    (folder / "plan.empty.png").unlink()
    before = contents(folder)
    assert run("teach", folder / "plan.json", "--full", folder / "mine.png") == 2
    assert "can't be used" in said() and contents(folder) == before


def test_an_old_photo_of_the_same_view_is_kept(shelf: SmallShelf, folder: Path) -> None:
    Image.fromarray(Camera().frame(np.roll(shelf.full, 9, axis=1), 0.8).pixels).save(folder / "new.png")
    assert run("teach", folder / "plan.json", "--full", folder / "new.png") == 0
    plan = read_planogram(folder / "plan.json")
    assert plan.photo is not None and plan.photo.empty == "plan.empty.png"


def test_empty_and_no_empty_are_one_too_many(folder: Path, said: Any) -> None:
    words = ("--full", folder / "mine.png", "--empty", folder / "bare.png", "--no-empty")
    assert run("teach", folder / "plan.json", *words) == 2
    assert "--empty and --no-empty arrived; expected one of them" in said()


@pytest.mark.parametrize("factor", [1.3, 2.0])
def test_a_pair_that_isnt_found_to_lie_on_each_other_is_said(
    factor: float, shelf: SmallShelf, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be another view, and it may be a shelf with thin rails: nobody who has taken care is refused."""
    assert shelf.empty is not None
    Image.fromarray(zoomed(shelf.empty, factor)).save(folder / "near.png")
    Image.fromarray(shelf.empty).save(folder / "same.png")
    for photo, is_said in (("near.png", True), ("same.png", False)):
        assert run("teach", folder / "plan.json", "--full", folder / "mine.png", "--empty", folder / photo) == 0
        assert ("may show another view" in capsys.readouterr().err) == is_said
