"""The outcome of one check."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "advice", "problem", "absent"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: a sentence about it, and one about what to do. "problem": it is broken; "absent": not there.
    `needed`: whether a match needs it."""

    name: str
    status: Status
    finding: str
    advice: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    needed: bool = True

    def to_dict(self) -> dict[str, Any]:
        """As in `doctor --json`."""
        return {
            "name": self.name,
            "status": self.status,
            "finding": self.finding,
            "advice": self.advice,
            **self.details,
        }
