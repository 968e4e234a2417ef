"""The watcher on a small rendered shelf: what counts, when, and what doesn't."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shelfmatch.edge.detection.detector import Detector
from shelfmatch.edge.detection.on_demand import DetectorOnDemand
from shelfmatch.edge.errors import DetectorError
from shelfmatch.edge.events.event import Event
from shelfmatch.edge.shelf.closer import CloserLook, Name
from shelfmatch.edge.shelf.judge import BEHIND
from shelfmatch.edge.shelf.keeping import digest_of, kept, restore
from shelfmatch.edge.shelf.watcher import NO_PRODUCT, ShelfWatcher
from tests.support.shelf import STRANGE, Camera, SmallShelf


def shown(watcher: ShelfWatcher, camera: Camera, picture: Any, count: int, gain: float = 1.0) -> list[Event]:
    """The events of so many frames of one picture."""
    return [event for _ in range(count) for event in watcher.see(camera.frame(picture, gain))]


def of(events: list[Event]) -> list[tuple[str, str | None, str]]:
    return [(event.type, event.slot, str(event.after["state"])) for event in events]


def slot_with(shelf: SmallShelf, facings: int) -> str:
    return next(slot.id for slot in shelf.plan.slots if slot.facings == facings)


@pytest.mark.parametrize("taught_empty", [True, False])
def test_an_empty_slot_counts_after_three_frames_and_ends_with_the_refill(
    shelf: SmallShelf, taught_empty: bool
) -> None:
    watcher, camera, bay = shelf.watcher(empty=shelf.empty if taught_empty else None), Camera(), shelf.bay()
    assert shown(watcher, camera, bay.picture, 5) == []
    slot = slot_with(shelf, 1)
    bay.put(slot, 0, [])
    assert shown(watcher, camera, bay.picture, 2) == []
    (event,) = shown(watcher, camera, bay.picture, 1)
    assert (event.type, event.slot, event.after["state"], event.severity) == ("new", slot, "empty", "alert")
    assert shown(watcher, camera, bay.picture, 4) == []
    bay.put(slot, 0, [next(one.product for one in bay.places if one.id == slot)] * 3)
    (end,) = shown(watcher, camera, bay.picture, 3)
    assert (end.id, end.type, end.after["state"], end.start_time) == (event.id, "end", "full", event.start_time)
    assert end.end_time is not None and end.end_time > end.start_time


def test_facings_are_counted_and_stock_is_summed(shelf: SmallShelf) -> None:
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    slot = next(one for one in shelf.plan.slots if one.facings > 1)
    shown(watcher, camera, bay.picture, 4)
    before = watcher.stock()[slot.sku]
    bay.put(slot.id, 0, [])
    (event,) = shown(watcher, camera, bay.picture, 3)
    assert (event.after["state"], event.after["facings"], event.severity) == ("low", slot.facings - 1, "detection")
    assert watcher.stock()[slot.sku] == before - 1
    for facing in range(1, slot.facings):
        bay.put(slot.id, facing, [])
    (event,) = shown(watcher, camera, bay.picture, 3)
    assert (event.type, event.after["state"], event.after["time"]) == ("update", "empty", camera.time)


def test_a_misplaced_product_is_named_and_a_strange_one_is_unknown(shelf: SmallShelf) -> None:
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 4)
    slot = next(one for one in shelf.plan.slots if one.facings == 1)
    others = (one for one in bay.places if one.facings == 1 and one.id != slot.id)
    other = next(one.product for one in others if one.product.brand != bay.places[0].product.brand)
    bay.put(slot.id, 0, [other])
    (event,) = shown(watcher, camera, bay.picture, 4)
    assert (event.after["state"], event.after["by"]) == ("misplaced", other.sku)
    bay.put(slot.id, 0, [STRANGE])
    (event,) = shown(watcher, camera, bay.picture, 13)
    assert (event.type, event.after["state"]) == ("update", "unknown")


def small_in_a_large_place(shelf: SmallShelf, product: str, place: str, scale: float) -> Any:
    """The shelf with a slot's product, made smaller, alone in another slot."""
    corners = {slot.id: slot.polygon for slot in shelf.plan.slots}
    (left, top), (right, bottom) = (corners[product][at] for at in (0, 2))  # type: ignore[index]
    item = Image.fromarray(shelf.full).crop((round(left), round(top), round(right), round(bottom)))
    item = item.resize((round(item.width * scale), round(item.height * scale)))
    (left, _), (right, bottom) = (corners[place][at] for at in (0, 2))  # type: ignore[index]
    bay = shelf.bay()
    bay.put(place, 0, [])
    picture = bay.picture.copy()
    picture.paste(item, (round((left + right - item.width) / 2), round(bottom - item.height)))
    return picture


