"""Why a matcher doesn't use the newest generation of its bundle."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..bundle.bundle import MANIFEST, Stamp
from ..bundle.manifest import Manifest
from ..errors import ShelfmatchError


@dataclass(frozen=True, slots=True)
class Refusal:
    """A generation of a bundle that was tried and can't be used.

    `reason`: the error's message; `error`: the name of its class ("BundleDamaged"); `stamp`: the manifest's inode, time of
    change in ns and size, None where there is no manifest; `generation`: its number, None where the manifest can't be read;
    `since`: when it was first tried, UTC.
    """

    reason: str
    error: str
    stamp: Stamp | None
    generation: int | None
    since: datetime

    def to_dict(self) -> dict[str, Any]:
        """For a readiness document: all but the stamp, `since` in ISO 8601."""
        return {
            "reason": self.reason,
            "error": self.error,
            "generation": self.generation,
            "since": self.since.isoformat(timespec="seconds"),
        }


def refusal_of(path: Path, error: ShelfmatchError, stamp: Stamp | None) -> Refusal:
    """What there is to say of a bundle that has just been refused for an error."""
    generation = None
    with contextlib.suppress(ShelfmatchError, OSError):
        generation = Manifest.from_bytes((path / MANIFEST).read_bytes(), str(path / MANIFEST)).generation
    return Refusal(str(error), type(error).__name__, stamp, generation, datetime.now(UTC))
