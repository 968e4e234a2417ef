"""JSON objects, one a line, in and out. Standard library only: it runs in every peer's environment."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any


def serve(operations: Mapping[str, Callable[..., dict[str, Any]]]) -> None:
    """Answer `{"operation": NAME, …}` with what the operation returns, or with `{"error": …}`, until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not get between the replies
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = operations[request.pop("operation")](**request)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


class Stopwatch:
    """Wall and processor time of a `with` block; a processor time above the wall time gives helper threads away."""

    def __enter__(self) -> Stopwatch:
        self._cpu = time.process_time()
        self._wall = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.ms = (time.perf_counter() - self._wall) * 1e3
        self.cpu_ms = (time.process_time() - self._cpu) * 1e3

    def reply(self) -> dict[str, Any]:
        """As it stands in a worker's answer."""
        return {"ms": self.ms, "cpu_ms": self.cpu_ms}