def test_a_small_product_in_a_large_place_is_named_by_its_own_bounds(shelf: SmallShelf) -> None:
    """Its facing's cut is half wall, and like nothing that is known: the test after this one."""
    watcher, camera = shelf.watcher(), Camera()
    shown(watcher, camera, shelf.bay().picture, 4)
    picture = small_in_a_large_place(shelf, "r1c2", "r2c3", 0.55)
    (event,) = shown(watcher, camera, picture, 13)
    expected = next(slot.sku for slot in shelf.plan.slots if slot.id == "r1c2")
    assert (event.after["state"], event.after["by"]) == ("misplaced", expected)


def test_without_a_detector_the_small_product_is_unknown(shelf: SmallShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DetectorOnDemand, "is_there", lambda _: False)
    watcher, camera = shelf.watcher(), Camera()
    shown(watcher, camera, shelf.bay().picture, 4)
    (event,) = shown(watcher, camera, small_in_a_large_place(shelf, "r1c2", "r2c3", 0.55), 13)
    assert event.after["state"] == "unknown"


def test_a_detector_that_can_t_be_opened_is_said_once_and_the_watch_goes_on(
    shelf: SmallShelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: DetectorOnDemand) -> Detector:
        raise DetectorError("shelfmatch-detect.tflite is damaged")

    monkeypatch.setattr(DetectorOnDemand, "get", broken)
    watcher, camera = shelf.watcher(), Camera()
    shown(watcher, camera, shelf.bay().picture, 4)
    (event,) = shown(watcher, camera, small_in_a_large_place(shelf, "r1c2", "r2c3", 0.55), 15)
    assert event.after["state"] == "unknown"
    assert [one.message for one in caplog.records if "damaged" in one.message] == [
        "products of another size than their slot's aren't named: shelfmatch-detect.tflite is damaged"
    ]


@pytest.mark.parametrize(("likeness", "waits"), [(BEHIND - 0.01, False), (BEHIND + 0.01, True)])
def test_what_is_called_the_right_product_waits_where_it_is_not_much_unlike_it(
    shelf: SmallShelf, monkeypatch: pytest.MonkeyPatch, likeness: float, waits: bool
) -> None:
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 4)
    name = Name(next(slot.sku for slot in shelf.plan.slots if slot.id == "r1c2"), is_sure=False)
    monkeypatch.setattr(CloserLook, "__call__", lambda *_: name)
    monkeypatch.setattr(watcher.judge, "likeness", lambda *_: likeness)
    bay.put("r1c2", 0, [STRANGE])
    soon = of(shown(watcher, camera, bay.picture, 13))
    assert soon == ([] if waits else [("new", "r1c2", "unknown")])
    assert len(soon + of(shown(watcher, camera, bay.picture, NO_PRODUCT - 8))) == 1, "after many frames it counts"


@pytest.mark.parametrize("hair", [(110, 40, 150), (60, 70, 66), (30, 25, 20)])
def test_a_head_before_a_clear_rail_empties_nothing(shelf: SmallShelf, hair: tuple[int, int, int]) -> None:
    """Its body stands a board lower, so the product's own rail is clear; but the wall above the product isn't."""
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 4)
    passed = bay.picture.copy()
    ImageDraw.Draw(passed).ellipse((960, 0, 1225, 395), fill=hair)
    assert shown(watcher, camera, passed, 10) == []
    assert shown(watcher, camera, bay.picture, 4) == []


