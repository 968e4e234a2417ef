"""What a build promises: a range that holds what was measured, or nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shelfmatch.edge.cli.plain_words import plain_lines
from shelfmatch.edge.scoring.decision import Confidences, Decision
from shelfmatch.edge.scoring.forecast import forecast

DECISION = Decision("held-out", 0.0, 1.0, 1.0, 0.0, 0.955, 0.05, known=103, correct_accept_rate=0.573)


def test_photos_of_one_camera_promise_less_for_another() -> None:
    """Twelve goods by phone, 77 photos of them: 57 % of those held out, 27 % of the photos of other hands and places."""
    found = forecast(DECISION, 12, 77)
    assert found is not None and found.photos == 77
    assert found.low < 0.271 < 0.573 < found.high < 0.9
    more = forecast(replace(DECISION, known=5000), 600, 4000)
    assert more is not None and more.high - more.low < found.high - found.low, "many products bound it better"
    two_each = forecast(replace(DECISION, known=200, correct_accept_rate=0.225), 60, 120)
    assert two_each is not None and two_each.high > 0.408, (
        "what is held out of two met one: 41 % were measured on a shelf camera"
    )
    few = forecast(DECISION, 2, 77)
    assert few is not None and few.high - few.low > found.high - found.low, "38 photos of one product are not 38"


@pytest.mark.parametrize("method", ["synthetic-views", "default"])
def test_none_where_no_photo_was_held_out(method: str) -> None:
    """89 % stood there where 24 % were: views of one packshot a product."""
    measured = replace(DECISION, method=method, correct_accept_rate=0.89)
    assert forecast(measured, 81, 162) is None
    assert forecast(replace(DECISION, correct_accept_rate=None), 81, 162) is None
    assert forecast(DECISION, 81, 120) is None, "most have one photo"


def test_the_lines_advise_what_helps() -> None:
    one_picture = "\n".join(plain_lines(replace(DECISION, method="synthetic-views"), 81, 81, "s.bundle"))
    assert "expect    can't be told from these photos: most products have one" in one_picture
    three_products = "\n".join(plain_lines(replace(DECISION, method="synthetic-views"), 3, 12))
    assert "can't be told from these photos: too few products have several" in three_products, "four each, not one"
    assert "add photos: 5 a product" in one_picture and "shelfmatch eval s.bundle FOLDER" in one_picture
    assert "calibrate" not in one_picture
    kept = replace(DECISION, confidences=Confidences((0.1,), 100, (0.9,), 0.9))
    with_camera = [plain_lines(kept, 12, photos, "s.bundle", can_calibrate=True) for photos in (30, 60)]
    assert "shelfmatch calibrate s.bundle FOLDER" in with_camera[0][3] and len(with_camera[1]) == 3, (
        "many photos tell enough"
    )
    assert len(plain_lines(kept, 12, 30, "s.bundle")) == 4, "calibrated already, or with two encoders"
    weak = "\n".join(plain_lines(replace(DECISION, correct_accept_rate=0.2, known=4000), 400, 4000, "s.bundle"))
    assert "shelfmatch tune s.bundle --false-accept 0.1" in weak and "add photos" not in weak
    assert "answers   from 96% sure on" in weak, "rounded up: 95.5 % is not enough to say 95"
    assert not any("next" in line for line in plain_lines(DECISION, 12, 77))
    small = plain_lines(replace(DECISION, method="default"), 3, 9)
    assert "too small to tell how sure" in small[0]
