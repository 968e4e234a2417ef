"""What is measured on the whole emulated machine: each part's files on its disk, its program there, and what the answer says.

`match`: `Matcher.match` in a process of its own. `kiosk`: `shelfmatch serve` at rest and under load. `shelf`: `shelfmatch shelf
watch` and `shelf propose`. Photos and frames are rendered; nothing of ../shared is used.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import reporting  # noqa: E402
import shops  # noqa: E402

Answer = dict[str, Any]
PEAK_BAR_MB, KIOSK_BAR_MB, SHELF_BAR_MB = 100.0, 120.0, 140.0
SEEDS, PHOTOS, STRANGERS = 40, 8, 3
REQUESTS, CLIENTS = 33, 4
"""As many clients as the machine has cores: each of the kiosk's interpreters is used."""
SLOTS, CALM, CHANGED, REFILLED = 60, 2, 3, 4
"""Frames: the shelf as it was taught, six slots with another's product, all slots with another's."""


@dataclass(frozen=True, slots=True)
class Part:
    """One boot: `files` lie in the disk's root under their names; `program` of this folder gets `arguments`. `expected`: what this
    machine itself answers."""

    name: str
    program: str
    arguments: list[str]
    files: list[Path]
    cores: int
    expected: Any = field(default=None)


def prepare(name: str, work: Path, products: int, views: int) -> Part:
    """Make what a part needs, in `work`."""
    if name == "shelf":
        return _shelf(work)
    bundle, photos = build_shop(work, products, views)
    if name == "match":
        return Part("match", "peak.py", ["/shop.bundle", *_on_disk(photos)], [bundle, *photos], cores=2)
    photos = kiosk_photos(work)
    arguments = ["/shop.bundle", str(REQUESTS), str(CLIENTS), *_on_disk(photos)]
    # As many as a Raspberry Pi Zero 2 W has: a kiosk has an interpreter for each.
    return Part("kiosk", "served.py", arguments, [bundle, *photos], cores=4, expected=_answered(bundle, photos))


def _on_disk(paths: list[Path]) -> list[str]:
    return [f"/{path.name}" for path in paths]


def build_shop(work: Path, products: int, views: int) -> tuple[Path, list[Path]]:
    """The shop's bundle, and photos: four of 640x480 and one of twelve megapixels."""
    from PIL import Image

    from shelfmatch.edge import Encoder
    from shelfmatch.edge.encoders.registry import DEFAULT_ENCODER
    from shelfmatch.edge.synthetic.products import make_shop, render_view

    made = make_shop(SEEDS, seed=7)
    catalogued, photos = [], []
    for number, product in enumerate(made):
        catalogued.append(work / f"seed-{number}.jpg")
        render_view(product, 0, difficulty=0.3).save(catalogued[-1], quality=90)
    for number, product in enumerate(made[:5]):
        photos.append(work / f"photo-{number}.jpg")
        picture = render_view(product, 1, difficulty=0.3)
        if number == 4:
            picture = picture.resize((4032, 3024), Image.Resampling.BICUBIC)
        picture.save(photos[-1], quality=90)
    bundle = work / "shop.bundle"
    if not bundle.exists():
        encoder = Encoder.load(DEFAULT_ENCODER, resizer="pillow")
        # Without an adapter the vectors are as long as they can be.
        shops.write_shop(bundle, encoder, encoder.embed(*catalogued), products * views, views=views, adapt="off")
    return bundle, photos


def kiosk_photos(work: Path) -> list[Path]:
    """JPEGs of 640x480: products of the shop as they were catalogued, and some that it doesn't have, for which the detector is
    loaded and parts of the photo are looked at, too."""
    from shelfmatch.edge.synthetic.products import make_shop, render_view

    shown = [*make_shop(SEEDS, seed=7)[:PHOTOS], *make_shop(STRANGERS, seed=900)]
    paths = []
    for number, product in enumerate(shown):
        paths.append(work / f"{'known' if number < PHOTOS else 'strange'}-{number}.jpg")
        render_view(product, 0, difficulty=0.3).save(paths[-1], quality=85)
    return paths


def _answered(bundle: Path, photos: list[Path]) -> dict[str, list[Any]]:
    """What this machine's `Matcher.match` says: photo → decision and first product."""
    from shelfmatch.edge import Matcher

    with Matcher.open(bundle, threads=1, sessions=1, resizer="pillow") as matcher:
        found = {photo.name: matcher.match(photo) for photo in photos}
    return {name: [result.decision, result.candidates[0].sku] for name, result in found.items()}


def _shelf(work: Path) -> Part:
    folder, plan, bundle = make_shelf(work)
    files = [folder, bundle]
    arguments = [f"/{folder.name}/{plan.name}", f"/{folder.name}/frames", f"/{bundle.name}", f"/{folder.name}/full.jpg"]
    return Part("shelf", "watched.py", arguments, files, cores=4, expected=_watched(plan, bundle))


def make_shelf(work: Path) -> tuple[Path, Path, Path]:
    """A folder with a taught plan of 60 slots, its photos and frames of 1280x960; the plan, and the shop's bundle."""
    import json

    from shelf_life import life

    from shelfmatch.edge import build_bundle

    made = life(seed=1, hours=1, slots=SLOTS, events=0, calm=True)
    folder, bundle = work / "shelf", work / "shelf.bundle"
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    plan = folder / "plan.json"
    if not bundle.exists():
        made.catalogue(work / "shelf-catalogue")
        build_bundle(work / "shelf-catalogue", bundle)
    _save(made.full, folder / "full.jpg")
    _save(made.empty, folder / "empty.jpg")
    plan.write_text(json.dumps(made.plan), encoding="utf-8")
    _shelfmatch("shelf", "teach", str(plan), "--full", str(folder / "full.jpg"), "--empty", str(folder / "empty.jpg"))
    _write_frames(made, folder / "frames")
    return folder, plan, bundle