def test_a_right_product_isn_t_taken_for_a_sibling_that_is_as_like(shelf: SmallShelf) -> None:
    """Put back askew, it may be a hair less like itself than like its sibling; a sibling that was put there leads by more."""
    watcher = shelf.watcher()
    judge, cells = watcher.judge, watcher.cells.cells
    looks = judge.look([shelf.full[100:300, 100:200]])
    taught, skus = judge._taught, [watcher.plan.slots[cell.slot].sku for cell in cells]
    alike = taught @ taught.T
    pairs = [(a, b) for a in range(len(skus)) for b in range(len(skus)) if skus[a] != skus[b] and alike[a, b] > 0.6]
    assert pairs, "the shelf has siblings"
    for right, sibling in pairs:
        for share, kind in ((0.505, "right"), (0.8, "other")):
            vector = (1 - share) * taught[right] + share * taught[sibling]
            look = replace(looks[0], vector=np.asarray(vector / np.linalg.norm(vector), np.float32))
            found = judge.label(right, [look] * 3)
            assert found is not None and found.kind == kind


def test_a_sale_from_a_full_row_is_no_event(shelf: SmallShelf) -> None:
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 4)
    for place in bay.places:
        bay.take(place.id, 0)
        assert shown(watcher, camera, bay.picture, 4) == []


@pytest.mark.parametrize("gain", [0.45, 0.7, 1.25])
def test_light_is_no_event_and_costs_hardly_a_look(shelf: SmallShelf, gain: float) -> None:
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 3)
    assert shown(watcher, camera, bay.picture, 5, gain) == []
    assert watcher.looked <= 1


def test_somebody_who_stands_there_hides_slots_and_changes_none(shelf: SmallShelf) -> None:
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 4)
    passed = bay.picture.copy()
    passed.paste((150, 30, 40), (300, 150, 620, 960))
    assert shown(watcher, camera, passed, 20) == []
    assert [one["view"] for one in watcher.status()["slots"]].count("hidden") >= 2
    assert shown(watcher, camera, bay.picture, 3) == []
    assert {one["view"] for one in watcher.status()["slots"]} == {"clear"}


@pytest.mark.parametrize("coat", [(110, 40, 150), (120, 122, 126), (60, 60, 70)])
def test_nobody_empties_the_lowest_board_whose_rail_is_out_of_view(
    shelf: SmallShelf, coat: tuple[int, int, int]
) -> None:
    """The camera sagged: a plain coat before the lowest products is like an empty place, and no rail there tells that it is one."""

    def sagged(picture: Any) -> Any:
        pixels = np.asarray(picture)
        return np.concatenate([np.repeat(pixels[:1], 95, axis=0), pixels[:-95]])

    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 4)
    assert shown(watcher, camera, sagged(bay.picture), 4) == []
    passed = bay.picture.copy()
    passed.paste(coat, (300, 150, 620, 960))
    assert shown(watcher, camera, sagged(passed), 12) == []
    assert shown(watcher, camera, sagged(bay.picture), 4) == []


def wire_cart(bay_picture: Any, left: int, top: int) -> Any:
    """The shelf behind a cart of wire from a place on to the frame's corner, with goods in it."""
    picture = bay_picture.copy()
    pen, (width, height) = ImageDraw.Draw(picture), picture.size
    pen.rectangle((left + 30, top + 60, left + 150, top + 190), fill=(120, 220, 110))
    pen.rectangle((left + 200, top + 130, left + 290, height - 60), fill=(200, 30, 40))
    for across in range(left, width, 36):
        pen.line((across, top, across, height), fill=(205, 200, 195), width=5)
    for down in range(top, height, 36):
        pen.line((left, down, width, down), fill=(205, 200, 195), width=5)
    return picture


def test_goods_in_a_cart_of_wire_are_no_products_of_the_shelf(shelf: SmallShelf) -> None:
    """Rails are seen through the wire, and what is in it is unknown for as long as it stands there."""
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 4)
    assert shown(watcher, camera, wire_cart(bay.picture, 930, 480), 30) == []
    assert shown(watcher, camera, bay.picture, 4) == []


