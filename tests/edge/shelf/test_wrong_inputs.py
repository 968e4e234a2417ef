"""Wrong plans, tables, photos and states: one clear line each, and nothing lost."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import ShelfError
from shelfmatch.edge.shelf.keeping import digest_of, kept, restore
from shelfmatch.edge.shelf.planogram import check_against, planogram_of, read_planogram, scaled
from shelfmatch.edge.shelf.propose import proposed
from shelfmatch.edge.shelf.tables import read_table
from shelfmatch.edge.shelf.teach import averaged, photos_of, taught
from tests.support.shelf import Camera, SmallShelf, document, line_of

CROSSED = [[10, 10], [110, 90], [110, 10], [10, 90]]
BACKWARD = [[10, 10], [10, 90], [110, 90], [110, 10]]

PLANS: dict[str, tuple[dict[str, Any], str]] = {
    "crossing polygon": ({"polygon": CROSSED}, "crosses itself"),
    "backward polygon": ({"polygon": BACKWARD}, "runs against the clock"),
    "three corners": ({"polygon": [[1, 1], [90, 1], [90, 90]]}, "3 corners; expected four corners"),
    "a corner of words": ({"polygon": [["a", 1], [90, 1], [90, 90], [1, 90]]}, "a corner is 'a'; expected a number"),
    "a corner that is none": ({"polygon": [[1, 1], [90, 1], [90, 90], 7]}, "a corner 7; expected [x, y]"),
    "outside of the photo": (
        {"polygon": [[10, 10], [110, 10], [110, 900], [10, 900]]},
        "outside of the photo of 320x240",
    ),
    "places on each other": ({"polygon": [[100, 10], [190, 10], [190, 90], [100, 90]]}, "a and b overlap by 88%"),
    "too small": (
        {"polygon": [[10, 10], [20, 10], [20, 90], [10, 90]]},
        "a facing of 5x80 pixels; expected at least 10x10",
    ),
    "one id twice": ({"id": "b", "polygon": None}, "positions has 'b' twice"),
    "no id": ({"id": ""}, "positions[0].id is ''; expected text"),
    "no facings": ({"facings": 0}, "position a: facings is 0; expected a whole number from 1 to 60"),
    "facings in words": ({"facings": "two"}, "facings is 'two'"),
    "more stock than facings": ({"minStock": 3}, "minStock is 3; expected a whole number from 1 to 2"),
    "a misspelled field": ({"facing": 2}, "unknown field 'facing'; the fields are id, productId"),
    "an unknown product": ({"products": [{"id": "S1"}]}, "position b expects 'S2', which products doesn't have"),
    "an unknown fixture": ({"fixtures": [{"id": "f"}], "fixtureId": "g"}, "stands on 'g', which fixtures doesn't have"),
    "a product twice": ({"products": [{"id": "S1"}, {"id": "S1"}, {"id": "S2"}]}, "products has 'S1' twice"),
    "another version": ({"version": 9}, "version 9; expected 1"),
    "no positions": ({"positions": []}, "no positions; a plan needs at least one"),
    "positions that are no list": ({"positions": {}}, "planogram.positions is dict; expected a list"),
    "no planogram": ({"planogram": None}, "planogram is NoneType; expected an object"),
    "no photo": ({"photo": None}, "have polygons but the plan has no photo"),
    "a photo elsewhere": (
        {"photo": {"width": 320, "height": 240, "full": "../x.png"}},
        "the name of a file beside the plan",
    ),
    "a photo of no size": ({"photo": {"width": 0, "height": 240}}, "photo.width is 0; expected a whole number from 32"),
    "infinite": ({"x": float("inf")}, "position a: x is inf; expected a number"),
    "a name of two lines": ({"name": "a\nb"}, "expected at most 500 letters on one line"),
    "unknown at the top": ({"colour": 1}, "the document has an unknown field 'colour'"),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_wrong_plan_is_named(name: str) -> None:
    changes, message = PLANS[name]
    with pytest.raises(ShelfError) as error:
        planogram_of(document(**changes), "plan.json")
    assert message in line_of(error) and line_of(error).startswith("plan.json: ")


def test_the_sound_plan_of_these_tests_is_taken() -> None:
    plan = planogram_of(document())
    assert [slot.skus for slot in plan.slots] == [("S1",), ("S2",)]
    assert planogram_of(plan.to_document()) == plan


TABLES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty; expected a CSV"),
    "strange header": (b"image,sku\na.jpg,S1\n", "expected sku, id or row and column"),
    "short row": (b"id,sku,facings\na,S1\n", "line 2: 2 cells arrived; expected 3"),
    "words for a number": (b"id,sku,facings\na,S1,many\n", "line 2: facings is 'many'"),
    "short row below a cell of three lines": (b'id,sku,name\na,S1,"x\n\n"\nb,S2\n', "line 5: 2 cells arrived; expected 3"),
    "a PTS row below a cell of two lines": (
        '共通棚割情報,V1.0\n"m\n"\n棚台番号,棚段番号,棚位置,商品コード,フェース数\n1,1,1,,1\n'.encode(),
        "line 5: 商品コード is empty",
    ),
    "a polygon of six": (b"id,sku,polygon\na,S1,1 2 3 4 5 6\n", "line 2: polygon '1 2 3 4 5 6' arrived; expected eight numbers"),
    "no text": (b"\x81\xff\xfe\x00", "line 1: bytes that aren't UTF-8; save the table as UTF-8"),
    "PTS of another version": ("共通棚割情報,V9.0\n".encode(), "PTS version 'V9.0' arrived"),
    "PTS without products": ("共通棚割情報,V1.0\nm\n".encode(), "no product is placed"),
    "PTS without its header": ("共通棚割情報,V1.0\nm\n1,1,1,49,1\n".encode(), "line 3: a row before its columns' names"),
    "PTS without a code": (
        "共通棚割情報,V1.0\nm\n棚台番号,棚段番号,棚位置,商品コード,フェース数\n1,1,1,,1\n".encode(), "line 4: 商品コード is empty",
    ),
}  # fmt: skip
DIGITS = "9" * 400
PTS_HEADER = "共通棚割情報,{}\nshop\n"
HOSTILE_TABLES: dict[str, tuple[bytes, str]] = {
    "an infinite corner": (b"sku,id,polygon\nA,s1,0 0 inf 0 100 100 0 100\n", "line 2: polygon '0 0 inf"),
    "a corner that is no number": (b"sku,id,polygon\nA,s1,0 0 nan 0 100 100 0 100\n", "line 2: polygon '0 0 nan"),
    "a column of 400 digits": (f"sku,row,column\nA,1,{DIGITS}\n".encode(), "line 2: column is '9999"),
    "a row of 400 digits": (f"sku,row,column\nA,{DIGITS},1\n".encode(), "line 2: row is '9999"),
    "a cell without an end": (b'sku,id,name\nA,s1,"' + b"x" * 200_000 + b"\n", "line 2: field larger than field limit"),
    "a bay of 400 digits": (
        f"{PTS_HEADER.format('V2.0')}台番号,台幅,台高さ\n1,{DIGITS},1800\n".encode("cp932"),
        "line 4: 台幅 is '9999",
    ),
    "a board of 400 digits": (
        f"{PTS_HEADER.format('V1.0')}台番号,棚段番号,棚位置,商品コード,フェース数\n1,{DIGITS},1,49,1\n".encode("cp932"),
        "line 4: 棚段番号 is '9999",
    ),
    "a slot without a name": (b"sku,row,column\nA,,\n", "line 2: the slot has no name; expected an id, or a row and a column"),
    "a slot of a row alone": (b"sku,row,column\nA,1,\n", "line 2: the slot has no name"),
    "one column twice": (b"sku,id,id\nA,s1,s2\n", "the header has 'id' twice; expected each column once"),
    "Latin-1": ("sku,id,name\nA,s1,Käse Höhe\n".encode("latin-1"), "line 2: bytes that aren't UTF-8; save the table as UTF-8"),
    "our own table as Shift-JIS": ("sku,id,name\nA,s1,お茶\n".encode("cp932"), "line 2: bytes that aren't UTF-8"),
    "UTF-16": ("sku,id\nA,s1\n".encode("utf-16"), "line 1: bytes that aren't UTF-8"),
    "PTS that is cut in a character": (
        PTS_HEADER.format("V1.0").encode("cp932") + b"\x92\n",
        "line 3: bytes that aren't Shift-JIS",
    ),
    "places without their photo": (
        b"sku,id,polygon\nA,s1,0 0 100 0 100 100 0 100\n",
        "line 2: a polygon is a place in a photo; give that photo, too (--photo)",
    ),
    "more slots than a plan takes": (
        (PTS_HEADER.format("V1.0") + "台番号,棚段番号,棚位置,商品コード,フェース数\n" + "1,1,1,49,1\n" * 2001).encode(),
        "2,001 products are placed; a plan takes at most 2,000",
    ),
}  # fmt: skip
TABLES |= HOSTILE_TABLES


@pytest.mark.parametrize("name", TABLES)
def test_a_wrong_table_is_named(name: str, tmp_path: Path) -> None:
    data, message = TABLES[name]
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    with pytest.raises(ShelfError) as error:
        read_table(path)
    assert message in line_of(error) and str(path) in line_of(error)


def _broken_json(folder: Path) -> Any:
    (folder / "plan.json").write_text('{"version": 1,')
    return read_planogram(folder / "plan.json")


def _no_file(folder: Path) -> Any:
    return read_planogram(folder / "none.json")


def _a_folder(folder: Path) -> Any:
    return read_planogram(folder)


def _nested(folder: Path) -> Any:
    (folder / "plan.json").write_text("[" * 100_000)
    return read_planogram(folder / "plan.json")


def _other_shape(folder: Path) -> Any:
    return scaled(planogram_of(document()), 640, 360)


def _unknown_sku(folder: Path) -> Any:
    return check_against(planogram_of(document()), lambda sku: sku == "S1", "shop.bundle")


def _not_placed(folder: Path) -> Any:
    return check_against(planogram_of(document(polygon=None)), lambda sku: True, "shop.bundle")


def _not_taught(folder: Path) -> Any:
    return photos_of(planogram_of(document()))


def _photo_gone(folder: Path) -> Any:
    plan = planogram_of(document(photo={"width": 320, "height": 240, "full": "gone.png"}), folder=folder)
    return photos_of(plan)


def _photo_replaced(folder: Path) -> Any:
    Image.new("RGB", (64, 64)).save(folder / "full.png")
    return photos_of(planogram_of(document(photo={"width": 320, "height": 240, "full": "full.png"}), folder=folder))


def _dark(folder: Path) -> Any:
    return taught(planogram_of(document()), folder / "p.json", np.zeros((240, 320, 3), np.uint8), None)


def _blank(folder: Path) -> Any:
    return taught(planogram_of(document()), folder / "p.json", np.full((240, 320, 3), 200, np.uint8), None)


def _two_sizes(folder: Path) -> Any:
    return averaged([np.zeros((240, 320, 3), np.uint8), np.zeros((480, 640, 3), np.uint8)])


def _nothing_found(folder: Path) -> Any:
    return proposed("shelf", (640, 480), [])


OTHERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "half a JSON": (_broken_json, "is no JSON"),
    "no such file": (_no_file, "isn't there; shelfmatch shelf init or propose writes a planogram"),
    "a folder": (_a_folder, "is a folder; expected a planogram"),
    "a bomb of brackets": (_nested, "is no JSON"),
    "photos of another shape": (_other_shape, "frames of 640x360 pixels arrived, the plan's photo has 320x240"),
    "a product the shop doesn't have": (_unknown_sku, "the plan expects 'S2', which shop.bundle doesn't have"),
    "a slot without a place": (_not_placed, "position a has no polygon yet"),
    "a plan that wasn't taught": (_not_taught, "no photo of the full shelf yet; shelfmatch shelf teach"),
    "a photo that is gone": (_photo_gone, "the plan's photo can't be used"),
    "a photo that was replaced": (_photo_replaced, "has 64x64 pixels, the plan says 320x240"),
    "a dark photo": (_dark, "is dark (mean grey level 0 of 255)"),
    "a covered lens": (_blank, "shows nothing with edges"),
    "frames of two cameras": (_two_sizes, "photos of 320x240 and 640x480 pixels arrived"),
    "a photo without products": (_nothing_found, "no product was found on the photo"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_wrong_inputs_are_named(name: str, tmp_path: Path) -> None:
    function, message = OTHERS[name]
    with pytest.raises(ShelfError) as error:
        function(tmp_path)
    assert message in line_of(error)
    assert not list(tmp_path.glob("p.*"))


def test_there_are_forty() -> None:
    assert len(PLANS) + len(TABLES) + len(OTHERS) >= 40


def test_frames_of_another_size_stop_nothing(shelf: SmallShelf) -> None:
    watcher, camera = shelf.watcher(), Camera()
    with pytest.raises(ShelfError, match=r"a frame of 640x480 pixels arrived; the taught photos have 1280x960"):
        watcher.see(camera.frame(np.zeros((480, 640, 3), np.uint8)))
    assert watcher.see(camera.frame(shelf.full)) == () and watcher.camera.state == "ok"


def test_two_views_are_not_one_shelf(shelf: SmallShelf, tmp_path: Path) -> None:
    moved = np.roll(shelf.full, 200, axis=1)
    with pytest.raises(ShelfError, match="show other views"):
        taught(shelf.plan, tmp_path / "plan.json", shelf.full, moved)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", [0, 40, -40])
def test_a_damaged_state_is_said_and_left_out(shelf: SmallShelf, part: int) -> None:
    watcher = shelf.watcher()
    data = bytearray(kept(watcher, digest_of(shelf.full)))
    damaged = bytes(data[:part]) if part > 0 else bytes(data[:part]) if part < 0 else b"nothing of the kind"
    with pytest.raises(ShelfError, match="the kept state is damaged"):
        restore(watcher, damaged, digest_of(shelf.full))
    assert [view.state for view in watcher.views] == ["full"] * len(watcher.views)


def test_a_state_of_another_version_is_refused(shelf: SmallShelf) -> None:
    watcher = shelf.watcher()
    with np.load(io.BytesIO(kept(watcher, "x"))) as arrays:
        parts = dict(arrays)
    record = json.loads(parts["record"].tobytes()) | {"version": 2}
    parts["record"] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    target = io.BytesIO()
    np.savez(target, **parts)
    with pytest.raises(ShelfError, match="version 2; expected 1"):
        restore(watcher, target.getvalue(), "x")
