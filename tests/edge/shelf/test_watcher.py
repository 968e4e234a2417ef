"""The watcher on a small rendered shelf: what counts, when, and what doesn't."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge.events.event import Event
from shelfmatch.edge.shelf.keeping import digest_of, kept, restore
from shelfmatch.edge.shelf.watcher import ShelfWatcher
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
