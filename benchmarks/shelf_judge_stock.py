"""What stands on the judging generator's shelf and what happens to it: a timetable of sales, refills, swaps and misplacements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from shelf_judge_packs import Pack
from shelf_truth import SlotTruth

DEEPEST: Final = 4
_APART: Final = 45
"""Frames between two changes of state of one slot, so that nearly every one can be seen for longer than the shortest."""

Facing = tuple[Pack, int] | None
"""The product in front and how many stand there, one behind the other; None where there is nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    """A slot: its id, its product, its facings, from how many on it is full, and its box on the drawn shelf, pixels."""

    id: str
    pack: Pack
    facings: int
    min_stock: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Move:
    """At a frame, a slot's facings become these. `is_event`: its state differs then."""

    frame: int
    slot: int
    facings: tuple[Facing, ...]
    is_event: bool


def truth_of(place: Place, facings: tuple[Facing, ...], catalogue: frozenset[str]) -> SlotTruth:
    """A slot's state, as `shelf_truth` has it."""
    right = sum(one is not None and one[0].sku == place.pack.sku for one in facings)
    others = [one[0].sku for one in facings if one is not None and one[0].sku != place.pack.sku]
    misplaced = next((sku for sku in others if sku in catalogue), "")
    if misplaced:
        return SlotTruth("misplaced", right, misplaced)
    if others:
        return SlotTruth("unknown", right)
    return SlotTruth("full" if right >= place.min_stock else "low" if right else "empty", right)


class Timetable:
    """Makes the moves of one life: so many changes of state, and sales that change none between them."""

    def __init__(
        self,
        rng: np.random.Generator,
        places: list[Place],
        strange: list[Pack],
        spare: list[Pack],
        open_frames: list[int],
    ) -> None:
        self._rng, self._places, self._strange = rng, places, strange
        self._packs = [place.pack for place in places] + spare
        self._catalogue = frozenset(pack.sku for pack in self._packs)
        self._now = {number: self.filled(number) for number in range(len(places))}
        self._busy = dict.fromkeys(range(len(places)), -_APART)
        self._open = open_frames

    def filled(self, slot: int) -> tuple[Facing, ...]:
        """A slot as after a refill."""
        place = self._places[slot]
        return tuple((place.pack, int(self._rng.integers(2, DEEPEST + 1))) for _ in range(place.facings))

    def moves(self, events: int) -> list[Move]:
        """All moves, in order of time."""
        found: list[Move] = []
        if not events or not self._open:
            return found
        times = sorted(int(self._open[i]) for i in np.linspace(0, len(self._open) - 1, events + 2)[1:-1].astype(int))
        times = [int(time + self._rng.integers(-3, 4)) for time in times]
        for time in sorted(times):
            found += self._quiet_sales(time)
            found += self._change(time)
        return sorted(found, key=lambda move: move.frame)

    def _state(self, slot: int, facings: tuple[Facing, ...]) -> SlotTruth:
        return truth_of(self._places[slot], facings, self._catalogue)

    def _free(self, time: int) -> list[int]:
        return [slot for slot, busy in self._busy.items() if time - busy >= _APART]

    def _move(self, time: int, slot: int, facings: tuple[Facing, ...], is_event: bool = True) -> Move:
        self._now[slot] = facings
        if is_event:
            self._busy[slot] = time
        return Move(time, slot, facings, is_event)

    def _quiet_sales(self, time: int) -> list[Move]:
        """Sales of which the state shows nothing: one comes forward less."""
        found = []
        for slot in self._rng.permutation(len(self._places))[: int(self._rng.integers(1, 4))]:
            facings = list(self._now[int(slot)])
            full = [i for i, one in enumerate(facings) if one is not None and one[1] > 1]
            if full and time - self._busy[int(slot)] >= 0:
                number = int(self._rng.choice(full))
                pack, depth = facings[number] or (None, 0)
                assert pack is not None
                facings[number] = (pack, depth - 1)
                found.append(self._move(time, int(slot), tuple(facings), is_event=False))
        return found

    def _change(self, time: int) -> list[Move]:
        """One change of state (a swap: two)."""
        free = self._free(time)
        if not free:
            return []
        wrong = [slot for slot in free if self._state(slot, self._now[slot]).state != "full"]
        if wrong and self._rng.uniform() < 0.5:
            return [self._mend(time, int(self._rng.choice(wrong)))]
        well = [slot for slot in free if slot not in wrong]
        if not well:
            return [self._mend(time, int(self._rng.choice(wrong)))]
        return self._spoil(time, int(self._rng.choice(well)), well)

    def _mend(self, time: int, slot: int) -> Move:
        """A refill, or the last ones of a low slot go; what doesn't belong is put right."""
        facings, state = self._now[slot], self._state(slot, self._now[slot]).state
        if state == "low" and self._rng.uniform() < 0.4:
            return self._move(time, slot, (None,) * len(facings))
        return self._move(time, slot, self.filled(slot))

    def _spoil(self, time: int, slot: int, well: list[int]) -> list[Move]:
        place, facings, chance = self._places[slot], list(self._now[slot]), self._rng.uniform()
        neighbour = slot + 1
        if chance < 0.06 and neighbour in well and place.facings == self._places[neighbour].facings:
            here, there = self.filled(slot), self.filled(neighbour)
            return [self._move(time, slot, there), self._move(time, neighbour, here)]
        number = int(self._rng.integers(0, place.facings))
        if chance < 0.24:
            others = [pack for pack in self._packs if pack.sku != place.pack.sku]
            facings[number] = (others[int(self._rng.integers(0, len(others)))], 1)
            return [self._move(time, slot, tuple(facings))]
        if chance < 0.34:
            facings[number] = (self._strange[int(self._rng.integers(0, len(self._strange)))], 1)
            return [self._move(time, slot, tuple(facings))]
        if place.min_stock > 1 and self._rng.uniform() < 0.5:
            gone = place.facings - int(self._rng.integers(1, place.min_stock))
            for number in self._rng.permutation(place.facings)[:gone]:
                facings[int(number)] = None
            return [self._move(time, slot, tuple(facings))]
        return [self._move(time, slot, (None,) * place.facings)]
