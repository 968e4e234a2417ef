"""`shelfmatch shelf …` as it is typed: plans, a watch of a folder and of a simulation, its pages and its unit."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shelfmatch.edge import ShelfError
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.events.log import EventLog
from shelfmatch.edge.shelf import live_page
from shelfmatch.edge.shelf.edit_page import PlanEditor, start_editor
from shelfmatch.edge.shelf.live_page import start_page
from shelfmatch.edge.shelf.planogram import read_planogram
from shelfmatch.edge.shelf.service import ShelfService, WatchOptions
from tests.support.shelf import Camera, SmallShelf


def run(*words: str) -> int:
    return main(["shelf", *words])


@pytest.fixture
def photo(shelf: SmallShelf, tmp_path: Path) -> Path:
    path = tmp_path / "full.png"
    Image.fromarray(shelf.full).save(path)
    return path


def test_a_plan_by_hand_is_taught_drawn_and_checked(
    shelf: SmallShelf, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "bay.json"
    assert run("init", "--photo", str(photo), "--rows", "2", "--cols", "4", "-o", str(plan), "--json") == 0
    assert json.loads(capsys.readouterr().out)["slots"] == 8
    assert run("teach", str(plan), "--full", str(photo), str(photo)) == 0
    assert run("draw", str(plan), "-o", str(tmp_path / "bay.jpg")) == 0
    with Image.open(tmp_path / "bay.jpg") as picture:
        assert picture.size == (1280, 960)
    capsys.readouterr()
    assert run("check", str(plan), "--bundle", str(shelf.bundle)) == 2
    assert capsys.readouterr().err == (
        "shelfmatch: position r1c1 has no productId yet; name it with shelfmatch shelf edit, or in the JSON\n"
    )
    assert run("check", str(shelf.plan_path), "--bundle", str(shelf.bundle)) == 0


def test_a_plan_is_not_drawn_over_its_own_photos(
    shelf: SmallShelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are pictures that shelfmatch wrote, as older drawings are; the camera's frames would be compared with the boxes."""
    for path in shelf.folder.glob("plan.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for name in ("plan.full.png", "plan.empty.png"):
        assert run("draw", str(tmp_path / "plan.json"), "-o", str(tmp_path / name)) == 2
        assert "it is also an input; name another file to write" in capsys.readouterr().err
        assert (tmp_path / name).read_bytes() == (shelf.folder / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("init", "-o", "bay.json"), "neither --photo nor --from arrived"),
        (("init", "--photo", "{photo}", "-o", "bay.txt"), "expected a name that ends in .json"),
        (
            ("init", "--photo", "{photo}", "-o", "{plan}"),
            "is there already; name another file, or replace it with --force",
        ),
        (("draw", "{plan}", "-o", "bay.gif"), "bay.gif"),
        (("teach", "{plan}", "--full", "none.jpg"), "none.jpg does not exist"),
        (("check", "none.json"), "none.json isn't there"),
        (("watch", "{plan}", "--source", "nowhere", "--bundle", "{bundle}"), "'nowhere' arrived as a source"),
        (("watch", "{plan}", "--source", "{folder}", "--bundle", "none.bundle"), "none.bundle"),
        (("watch", "none.json", "--source", "{folder}", "--bundle", "{bundle}"), "none.json isn't there"),
        (
            ("watch", "{plan}", "--source", "{folder}", "--bundle", "{bundle}", "--port", "1"),
            "127.0.0.1:1 can't be listened at",
        ),
        (("install", "/home/x/bay.json", "--source", "0", "--bundle", "b", "--dry-run"), "lies in somebody's home"),
    ],
)
def test_wrong_calls_are_named_on_one_line(
    words: tuple[str, ...], message: str, shelf: SmallShelf, photo: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    if "--port" in words and os.geteuid() == 0:
        pytest.skip("root may listen at port 1")
    monkeypatch.chdir(tmp_path)
    names = {"photo": photo, "plan": shelf.plan_path, "bundle": shelf.bundle, "folder": shelf.folder}
    assert run(*(word.format(**names) for word in words)) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def frames_in(folder: Path, shelf: SmallShelf) -> str:
    """Ten photos: full, then a slot is emptied. The slot's id."""
    folder.mkdir()
    camera, bay = Camera(), shelf.bay()
    slot = next(slot for slot in shelf.plan.slots if slot.facings == 1).id
    for number in range(10):
        if number == 4:
            bay.put(slot, 0, [])
        Image.fromarray(camera.frame(bay.picture).pixels).save(folder / f"{number:02}.png")
    return slot


def test_a_watch_writes_the_log_first_and_a_second_one_goes_on(
    shelf: SmallShelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slot, log = frames_in(tmp_path / "in", shelf), tmp_path / "log"
    words = ("watch", str(shelf.plan_path), "--source", str(tmp_path / "in"), "--once", "--bundle", str(shelf.bundle))
    assert run(*words, "--log", str(log), "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    event = json.loads(line)
    assert (event["type"], event["slot"], event["after"]["state"]) == ("new", slot, "empty")
    with contextlib.closing(EventLog.open(log)):
        assert (log / "shelf.state").exists()
    for path in sorted((tmp_path / "in").iterdir())[:4]:
        path.unlink()
    assert run(*words, "--log", str(log), "--json") == 0
    assert capsys.readouterr().out == ""


def test_a_changed_plan_is_taken_over_and_a_broken_one_refused(
    shelf: SmallShelf, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shelfmatch.edge.shelf.service.LOOK_EVERY_S", 0.0)
    for path in shelf.folder.glob("plan.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    plan_path, camera, bay = tmp_path / "plan.json", Camera(), shelf.bay()
    service = ShelfService(plan_path, shelf.matcher, WatchOptions())

    def steps() -> Any:
        yield camera.frame(bay.picture)
        plan_path.write_text("{")
        yield camera.frame(bay.picture)
        assert "the plan in use stays" in service.refused and len(service.plan.slots) == len(shelf.plan.slots)
        document = shelf.plan.to_document()
        del document["planogram"]["positions"][0]
        plan_path.write_text(json.dumps(document))
        yield camera.frame(bay.picture)
        yield camera.frame(bay.picture)

    assert service.run(steps(), lambda event, frame: None, lambda: False) == 4
    assert len(service.plan.slots) == len(shelf.plan.slots) - 1 and service.refused == ""


def fetch(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_live_page_is_for_this_device(shelf: SmallShelf) -> None:
    server = start_page(ShelfService(shelf.plan_path, shelf.matcher, WatchOptions()), 0)
    port = server.server_address[1]
    try:
        status = json.loads(fetch(port, "/status.json")[1])
        assert status["camera"] == "ok" and {one["state"] for one in status["slots"]} == {"full"}
        assert b"r1c1" in fetch(port, "/")[1] and fetch(port, "/shelf.jpg")[1][:2] == b"\xff\xd8"
        assert fetch(port, "/status.json", Host="shop.example:80")[0] == 403 and fetch(port, "/x")[0] == 404
    finally:
        server.shutdown()
        server.server_close()


def test_the_live_pages_picture_is_of_one_plan(shelf: SmallShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another plan that came between its states and its picture put the new outlines on it in no state's colour."""
    service = ShelfService(shelf.plan_path, shelf.matcher, WatchOptions())
    plan, status, found = service.plan, service.status, []
    other = dataclasses.replace(plan, slots=tuple(dataclasses.replace(one, id=f"new-{one.id}") for one in plan.slots))

    def then_another() -> dict[str, Any]:
        before = status()
        service.plan = other
        return before

    def drawn(plan: Any, photo: Any, states: dict[str, str]) -> Any:
        found.append(({slot.id for slot in plan.slots}, set(states)))
        return Image.fromarray(photo)

    monkeypatch.setattr(service, "status", then_another)
    monkeypatch.setattr("shelfmatch.edge.shelf.live_page.drawn", drawn)
    live_page._picture(service)
    assert [slots == states for slots, states in found] == [True]


def test_the_live_page_tells_what_is_wrong_in_a_folder_whose_name_is_not_utf8(
    shelf: SmallShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page and its JSON gave no answer at all, just when there was a problem to tell."""
    monkeypatch.setattr("shelfmatch.edge.shelf.service.LOOK_EVERY_S", 0.0)
    # Its lines have the name, too, and workers of pytest-xdist can only tell of text in UTF-8.
    monkeypatch.setattr(logging.getLogger("shelfmatch.edge.shelf.service"), "disabled", True)
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"this disk takes no such name: {error}")
    for path in shelf.folder.glob("plan.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    service = ShelfService(folder / "plan.json", shelf.matcher, WatchOptions())
    (folder / "plan.json").write_text("{")
    service.run(iter([None]), lambda event, frame: None, lambda: False)
    server = start_page(service, 0)
    try:
        port = server.server_address[1]
        assert "the plan in use stays" in json.loads(fetch(port, "/status.json")[1])["problem"]
        assert b"the plan in use stays" in fetch(port, "/")[1]
    finally:
        server.shutdown()
        server.server_close()


def stamped(port: int) -> tuple[dict[str, Any], str]:
    """The plan that the page begins with, and its entity tag."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/plan.json", timeout=10) as answer:
        return json.loads(answer.read()), answer.headers["ETag"]


def test_the_editor_saves_sound_plans_and_no_others(shelf: SmallShelf, tmp_path: Path) -> None:
    for path in shelf.folder.glob("plan.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    editor = PlanEditor(tmp_path / "plan.json", ["S1"])
    server = start_editor(editor, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]

    def put(document: Any, **headers: str) -> tuple[int, str]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/plan.json", json.dumps(document).encode(), method="PUT",
            headers={"Content-Type": "application/json", "Origin": f"http://127.0.0.1:{port}", **headers},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    try:
        answer, stamp = stamped(port)
        assert answer["skus"] == ["S1"] and b"edit.js" in fetch(port, "/")[1] and fetch(port, "/photo.jpg")[0] == 200
        plan = answer["plan"]
        plan["planogram"]["positions"][0]["productId"] = "NEW-1"
        assert put(plan, Origin="http://evil.example", **{"If-Match": stamp})[0] == 403
        status, said = put(plan, **{"If-Match": stamp})
        assert status == 200 and "saved" in said and read_planogram(tmp_path / "plan.json").slots[0].sku == "NEW-1"
        plan["planogram"]["positions"][0]["polygon"][0] = [1e9, 0]
        status, said = put(plan, **{"If-Match": stamped(port)[1]})
        assert status == 422 and "position r1c1" in json.loads(said)["message"]
        assert read_planogram(tmp_path / "plan.json").slots[0].sku == "NEW-1"
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(ShelfError, match="can't be listened at"):
        start_editor(editor, 70_000)


def test_sigterm_ends_a_watch_and_keeps_what_is_known(shelf: SmallShelf, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    state = tmp_path / "state"
    words = [
        "watch",
        str(shelf.plan_path),
        "--source",
        str(tmp_path / "in"),
        "--bundle",
        str(shelf.bundle),
        "--state",
        str(state),
    ]
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(120)
        child = subprocess.Popen(
            [sys.executable, "-m", "shelfmatch.edge.cli", "shelf", *words],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )
        try:
            assert notified.recv(99) == b"READY=1"
            assert not state.exists()
            child.terminate()
            assert child.wait(60) == 0
        finally:
            child.kill()
            child.wait()
    assert state.exists()


def test_a_kill_between_state_and_log_loses_nothing_and_doubles_nothing(shelf: SmallShelf, tmp_path: Path) -> None:
    """The state's file as it is when an event is handed over: before the log has it, and when it has."""
    slot, camera, bay = next(slot for slot in shelf.plan.slots if slot.facings == 1).id, Camera(), shelf.bay()
    handed_over: list[bytes] = []

    def watched(log: EventLog, state: Path, count: int) -> None:
        def sink(event: Any, frame: Any) -> None:
            handed_over.append(state.read_bytes())
            log.append(event)

        service = ShelfService(shelf.plan_path, shelf.matcher, WatchOptions(state=state))
        service.run((camera.frame(bay.picture) for _ in range(count)), sink, lambda: False)

    with EventLog.open(tmp_path / "log") as log:
        watched(log, tmp_path / "state", 4)
        bay.put(slot, 0, [])
        watched(log, tmp_path / "state", 4)
        (first,) = log.entries()
    assert first.event.slot == slot
    for folder in ("log", "log-without-it"):
        (tmp_path / "state").write_bytes(handed_over[0])
        with EventLog.open(tmp_path / folder) as log:
            watched(log, tmp_path / "state", 8)
            assert [one.event for one in log.entries()] == [first.event]


def test_a_simulation_leaves_another_shelfs_plan_alone(
    shelf: SmallShelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in shelf.folder.glob("plan.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert run("simulate", str(tmp_path), "--seed", "9") == 2
    assert "is the plan of another shelf, or of another --seed; name another folder" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
