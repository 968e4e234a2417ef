"""Holds a watcher's events against what was true: which were right, which were false, which were missed, and how late they came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shelf_truth import SHORTEST, Truth

from shelfmatch.edge.events.event import Event

SETTLED = 4
"""Frames in which a new state can be seen before states are compared: N + 1, after which its event is due."""
GRACE = 10
"""Frames after the end of a state in which its event may still come."""

Value = tuple[str, str]
"""State, and the SKU that is misplaced."""


@dataclass(slots=True)
class Run:
    """A slot's state over frames: its first and last one, and in which it could be seen."""

    value: Value
    first: int
    last: int
    visible: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """How often a slot of a frame was said to be something that it was (`right`), that it wasn't (`false`), or wasn't said to
    be (`missed`)."""

    right: int = 0
    false: int = 0
    missed: int = 0

    def add(self, is_so: bool, said: bool) -> None:
        """One slot of one frame."""
        self.right += is_so and said
        self.false += said and not is_so
        self.missed += is_so and not said

    def take(self, other: Tally) -> None:
        """Another life's."""
        self.right, self.false, self.missed = (
            self.right + other.right,
            self.false + other.false,
            self.missed + other.missed,
        )

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN where it never was."""
        whole = 2 * self.right + self.false + self.missed
        return 2 * self.right / whole if whole else float("nan")


@dataclass(slots=True)
class Score:
    """Counts over all slots. `delays`: frames in which the new state could be seen, up to and with the one of the event.

    Slots of frames in which they can be seen: `compliant`, as planned; `violated`, not as planned; `empty`; all from the fifth
    such frame of a state on. `at_once`: not as planned, from the first on.
    """

    true: int = 0
    right: int = 0
    false: int = 0
    frames: int = 0
    delays: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    camera: list[tuple[int, str]] = field(default_factory=list)
    compliant: Tally = field(default_factory=Tally)
    violated: Tally = field(default_factory=Tally)
    at_once: Tally = field(default_factory=Tally)
    empty: Tally = field(default_factory=Tally)

    @property
    def precision(self) -> float:
        """Of the events that came, how many were right."""
        return self.right / max(1, self.right + self.false)

    @property
    def recall(self) -> float:
        """Of the true ones, how many came."""
        return self.right / max(1, self.true)

    def add(self, other: Score) -> None:
        """Take another life's counts in."""
        for name in ("true", "right", "false", "frames"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.delays += other.delays
        self.wrong += other.wrong
        self.camera += other.camera
        for name in ("compliant", "violated", "at_once", "empty"):
            getattr(self, name).take(getattr(other, name))


class Scorer:
    """Takes frames' truths and events as they come; `score` at the end."""

    def __init__(self) -> None:
        self._runs: dict[str, list[Run]] = {}
        self._events: dict[str, list[tuple[int, Value]]] = {}
        self._score = Score()

    def add(self, truth: Truth, events: Iterable[Event], said: Mapping[str, str] | None = None) -> None:
        """One frame; `said`: each slot's state as the watcher has it."""
        number = self._score.frames
        self._score.frames += 1
        for slot, state in truth.slots.items():
            runs, value = self._runs.setdefault(slot, []), (state.state, state.by)
            if not runs or runs[-1].value != value:
                runs.append(Run(value, number, number))
            runs[-1].last = number
            if slot not in truth.hidden and truth.camera == "ok":
                runs[-1].visible.append(number)
        for event in events:
            if event.slot is None:
                self._score.camera.append((number, str(event.after["state"])))
            else:
                value = (str(event.after["state"]), str(event.after.get("by", "")))
                self._events.setdefault(event.slot, []).append((number, value))
        for slot, state in (said or {}).items():
            if slot not in truth.hidden and truth.camera == "ok":
                self._compare(truth.slots[slot].state, state, len(self._runs[slot][-1].visible) > SETTLED)

    def _compare(self, true: str, said: str, is_settled: bool) -> None:
        """One slot of one frame."""
        score = self._score
        score.at_once.add(true != "full", said != "full")
        if is_settled:
            score.compliant.add(true == "full", said == "full")
            score.violated.add(true != "full", said != "full")
            score.empty.add(true == "empty", said == "empty")

    def score(self) -> Score:
        """All counts."""
        for slot, runs in self._runs.items():
            self._slot(slot, runs, self._events.get(slot, []))
        return self._score

    def _slot(self, slot: str, runs: list[Run], events: list[tuple[int, Value]]) -> None:
        score, kept = self._score, _kept(runs)
        open_events = list(events)
        for run in kept[1:]:
            score.true += 1
            match = next((e for e in open_events if e[1] == run.value and run.first <= e[0] <= run.last + GRACE), None)
            if match is None:
                score.wrong.append(f"missed {slot} {run.value} {run.first}-{run.last}")
                continue
            open_events.remove(match)
            score.right += 1
            score.delays.append(sum(run.first <= n <= match[0] for n in run.visible))
        short = [run for run in runs if len(run.visible) < SHORTEST]
        for number, value in open_events:
            if any(run.first <= number <= run.last + GRACE for run in short):
                continue
            score.false += 1
            score.wrong.append(f"false {slot} {value} at {number}")


def _kept(runs: list[Run]) -> list[Run]:
    """The runs that are long enough to count, those of one value that follow each other as one."""
    found: list[Run] = []
    for run in runs:
        if len(run.visible) < SHORTEST and found:
            continue
        if found and found[-1].value == run.value:
            found[-1] = Run(run.value, found[-1].first, run.last, found[-1].visible + run.visible)
        else:
            found.append(Run(run.value, run.first, run.last, list(run.visible)))
    return found


def table(scores: Mapping[str, Score]) -> str:
    """Rows for people."""
    lines = [
        f"{'life':12} {'frames':>7} {'true':>5} {'right':>5} {'false':>5} {'precision':>9} {'recall':>7} {'delay':>6}"
    ]
    for name, one in scores.items():
        delay = sorted(one.delays)[len(one.delays) // 2] if one.delays else 0
        counts = f"{one.frames:7} {one.true:5} {one.right:5} {one.false:5}"
        lines.append(f"{name:12} {counts} {one.precision:9.3f} {one.recall:7.3f} {delay:6}")
    return "\n".join(lines)
