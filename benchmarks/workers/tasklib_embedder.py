"""The Task Library's ImageEmbedder as a worker: `python tasklib_embedder.py MODEL.tflite`, in "tasklib".

Operations: photo {path, embedding?} from the file, array {path, embedding?} from the (H, W, 3) uint8 RGB of a .npy
file.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np
from line_protocol import Stopwatch, serve
from tflite_support.task import core, processor, vision

read_array = functools.lru_cache(maxsize=32)(np.load)


def main() -> None:
    options = vision.ImageEmbedderOptions(
        base_options=core.BaseOptions(file_name=sys.argv[1], num_threads=1),
        embedding_options=processor.EmbeddingOptions(l2_normalize=False, quantize=False),
    )
    embedder = vision.ImageEmbedder.create_from_options(options)

    def answer(result: Any, watch: Stopwatch, embedding: bool) -> dict[str, Any]:
        vector = result.embeddings[0].feature_vector.value
        return {**watch.reply(), **({"embedding": [float(v) for v in vector]} if embedding else {})}

    def photo(path: str, embedding: bool = False) -> dict[str, Any]:
        with Stopwatch() as watch:
            result = embedder.embed(vision.TensorImage.create_from_file(path))
        return answer(result, watch, embedding)

    def array(path: str, embedding: bool = False) -> dict[str, Any]:
        pixels = read_array(path)
        with Stopwatch() as watch:
            result = embedder.embed(vision.TensorImage.create_from_array(pixels))
        return answer(result, watch, embedding)

    serve({"photo": photo, "array": array})


if __name__ == "__main__":
    main()
