"""Plans: Azure's, tables, grids, proposals, and the photos that are taught."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shelfmatch.edge.catalog.product import Product
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.imaging.image import Pixels
from shelfmatch.edge.matching.results import Candidate, MatchResult
from shelfmatch.edge.matching.scene import Scene, SceneProduct
from shelfmatch.edge.shelf import geometry
from shelfmatch.edge.shelf.draw import drawn
from shelfmatch.edge.shelf.planogram import planogram_of, read_planogram, scaled
from shelfmatch.edge.shelf.propose import Found, found_in, proposed
from shelfmatch.edge.shelf.tables import grid, read_table
from shelfmatch.edge.shelf.teach import averaged, read_photo, taught
from tests.support.shelf import SmallShelf, document

AZURE = {
    "planogram": {
        "width": 100.0,
        "height": 50.0,
        "products": [{"id": "string", "name": "string", "w": 12.34, "h": 123.4}],
        "fixtures": [{"id": "string", "w": 2.0, "h": 10.0, "x": 0.0, "y": 3.0}],
        "positions": [{"id": "string", "productId": "string", "fixtureId": "string", "x": 12.0, "y": 34.0}],
    }
}
"""The example of Azure's own documents."""


def test_azures_planogram_is_read_and_kept() -> None:
    plan = planogram_of(AZURE)
    assert (plan.slots[0].sku, plan.slots[0].x, plan.products[0].w, plan.fixtures[0].y) == ("string", 12.0, 12.34, 3.0)
    body = plan.to_document()["planogram"]
    for part, records in AZURE["planogram"].items():
        if isinstance(records, list):
            assert [{name: one[name] for name in records[0]} for one in body[part]] == records
        else:
            assert body[part] == records


def test_a_plan_is_written_whole_and_read_again(tmp_path: Path) -> None:
    plan = grid("bay", 1280, 960, 4, 8)
    plan.save(tmp_path / "bay.json")
    again = read_planogram(tmp_path / "bay.json")
    assert again == plan and len(again.slots) == 32 and again.folder == tmp_path


def test_frames_of_the_same_shape_scale_the_plan() -> None:
    plan = scaled(planogram_of(document()), 640, 480)
    assert plan.slots[0].polygon == ((20, 20), (220, 20), (220, 180), (20, 180))


V3 = """共通棚割情報,V3.0,NS
コーヒー売場
台番号,台高さ,台幅,台奥行,台名称
1,1800,900,450,左
2,1800,1200,450,右
台番号,棚段番号,棚高さ,棚幅,棚奥行,棚厚さ,棚種別
1,1,150,900,450,20,0
1,2,600,900,450,20,0
台番号,棚段番号,棚位置,商品コード,フェース数,フェース面,フェース回転
1,1,1,4901234567894,3,1,0
1,2,1,4901234567887,2,1,0
2,1,1,4901234567870,1,1,0
"""


