"""Arrays whose channels stand in OpenCV's order: said, once, where it is what a photo was rejected for."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import Matcher
from shelfmatch.edge.matching.passes import _warn_of_bgr
from tests.conftest import tile_photo


def test_a_bgr_array_is_told_from_an_unknown_product(tile_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It was "unknown" without a word."""
    _warn_of_bgr.cache_clear()
    with Matcher.open(tile_bundle) as matcher, caplog.at_level(logging.WARNING):
        frames = [np.asarray(tile_photo(product, 99)) for product in range(12)]
        assert all(matcher.match(frame).look_again is None for frame in frames)
        answers = [matcher.match(frame[:, :, ::-1]) for frame in frames]
        hinted = [answer for answer in answers if answer.look_again is not None and answer.look_again.hint]
        assert len(hinted) >= 4 and all(answer.sku is None for answer in hinted)
        assert "pass frame[:, :, ::-1]" in hinted[0].to_dict()["look_again"]["hint"]
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "expected RGB, OpenCV gives BGR" in caplog.text


def test_nothing_is_said_of_files_and_hardly_of_unknown_products(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher:
        swapped = Image.fromarray(np.ascontiguousarray(np.asarray(tile_photo(3, 99))[:, :, ::-1]))
        answer = matcher.match(swapped)
        assert answer.look_again is not None and answer.look_again.hint is None
        unknown = [matcher.match(np.asarray(tile_photo(product, 0))).look_again for product in range(100, 140)]
        assert sum(again is not None and again.hint is not None for again in unknown) <= 4
