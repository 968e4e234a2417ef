"""Crops of unknown products whose folder is pulled out or deleted while the kiosk runs."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shelfmatch.edge.imaging.image import Limits
from shelfmatch.edge.kiosk import server
from shelfmatch.edge.kiosk.server import _follow
from shelfmatch.edge.kiosk.unknowns import Unknowns


class _Finder:
    """Finds nobody."""

    def without_people(self, photo: bytes, limits: Limits) -> bytes:
        return photo


def test_a_folder_that_was_deleted_is_empty_and_comes_back(tmp_path: Path) -> None:
    unknowns = Unknowns(tmp_path / "unknown", _Finder(), 10, 7.0)  # type: ignore[arg-type]
    (tmp_path / "unknown").rmdir()
    assert unknowns.names() == [] and unknowns.delete_all() == 0
    unknowns.tidy()
    name = unknowns.keep(b"jpeg", Limits())
    assert [one for one, _ in unknowns.names()] == [name]


def test_crops_of_a_clock_that_ran_ahead_are_not_kept_for_ever(tmp_path: Path) -> None:
    """Dated 2090 they were the newest of all: never too old, and never the ones too many."""
    unknowns = Unknowns(tmp_path, _Finder(), 10, 7.0)  # type: ignore[arg-type]
    names = [
        f"{datetime.fromtimestamp(time.time() + days * 86_400, UTC):%Y%m%d-%H%M%S}-{'0' * 8}.jpg" for days in (-6, 6)
    ]
    for name in ("20901231-235959-00000000.jpg", *names):
        (tmp_path / name).write_bytes(b"jpeg")
    unknowns.tidy()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_no_crop_goes_while_the_clock_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pi has no battery: until the network is there its clock may be years behind, and every crop is dated far ahead."""
    unknowns = Unknowns(tmp_path, _Finder(), 10, 7.0)  # type: ignore[arg-type]
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{'0' * 8}.jpg"
    (tmp_path / name).write_bytes(b"jpeg")
    monkeypatch.setattr(time, "time", lambda: 3600.0)
    unknowns.tidy()
    assert [one for one, _ in unknowns.names()] == [name]


def test_a_name_that_is_no_time_is_not_ours(tmp_path: Path) -> None:
    unknowns = Unknowns(tmp_path, _Finder(), 10, 7.0)  # type: ignore[arg-type]
    (tmp_path / "99999999-999999-00000000.jpg").write_bytes(b"jpeg")
    assert unknowns.names() == []
    unknowns.tidy()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("seconds", [0.0, 86_400.0])
def test_old_crops_go_where_bundles_are_seldom_looked_for(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With watch_seconds = 0 they stayed until SIGHUP or the next crop, however few days they were to be kept."""
    looked, tidied = [], []

    async def call(function: Any) -> Any:
        return function()

    kiosk: Any = SimpleNamespace(
        settings=SimpleNamespace(answers=SimpleNamespace(watch_seconds=seconds)),
        shop=SimpleNamespace(refresh=lambda *, force: looked.append(force), served=SimpleNamespace(snapshot=None)),
        sessions=SimpleNamespace(tidy=lambda snapshot: None),
        unknowns=SimpleNamespace(tidy=lambda: tidied.append(1)),
        changed=call,
        looked_up=call,
    )
    monkeypatch.setattr(server, "_TIDY_S", 0.01)

    async def watched() -> None:
        refresh = asyncio.Event()
        task = asyncio.create_task(_follow(kiosk, refresh))
        while len(tidied) < 3:
            await asyncio.sleep(0.01)
        assert not looked
        refresh.set()  # SIGHUP
        while not looked:
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(asyncio.wait_for(watched(), 30))
    assert looked == [True]


def test_trouble_with_crops_doesnt_end_the_watch_for_bundles(caplog: pytest.LogCaptureFixture) -> None:
    """The task ended without a word at the first error, and no new bundle was ever taken over."""
    looked = []

    def tidy() -> None:
        raise OSError(5, "Input/output error", "/media/stick/unknown")

    async def call(function: Any) -> Any:
        return function()

    def refresh(*, force: bool) -> None:
        looked.append(force)

    kiosk: Any = SimpleNamespace(
        settings=SimpleNamespace(answers=SimpleNamespace(watch_seconds=0.01)),
        shop=SimpleNamespace(refresh=refresh, served=SimpleNamespace(snapshot=None)),
        sessions=SimpleNamespace(tidy=lambda snapshot: None),
        unknowns=SimpleNamespace(tidy=tidy),
        changed=call,
        looked_up=call,
    )

    async def watched() -> None:
        task = asyncio.create_task(_follow(kiosk, asyncio.Event()))
        await asyncio.sleep(0.3)
        assert not task.done()
        task.cancel()

    asyncio.run(watched())
    assert len(looked) > 2
    assert [record.message for record in caplog.records].count(
        "old crops can't be deleted: [Errno 5] Input/output error: '/media/stick/unknown'"
    ) == 1


def test_one_photo_is_searched_for_people_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow board the search takes longer than the pause: all that came meanwhile waited, and the look-ups behind them."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    unknowns = Unknowns(tmp_path, _Finder(), 10, 7.0)  # type: ignore[arg-type]
    assert unknowns.is_due() and not unknowns.is_due()  # nobody has begun with the first one yet
    clock[0] += 60
    assert not unknowns.is_due()
    assert unknowns.keep(b"jpeg", Limits()) is not None
    assert not unknowns.is_due()
    clock[0] += 4
    assert unknowns.is_due()

    def fails(photo: bytes, limits: Limits) -> bytes:
        raise MemoryError

    monkeypatch.setattr(unknowns.finder, "without_people", fails)
    with pytest.raises(MemoryError):
        unknowns.keep(b"jpeg", Limits())
    clock[0] += 4
    assert unknowns.is_due()