@pytest.mark.parametrize("encoding", ["cp932", "utf-8"])
def test_japans_exchange_format(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "bay.csv"
    path.write_bytes(V3.encode(encoding))
    plan = read_table(path)
    assert plan.name == "コーヒー売場" and plan.width == 2100
    assert [(slot.id, slot.sku, slot.facings) for slot in plan.slots] == [
        ("bay1s2p1", "4901234567887", 2), ("bay1s1p1", "4901234567894", 3), ("bay2s1p1", "4901234567870", 1),
    ]  # fmt: skip
    # Boards count from below and plans from above; the second bay stands 900 mm from the left.
    assert [(slot.x, slot.y) for slot in plan.slots] == [(0, 1200), (0, 1650), (900, 1800)]


def test_version_1_has_no_furniture(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    rows = "共通棚割情報,V1.0,\nmodel\n棚台番号,棚段番号,棚位置,商品コード,フェース数,フェース面\n1,2,1,49,2,1\n1,1,1,48,1,1\n"
    path.write_bytes(rows.encode("cp932"))
    assert [(slot.sku, slot.y) for slot in read_table(path).slots] == [("49", 300), ("48", 600)]


def test_a_csv_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "bay.csv"
    path.write_text("row,column,sku,facings,min_stock,alternatives,name\n1,1,S1,3,2,S8|S9,Tea\n1,2,S2,,,,\n")
    first, second = read_table(path).slots
    assert (first.id, first.skus, first.facings, first.min_stock) == ("r1c1", ("S1", "S8", "S9"), 3, 2)
    assert (second.id, second.facings, second.min_stock) == ("r1c2", 1, 1)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_as_spreadsheets_write_it(delimiter: str, tmp_path: Path) -> None:
    """Where a comma is the decimal point's they part cells by semicolons; cells that were once touched stay as empty columns."""
    path = tmp_path / "bay.csv"
    rows = [
        ("sku", "row", "column", "name", "", ""),
        ("S1", "1", "1", '"Tea, green; 20"', "", ""),
        ("S2", "1", "2", "", "", ""),
    ]
    path.write_bytes("".join(f"{delimiter.join(row)}\r\n" for row in rows).encode("utf-8-sig"))
    plan = read_table(path)
    assert [(slot.id, slot.sku) for slot in plan.slots] == [("r1c1", "S1"), ("r1c2", "S2")]
    assert plan.products[0].name == "Tea, green; 20"


def test_a_proposal_puts_boxes_in_rows_and_facings_in_slots() -> None:
    found = [
        Found((200, 12, 240, 100), "B"), Found((10, 10, 60, 100), "A"), Found((64, 14, 112, 101), "A"),
        Found((12, 150, 60, 240), ""), Found((70, 150, 120, 238), ""), Found((300, 8, 350, 99), "A"),
    ]  # fmt: skip
    plan = proposed("bay", (400, 300), found, {"A": "Tea"}).plan
    assert [(slot.id, slot.sku, slot.facings) for slot in plan.slots] == [
        ("r1c1", "A", 2), ("r1c2", "B", 1), ("r1c3", "A", 1), ("r2c1", "", 1), ("r2c2", "", 1),
    ]  # fmt: skip
    assert plan.slots[0].polygon == ((10, 10), (112, 10), (112, 101), (10, 101)) and plan.products[0].name == "Tea"


def test_a_proposal_says_which_products_are_only_likely() -> None:
    """A facing that isn't sure joins its neighbours; between two of one product it is one of theirs."""
    found = [
        Found((10, 10, 60, 100), "A", sure=False), Found((62, 10, 112, 100), "A"), Found((114, 10, 164, 100), "B", sure=False),
        Found((166, 10, 216, 100), "A"), Found((240, 10, 290, 100), "B", sure=False),
    ]  # fmt: skip
    proposal = proposed("bay", (400, 300), found)
    assert [(slot.id, slot.sku, slot.facings) for slot in proposal.plan.slots] == [("r1c1", "A", 4), ("r1c2", "B", 1)]
    assert proposal.unsure == ("r1c2",)


def test_boxes_in_one_place_make_one_slot() -> None:
    """The plan would be refused otherwise: one box on two boards, another one on top of a run."""
    found = [
        Found((10, 10, 60, 100), "A"), Found((62, 10, 112, 100), "A"), Found((70, 20, 110, 60), "B"),
        Found((10, 150, 60, 240), "C"), Found((20, 60, 58, 190), ""),
    ]  # fmt: skip
    plan = proposed("bay", (400, 300), found).plan
    assert [(slot.sku, slot.facings) for slot in plan.slots] == [("A", 2), ("C", 1)]


def test_what_is_more_likely_right_than_wrong_stands_in_a_proposal() -> None:
    def product(decision: Literal["match", "unknown"], *confidences: float) -> SceneProduct:
        candidates = tuple(Candidate(Product("A", "Tea"), 0.5, one) for one in confidences)
        sku, sure = ("A" if decision == "match" else None), confidences[0] if confidences else 0.0
        return SceneProduct((0, 0, 9, 9), 0.5, MatchResult("", decision, sku, sure, candidates, {}))

    products = (product("match", 0.9), product("unknown", 0.6), product("unknown", 0.4), product("unknown"))
    found = found_in(Scene("", (*products, SceneProduct((0, 0, 9, 9), 0.5))))
    assert [(one.sku, one.sure) for one in found] == [("A", True), ("A", False), ("", False)]


def test_the_median_of_frames_has_nobody_in_it() -> None:
    shelf = np.full((40, 60, 3), 90, np.uint8)
    passed = [shelf.copy() for _ in range(5)]
    for number in range(5):
        passed[number][:, number * 12 : number * 12 + 12] = 200
    assert np.array_equal(averaged(passed), shelf)


@pytest.mark.parametrize("count", [10, 17, 18, 40])
@pytest.mark.parametrize("ends", ["first", "last"])
def test_who_stands_there_for_less_than_half_of_many_frames_is_left_out(count: int, ends: str) -> None:
    """Of 17 frames the first nine were taken, and somebody who stood there in the first five was taught."""
    shelf = np.full((4, 6, 3), 90, np.uint8)
    passed = [np.full_like(shelf, 200) if number < 0.4 * count else shelf for number in range(count)]
    assert np.array_equal(averaged(passed if ends == "first" else passed[::-1]), shelf)


def test_of_many_frames_only_those_are_read_that_are_used(
    shelf: SmallShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All frames of a day were held in memory, six megabytes each."""
    for path in shelf.folder.glob("plan.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    read: list[str] = []

    def counted(path: str | Path) -> Pixels:
        read.append(str(path))
        return read_photo(path)

    monkeypatch.setattr("shelfmatch.edge.shelf.teach.read_photo", counted)
    photo = str(shelf.plan_path.with_name("plan.full.png"))
    assert main(["shelf", "teach", str(tmp_path / "plan.json"), "--full", *[photo] * 100, "--no-empty"]) == 0
    assert read.count(photo) == 9


def test_teaching_writes_photos_and_then_the_plan(shelf: SmallShelf) -> None:
    plan = read_planogram(shelf.plan_path)
    assert plan.photo is not None and (plan.photo.full, plan.photo.empty) == ("plan.full.png", "plan.empty.png")
    with Image.open(shelf.folder / "plan.full.png") as photo:
        assert photo.size == (plan.photo.width, plan.photo.height) == (1280, 960)


def test_a_disk_that_fills_up_leaves_photos_and_plan_as_they_were(
    shelf: SmallShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("plan.json", "plan.full.png", "plan.empty.png"):
        shutil.copy(shelf.folder / name, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    path, calls = tmp_path / "plan.json", 0

    def fsync(file: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    brighter = np.clip(shelf.full.astype(int) + 12, 0, 255).astype(np.uint8)
    with pytest.raises(OSError, match="No space"):
        taught(read_planogram(path), path, brighter, shelf.empty)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


def test_the_plan_is_drawn_over_its_photo(shelf: SmallShelf) -> None:
    states = {shelf.plan.slots[0].id: "empty"}
    picture = np.asarray(drawn(shelf.plan, shelf.full, states)).astype(int)
    (x, y), *_ = shelf.plan.slots[0].polygon or ()
    assert picture[int(y) + 40, int(x)].tolist() == [200, 30, 30]
    assert (np.abs(picture - shelf.full).max(axis=2) > 60).mean() < 0.25


@given(st.integers(1, 12), st.floats(20, 300), st.floats(20, 300))
def test_columns_of_a_box_share_its_area(count: int, wide: float, high: float) -> None:
    whole = geometry.box(5, 7, 5 + wide, 7 + high)
    parts = geometry.columns(whole, count)
    assert sum(geometry.area(np.array(part)) for part in parts) == pytest.approx(wide * high)
    assert all(geometry.is_convex(part) and geometry.shared(part, whole) > 0.999 for part in parts)


def test_how_much_two_places_share() -> None:
    one = geometry.box(0, 0, 10, 10)
    assert geometry.shared(one, geometry.box(5, 0, 25, 10)) == pytest.approx(0.5)
    assert geometry.shared(one, geometry.box(20, 0, 30, 10)) == 0
    assert geometry.shared(one, one) == pytest.approx(1)
