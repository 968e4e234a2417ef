"""Ours as a worker: `python shelfmatch_matcher.py SHOP.bundle [MODULE…]`, wherever shelfmatch is installed, on one thread.

The modules are as if they weren't installed: `cv2 simplejpeg` leaves what comes without `shelfmatch[fast]`.

Operations: photo {path, embedding?} and array {path, embedding?} as the peers' workers have them, except that the
clock runs to the five best products, not to the embedding; `embedding` is computed apart, off the clock.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np
from line_protocol import Stopwatch, serve

from shelfmatch.edge import Matcher

read_array = functools.lru_cache(maxsize=32)(np.load)


def main() -> None:
    for module in sys.argv[2:]:
        sys.modules[module] = None  # type: ignore[assignment]
    # One look a photo, as the peers have it: what a rejected photo pays for another is in benchmarks/lookagain.py.
    with Matcher.open(sys.argv[1], threads=1, sessions=1, look_again=False) as matcher:

        def answer(source: Any, embedding: bool) -> dict[str, Any]:
            with Stopwatch() as watch:
                result = matcher.match(source, top_k=5)
            reply = {
                **watch.reply(),
                "stages_ms": dict(result.latency_ms),
                "candidates": [[candidate.sku, candidate.score] for candidate in result.candidates],
            }
            return {**reply, **({"embedding": matcher.encoder.embed(source)[0].tolist()} if embedding else {})}

        def photo(path: str, embedding: bool = False) -> dict[str, Any]:
            return answer(path, embedding)

        def array(path: str, embedding: bool = False) -> dict[str, Any]:
            return answer(read_array(path), embedding)

        serve({"photo": photo, "array": array})


if __name__ == "__main__":
    main()
