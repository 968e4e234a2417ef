"""What `shelfmatch doctor` runs in processes of their own: one probe a process, which may raise, hang or die.

    python -P -m shelfmatch.edge.doctor.probes PROBE ARGUMENT…

Lines that begin with MARK are for the doctor, each a JSON object: {"stage": …} before each step, so that a death has a place;
then {"found": {…}} or {"raised": [[class, message], …]} with what caused it after it. Nothing heavy is imported at the top.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "\x1eshelfmatch "


class WrongNumbers(Exception):
    """It calculates, but something else than what is known to be right."""


def main(arguments: list[str]) -> int:
    """Run one probe and say what came of it."""
    probe, *rest = arguments
    try:
        _say({"found": PROBES[probe](*rest)})
    except BaseException as error:
        chain: list[list[str]] = []
        cause: BaseException | None = error
        while cause is not None and len(chain) < 8:
            chain.append([type(cause).__name__, str(cause)])
            cause = cause.__cause__ or cause.__context__
        _say({"raised": chain})
        return 1
    return 0


def _say(record: dict[str, Any]) -> None:
    # A line of its own whatever a library has printed before, in one write that a death right after can't lose.
    sys.stdout.flush()
    os.write(1, f"\n{MARK}{json.dumps(record)}\n".encode())


def _stage(name: str) -> None:
    _say({"stage": name})


def _import(*modules: str) -> dict[str, Any]:
    """Import modules in this order."""
    for module in modules:
        _stage(f"import {module}")
        importlib.import_module(module)
    return {}


def _numpy() -> dict[str, Any]:
    """Matrix products that whole numbers know."""
    _import("numpy")
    import numpy as np

    _stage("run")
    rows = (np.arange(64 * 48).reshape(64, 48) * 7 % 31).astype(np.int64)
    exact = rows @ rows.T
    for product in (rows.astype(np.float32) @ rows.astype(np.float32).T, rows.astype(np.float64) @ rows.T):
        if not np.array_equal(product, exact):
            raise WrongNumbers(f"a matrix product in {product.dtype.name} is wrong")
    if int(exact[3, 5]) != sum(int(a) * int(b) for a, b in zip(rows[3], rows[5], strict=True)):
        raise WrongNumbers("a matrix product in int64 is wrong")
    return {"version": np.__version__}


def _pillow() -> dict[str, Any]:
    """A ramp through the JPEG encoder and back, and one step of the resizer."""
    _import("PIL.Image")
    import io

    import PIL
    from PIL import Image

    _stage("run")
    ramp = Image.frombytes("RGB", (64, 48), bytes(v for y in range(48) for x in range(64) for v in (4 * x, 5 * y, 128)))
    file = io.BytesIO()
    ramp.save(file, "JPEG", quality=95)
    read = Image.open(io.BytesIO(file.getvalue())).convert("RGB").resize((16, 12), Image.Resampling.BOX)
    away = max(abs(a - b) for a, b in zip(read.tobytes(), ramp.resize((16, 12)).tobytes(), strict=True))
    if away > 16:
        raise WrongNumbers(f"a JPEG came back up to {away} of 255 grey levels away from what was written")
    return {"version": PIL.__version__}


def _runtime(name: str) -> dict[str, Any]:
    """Import, load, and hold an embedding against the golden one; milliseconds for a picture with one thread."""
    from ..encoders.runtimes import RUNTIMES
    from ..errors import EncoderError

    runtime = RUNTIMES[name]
    _import(runtime.entry)
    from ..encoders.golden import golden_file
    from ..encoders.registry import DEFAULT_ENCODER, known_encoders, read_card

    cards = known_encoders(name)
    names = [
        encoder
        for encoder in (DEFAULT_ENCODER, *cards)
        if encoder in cards
        and golden_file(cards[encoder]).exists()  # first: a user's own card may be broken, and says nothing of runtimes
        and read_card(cards[encoder])[0].format == runtime.format
    ]
    if not names:
        raise EncoderError(
            f"no .{runtime.format} encoder came with the package; expected one, install shelfmatch again"
        )
    return _golden_embedding(name, names[0], cards[names[0]])


def _golden_embedding(runtime: str, name: str, card_path: Path) -> dict[str, Any]:
    from ..encoders.encoder import Encoder
    from ..encoders.golden import LEAST_COSINE, GoldenEmbedding, golden_file, golden_of, golden_picture
    from ..encoders.registry import DEFAULT_ENCODER

    _stage("load")
    encoder = Encoder.load(card_path, runtime=runtime)
    encoder.prepare()
    _stage("run")
    golden = GoldenEmbedding.read(golden_file(card_path))
    cosine = float(golden.vector @ golden_of(encoder).vector)
    if not cosine >= LEAST_COSINE:
        raise WrongNumbers(f"the embedding of {name} has a cosine of {cosine:.3f} with the known one")
    picture = golden_picture(encoder.card)
    return {
        "encoder": name,
        "is_default": name == DEFAULT_ENCODER,
        "cosine": round(cosine, 6),
        "encode_ms": round(_median_ms(lambda: encoder.embed_pixels(picture)), 3),
    }


def _median_ms(run: Callable[[], Any]) -> float:
    times = []
    for _ in range(11):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return sorted(times)[len(times) // 2]


def _index() -> dict[str, Any]:
    """Both kinds of index against numpy. Without usearch there is the exact one, without NumKong a slower one."""
    import numpy as np

    from ..index.vector_index import VectorIndex

    rows = np.random.default_rng(0).normal(size=(1000, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    has_usearch, found = importlib.util.find_spec("usearch") is not None, {}
    for kind in ("exact", "hnsw") if has_usearch else ("exact",):
        _stage(kind)
        ids, scores = VectorIndex.build(rows, kind=kind).search(rows[:20], 1)
        right = (ids[:, 0] == np.arange(20)) & (np.abs(scores[:, 0] - 1) < 0.01)
        if right.sum() < (20 if kind == "exact" else 15):  # a graph may miss one
            raise WrongNumbers(f"the {kind} index doesn't find the vectors that were put in")
        found[kind] = True
    return {"kinds": list(found), "numkong": importlib.util.find_spec("numkong") is not None}


def _job(place: str | None = None) -> dict[str, Any]:
    """End to end, small: six products, a bundle with the default encoder, and a photo of one of them."""
    _stage("import shelfmatch")
    import numpy as np
    from PIL import Image

    from ..build.build import build_bundle
    from ..matching.matcher import Matcher

    def photo(product: int, number: int) -> Image.Image:
        cells = np.random.default_rng(product).integers(0, 256, (3, 4, 3))
        noise = np.random.default_rng([product, number]).normal(0, 8, (240, 320, 3))
        return Image.fromarray((np.kron(cells, np.ones((80, 80, 1))) + noise).clip(0, 255).astype(np.uint8))

    with tempfile.TemporaryDirectory(prefix="shelfmatch-doctor-", dir=place) as folder:
        for product in range(6):
            photos = Path(folder, "photos", f"sku-{product}")
            photos.mkdir(parents=True)
            for number in range(2):
                photo(product, number).save(photos / f"{number}.jpg", quality=92)
        photo(4, 9).save(Path(folder, "query.jpg"), quality=92)
        start = time.perf_counter()
        _stage("build")
        build_bundle(Path(folder, "photos"), Path(folder, "shop.bundle"), adapt="off", workers=1)
        _stage("match")
        with Matcher.open(Path(folder, "shop.bundle")) as matcher:
            answer = matcher.match(Path(folder, "query.jpg"))
            runtime, encoder = matcher.encoder.runtime.name, matcher.encoder.card.name
        seconds = time.perf_counter() - start
    if answer.candidates[0].sku != "sku-4":
        raise WrongNumbers(f"a photo of product 4 was taken for {answer.candidates[0].sku}")
    return {"runtime": runtime, "encoder": encoder, "seconds": round(seconds, 3)}


PROBES: dict[str, Callable[..., dict[str, Any]]] = {
    "import": _import,
    "numpy": _numpy,
    "pillow": _pillow,
    "runtime": _runtime,
    "index": _index,
    "job": _job,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
