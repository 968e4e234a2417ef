"""One engine of nearest-neighbour search as a worker, one query a call, one thread: `python search_engines.py ENGINE`.

ENGINE: faiss-flat, faiss-sq8, faiss-sqfp16, hnswlib, numpy (all in the environment "search"), or ours:
shelfmatch-exact, shelfmatch-hnsw, shelfmatch-auto (where shelfmatch is installed). Vectors are unit rows, scores are
inner products. "floor" finds nothing: it reads as many bytes as a scan of 8-bit codes must, once.

Operations: build {vectors, file} from a .npy file, saved to `file` (a graph that is there already is loaded, and
`seconds` is null); tune {expansion} sets hnswlib's ef; answers {queries, k, file} writes (Q, k) int64 ids to a .npy
file; times {queries, k, start, count, warm_up} answers microseconds for each of these queries.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from line_protocol import serve


class Faiss:
    """A flat index, in floats or through faiss's scalar quantizer."""

    def __init__(self, kind: str) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self._faiss = faiss
        self._kind = kind

    def build(self, vectors: Any, file: str) -> bool:
        dimension = vectors.shape[1]
        metric = self._faiss.METRIC_INNER_PRODUCT
        codes = {"sq8": "QT_8bit", "sqfp16": "QT_fp16"}
        if self._kind == "flat":
            self._index = self._faiss.IndexFlatIP(dimension)
        else:
            quantizer = getattr(self._faiss.ScalarQuantizer, codes[self._kind])
            self._index = self._faiss.IndexScalarQuantizer(dimension, quantizer, metric)
            self._index.train(vectors)
        self._index.add(vectors)
        self._faiss.write_index(self._index, file)
        return True

    def search(self, query: Any, k: int) -> Any:
        return self._index.search(query, k)[1]


class Hnswlib:
    """hnswlib with the parameters of its own README: M 16, efConstruction 200; ef is 10 until it is set."""

    def build(self, vectors: Any, file: str) -> bool:
        import hnswlib

        kept = Path(file).exists()

        self._index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        if kept:
            self._index.load_index(file, max_elements=len(vectors))
        else:
            self._index.init_index(max_elements=len(vectors), M=16, ef_construction=200, random_seed=0)
            self._index.add_items(vectors)
            self._index.save_index(file)
        self._index.set_num_threads(1)
        return not kept

    def tune(self, expansion: int) -> None:
        self._index.set_ef(expansion)

    def search(self, query: Any, k: int) -> Any:
        return self._index.knn_query(query, k, num_threads=1)[0]


class Numpy:
    """A float32 matrix product and a partial sort."""

    def build(self, vectors: Any, file: str) -> bool:
        self._vectors = vectors
        with Path(file).open("wb") as target:  # np.save would add .npy to a name
            np.save(target, vectors)
        return True

    def search(self, query: Any, k: int) -> Any:
        scores = self._vectors @ query[0]
        best = np.argpartition(scores, -k)[-k:]
        return best[np.argsort(-scores[best])][np.newaxis]


class Shelfmatch:
    """Our index, int8 codes, read back from its file as a device would."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def build(self, vectors: Any, file: str) -> bool:
        from shelfmatch.edge import VectorIndex

        kept = Path(file).exists()
        if not kept:
            VectorIndex.build(vectors, kind=self._kind, dtype="i8").save(file)
        self._index = VectorIndex.load(file)
        return not kept

    def search(self, query: Any, k: int) -> Any:
        return self._index.search(query, k)[0]


class Floor:
    """The largest of as many bytes as 8-bit codes have: no scan of them can be faster than memory gives them out."""

    def build(self, vectors: Any, file: str) -> bool:
        self._codes = np.ones(vectors.size, np.int8)
        Path(file).touch()
        return True

    def search(self, query: Any, k: int) -> Any:
        return np.full((1, k), self._codes.max())


def open_engine(name: str) -> Any:
    family, _, kind = name.partition("-")
    engines: dict[str, Callable[[], Any]] = {
        "faiss": lambda: Faiss(kind),
        "floor": Floor,
        "hnswlib": Hnswlib,
        "numpy": Numpy,
        "shelfmatch": lambda: Shelfmatch(kind),
    }
    if family not in engines:
        raise SystemExit(f"engine {name!r} arrived; expected {', '.join(engines)}")
    return engines[family]()


def main() -> None:
    engine = open_engine(sys.argv[1])
    loaded: dict[str, Any] = {}

    def rows(path: str) -> Any:
        if path not in loaded:
            loaded[path] = np.load(path)
        return loaded[path]

    def build(vectors: str, file: str) -> dict[str, Any]:
        values = np.load(vectors)
        start = time.perf_counter()
        made = engine.build(values, file)
        seconds = time.perf_counter() - start
        return {"seconds": seconds if made else None, "bytes": Path(file).stat().st_size}

    def tune(expansion: int) -> dict[str, Any]:
        engine.tune(expansion)
        return {}

    def answers(queries: str, k: int, file: str) -> dict[str, Any]:
        np.save(file, np.concatenate([engine.search(query[np.newaxis], k) for query in rows(queries)]).astype(np.int64))
        return {}

    def times(queries: str, k: int, start: int, count: int, warm_up: int) -> dict[str, Any]:
        taken = []
        for query in rows(queries)[:warm_up]:
            engine.search(query[np.newaxis], k)
        for query in rows(queries)[start : start + count]:
            one = query[np.newaxis]
            begin = time.perf_counter_ns()
            engine.search(one, k)
            taken.append((time.perf_counter_ns() - begin) / 1e3)
        return {"us": taken}

    serve({"build": build, "tune": tune, "answers": answers, "times": times})


if __name__ == "__main__":
    main()
