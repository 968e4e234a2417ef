"""Commands under `ulimit -v`: an answer, or one clear line; never "damaged", a traceback, or an end without a word."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from shelfmatch.edge import ImageError, OutOfMemory, ShelfmatchError
from shelfmatch.edge.encoders import runtimes
from shelfmatch.edge.imaging.decode import decode
from shelfmatch.edge.memory_short import is_short
from tests.support import tiers
from tests.support.commands import run

COMMANDS = {
    "match": ["match", "shop.bundle", "query.png", "stranger.png"],
    "find": ["find", "shop.bundle", "sku"],
    "build": ["build", "photos", "-o", "new.bundle", "--encoder", "tiny.tflite", "--adapt", "off"],
}
LIMITS_MB = np.linspace(60, 900, tiers.count(5, soak=60)).astype(int).tolist()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS is Linux's")
@pytest.mark.parametrize("command", COMMANDS)
def test_an_answer_or_one_line(shop: Path, command: str) -> None:
    ends = set()
    for limit in LIMITS_MB:

        def little(size: int = limit * 2**20) -> None:
            resource.setrlimit(resource.RLIMIT_AS, (size, size))

        done = run(*COMMANDS[command], preexec_fn=little)
        lines = [line for line in done.stderr.splitlines() if line.startswith("shelfmatch: ")]
        shown = f"{limit} MB: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in shown and "damaged" not in shown, shown
        assert done.returncode in (0, 1, 2) and (done.returncode == 2) == bool(lines), shown
        assert done.returncode != 2 or "memory" in lines[-1], shown
        ends.add(done.returncode == 2)
    assert True in ends, "no limit was low enough to say anything"


def test_what_says_that_memory_ran_out() -> None:
    for error in (
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((9,), np.dtype("u1")),  # type: ignore[attr-defined]
        RuntimeError("can't start new thread"),
        ImportError("libopenblas.so: failed to map segment from shared object"),
        RuntimeError("std::bad_alloc"),
        OSError(12, "Cannot allocate memory"),
        OutOfMemory("x"),
    ):
        assert is_short(error)
    outer = ShelfmatchError("x")
    outer.__cause__ = MemoryError()
    assert is_short(outer)
    assert not is_short(ValueError("a broken file")) and not is_short(None)


def test_a_runtime_without_memory_blames_no_file(monkeypatch: pytest.MonkeyPatch, tiny_tflite: Path) -> None:
    """It read "can't load the encoder …; is it a whole .tflite file?", or to install the runtime that was there."""
    for error in (RuntimeError("std::bad_alloc"), ImportError("x.so: failed to map segment from shared object")):
        refused = runtimes._refused(runtimes.RUNTIMES["litert"], error)
        assert isinstance(refused, OutOfMemory) and "memory ran out" in str(refused)


def test_a_decoder_without_memory_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from PIL import Image

    def load(self: Image.Image) -> None:
        raise OSError("decoder error -9: out of memory error")

    picture = Image.new("RGB", (8, 8))
    monkeypatch.setattr(type(picture), "load", load)
    with pytest.raises(ImageError, match="needs more memory than there is"):
        decode(picture)
