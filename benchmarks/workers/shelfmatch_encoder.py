"""Our encoder alone as a worker: `python shelfmatch_encoder.py RUNTIME MODEL_OR_CARD`.

Runs in any environment that has the runtime. Needs numpy and Pillow and shelfmatch on the path, no usearch.
Operation: photo {path, embedding?}.
"""

from __future__ import annotations

import sys
from typing import Any

from line_protocol import Stopwatch, serve

from shelfmatch.edge.encoders.encoder import Encoder


def main() -> None:
    encoder = Encoder.load(sys.argv[2], runtime=sys.argv[1], threads=1, resizer="pillow")

    def photo(path: str, embedding: bool = False) -> dict[str, Any]:
        with Stopwatch() as watch:
            vector = encoder.embed(path)[0]
        return {
            **watch.reply(),
            "runtime": encoder.runtime.name,
            **({"embedding": vector.tolist()} if embedding else {}),
        }

    serve({"photo": photo})


if __name__ == "__main__":
    main()
