"""The log: nothing is lost and nothing doubled, whatever happens to the process, the files or the disk."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from shelfmatch.edge import EventError
from shelfmatch.edge.events import store
from shelfmatch.edge.events.event import Event
from shelfmatch.edge.events.log import EventLog
from tests.support import tiers

from .worker import event

WORKER = Path(__file__).with_name("worker.py")


def ids(log: EventLog) -> list[str]:
    """Of all entries, in order."""
    found: list[str] = []
    after = 0
    while entries := log.entries(after):
        found += [entry.event.id for entry in entries]
        after = entries[-1].sequence
    return found


def filled(folder: Path, count: int = 60) -> list[str]:
    """Make a log with so many events, half of which one consumer has; their ids."""
    with EventLog.open(folder) as log:
        consumer = log.consumer("bus")
        for number in range(count):
            log.append(event(number), b"\xff\xd8 a picture" if number % 20 == 0 else None)
        consumer.done(log.entries(count // 2 - 1, 1)[0])
        return ids(log)


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    expected = filled(tmp_path / "log", 700)
    with EventLog.open(tmp_path / "log") as log:
        assert ids(log) == expected == [f"e{number}" for number in range(700)]
        assert [entry.sequence for entry in log.entries(0, 9)] == list(range(1, 10))
        assert log.problems == ()
        first = log.entries(0, 1)[0]
        assert first.picture is not None
        assert (tmp_path / "log" / "pictures" / first.picture).read_bytes() == b"\xff\xd8 a picture"
        assert len({entry.message_id for entry in log.entries(0, 700)}) == 700
        pending = log.consumer("bus").pending(1000)
        assert [entry.event.id for entry in pending] == expected[350:]
        assert log.consumer("new").pending() == []


def test_the_same_again_is_logged_once(tmp_path: Path) -> None:
    with EventLog.open(tmp_path) as log:
        begun = log.append(event(1))
        assert log.append(event(1)) == begun
        changed = Event("e1", "update", "slot", "s1", {"state": "empty"}, {"state": "low"}, 1e9)
        back = Event("e1", "update", "slot", "s1", {"state": "low"}, {"state": "empty"}, 1e9)
        for update in (changed, changed, back, changed):
            log.append(update)
        with pytest.raises(EventError, match="has begun"):
            log.append(Event("e1", "new", "slot", "s1", start_time=2.0))
        log.append(Event("e1", "end", "slot", "s1", {"state": "empty"}, {"state": "full"}, 1e9, 1e9 + 5))
        with pytest.raises(EventError, match="has ended"):
            log.append(changed)
        assert [entry.event.type for entry in log.entries()] == ["new", "update", "update", "update", "end"]


def test_one_process_writes(tmp_path: Path) -> None:
    with EventLog.open(tmp_path), pytest.raises(EventError, match="written to by another process"):
        EventLog.open(tmp_path)
    EventLog.open(tmp_path).close()


def test_a_closed_log_stays_as_it_is(tmp_path: Path) -> None:
    with EventLog.open(tmp_path) as log:
        consumer = log.consumer("bus")
        log.append(event(1))
    for late in (lambda: log.append(event(2)), lambda: log.entries(), lambda: log.consumer("new")):
        with pytest.raises(EventError, match="the log is closed; expected an open one"):
            late()
    assert consumer.pending() == [] and log.flush() == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.journal", "events.sqlite", "lock", "reserve"]
    with EventLog.open(tmp_path) as log:
        assert ids(log) == ["e1"] and log.problems == ()


def test_entries_are_written_where_a_position_cant_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk may have room for the one and not for the other."""

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with EventLog.open(tmp_path) as log:
        consumer = log.consumer("bus")
        log.append(event(1))
        with monkeypatch.context() as patched:
            patched.setattr(store.Store, "set_position", full)
            consumer.done(log.entries()[0])
            for number in (2, 3):
                log.append(event(number))
            assert log.held == 0
            assert [entry.event.id for entry in consumer.pending()] == ["e2", "e3"]
        log.append(event(4))
        assert not log._copies.unsaved
    with EventLog.open(tmp_path) as log:
        assert [entry.event.id for entry in log.consumer("bus").pending()] == ["e2", "e3", "e4"]


