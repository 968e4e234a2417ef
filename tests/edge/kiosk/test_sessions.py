"""Sessions of frames: what is dropped, what costs nothing, what is forgotten."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from shelfmatch.edge.bundle.bundle import Bundle
from shelfmatch.edge.imaging.image import DEFAULT_LIMITS
from shelfmatch.edge.kiosk.problems import Problem
from shelfmatch.edge.kiosk.sessions import FORGOTTEN_AFTER_S, MOST_SESSIONS, Sessions
from shelfmatch.edge.kiosk.shop import matcher_settings
from shelfmatch.edge.matching.finder import Finder
from shelfmatch.edge.matching.snapshot import Snapshot, load_snapshot
from tests.edge.matching.test_scene import MIDDLE, messy

from .conftest import tile


def snapshot_of(bundle: Path) -> Snapshot:
    return load_snapshot(Bundle.open(bundle), matcher_settings(threads=1, workers=1, runtime="auto"), None)


def test_a_second_frame_at_the_same_time_is_dropped(tile_shop: Path) -> None:
    sessions, snapshot = Sessions(DEFAULT_LIMITS), snapshot_of(tile_shop / "shop.bundle")
    with (
        sessions.taken("a", snapshot, 5, None),
        pytest.raises(Problem) as refused,
        sessions.taken("a", snapshot, 5, None),
    ):
        pass
    assert refused.value.status == 429 and refused.value.headers["Retry-After"] == "1"
    with sessions.taken("a", snapshot, 5, None), sessions.taken("b", snapshot, 5, None):
        assert len(sessions) == 2


def test_sessions_are_forgotten_and_hold_no_old_snapshot(tile_shop: Path) -> None:
    now = [1000.0]
    sessions = Sessions(DEFAULT_LIMITS, lambda: now[0])
    old, new = snapshot_of(tile_shop / "shop.bundle"), snapshot_of(tile_shop / "shop.bundle")
    with sessions.taken("a", old, 5, None):
        sessions.tidy(new)
        assert len(sessions) == 1, "one that is at work is left alone"
    sessions.tidy(new)
    assert len(sessions) == 0
    for number in range(MOST_SESSIONS + 10):
        with sessions.taken(str(number), new, 5, None):
            pass
    assert len(sessions) == MOST_SESSIONS
    now[0] += FORGOTTEN_AFTER_S + 1
    sessions.tidy(new)
    assert len(sessions) == 0


def test_another_question_is_another_session(tile_shop: Path) -> None:
    sessions, snapshot = Sessions(DEFAULT_LIMITS), snapshot_of(tile_shop / "shop.bundle")
    with sessions.taken("a", snapshot, 5, {"category": ["tea"]}) as first:
        decision, is_still = sessions.add(first, tile(3))
        assert decision.frames == 1 and not is_still
    with sessions.taken("a", snapshot, 5, {"category": ["soup"]}) as second:
        assert second is not first and sessions.add(second, tile(3))[0].frames == 1


def test_a_still_frame_is_looked_at_now_and_then(tile_shop: Path) -> None:
    now = [1000.0]
    sessions, snapshot = Sessions(DEFAULT_LIMITS, lambda: now[0]), snapshot_of(tile_shop / "shop.bundle")
    with sessions.taken("a", snapshot, 5, None) as session:
        while not sessions.add(session, tile(3, int(now[0])))[0].sure:
            now[0] += 0.2
        last = tile(7)
        skipped = [sessions.add(session, last)[1] for _ in range(20)]
        assert not any(skipped[:7]), "what was put there is looked at in some frames, however still it is"
        assert skipped[-1] and session.tracker.decision.sku == "sku-007"
        now[0] += 4.0
        assert not sessions.add(session, last)[1]


@pytest.mark.parametrize(("mode", "named"), [("auto", "sku-005"), ("off", None)])
def test_a_product_far_from_the_camera_is_found(tile_shop: Path, mode: str, named: str | None) -> None:
    locate = Finder(mode, MIDDLE, 1).locator(None)  # type: ignore[arg-type]
    sessions, snapshot = Sessions(DEFAULT_LIMITS, locate=locate), snapshot_of(tile_shop / "shop.bundle")
    frame = io.BytesIO()
    Image.fromarray(messy(5)).save(frame, "JPEG", quality=95)
    with sessions.taken("a", snapshot, 5, None) as session:
        for _ in range(6):
            decision, _ = sessions.add(session, frame.getvalue())
    assert decision.sku == named
