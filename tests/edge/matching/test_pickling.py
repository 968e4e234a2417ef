"""Answers and matchers on their way to another process."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import BundleError, ImageError, Matcher, add_to_bundle
from shelfmatch.edge.imaging.image import Limits
from tests.conftest import tile_photo


def _pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


COPIES: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy, _pickled]


@pytest.fixture
def described_bundle(tile_bundle: Path, tmp_path: Path) -> Path:
    """Products with attributes, which were what couldn't be pickled."""
    tile_photo(3, 7).save(tmp_path / "3.png")
    (tmp_path / "more.csv").write_text("image,sku,name,category\n3.png,sku-003,Green Tea,tea\n")
    add_to_bundle(tile_bundle, tmp_path / "more.csv", workers=1)
    return tile_bundle


@pytest.mark.parametrize("copied", COPIES)
def test_answers_come_through_as_they_are(described_bundle: Path, copied: Callable[[Any], Any]) -> None:
    with Matcher.open(described_bundle) as matcher:
        result = matcher.match(tile_photo(3, 9), labels=["category"])
        rejected = matcher.match(tile_photo(100, 0))
        assert result.candidates[0].product.attributes == {"category": "tea"} and rejected.look_again is not None
        for answer in (
            result,
            rejected,
            matcher.similar("sku-003"),
            matcher.find("tea"),
            matcher.track().add(tile_photo(3, 9)),
        ):
            again = copied(answer)
            assert again == answer and type(again) is type(answer)
        assert copied(result).to_dict() == result.to_dict()
        assert (copied(matcher.explain(tile_photo(3, 9))).heat == matcher.explain(tile_photo(3, 9)).heat).all()


@pytest.mark.parametrize("copied", COPIES)
def test_a_matcher_opens_itself_again_as_it_was_asked_to(tile_bundle: Path, copied: Callable[[Any], Any]) -> None:
    limits = Limits(pixels=10_000)
    with Matcher.open(tile_bundle, sessions=1, limits=limits, follow=False, look_again=False) as matcher:
        again = copied(matcher)
    with again:
        assert again.match(tile_photo(3, 9)).sku == "sku-003"
        assert again.match(tile_photo(100, 0)).look_again is None
        with pytest.raises(ImageError, match="at most 10,000"):
            again.match(np.zeros((101, 100, 3), np.uint8))
    with pytest.raises(BundleError, match="closed"):
        pickle.dumps(matcher)


def test_a_tracker_says_that_it_can_not(tile_bundle: Path) -> None:
    with Matcher.open(tile_bundle) as matcher, pytest.raises(TypeError, match="pickle the Matcher"):
        pickle.dumps(matcher.track())


SCRIPT = """
import multiprocessing, sys
from shelfmatch.edge import Matcher
from tests.conftest import tile_photo

if __name__ == "__main__":
    with Matcher.open(sys.argv[1], sessions=1) as matcher:
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            answers = pool.map(matcher.match, [tile_photo(n, 9) for n in range(12)])
    print([answer.sku for answer in answers] == [f"sku-{n:03d}" for n in range(12)])
"""


def test_a_pool_of_spawned_processes_matches(tile_bundle: Path, tmp_path: Path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, str(script), str(tile_bundle)],
        capture_output=True, text=True, timeout=240, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr[-2000:]