def test_pictures_that_no_entry_names_go_when_entries_of_their_age_would(tmp_path: Path) -> None:
    """Killed between a picture and its entry, a log kept it for ever, whatever `keep_days` said."""
    filled(tmp_path)
    pictures = tmp_path / "pictures"
    for name, days in (("1-7000.jpg", 8), ("1-7001.jpg", 6)):
        (pictures / name).write_bytes(b"\xff\xd8 of no entry")
        os.utime(pictures / name, (time.time() - days * 86_400,) * 2)
    old = sorted(pictures.iterdir())[0]
    os.utime(old, (0, 0))
    with EventLog.open(tmp_path, keep_days=7):
        left = sorted(path.name for path in pictures.iterdir())
    assert "1-7000.jpg" not in left and "1-7001.jpg" in left and len(left) == 4


def test_wrong_folders_and_bounds(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EventError, match="expected a folder"):
        EventLog.open(tmp_path / "file")
    with pytest.raises(EventError, match="expected more than 0 days"):
        EventLog.open(tmp_path / "log", keep_days=float("nan"))
    with pytest.raises(EventError, match="expected more than 0 days"):
        EventLog.open(tmp_path / "log", most_bytes=1000)
    filled(tmp_path / "log", 3)
    with sqlite3.connect(tmp_path / "log" / "events.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(EventError, match="format version 99; expected 1"):
        EventLog.open(tmp_path / "log")


def test_a_database_that_another_program_holds_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store, "_LOCK_WAIT_S", 0.2)
    expected = filled(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with contextlib.closing(sqlite3.connect(tmp_path / "events.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(EventError, match=r"another program holds events\.sqlite") as caught:
            EventLog.open(tmp_path)
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before, "nothing is set aside, the reserve is kept"
    with EventLog.open(tmp_path) as log:
        assert log.problems == () and ids(log) == expected
        with contextlib.closing(sqlite3.connect(tmp_path / "events.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            log.append(event(100))
            assert log.held == 1 and (tmp_path / "reserve").exists()
        log.append(event(101))
        assert log.held == 0 and ids(log) == [*expected, "e100", "e101"]
    assert "is damaged" not in caplog.text and "disk is full" not in caplog.text


def test_a_database_that_cant_be_opened_is_not_damaged(tmp_path: Path) -> None:
    """What lies in SQLite's way may be mended; the events stay where they are."""
    expected = filled(tmp_path)
    (tmp_path / "events.sqlite-wal").mkdir()
    with pytest.raises(EventError, match="unable to open database file; expected a folder for the log"):
        EventLog.open(tmp_path)
    assert not list(tmp_path.glob("damaged-*"))
    (tmp_path / "events.sqlite-wal").rmdir()
    with EventLog.open(tmp_path) as log:
        assert log.problems == () and ids(log) == expected


def test_the_size_is_bounded(tmp_path: Path) -> None:
    text = "x" * 2000
    with EventLog.open(tmp_path, most_bytes=1 << 20) as log:
        consumer = log.consumer("bus")
        sizes = []
        for number in range(900):
            entry = log.append(Event(f"e{number}", "new", "camera", None, {}, {"note": text}, 1.0))
            if number < 600:
                consumer.done(entry)
            sizes.append(sum(path.stat().st_size for path in tmp_path.glob("events.*")))
        kept = ids(log)
        assert kept == [f"e{number}" for number in range(900 - len(kept), 900)]
        assert max(sizes) < 3 << 20, "with SQLite's own write-ahead log, a megabyte or two"
        assert log.dropped == 900 - len(kept) - 600
        assert "undelivered" in log.problems[-1]
    with EventLog.open(tmp_path, most_bytes=1 << 20) as log:
        assert ids(log) == kept
        assert log.consumer("bus").pending(1)[0].event.id == kept[0]


def test_a_consumer_is_woken(tmp_path: Path) -> None:
    with EventLog.open(tmp_path) as log:
        consumer = log.consumer("bus")
        assert not consumer.wait(0.01)
        writer = threading.Timer(0.05, log.append, [event(1)])
        writer.start()
        assert consumer.wait(10)
        writer.join()


def kill_once(folder: Path, first: int, after_s: float) -> tuple[list[int], list[tuple[str, str]]]:
    """Run the worker and kill it: what it said was logged, and what its consumer got."""
    process = subprocess.Popen(
        [sys.executable, str(WORKER), str(folder), str(first)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline()]  # from the first event on, not while Python starts
    timer = threading.Timer(after_s, os.kill, [process.pid, signal.SIGKILL])
    timer.start()
    lines += process.stdout.readlines()
    process.wait()
    timer.join()
    process.stdout.close()
    whole = [line.split() for line in lines if line.endswith("\n")]
    return [int(line[1]) for line in whole if line[0] == "logged"], [
        (line[1], line[2]) for line in whole if line[0] == "got"
    ]


def check_kills(folder: Path, count: int) -> None:
    """Kill the worker again and again: every event that was said to be logged is there, once; every message that the consumer got
    twice has the same id twice."""
    rng = random.Random(5)
    logged: list[int] = []
    messages: dict[str, str] = {}
    for _ in range(count):
        numbers, got = kill_once(folder, logged[-1] + 1 if logged else 0, rng.uniform(0.0, 0.3))
        logged += numbers
        for message_id, event_id in got:
            assert messages.setdefault(event_id, message_id) == message_id
    with EventLog.open(folder) as log:
        found = ids(log)
        assert log.problems == ()
        # An event may be durable without having been said: then it is said again, and there once all the same.
        assert len(found) == len(set(found))
        assert set(found) - {f"e{logged[-1] + 1}"} == {f"e{number}" for number in logged}
        rest = log.consumer("worker").pending(100_000)
        taken = {
            entry.event.id for entry in log.entries(0, 100_000) if entry.sequence <= log.consumer("worker").position
        }
        assert taken | {entry.event.id for entry in rest} == set(found)
        assert taken <= set(messages), "nothing counts as delivered that nobody got"


def test_kill(tmp_path: Path) -> None:
    check_kills(tmp_path, 4)


@pytest.mark.slow
def test_fifty_kills(tmp_path: Path) -> None:
    check_kills(tmp_path, 50)


def check_damage(folder: Path, expected: list[str]) -> tuple[str, ...]:
    """Open a log after one file was damaged: every event is there, once, and it goes on."""
    with EventLog.open(folder) as log:
        problems = log.problems
        assert ids(log) == expected
        assert all(entry.sequence > 30 for entry in log.consumer("bus").pending(1000)), "nothing is sent twice"
        added = log.append(event(9999))
        assert log.consumer("bus").pending(1000)[-1] == added
    with EventLog.open(folder) as log:
        assert ids(log) == [*expected, "e9999"]
        assert log.problems == ()
    return problems


FLIPS = tiers.count(12, soak=400)
"""Of each file."""
FILES = ("events.sqlite", "events.journal", "events.sqlite-wal")


def copied_while_open(source: Path, folder: Path) -> list[str]:
    """A log as a power cut leaves it, with its write-ahead log."""
    expected = filled(source)
    with EventLog.open(source) as log:
        for number in range(100, 130):
            log.append(event(number))
        expected = ids(log)
        folder.mkdir()
        for path in source.iterdir():
            if path.is_file():
                shutil.copy(path, folder)
    return expected


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_cut(tmp_path: Path, name: str) -> None:
    expected = copied_while_open(tmp_path / "log", tmp_path / "whole")
    rng = random.Random(7)
    size = (tmp_path / "whole" / name).stat().st_size
    assert size > 4096
    for number, length in enumerate([0, 1, 100, size // 2, size - 1, *(rng.randrange(size) for _ in range(4))]):
        folder = tmp_path / f"cut{number}"
        shutil.copytree(tmp_path / "whole", folder)
        os.truncate(folder / name, length)
        problems = check_damage(folder, expected)
        if length == size // 2:  # the write-ahead log may have the database's last pages once more
            assert problems
            assert name != "events.sqlite" or list(folder.glob("damaged-*/events.sqlite"))


@pytest.mark.parametrize("name", FILES)
def test_bytes_are_flipped(tmp_path: Path, name: str) -> None:
    expected = copied_while_open(tmp_path / "log", tmp_path / "whole")
    rng = random.Random(8)
    size = (tmp_path / "whole" / name).stat().st_size
    said = 0
    for number in range(FLIPS):
        folder = tmp_path / f"flip{number}"
        shutil.copytree(tmp_path / "whole", folder)
        with (folder / name).open("r+b") as file:
            position = rng.randrange(size)
            file.seek(position)
            byte = file.read(1)[0]
            file.seek(position)
            file.write(bytes([byte ^ (1 << rng.randrange(8))]))
        said += bool(check_damage(folder, expected))
        shutil.rmtree(folder)
    least = {"events.sqlite": 0.0, "events.journal": 0.95, "events.sqlite-wal": 0.2}[name]  # much of a page is empty
    assert said > least * FLIPS - 1


def test_both_copies_are_damaged(tmp_path: Path) -> None:
    """What neither has is lost, and is said; the rest is there."""
    expected = filled(tmp_path, 400)
    line = (tmp_path / "events.journal").read_bytes()
    (tmp_path / "events.journal").write_bytes(line.replace(b'"id":"e200"', b'"id":"x200"'))
    data = (tmp_path / "events.sqlite").read_bytes()
    assert data.count(b'"id":"e200"') == 1
    (tmp_path / "events.sqlite").write_bytes(data.replace(b'"id":"e200"', b'"id":"x200"'))
    with EventLog.open(tmp_path) as log:
        assert ids(log) == [one for one in expected if one != "e200"]
        assert any("1 entries are lost" in problem for problem in log.problems)
        assert log.append(event(9999)).sequence == 401


def test_damage_while_it_is_open(tmp_path: Path) -> None:
    filled(tmp_path, 300)
    with EventLog.open(tmp_path) as log:
        expected = ids(log)
        path = tmp_path / "events.sqlite"
        with path.open("r+b") as file:
            file.write(os.urandom(path.stat().st_size))
        for number in range(300, 330):
            log.append(event(number))
        assert ids(log) == [*expected, *(f"e{number}" for number in range(300, 330))]
    with EventLog.open(tmp_path) as log:
        assert ids(log) == [f"e{number}" for number in range(330)]


FULL = """
import os, sys, pathlib
sys.path.insert(0, os.path.dirname(sys.argv[2]))
from worker import event
from shelfmatch.edge.events.log import EventLog
folder = pathlib.Path(sys.argv[1])
log = EventLog.open(folder / "log")
bus = log.consumer("bus")
for number in range(20):
    log.append(event(number))
with (folder / "filler").open("wb", buffering=0) as filler:
    try:
        while filler.write(bytes(4096)): pass
    except OSError: pass
held = []
for number in range(20, 2500):
    log.append(event(number))
    held.append(log.held)
assert not held[50], "the reserve took none"
assert held[-1] > 100, held[-1]
got = [entry.event.id for entry in bus.pending(10_000)]
assert got == [f"e{number}" for number in range(2500)], len(got)
bus.done(bus.pending(10_000)[1999])
(folder / "filler").unlink()
log.append(event(2500))
assert log.held == 0, log.held
log.close()
log = EventLog.open(folder / "log")
assert log.problems == (), log.problems
assert [entry.event.id for entry in log.entries(0, 10_000)] == [f"e{number}" for number in range(2501)]
assert log.consumer("bus").pending(1)[0].event.id == "e2000"
print("nothing lost")
"""


def test_the_disk_is_full(tmp_path: Path) -> None:
    """On a disk of 7 MB, mounted in a namespace of its own."""
    probe = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(tmp_path)], capture_output=True)
    if probe.returncode:
        pytest.skip("needs unshare and leave to mount a small disk")
    script = f'mount -t tmpfs -o size=7m none {tmp_path} && exec {sys.executable} -c "$FULL" {tmp_path} {WORKER}'
    environment = {**os.environ, "FULL": FULL}
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "nothing lost\n"
