"""What a watch that runs for months meets: plans and states that can't be read, clocks that weren't set, frames that are no use."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge.camera.frame import Frame
from shelfmatch.edge.cli import main
from shelfmatch.edge.errors import EventError, ShelfError
from shelfmatch.edge.events.event import Event
from shelfmatch.edge.shelf.keeping import digest_of, kept, restore
from shelfmatch.edge.shelf.planogram import read_planogram
from shelfmatch.edge.shelf.service import ShelfService, WatchOptions
from tests.support.shelf import Camera, SmallShelf


def copy_of_plan(shelf: SmallShelf, folder: Path) -> Path:
    """The shelf's plan with its photos, in another folder."""
    for path in shelf.plan_path.parent.glob("plan.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder / shelf.plan_path.name


def frame_files(shelf: SmallShelf, folder: Path, count: int = 2) -> Path:
    folder.mkdir()
    for number in range(count):
        Image.fromarray(shelf.full).save(folder / f"{number}.jpg", quality=90)
    return folder


def test_a_plan_that_the_system_refuses_leaves_the_one_in_use(
    shelf: SmallShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shelfmatch.edge.shelf import service as room

    plan = copy_of_plan(shelf, tmp_path)
    service = ShelfService(plan, shelf.matcher, WatchOptions())
    monkeypatch.setattr(room, "LOOK_EVERY_S", 0.0)

    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(room, "read_planogram", refused)
    plan.touch()
    camera = Camera()
    assert service.run([camera.frame(shelf.full)], lambda event, frame: None, lambda: False) == 1
    assert "the plan in use stays" in service.status()["problem"]


@pytest.mark.parametrize("damage", ["a method nobody has", "encrypted", "a stream that breaks", "zeros"])
def test_a_state_that_zip_can_t_read_is_damaged(shelf: SmallShelf, damage: str) -> None:
    watcher = shelf.watcher()
    data = bytearray(kept(watcher, digest_of(shelf.full)))
    entries = zipfile.ZipFile(io.BytesIO(bytes(data))).infolist()
    central = bytes(data).index(b"PK\x01\x02")
    if damage == "a method nobody has":
        data[central + 10] = data[8] = 97
    elif damage == "encrypted":
        data[central + 8] |= 1
        data[6] |= 1
    elif damage == "a stream that breaks":
        start = entries[0].header_offset + 30 + len(entries[0].filename) + 20
        data[start : start + 60] = b"\xff" * 60
    else:
        data[:] = bytes(len(data))
    with pytest.raises(ShelfError, match="the kept state is damaged"):
        restore(shelf.watcher(), bytes(data), digest_of(shelf.full))


def test_a_slot_that_the_plan_has_no_more_ends_its_event(shelf: SmallShelf, tmp_path: Path) -> None:
    watcher, camera, bay = shelf.watcher(), Camera(), shelf.bay()
    name = watcher.plan.slots[0].id
    place = next(one for one in bay.places if one.id == name)
    for facing in range(place.facings):
        bay.put(name, facing, [])
    told = [event for _ in range(6) for event in watcher.see(camera.frame(bay.picture))]
    assert told[0].type == "new" and told[0].slot == name
    record = json.loads(shelf.plan_path.read_text())
    record["planogram"]["positions"] = [one for one in record["planogram"]["positions"] if one["id"] != name]
    plan = copy_of_plan(shelf, tmp_path)
    plan.write_text(json.dumps(record))
    service = ShelfService(plan, shelf.matcher, WatchOptions())
    state = kept(watcher, digest_of(shelf.full))
    (end,) = [e for e in restore(service.watcher, state, "") if e.slot == name]
    assert (end.type, end.id, end.before["state"], end.after["state"]) == ("end", told[0].id, "empty", "removed")
    assert service.watcher.incidents.open == {}
    watcher.incidents.open = {f"slot:{'x' * 300}": watcher.incidents.open[f"slot:{name}"]}
    watcher.incidents.open[f"slot:{'x' * 300}"].id = "x" * 300
    assert restore(service.watcher, kept(watcher, digest_of(shelf.full)), "") == (), "an id that was never told"


def test_a_removed_slot_is_a_line_for_people(
    shelf: SmallShelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bay, name, plan = shelf.bay(), shelf.plan.slots[0].id, copy_of_plan(shelf, tmp_path)
    frames = tmp_path / "frames"
    frames.mkdir()
    for facing in range(next(one for one in bay.places if one.id == name).facings):
        bay.put(name, facing, [])
    for number in range(6):
        Image.fromarray(Camera().frame(bay.picture).pixels).save(frames / f"{number}.png")
    call = ["shelf", "watch", str(plan), "--bundle", str(shelf.bundle), "--source", str(frames), "--once"]
    call += ["--log", str(tmp_path / "log"), "--state", str(tmp_path / "log" / "x.state")]
    assert main(call) == 0 and f"{name} " in capsys.readouterr().out
    record = json.loads(plan.read_text())
    record["planogram"]["positions"] = [one for one in record["planogram"]["positions"] if one["id"] != name]
    plan.write_text(json.dumps(record))
    assert main(call) == 0
    assert f"{name} " in (line := capsys.readouterr().out) and ": removed" in line


def test_a_state_older_than_the_log_stops_nothing(shelf: SmallShelf, tmp_path: Path) -> None:
    service = ShelfService(copy_of_plan(shelf, tmp_path), shelf.matcher, WatchOptions())
    camera, told = Camera(), []
    service._untold = tuple(Event(f"e-{n}", "new", "camera", None, after={"state": "dark"}) for n in range(2))

    def sink(event: Event, frame: Frame | None) -> None:
        told.append(event.id)
        if event.id == "e-0":
            raise EventError("the log is ahead")

    assert service.run([camera.frame(shelf.full), None], sink, lambda: False) == 1
    assert told == ["e-0", "e-1"]


def test_the_end_of_a_removed_slot_is_told_while_the_watch_goes_on(
    shelf: SmallShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shelfmatch.edge.shelf import service as room

    monkeypatch.setattr(room, "LOOK_EVERY_S", 0.0)
    plan, camera, bay = copy_of_plan(shelf, tmp_path), Camera(), shelf.bay()
    name = shelf.plan.slots[0].id
    for facing in range(next(one for one in bay.places if one.id == name).facings):
        bay.put(name, facing, [])
    service, told = ShelfService(plan, shelf.matcher, WatchOptions()), []

    def frames() -> Iterator[Frame]:
        for _ in range(6):
            yield camera.frame(bay.picture)
        record = json.loads(plan.read_text())
        record["planogram"]["positions"] = [one for one in record["planogram"]["positions"] if one["id"] != name]
        plan.write_text(json.dumps(record))
        yield camera.frame(bay.picture)

    service.run(frames(), lambda event, frame: told.append(event), lambda: False)
    assert [(event.type, event.after["state"]) for event in told if event.slot == name] == [
        ("new", "empty"),
        ("end", "removed"),
    ]


def test_names_with_joiners_are_names(shelf: SmallShelf) -> None:
    Event("r1\U0001f468\u200d\U0001f469-1", "new", "slot", "r1\U0001f468\u200d\U0001f469", after={"state": "empty"})


def test_frames_that_are_all_no_use_are_an_error_and_one_is_forgotten(
    shelf: SmallShelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = tmp_path / "half"
    half.mkdir()
    Image.fromarray(shelf.full[::2, ::2].copy()).save(half / "0.jpg")
    plan, bundle = str(copy_of_plan(shelf, tmp_path)), str(shelf.bundle)
    assert main(["shelf", "watch", plan, "--bundle", bundle, "--source", str(half), "--once"]) == 2
    assert "the taught photos have" in capsys.readouterr().err
    service, camera = ShelfService(Path(plan), shelf.matcher, WatchOptions()), Camera()
    small = Frame(shelf.full[::2, ::2].copy(), camera.time, 0, "camera")
    old = Frame(shelf.full, -5.0, 0, "camera")
    for bad, problem in ((small, "taught photos have"), (old, "since 1970")):
        with pytest.raises(ShelfError, match=problem):
            service.run([bad], lambda event, frame: None, lambda: False)
        assert problem in service.refused
        assert service.run([bad, camera.frame(shelf.full)], lambda event, frame: None, lambda: False) == 2
        assert service.status()["problem"] == ""


@pytest.mark.parametrize("what", ["plan", "picture", "folder", "nowhere"])
def test_a_state_takes_the_place_of_nothing_else(
    shelf: SmallShelf, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    plan, frames = copy_of_plan(shelf, tmp_path), frame_files(shelf, tmp_path / "frames")
    picture = tmp_path / "my.png"
    Image.new("RGB", (8, 8)).save(picture)
    state = {"plan": plan, "picture": picture, "folder": frames, "nowhere": tmp_path / "no" / "a.state"}[what]
    before = state.read_bytes() if state.is_file() else b""
    call = [
        "shelf",
        "watch",
        str(plan),
        "--bundle",
        str(shelf.bundle),
        "--source",
        str(frames),
        "--once",
        "--state",
        str(state),
    ]
    assert main(call) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert (state.read_bytes() if state.is_file() else b"") == before
    assert not list(tmp_path.glob("*.damaged"))


@pytest.mark.parametrize("name", ["text.mp4", "text.jpg", "empty"])
def test_check_opens_what_has_frames(
    shelf: SmallShelf, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    plan = copy_of_plan(shelf, tmp_path)
    source = tmp_path / name
    if name == "empty":
        source.mkdir()
    else:
        source.write_text("no video, no photo")
    call = ["shelf", "watch", str(plan), "--bundle", str(shelf.bundle), "--once", "--check"]
    assert main([*call, "--source", str(source)]) == 2
    assert name in capsys.readouterr().err
    broken = frame_files(shelf, tmp_path / "broken", 1)
    next(broken.iterdir()).write_text("no photo")
    assert main([*call, "--source", str(broken)]) == 2 and "no photo that can be read" in capsys.readouterr().err
    small = frame_files(shelf, tmp_path / "small", 1)
    Image.fromarray(shelf.full[::2, ::2].copy()).save(next(small.iterdir()))
    assert main([*call, "--source", str(small)]) == 2 and "the taught photos have" in capsys.readouterr().err
    frames = frame_files(shelf, tmp_path / "frames")
    assert main([*call, "--source", str(frames)]) == 0
    assert capsys.readouterr().out.startswith("all is well: 8 slots")
    assert main([*call, "--source", str(frames), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_a_simulation_keeps_times_and_leaves_no_old_frames(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    for count in (4, 2):
        assert main(["shelf", "simulate", str(folder), "--frames", str(count), "--step", "120", "--write"]) == 0
    times = [path.stat().st_mtime for path in sorted((folder / "frames").iterdir())]
    assert np.diff(times).tolist() == pytest.approx([120.0]) and times[-1] <= time.time()


def test_a_simulation_leaves_another_shops_bundle_alone(
    shelf: SmallShelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "shop.bundle").symlink_to(shelf.bundle)
    assert main(["shelf", "simulate", str(folder), "--frames", "2", "--seed", "9"]) == 2
    assert "the bundle of another shop" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["shop.bundle"]


def test_a_simulation_leaves_somebodys_frames_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = tmp_path / "frames" / "frame000001.jpg"
    frame.parent.mkdir()
    frame.write_bytes(b"of a video")
    assert main(["shelf", "simulate", str(tmp_path), "--frames", "2", "--write"]) == 2
    assert "no simulation wrote" in capsys.readouterr().err and frame.read_bytes() == b"of a video"


def test_a_simulation_leaves_somebodys_photo_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "plan.full.png"
    Image.new("RGB", (8, 8)).save(photo)
    before = photo.read_bytes()
    assert main(["shelf", "simulate", str(tmp_path), "--frames", "2", "--write"]) == 2
    assert "no photo of this plan" in capsys.readouterr().err and photo.read_bytes() == before


@pytest.mark.parametrize("option", [("--pace", "inf"), ("--pace", "-1"), ("--step", "1e18"), ("--pace", "nan")])
def test_times_that_no_clock_has_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["shelf", "simulate", str(tmp_path / "s"), *option])
    assert ended.value.code == 2 and "expected seconds" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_the_plan_of_these_tests_is_read(shelf: SmallShelf, tmp_path: Path) -> None:
    assert len(read_planogram(copy_of_plan(shelf, tmp_path)).slots) == 8
