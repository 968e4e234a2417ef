"""MediaPipe's ImageEmbedder as a worker: `python mediapipe_embedder.py MODEL.tflite`, in "mediapipe".

Operations: photo {path, embedding?} from the file, array {path, embedding?} from the (H, W, 3) uint8 RGB of a .npy
file. The clock runs from the file (or the array) to the embedding. MediaPipe takes no number of threads; `cpu_ms`
shows what it used.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import mediapipe
import numpy as np
from line_protocol import Stopwatch, serve
from mediapipe.tasks.python import BaseOptions, vision

read_array = functools.lru_cache(maxsize=32)(np.load)


def main() -> None:
    options = vision.ImageEmbedderOptions(base_options=BaseOptions(model_asset_path=sys.argv[1]))
    with vision.ImageEmbedder.create_from_options(options) as embedder:

        def answer(result: Any, watch: Stopwatch, embedding: bool) -> dict[str, Any]:
            vector = result.embeddings[0].embedding
            return {**watch.reply(), **({"embedding": [float(v) for v in vector]} if embedding else {})}

        def photo(path: str, embedding: bool = False) -> dict[str, Any]:
            with Stopwatch() as watch:
                result = embedder.embed(mediapipe.Image.create_from_file(path))
            return answer(result, watch, embedding)

        def array(path: str, embedding: bool = False) -> dict[str, Any]:
            pixels = read_array(path)
            with Stopwatch() as watch:
                result = embedder.embed(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels))
            return answer(result, watch, embedding)

        serve({"photo": photo, "array": array})


if __name__ == "__main__":
    main()