def _write_frames(made: Any, folder: Path) -> None:
    import numpy as np

    for before in folder.glob("*.jpg"):
        before.unlink()
    random = np.random.default_rng(0)
    number = 0
    for changed, count in ((0, CALM), (6, CHANGED), (SLOTS, REFILLED)):
        pixels = spoiled(made, changed)
        for _ in range(count):
            noisy = (pixels * 0.97 + random.normal(0, 3, pixels.shape)).clip(0, 255).astype(np.uint8)
            path = folder / f"frame{number:03d}.jpg"
            _save(noisy, path)
            os.utime(path, (1_760_000_000 + 60 * number,) * 2)  # a folder's frames are as old as their files
            number += 1


def spoiled(made: Any, count: int) -> Any:
    """The shelf, (H, W, 3), with so many slots taken by another one's product, all of their facings."""
    import numpy as np

    bay = made._bay()
    for number, one in enumerate(bay.places[:count]):
        other = bay.places[(number + 7) % len(bay.places)].product
        for facing in range(one.facings):
            bay.put(one.id, facing, [other] * 2)
    return np.asarray(bay.picture)


def _save(pixels: Any, path: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path, "JPEG", quality=88)


def _shelfmatch(*arguments: str) -> str:
    import subprocess

    command = [sys.executable, "-m", "shelfmatch.edge.cli", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout


def _watched(plan: Path, bundle: Path) -> list[list[str]]:
    """The events of this machine's own watch over the same frames."""
    import json

    command = ("shelf", "watch", str(plan), "--source", str(plan.parent / "frames"), "--once", "--bundle", str(bundle))
    return said([json.loads(line) for line in _shelfmatch(*command, "--json").splitlines()])


def said(events: list[Answer]) -> list[list[str]]:
    """Of each event: slot, state, and by what."""
    return sorted(
        [event["slot"] or "camera", event["after"]["state"], event["after"].get("by") or ""] for event in events
    )


def read(part: Part, answer: Answer, report: reporting.Report) -> None:
    """Print what a part's answer says, and hold it against its bars."""
    {"match": _read_match, "kiosk": _read_kiosk, "shelf": _read_shelf}[part.name](part, answer, report)


def _read_match(part: Part, answer: Answer, report: reporting.Report) -> None:
    what = f"{answer['products']:,} products, {answer['references']:,} photos, {answer['encoder']}"
    rows = [(what, *(f"{answer[key]:.1f}" for key in ("opened_mb", "peak_mb", "free_before_mb", "machine_mb")))]
    header = ("shop", "opened, MB", "peak, MB", "free before, MB", "machine, MB")
    reporting.print_table("Matcher.match", header, rows)
    report.bar("peak resident memory, MB", answer["peak_mb"], PEAK_BAR_MB)


def _read_kiosk(part: Part, answer: Answer, report: reporting.Report) -> None:
    """Answers are right where they are this machine's; the others are counted and left in the answer."""
    asked = [one for one in answer["answers"] if "photo" in one]
    wrong = [one for one in asked if [one["decision"], one["sku"]] != part.expected[one["photo"]]]
    right = len(asked) - len(wrong)
    answer["photos"], answer["as_here"] = len(asked), right
    answer["statuses"] = sorted({one["status"] for one in answer.pop("answers")})
    answer["wrong"] = [[one["photo"], one["decision"], one["sku"]] for one in wrong]
    idle, loaded = answer["idle"], answer["loaded"]
    rows = [
        (f"{answer['ready_s']:.1f} s", f"{idle['now_mb']:.1f}", f"{loaded['now_mb']:.1f}", f"{loaded['peak_mb']:.1f}",
         f"{right} of {len(asked)}", ", ".join(map(str, answer["statuses"])))
    ]  # fmt: skip
    header = ("ready after, emulated", "idle, MB", "under load, MB", "peak, MB", "answers as here", "statuses")
    reporting.print_table(f"shelfmatch serve, {CLIENTS} clients", header, rows)
    report.bar("kiosk: resident memory idle, MB", idle["now_mb"], KIOSK_BAR_MB)
    report.bar("kiosk: peak resident memory under load, MB", loaded["peak_mb"], KIOSK_BAR_MB)


def _read_shelf(part: Part, answer: Answer, report: reporting.Report) -> None:
    told = said(answer.pop("events"))
    answer["told"], answer["as_here"] = len(told), told == part.expected
    watch, propose = answer["watch"], answer["propose"]
    rows = [
        (f"shelf watch, {SLOTS} slots", f"{watch['peak_mb']:.1f}", f"{watch['seconds']:.0f}", f"{len(told)} events, "
         f"{'the same as here' if answer['as_here'] else 'OTHERS THAN HERE'}"),
        ("shelf propose", f"{propose['peak_mb']:.1f}", f"{propose['seconds']:.0f}", f"{propose['slots']} slots"),
    ]  # fmt: skip
    reporting.print_table("Shelf cameras", ("", "peak, MB", "seconds, emulated", "found"), rows)
    report.bar("shelf watch: peak resident memory, MB", watch["peak_mb"], SHELF_BAR_MB)
    report.bar("shelf propose: peak resident memory, MB", propose["peak_mb"], SHELF_BAR_MB)
