"""Files that no camera wrote: an ImageError or an answer, within two seconds, and nobody's log hears of it.

Each range runs in a process of its own, so that a crash or a hang is located and takes nothing with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support import hostile, tiers

FILES, CHUNK = tiers.count(3_000, soak=20_000), 1_000


@pytest.mark.parametrize("start", [-1, *range(0, FILES, CHUNK)])
def test_an_image_error_or_an_answer(start: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.hostile", str(start), str(start + CHUNK)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=600,
    )
    names = done.stdout.splitlines()
    where = f"make it with tests.support.hostile.mutated(NUMBER); the last one begun: {(names or ['none'])[-1]}"
    assert done.returncode == 0, f"died with {done.returncode}; {where}\n{done.stderr}"
    result = json.loads(names[-1])
    assert result["problems"] == [], f"slowest: {result['slowest']}; {where}"
    assert done.stderr == "", where
    assert result["files"] == (CHUNK if start >= 0 else len(hostile.BOMBS) + len(hostile.photos()))
    # Neither everything refused nor everything taken: the mutations reach behind the headers.
    assert start < 0 or 0.1 * CHUNK < result["answers"] < 0.5 * CHUNK


def test_the_corpus_holds_what_it_should() -> None:
    kinds = {kind for kind, _ in hostile.photos()}
    assert kinds == set(hostile.MODES) == {"JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF"}
    sizes = set()
    for _, data in hostile.photos():
        with hostile.opened(data) as image:
            sizes.add(image.size)
    assert {(1, 1), (30000, 1), (1, 30000)} <= sizes
    animated = [kind for kind, data in hostile.photos() if getattr(hostile.opened(data), "is_animated", False)]
    assert {"GIF", "WEBP", "TIFF", "AVIF"} <= set(animated)
    assert hostile.mutated(17) == hostile.mutated(17) != hostile.mutated(18)
    assert len({hostile.mutated(number) for number in range(500)}) > 480


def test_what_is_called_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge itself: a slow file, a wrong exception and a long message would all be seen."""
    good = hostile.saved(Image.new("RGB", (20, 20)), "PNG")
    assert hostile.read(good, 0, tmp_path) == ("", True)
    assert hostile.read(b"text", 1, tmp_path) == ("", False)
    monkeypatch.setattr(hostile, "SECONDS", 0.0)
    assert "took" in hostile.read(good, 0, tmp_path)[0]
    monkeypatch.setattr(hostile, "SECONDS", 2.0)
    monkeypatch.setattr(hostile, "CARDS", [None])
    assert "AttributeError" in hostile.read(good, 0, tmp_path)[0]
