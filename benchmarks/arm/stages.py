"""One photo after another, stage by stage, with a mark for the instruction counter around each stage.

    armpython stages.py SHOP.bundle PHOTO… [--extra N]

Runs in the emulation and, for comparison, on the machine itself. Prints one JSON object: each photo's embedding and its ten best
products. `--extra N` embeds each photo N times more: a regression of a known size, for the test of the budgets.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from shelfmatch.edge import Matcher
from shelfmatch.edge.imaging.decode import decode
from shelfmatch.edge.imaging.resize import fit
from shelfmatch.edge.matching.local_pass import local_rank
from shelfmatch.edge.scoring.evidence import Evidence

STAGES = ("decode", "preprocess", "encode", "search", "decide", "local")
WARM_UPS = 2
_Result = TypeVar("_Result")


def mark(number: int) -> None:
    """Tell the counter (icount.c); elsewhere a system call that fails."""
    with contextlib.suppress(OSError):
        os.getpgid(0x5EED00 + number)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--extra", type=int, default=0)
    arguments = parser.parse_args()
    with Matcher.open(
        arguments.bundle, threads=1, sessions=1, resizer="pillow", follow=False, look_again=False
    ) as matcher:
        photos = [path.read_bytes() for path in arguments.photos]
        for photo in photos * WARM_UPS:  # caches fill, Python specializes its bytecode
            one_photo(matcher, photo, 0)
        gc.collect()
        gc.disable()
        answers = [one_photo(matcher, photo, arguments.extra) for photo in photos]
    print(json.dumps({"answers": answers, "photos": len(photos)}))
    return 0


def one_photo(matcher: Matcher, photo: bytes, extra: int) -> dict[str, list[object]]:
    """The stages of `Matcher.match`, which times only what it tells its users."""
    version = matcher._current()
    encoder, card = version.encoder, version.encoder.card
    decoded = counted("decode", lambda: decode(photo, card))
    value = counted("preprocess", lambda: encoder._feed.tensor(fit(decoded, card, encoder.resizer)))

    def encode() -> Any:
        for _ in range(extra):
            encoder._run(value, check=True)
        return encoder._run(value, check=True)

    vector, tap = counted("encode", encode)
    ranked = counted("search", lambda: version.gallery.rank(version.gallery.adapted(vector), 10, None))
    candidates = counted("decide", lambda: version.candidates(Evidence.of_search(ranked)))
    version.accepts(candidates)
    if version.local is not None:  # of a photo of which the first search isn't sure
        counted("local", lambda: local_rank(version, vector, tap, 10, None))
    return {
        "embedding": [round(float(x), 7) for x in vector],
        "top_k": [candidate.sku for candidate in candidates],
    }


def counted(stage: str, work: Callable[[], _Result]) -> _Result:
    """Do it between two marks."""
    mark(0)
    result = work()
    mark(1 + STAGES.index(stage))
    return result


if __name__ == "__main__":
    sys.exit(main())
