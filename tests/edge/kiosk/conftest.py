"""Kiosks for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shelfmatch.edge.build.build import build_bundle
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
