"""What is away or wrong for a while: a camera in another mode, a log that is ahead, a photo that comes after its plan, a bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ImageDraw

from shelfmatch.edge import Matcher
from shelfmatch.edge.camera.frame import Frame
from shelfmatch.edge.errors import EventError
from shelfmatch.edge.events.event import Event
from shelfmatch.edge.shelf import service as room
from shelfmatch.edge.shelf.service import ShelfService, WatchOptions
from shelfmatch.edge.shelf.teach import read_photo
from shelfmatch.edge.synthetic.shelf_scene import Place
from tests.support.shelf import Camera, SmallShelf


@pytest.fixture
def plan(shelf: SmallShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shelf's plan and photos in a folder of the test's own, which is looked at before each frame."""
    monkeypatch.setattr(room, "LOOK_EVERY_S", 0.0)
    for path in shelf.plan_path.parent.glob("plan.*"):
        shutil.copy(path, tmp_path / path.name)
    return tmp_path / shelf.plan_path.name


def place_of(shelf: SmallShelf, slot: str) -> Place:
    return next(one for one in shelf.bay().places if one.id == slot)


def test_a_camera_that_comes_back_in_another_mode_is_gone(
    shelf: SmallShelf, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of another size said "all is well" for ever."""
    monkeypatch.setattr(room, "GONE_AFTER_S", -1.0)  # not 30 s of a test's time
    service, camera, told = ShelfService(plan, shelf.matcher, WatchOptions(every_s=-1.0)), Camera(), list[Event]()

    def frames() -> Iterator[Frame]:
        yield camera.frame(shelf.full)
        for _ in range(3):
            whole = camera.frame(shelf.full)
            yield Frame(np.ascontiguousarray(whole.pixels[::2, ::2]), whole.time, whole.number, whole.source)

    service.run(frames(), lambda event, frame: told.append(event), lambda: False)
    assert [(event.kind, event.after["state"]) for event in told] == [("camera", "gone")]
    assert {slot["view"] for slot in service.status()["slots"]} == {"no view"}
    monkeypatch.setattr(room, "GONE_AFTER_S", 30.0)
    back = [camera.frame(shelf.full) for _ in range(6)]
    service.run(back, lambda event, frame: told.append(event), lambda: False)
    assert [event.after["state"] for event in told] == ["gone", "ok"]


def test_a_folder_with_a_photo_a_minute_is_no_camera_that_comes_and_goes(
    shelf: SmallShelf, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With frames every 2 s expected it was gone and back each minute; still gone it is after three minutes without any."""
    clock = Clock()
    monkeypatch.setattr(room, "time", clock)
    service, camera, told = (
        ShelfService(plan, shelf.matcher, WatchOptions(every_s=2.0)),
        Camera(),
        list[tuple[int, str]](),
    )

    def frames() -> Iterator[Frame | None]:
        for _ in range(20):
            yield camera.frame(shelf.full)
            for _ in range(30):
                clock.now += 2.0
                yield None
        for _ in range(90):
            clock.now += 2.0
            yield None

    service.run(frames(), lambda event, _: told.append((int(clock.now / 60), event.after["state"])), lambda: False)
    assert [one for one in told if one[0] > 9] == [(22, "gone")]


class Clock:
    """Time as a test sets it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1e9 + self.now


def test_a_log_that_is_ahead_stops_no_watch(shelf: SmallShelf, plan: Path) -> None:
    """A restart whose state is older than the log told an end twice, and ended by it, again and again."""
    service, camera, bay, told = ShelfService(plan, shelf.matcher, WatchOptions()), Camera(), shelf.bay(), list[str]()
    name = shelf.plan.slots[0].id
    for facing in range(place_of(shelf, name).facings):
        bay.put(name, facing, [])

    def sink(event: Event, frame: Frame | None) -> None:
        told.append(event.after["state"])
        raise EventError(f"event {event.id!r} has begun, and 'new' arrived")

    frames = [camera.frame(bay.picture) for _ in range(6)]
    assert service.run(frames, sink, lambda: False) == 6
    assert told == ["empty"]


def test_a_photo_that_comes_after_its_plan_is_taken_over(shelf: SmallShelf, plan: Path) -> None:
    service, camera = ShelfService(plan, shelf.matcher, WatchOptions()), Camera()

    def step() -> str:
        service.run([camera.frame(shelf.full)], lambda event, frame: None, lambda: False)
        return service.refused

    record = json.loads(plan.read_text())
    record["photo"]["full"] = "new.full.png"
    record["planogram"]["positions"].pop()
    plan.write_text(json.dumps(record))
    assert "new.full.png" in step() and len(service.plan.slots) == len(shelf.plan.slots)
    shutil.copy(plan.with_name("plan.full.png"), plan.with_name("new.full.png"))
    assert step() == "" and len(service.plan.slots) == len(shelf.plan.slots) - 1
    moved = np.roll(read_photo(plan.with_name("new.full.png")), 8, axis=1)
    room.write_atomic(plan.with_name("new.full.png"), png(moved))
    assert step() == "" and np.array_equal(service.photo, moved)


def test_a_refused_bundle_is_told_and_another_taken_over(shelf: SmallShelf, plan: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(shelf.bundle, tmp_path / "own.bundle")
    good = (bundle / "manifest.json").read_bytes()
    with Matcher.open(bundle) as matcher:
        service, camera = ShelfService(plan, matcher, WatchOptions()), Camera()
        for manifest, problem in ((b"{", True), (good, False)):
            room.write_atomic(bundle / "manifest.json", manifest)
            service.run([camera.frame(shelf.full)], lambda event, frame: None, lambda: False)
            assert ("the bundle in use stays" in service.status()["problem"]) == problem


def test_a_camera_is_frozen_though_the_clock_went_back(shelf: SmallShelf) -> None:
    """After an hour back it wasn't for an hour."""
    watcher, camera = shelf.watcher(), Camera()
    one = camera.frame(shelf.full)
    times = [one.time + 5 * number - (3600 if number > 5 else 0) for number in range(40)]
    events = [event for time in times for event in watcher.see(Frame(one.pixels, time, 0, "camera"))]
    assert [event.after["state"] for event in events] == ["frozen"]


def test_a_slot_is_in_sight_where_the_camera_has_it_now(shelf: SmallShelf) -> None:
    """A nudged camera's picture of a slot showed its neighbour."""
    watcher, camera = shelf.watcher(), Camera()
    slot = shelf.plan.slots[0]
    assert slot.polygon is not None
    height, width = shelf.full.shape[:2]
    pixels = np.array(slot.polygon, float)
    for moved in (0, 24):
        for _ in range(8):
            watcher.see(camera.frame(np.roll(shelf.full, moved, axis=1)))
        box = watcher.in_sight(slot.id, 0.0, (width, height))
        assert box is not None
        expected = [pixels[:, 0].min() + moved, pixels[:, 1].min(), pixels[:, 0].max() + moved, pixels[:, 1].max()]
        assert np.abs(np.array(box) * [width, height, width, height] - expected).max() < 6
    assert watcher.in_sight("nothing", 0.0, (width, height)) is None


def test_what_somebody_stands_before_is_not_in_sight(shelf: SmallShelf) -> None:
    """From behind nobody has a face: the slot's event came while they stood there, and its picture showed their back."""
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    size = shelf.full.shape[1], shelf.full.shape[0]
    watcher.see(camera.frame(bay.picture))
    covered, clear = shelf.plan.slots[0], shelf.plan.slots[-1]
    left, top, right, _ = place_of(shelf, covered.id).box
    picture: Any = bay.picture.copy()
    ImageDraw.Draw(picture).rectangle((left, top - 20, right, size[1]), fill=(60, 70, 120))
    for count in range(40):
        watcher.see(camera.frame(picture))
        assert watcher.in_sight(covered.id, 0.05, size) is None, f"after {count} frames"
    assert watcher.in_sight(clear.id, 0.05, size) is not None


def png(pixels: Any) -> bytes:
    """A picture's file."""
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
