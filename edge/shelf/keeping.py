"""What a watcher knows, as bytes: after a restart it goes on where it was, and nobody is told twice."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ..errors import EventError, ShelfError
from ..events.event import Event
from ..imaging.image import Pixels
from .incidents import Incident, SlotView, removed
from .judge import Label
from .watcher import ShelfWatcher

VERSION: Final = 1


def digest_of(photo: Pixels) -> str:
    """What tells one taught photo from another."""
    return hashlib.sha256(np.ascontiguousarray(photo).tobytes()).hexdigest()[:16]


def kept(watcher: ShelfWatcher, taught: str, untold: Sequence[Event] = ()) -> bytes:
    """All that a watcher knows; `taught`: the digest of the photo of the full shelf; `untold`: events that may not have been taken
    by anybody yet."""
    slots = {}
    for number, slot in enumerate(watcher.plan.slots):
        labels = [watcher.states[cell].label for cell in watcher.cells_of_slot(number)]
        view = watcher.views[number]
        slots[slot.id] = {
            "polygon": slot.polygon,
            "skus": slot.skus,
            "labels": [[one.kind, one.sku] for one in labels],
            "view": [view.state, view.facings, view.by],
        }
    record: dict[str, Any] = {
        "version": VERSION,
        "taught": taught,
        "time": watcher.time,
        "camera": watcher.camera.state,
        "slots": slots,
        "open": {key: [one.id, one.start] for key, one in watcher.incidents.open.items()},
        "used": watcher.incidents.used,
        "untold": [event.to_dict() for event in untold],
    }
    target = io.BytesIO()
    np.savez_compressed(
        target,
        record=np.frombuffer(json.dumps(record).encode(), np.uint8),
        known=watcher.known_picture.astype(np.float16),
        template=watcher.template.astype(np.float16),
        matrix=watcher.matrix,
        learnt=watcher.judge.learnt,
    )
    return target.getvalue()


def restore(watcher: ShelfWatcher, data: bytes, taught: str) -> tuple[Event, ...]:
    """Give a new watcher what an earlier one knew; the events that may not have been taken, and the ends of those whose slot
    the plan has no more. Slots that were moved or expect something else begin anew; after another photo was taught all do, and only
    open incidents go on. Raises ShelfError for damaged
    bytes, and the watcher stays as it was."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            record = json.loads(arrays["record"].tobytes())
            known, template = (arrays[name].astype(np.float32) for name in ("known", "template"))
            matrix = arrays["matrix"].astype(np.float64)
            learnt = arrays["learnt"].astype(np.float32) if "learnt" in arrays else None
        version = record["version"]
        if version != VERSION:
            raise ShelfError(f"the kept state has version {version!r}; expected {VERSION}, remove it to begin anew")
        is_same = record["taught"] == taught and known.shape == watcher.known_picture.shape
        slots = {name: _slot(one) for name, one in record["slots"].items()}
        incidents = {key: Incident(str(one[0]), float(one[1])) for key, one in record["open"].items()}
        used = {str(key): float(value) for key, value in record["used"].items()}
        time, camera = float(record["time"]), str(record["camera"])
        untold = tuple(Event.from_dict(one) for one in record["untold"])
    except ShelfError:
        raise
    except Exception as error:  # of a damaged archive numpy, zipfile and zlib raise almost anything
        raise ShelfError(
            f"the kept state is damaged ({type(error).__name__}); it is left out and the watch begins anew"
        ) from error
    if is_same:
        watcher.take_over(known, template, matrix)
        if learnt is not None:
            watcher.judge.take_over(learnt)
    for number, slot in enumerate(watcher.plan.slots):
        polygon, skus, labels, view = slots.get(slot.id, (None, (), [], None))
        if view is None or len(labels) != slot.facings:
            continue
        same_place = polygon is not None and np.allclose(polygon, slot.polygon or (), atol=1.0)
        if is_same and same_place and tuple(skus) == slot.skus:
            watcher.views[number] = view
            for cell, label in zip(watcher.cells_of_slot(number), labels, strict=True):
                watcher.states[cell].label = label
        elif f"slot:{slot.id}" in incidents:
            watcher.views[number] = view
    names = {f"slot:{slot.id}" for slot in watcher.plan.slots} | {"camera:camera"}
    watcher.incidents.open = {key: one for key, one in incidents.items() if key in names}
    for key, one in incidents.items():
        if key not in names:
            _, skus, _, view = slots.get(key.partition(":")[2], (None, (), [], None))
            with contextlib.suppress(EventError):  # ids that an earlier version took were never told
                untold += (removed(key, one, view, skus[0] if skus else "", time),)
    watcher.incidents.used = used
    watcher.time = time
    if camera in ("covered", "dark", "frozen", "moved", "gone"):
        watcher.camera.state = watcher.camera.pending = camera  # type: ignore[assignment]
    return untold


def _slot(one: dict[str, Any]) -> tuple[Any, tuple[str, ...], list[Label], SlotView]:
    labels = [Label(kind, sku) for kind, sku in one["labels"]]
    state, facings, by = one["view"]
    return one["polygon"], tuple(one["skus"]), labels, SlotView(state, int(facings), by)
