"""Pictures and the device's camera: what isn't there is said by --check, and a product without a picture names none."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

from shelfmatch.edge.cli import main
from shelfmatch.edge.errors import KioskError
from shelfmatch.edge.kiosk.device_camera import DeviceCamera
from shelfmatch.edge.kiosk.kiosk import Kiosk
from shelfmatch.edge.kiosk.settings import read_settings

from .conftest import Started, film


@pytest.fixture
def shop(tile_shop: Path, tmp_path: Path) -> Path:
    """A folder with files that may be taken for pictures or for a camera, and aren't."""
    (tmp_path / "prices.csv").write_text("sku,price\nsku-001,1.50\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.mp4").write_bytes(b"no film")
    (tmp_path / "kiosk.toml").write_text('[pictures]\nfolder = "nope"\n')
    return tile_shop / "shop.bundle"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--pictures", "{}/nope"), "nope' (pictures.folder) isn't there; expected the folder or the CSV"),
        (("--pictures", "{}/nope.csv"), "nope.csv' (pictures.folder) isn't there"),
        (("--pictures", "x" * 300), "isn't there"),
        (("--config", "{}/kiosk.toml"), "nope' (pictures.folder) isn't there"),
        (("--pictures", "{}/prices.csv"), "has a picture of none of the 12 products, like 'sku-000'; expected"),
        (("--pictures", "{}/empty"), "has a picture of none of the 12 products"),
    ],
)
def test_check_refuses_pictures_that_arent_there(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, str], said: str
) -> None:
    assert main(["serve", str(shop), "--check", "--port", "0", options[0], options[1].format(tmp_path)]) == 2
    told = capsys.readouterr()
    assert not told.out and told.err.count("\n") == 1 and said in told.err


@pytest.mark.parametrize("name", ["nope", "nope.csv"])
def test_no_service_starts_with_pictures_that_arent_there(shop: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(KioskError, match="isn't there"):
        Kiosk(shop, read_settings(None, [f"pictures.folder={tmp_path / name}"]))


@pytest.mark.parametrize("camera", ["{}/nope.mp4", "{}/torn.mp4", "99", "100"])
def test_check_refuses_a_camera_that_gives_no_picture(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], camera: str
) -> None:
    pytest.importorskip("cv2", reason="pip install 'shelfmatch[fast]'")
    assert main(["serve", str(shop), "--check", "--port", "0", "--camera", camera.format(tmp_path)]) == 2
    told = capsys.readouterr()
    assert not told.out and told.err.count("\n") == 1 and "expected" in told.err


def test_check_counts_the_pictures_and_looks_through_the_camera(
    tile_shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2", reason="pip install 'shelfmatch[fast]'")
    shutil.copy(tile_shop / "photos" / "4-0.png", tmp_path / "sku-004.png")
    options = ["--check", "--json", "--port", "0", "--camera", str(film(None, tmp_path / "film.mjpeg"))]
    for pictures, count in ((tile_shop, 12), (tile_shop / "photos", 12), (tile_shop / "shop.csv", 12), (tmp_path, 1)):
        assert main(["serve", str(tile_shop / "shop.bundle"), "--pictures", str(pictures), *options]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["pictures"] == count and found["camera"] is True


def test_a_camera_that_comes_later_is_seen(tmp_path: Path) -> None:
    """A service starts without its camera, and looks for it again."""
    pytest.importorskip("cv2", reason="pip install 'shelfmatch[fast]'")
    camera = DeviceCamera(str(tmp_path / "film.mjpeg"), 10.0)
    try:
        assert camera.newest(0, 0.5) == (0, None) and "expected its number" in camera.problem
        film(None, tmp_path / "film.mjpeg")
        end = time.monotonic() + 30
        while (frame := camera.newest(0)[1]) is None:
            assert time.monotonic() < end
        assert frame[:3] == b"\xff\xd8\xff"
    finally:
        camera.close()


def test_the_csv_of_the_bundle_says_where_its_pictures_are(started: Started, tile_shop: Path) -> None:
    kiosk = started(tile_shop / "shop.bundle", "--pictures", str(tile_shop / "shop.csv"))
    for product in kiosk.get("/v1/products").json["products"]:
        assert kiosk.get(product["picture"]).headers["content-type"] == "image/jpeg"


def test_a_product_without_a_picture_has_null(started: Started, tile_shop: Path, tmp_path: Path) -> None:
    Image.new("RGB", (50, 50)).save(tmp_path / "sku-002.jpg")
    kiosk = started(tile_shop / "shop.bundle", "--pictures", str(tmp_path))
    products = kiosk.get("/v1/products").json["products"]
    assert {one["sku"]: one["picture"] for one in products if one["picture"]} == {
        "sku-002": "/v1/products/sku-002/picture"
    }
    near = kiosk.get("/v1/similar/sku-002").json["products"]
    assert near and all(one["picture"] is None for one in near)


def test_a_picture_that_comes_later_is_found_within_a_minute(tile_shop: Path, tmp_path: Path) -> None:
    from shelfmatch.edge.kiosk.pictures import Pictures

    kiosk, now = Kiosk(tile_shop / "shop.bundle", read_settings(None)), [100.0]
    try:
        pictures, served = Pictures(tmp_path, lambda: now[0]), kiosk.shop.served
        assert not pictures.has(served, "sku-001")
        Image.new("RGB", (50, 50)).save(tmp_path / "sku-001.jpg")
        now[0] += 30
        assert not pictures.has(served, "sku-001")  # the disk isn't asked for each answer
        now[0] += 31
        assert pictures.has(served, "sku-001")
    finally:
        kiosk.close()
