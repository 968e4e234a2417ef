"""The front door of the tests: where things are, which tests run when, and the fixtures that all of them share.

Folders mirror the rooms: `tests/edge/matching/test_tracking.py` tests `edge/matching/tracking.py`. `tests/support` holds what
several modules use: hand-written networks (`tiny_models`), cards, photos, vectors with brute force beside them, hostile files.

Tiers (`tests/support/tiers.py`): `pytest` runs the default one, `pytest -m slow` the slow one, `SHELFMATCH_SOAK=1 pytest` all of
it at full length. A slow test that is named with `::` runs, too.

| fixture | what it is | made |
|---|---|---|
| `tiny_tflite`, `tiny_onnx`, `tiny_encoder` | an encoder that averages 4x4 cells: files, and loaded | once |
| `tile_folder` | 12 products with 3 photos each, folders named by SKU | once |
| `tile_bundle`, `adapted_bundle` | a bundle of them, untuned and tuned, to change at will | a copy for each test |
| `built_bundles` | the bundles that are copied | once |
| `grocery`, `coral_models` | the real photos and networks; tests that need them are skipped where they are not | – |
| `fetched` | packages of other versions, from the package index; skipped where there is none | as asked |

`tile_photo` and `write_tiles` draw more photos of such products: same number, same product; another photo, other noise.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import Encoder, build_bundle
from shelfmatch.edge.build import blanks, build
from shelfmatch.edge.encoders.runtimes import Probe, Runtime
from tests.support import tiers, tiny_models

os.environ["SHELFMATCH_DEVICE"] = ""  # the settings of the machine that the tests run on are nobody's expectation
os.environ["HF_HUB_OFFLINE"] = "1"  # weights that can't be had are so at once, and where there is a network, too


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tests out of the default tier; `-m`, a name with `::` and SHELFMATCH_SOAK=1 bring them back."""
    if tiers.SOAK or config.option.markexpr:
        return
    root = config.invocation_params.dir
    named = [str((root / argument).resolve()) for argument in config.args if "::" in argument]

    def is_wanted(item: pytest.Item) -> bool:
        full = f"{item.path}::{item.nodeid.partition('::')[2]}"
        asked = any(full == name or full.startswith((f"{name}[", f"{name}::")) for name in named)
        return asked or item.get_closest_marker("slow") is None

    wanted = [item for item in items if is_wanted(item)]
    config.hook.pytest_deselected(items=[item for item in items if not is_wanted(item)])
    items[:] = wanted


def pytest_collection_finish() -> None:
    """What was collected and imported stays to the end. Frozen, it is walked through by no collection any more: `build` asks for
    four, of a fifth of a second each in here."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def freeze_imports() -> Iterator[None]:
    """The same of frameworks that a module's tests imported."""
    before = len(sys.modules)
    yield
    if len(sys.modules) > before + _A_FRAMEWORK:
        gc.collect()
        gc.freeze()


_A_FRAMEWORK = 300
"""So many modules, about."""


_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def grocery() -> Path:
    """The Grocery Store Dataset."""
    folder = Path(os.environ.get("SHELFMATCH_DATA", _SHARED / "data" / "grocery"))
    if not (folder / "train.txt").is_file():
        pytest.skip(
            f"no Grocery Store Dataset at {folder}; get github.com/marcusklasson/GroceryStoreDataset and set SHELFMATCH_DATA"
        )
    return folder


@pytest.fixture(scope="session")
def coral_models() -> Path:
    """Trained MobileNets of Google's Coral test data."""
    folder = Path(os.environ.get("SHELFMATCH_MODELS", _SHARED / "models"))
    if not (folder / "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite").is_file():
        pytest.skip(f"no Coral models at {folder}; get github.com/google-coral/test_data and set SHELFMATCH_MODELS")
    return folder