def test_what_nobody_knows_beside_a_bar_before_a_rail_waits(shelf: SmallShelf) -> None:
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 4)
    bay.put("r1c2", 0, [STRANGE])
    barred = bay.picture.copy()
    (left, _), (right, bottom) = (shelf.plan.slots[2].polygon[at] for at in (0, 2))  # type: ignore[index]
    barred.paste(
        (20, 30, 90), (round((left + right) / 2), round(bottom) + 4, round((left + right) / 2) + 24, round(bottom) + 90)
    )
    assert shown(watcher, camera, barred, 13) == []
    assert of(shown(watcher, camera, bay.picture, 2)) == [("new", "r1c2", "unknown")]


def test_two_slots_that_turn_strange_at_once_are_one_thing_before_them_for_long(shelf: SmallShelf) -> None:
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 4)
    bay.put("r1c2", 0, [STRANGE])
    bay.put("r1c3", 0, [STRANGE])
    assert shown(watcher, camera, bay.picture, NO_PRODUCT - 1) == []
    found = of(shown(watcher, camera, bay.picture, 1))
    assert found == [("new", "r1c2", "unknown"), ("new", "r1c3", "unknown")]
    bay.put("r2c3", 0, [STRANGE])
    assert of(shown(watcher, camera, bay.picture, 5)) == [("new", "r2c3", "unknown")], "one alone counts soon"


def test_what_differs_beyond_a_facing_is_what_hangs_together_with_it(shelf: SmallShelf) -> None:
    watcher = shelf.watcher()
    cells = watcher.cells
    lowest = cells.inside @ np.linspace(0, 1, cells.owner.size, dtype=np.float32)
    number = int(np.argmax(lowest))
    own = cells.inside[number] > 0
    assert cells.beyond(number, own) == 0
    apart = cells.apart.reshape(cells.shape).copy()
    apart[: cells.shape[0] // 2] = False
    everything = own.reshape(cells.shape) | apart
    assert cells.beyond(number, everything.reshape(-1)) == 0, "nothing between them differs"
    joined = everything | ~cells.apart.reshape(cells.shape)
    assert cells.beyond(number, joined.reshape(-1)) == pytest.approx(apart.sum() / own.sum())


def test_a_slot_waits_for_a_facing_that_isn_t_settled(shelf: SmallShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emptied at once while somebody's head is near: the slot is empty then, and wasn't low before."""
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 4)
    slot = next(one for one in shelf.plan.slots if one.facings > 1)
    number, until = watcher.cells_of_slot(shelf.plan.slots.index(slot))[-1], camera.number + 8
    monkeypatch.setattr(watcher._somebody, "may_hide", lambda cell, _, stays: cell == number and camera.number < until)
    for facing in range(slot.facings):
        bay.put(slot.id, facing, [])
    (event,) = shown(watcher, camera, bay.picture, 12)
    assert (event.type, event.after["state"]) == ("new", "empty")


def test_what_covers_a_rail_for_good_hides_no_facing_for_good(
    shelf: SmallShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A strip of paper was hung before the rail as the slot was emptied, and the slot beside it is emptied later."""
    stands = 20
    monkeypatch.setattr("shelfmatch.edge.shelf.somebody.STANDS", stands)
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 4)

    def with_paper(picture: Any) -> Any:
        (left, top), (right, bottom) = (shelf.plan.slots[1].polygon[at] for at in (0, 2))  # type: ignore[index]
        papered = picture.copy()
        papered.paste(
            (245, 240, 60), (round(left), round(bottom) + 4, round(right), round(bottom + (bottom - top) * 0.35))
        )
        return papered

    bay.put("r1c2", 0, [])
    assert shown(watcher, camera, with_paper(bay.picture), stands) == []
    bay.put("r1c3", 0, [])
    found = of(shown(watcher, camera, with_paper(bay.picture), 8))
    assert sorted(found) == [("new", "r1c2", "empty"), ("new", "r1c3", "empty")]


def test_a_nudge_is_followed_and_events_go_on(shelf: SmallShelf) -> None:
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 4)
    nudged = Image.fromarray(np.roll(np.asarray(bay.picture), (-30, 60), axis=(0, 1)))
    assert shown(watcher, camera, nudged, 4) == []
    assert watcher.matrix[0, 2] == pytest.approx(15, abs=0.3) and watcher.matrix[1, 2] == pytest.approx(-7.5, abs=0.3)
    slot = shelf.plan.slots[1].id
    for facing in range(shelf.plan.slots[1].facings):
        bay.put(slot, facing, [])
    nudged = Image.fromarray(np.roll(np.asarray(bay.picture), (-30, 60), axis=(0, 1)))
    assert of(shown(watcher, camera, nudged, 4)) == [("new", slot, "empty")]


