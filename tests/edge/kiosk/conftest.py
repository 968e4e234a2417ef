"""Kiosks for the tests of this room."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shelfmatch.edge.build.build import build_bundle
from shelfmatch.edge.synthetic.products import Product, make_shop, render_background, render_plain, render_view
from tests.conftest import tile_photo
from tests.support.kiosk import KioskProcess, jpeg

for _name in ("starlette", "uvicorn", "msgspec", "prometheus_client", "python_multipart"):
    pytest.importorskip(_name, reason="pip install 'shelfmatch[kiosk]'")

Started = Callable[..., KioskProcess]


@pytest.fixture(scope="session")
def tile_shop(tmp_path_factory: pytest.TempPathFactory, tiny_tflite: Path) -> Path:
    """A bundle of 12 tiles with names, categories and bar codes, and `photos` beside it that it was built from."""
    folder = tmp_path_factory.mktemp("tile-shop")
    rows = ["image,sku,name,gtin,price,category"]
    for product in range(12):
        for photo in range(3):
            path = folder / "photos" / f"{product}-{photo}.png"
            path.parent.mkdir(exist_ok=True)
            tile_photo(product, photo).save(path)
            gtin = "4006381333931" if product == 3 else ""
            about = f"Tile {product},{gtin},{product}.50,{'tea' if product % 2 else 'soup'}"
            rows.append(f"photos/{product}-{photo}.png,sku-{product:03d},{about}")
    (folder / "shop.csv").write_text("\n".join(rows))
    build_bundle(
        folder / "shop.csv", folder / "shop.bundle", encoder=tiny_tflite, resizer="pillow", workers=1, adapt="off"
    )
    return folder


def film(product: Product | None, path: Path) -> Path:
    """Frames of a product from several sides, or of a scene without one, as Chromium's fake camera takes them."""
    pictures = (
        [render_background(5)]
        if product is None
        else [render_view(product, view, (640, 480), 0.2) for view in range(200, 206)]
    )
    data = b""
    for picture in pictures:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=90)
        data += file.getvalue() * 12
    path.write_bytes(data)
    return path


@pytest.fixture(scope="session")
def rendered_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of ten rendered products, and films: `known.mjpeg` of one of them, `unknown.mjpeg` of none, `empty.mjpeg`."""
    folder = tmp_path_factory.mktemp("page")
    products = make_shop(10, seed=6)
    rows = ["image,sku,name,gtin,price,category"]
    for product in products:
        for view in range(4):
            image = render_plain(product) if view == 0 else render_view(product, view, difficulty=0.3)
            image.save(folder / f"{product.sku}-{view}.jpg", quality=90)
            rows.append(
                f"{product.sku}-{view}.jpg,{product.sku},{product.name},{product.gtin},{product.price},{product.category}"
            )
    (folder / "shop.csv").write_text("\n".join(rows))
    build_bundle(folder / "shop.csv", folder / "shop.bundle", workers=2)
    film(products[0], folder / "known.mjpeg")
    film(make_shop(10, seed=7)[3], folder / "unknown.mjpeg")
    film(None, folder / "empty.mjpeg")
    (folder / "known.json").write_text(json.dumps({"sku": products[0].sku, "name": products[0].name}))
    return folder


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Starts kiosks, with a staff mode where `staff`; they are stopped at the end."""
    running: list[KioskProcess] = []

    def start(bundle: Path, *options: str, staff: bool = False) -> KioskProcess:
        folder = tmp_path_factory.mktemp("kiosk")
        code, more = "", []
        if staff:
            from shelfmatch.edge.kiosk.staff import add_code

            code = add_code(folder / "codes", "test", None)
            more = ["--staff-codes", str(folder / "codes"), "--folder", str(folder / "state")]
        kiosk = KioskProcess(bundle, folder, *more, *options)
        kiosk.code = code
        running.append(kiosk)
        return kiosk

    yield start
    for kiosk in running:
        kiosk.kill()


@pytest.fixture(scope="session")
def kiosk(started: Started, tile_shop: Path) -> KioskProcess:
    """One with staff mode and pictures, that tests may teach products of their own."""
    return started(tile_shop / "shop.bundle", "--pictures", str(tile_shop), staff=True)


def tile(product: int, photo: int = 50, side: int = 96) -> bytes:
    """A photo of a product that no catalogue has seen, as JPEG."""
    return jpeg(tile_photo(product, photo, side))


@contextlib.contextmanager
def streamed(kiosk: KioskProcess, path: str) -> Iterator[http.client.HTTPResponse]:
    """The answer to one request, its body not read yet."""
    connection = http.client.HTTPConnection("127.0.0.1", kiosk.port, timeout=60)
    try:
        connection.request("GET", path)
        yield connection.getresponse()
    finally:
        connection.close()