@pytest.fixture(scope="session")
def tiny_tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder that averages 4x4 cells, as a .tflite file; beside it what every build by it in a process of its own would
    render for two seconds."""
    path = tmp_path_factory.mktemp("encoder") / "tiny.tflite"
    path.write_bytes(tiny_models.average_tflite())
    encoder = Encoder.load(path, sessions=1, resizer="pillow")
    path.with_suffix(blanks.SUFFIX).write_bytes(blanks.to_bytes(encoder.card, encoder.card, blanks.embedded(encoder)))
    return path


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as an .onnx file."""
    path = tmp_path_factory.mktemp("encoder") / "tiny.onnx"
    path.write_bytes(tiny_models.average_onnx())
    return path


@pytest.fixture(scope="session")
def tiny_encoder(tiny_tflite: Path) -> Encoder:
    """The .tflite one, loaded, for up to eight threads."""
    return Encoder.load(tiny_tflite, sessions=8, resizer="pillow")


def tile_photo(product: int, photo: int, side: int = 48) -> Image.Image:
    """A photo of an invented product: a coarse random pattern of its own, with some noise of the photo."""
    pattern = np.random.default_rng(product).integers(0, 256, (4, 4, 3))
    noise = np.random.default_rng([product, photo, 1]).normal(0, 12, (side, side, 3))
    pixels = np.kron(pattern, np.ones((side // 4, side // 4, 1))) + noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_tiles(folder: Path, products: range, photos: int = 3, first_photo: int = 0) -> Path:
    """A folder of folders named by SKU."""
    for product in products:
        (folder / f"sku-{product:03d}").mkdir(parents=True, exist_ok=True)
        for photo in range(first_photo, first_photo + photos):
            tile_photo(product, photo).save(folder / f"sku-{product:03d}" / f"{photo}.png")
    return folder


@pytest.fixture(scope="session")
def tile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 products with 3 photos each."""
    return write_tiles(tmp_path_factory.mktemp("tiles"), range(12))


@pytest.fixture(scope="session", autouse=True)
def one_probe_of_a_runtime() -> Iterator[None]:
    """A build first imports its runtime in a process of its own; of the hundreds of builds here, only the first does.

    A PYTHONPATH of a test's own makes it try again, as does a runtime that failed.
    """
    real = build.probe
    sound: dict[tuple[Runtime, str], Probe] = {}

    def probe_once(runtime: Runtime) -> Probe:
        key = (runtime, os.environ.get("PYTHONPATH", ""))
        if key not in sound:
            result = real(runtime)
            if not result.ok:
                return result
            sound[key] = result
        return sound[key]

    build.probe = probe_once  # type: ignore[assignment]
    yield
    build.probe = real


@pytest.fixture(scope="session")
def built_bundles(
    tmp_path_factory: pytest.TempPathFactory, tile_folder: Path, tiny_tflite: Path
) -> Callable[[str], Path]:
    """Bundles of the 12 products by `adapt` ("on" or "off"), each built once in a session; copy them to change them."""
    folder = tmp_path_factory.mktemp("bundles")

    def built(adapt: str) -> Path:
        path = folder / f"{adapt}.bundle"
        if not path.exists():
            build_bundle(tile_folder, path, encoder=tiny_tflite, resizer="pillow", workers=1, adapt=adapt)
        return path

    return built


@pytest.fixture
def tile_bundle(tmp_path: Path, built_bundles: Callable[[str], Path]) -> Path:
    """A bundle of the 12 products with the encoder's own embeddings, of this test alone."""
    return shutil.copytree(built_bundles("off"), tmp_path / "tiles.bundle")


@pytest.fixture
def adapted_bundle(tmp_path: Path, built_bundles: Callable[[str], Path]) -> Path:
    """The same, tuned to the shop, of this test alone."""
    return shutil.copytree(built_bundles("on"), tmp_path / "adapted.bundle")


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folders with packages of given versions, without what they ask for."""

    def fetch(*requirements: str) -> Path:
        folder = tmp_path_factory.mktemp("fetched")
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--target",
            str(folder),
        ]
        done = subprocess.run([*command, *requirements], capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"pip can't get {' '.join(requirements)} for this Python: {done.stderr.strip()[-200:]}")
        return folder

    return fetch