def test_a_camera_that_is_turned_away_raises_one_event_and_judges_nothing(shelf: SmallShelf) -> None:
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 4)
    away = Image.fromarray(np.roll(np.asarray(bay.picture), 420, axis=1))
    events = shown(watcher, camera, away, 20)
    assert of(events) == [("new", None, "moved")] and "shelf teach" in str(events[0].after["advice"])
    assert of(shown(watcher, camera, bay.picture, 6)) == [("end", None, "ok")]


@pytest.mark.parametrize(("state", "gain"), [("dark", 0.02), ("covered", 1.0)])
def test_states_of_the_camera_are_none_of_slots(shelf: SmallShelf, state: str, gain: float) -> None:
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 4)
    blind = bay.picture if state == "dark" else Image.new("RGB", bay.size, (70, 50, 40))
    assert of(shown(watcher, camera, blind, 10, gain)) == [("new", None, state)]
    assert {one["view"] for one in watcher.status()["slots"]} == {"no view"}
    assert of(shown(watcher, camera, bay.picture, 5)) == [("end", None, "ok")]


def test_a_frozen_camera_and_one_that_is_gone(shelf: SmallShelf) -> None:
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    frozen = camera.frame(bay.picture).pixels
    events = []
    for number in range(25):
        events += watcher.see(type(camera.frame(bay.picture))(frozen, 1_000_000.0 + number * 60, number))
    assert of(events) == [("new", None, "frozen")]
    assert of(list(watcher.no_frame(camera.time + 100))) == [("update", None, "gone")]
    assert watcher.no_frame(camera.time + 200) == ()
    assert of(shown(watcher, camera, bay.picture, 4)) == [("end", None, "ok")]


def test_a_restart_says_nothing_twice(shelf: SmallShelf) -> None:
    camera, bay, taught = Camera(), shelf.bay(), digest_of(shelf.full)
    first = shelf.watcher()
    shown(first, camera, bay.picture, 3)
    slot = slot_with(shelf, 1)
    bay.put(slot, 0, [])
    (event,) = shown(first, camera, bay.picture, 3)
    second = shelf.watcher()
    restore(second, kept(first, taught), taught)
    assert shown(second, camera, bay.picture, 10) == []
    bay.put(slot, 0, [next(one.product for one in bay.places if one.id == slot)] * 3)
    (end,) = shown(second, camera, bay.picture, 4)
    assert (end.type, end.id) == ("end", event.id)


def test_what_counts_after_seconds(shelf: SmallShelf) -> None:
    watcher, camera, bay = shelf.watcher(after_frames=2, after_seconds=240.0), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 3)
    bay.put(slot_with(shelf, 1), 0, [])
    assert shown(watcher, camera, bay.picture, 4) == []  # 180 s after the first look
    assert len(shown(watcher, camera, bay.picture, 1)) == 1


def test_a_clock_that_jumps_back_loses_nothing(shelf: SmallShelf, caplog: pytest.LogCaptureFixture) -> None:
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    shown(watcher, camera, bay.picture, 3)
    slot = slot_with(shelf, 1)
    bay.put(slot, 0, [])
    shown(watcher, camera, bay.picture, 1)
    camera.time -= 86_400
    (event,) = shown(watcher, camera, bay.picture, 2)
    assert event.slot == slot and "the clock went back by 86340 s" in caplog.text
    bay.put(slot, 0, [next(one.product for one in bay.places if one.id == slot)] * 3)
    (end,) = shown(watcher, camera, bay.picture, 3)
    assert end.end_time is not None and end.end_time >= end.start_time
