"""`shelfmatch doctor`: checks that this machine can run shelfmatch, with which runtime, and says how to fix what fails.

Everything that could break is tried in a process of its own (`probes`), so that this one lives to tell. It imports
neither numpy nor Pillow itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ShelfmatchError

if TYPE_CHECKING:
    from .check import Check
    from .checks import Probe


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All checks. `can_run`: a bundle was built and a photo matched, and what is to answer calculates right. `runtime`: the one
    to use for the default encoder, or None."""

    checks: tuple[Check, ...]
    can_run: bool
    runtime: str | None

    @property
    def summary(self) -> str:
        """The answer in a sentence."""
        problems = [check for check in self.checks if check.status == "problem" and check.name != "end to end"]
        if self.can_run:
            broken = [check.name for check in problems if check.name != "memory"]
            rest = f" Broken, but not needed for it: {', '.join(broken)}." if broken else ""
            short = " It is short of memory, though: see above." if len(broken) < len(problems) else ""
            return f"This machine can run shelfmatch; its runtime is {self.runtime}.{rest}{short}"
        broken = [check.name for check in problems if check.needed]
        why = f"mend first: {', '.join(broken)}." if broken else self.checks[-1].finding
        return f"This machine can't run shelfmatch yet: {why}"

    def to_dict(self) -> dict[str, Any]:
        """The document of `doctor --json`."""
        return {
            "can_run": self.can_run,
            "runtime": self.runtime,
            "summary": self.summary,
            "checks": [check.to_dict() for check in self.checks],
        }

    def table(self) -> str:
        """For people."""
        marks = {"ok": "ok", "advice": "advice", "problem": "PROBLEM", "absent": "–"}
        lines = []
        for check in self.checks:
            lines.append(f"{marks[check.status]:<8} {check.name:<14} {check.finding}")
            if check.advice:
                lines.append(f"{'':<23} → {check.advice}")
        return "\n".join([*lines, "", self.summary])


def examine(
    folder: str | Path = ".",
    *,
    progress: Callable[[Iterable[Any], int], Any] | None = None,
    probe: Probe | None = None,
) -> Diagnosis:
    """Look at everything; `folder` is where bundles would be written. `probe`: what runs the probes instead of processes of
    their own (`checks.Probe`). Raises ShelfmatchError if there is no such folder."""
    from .checks import Examination

    place = Path(folder)
    if not place.is_dir():
        raise ShelfmatchError(f"{place} is not a folder; expected the one that bundles will be written to")
    examination = Examination(place.resolve(), probe=probe)
    steps = examination.steps()
    checks = tuple(step() for step in (steps if progress is None else progress(steps, len(steps))))
    return Diagnosis(checks, examination.can_run, examination.runtime)
