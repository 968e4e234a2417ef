"""usearch, ONNX Runtime and LiteRT in one process, in whatever order a user's program imports them.

usearch 2.26.3 before onnxruntime kills the interpreter, so each order runs in an interpreter of its own.
"""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shelfmatch.edge import build_bundle
from tests.conftest import tile_photo

NATIVE = ("usearch.index", "onnxruntime", "ai_edge_litert.interpreter", "shelfmatch.edge")
ORDERS = [
    # All orders of those that bring native code, numpy first, last and between them in turn; it can only be first or not.
    [*order[: number % 5], "numpy", *order[number % 5 :]]
    for number, order in enumerate(itertools.permutations(NATIVE))
] + [["numpy", *order] for order in list(itertools.permutations(NATIVE))[1::4]]

USE_ALL = """
import importlib, sys
order, litert_bundle, onnx_bundle, query = sys.argv[1:]
for name in order.split(","):
    importlib.import_module(name)
import numpy as np
from usearch.index import Index
from shelfmatch.edge import Matcher, VectorIndex
rows = np.random.default_rng(0).normal(size=(1000, 32)).astype(np.float32)
theirs = Index(ndim=32, metric="cos", dtype="f32")
theirs.add(np.arange(1000), rows, threads=1)  # several lose some (USearch #735)
assert theirs.search(rows[7], 3).keys[0] == 7
assert VectorIndex.build(rows, kind="hnsw").search(rows[7], 3)[0][0, 0] == 7
for bundle, module in ((onnx_bundle, "onnxruntime"), (litert_bundle, "ai_edge_litert")):
    with Matcher.open(bundle) as matcher:
        assert matcher.encoder.runtime.module == module
        assert matcher.match(query).sku == "sku-001"
print("used them all", flush=True)
"""


@pytest.mark.slow
def test_any_order_of_imports_works(tile_folder: Path, tiny_tflite: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    for name in ("onnxruntime", "ai_edge_litert"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    build_bundle(tile_folder, tmp_path / "litert.bundle", encoder=tiny_tflite, index="hnsw")
    build_bundle(tile_folder, tmp_path / "onnx.bundle", encoder=tiny_onnx)
    tile_photo(1, 9).save(tmp_path / "query.png")

    def run(order: list[str]) -> str:
        files = [tmp_path / "litert.bundle", tmp_path / "onnx.bundle", tmp_path / "query.png"]
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", USE_ALL, ",".join(order), *files],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if done.returncode == 0 and done.stdout == "used them all\n":
            return ""
        return f"{' '.join(order)}: exit code {done.returncode}: {done.stderr[-2000:]}"

    assert len(ORDERS) >= 30
    with ThreadPoolExecutor(2) as pool:
        assert [problem for problem in pool.map(run, ORDERS) if problem] == []
