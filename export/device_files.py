"""A device file's card, and the runtime's own encoder on it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..edge.encoders.card import EncoderCard, Format
from ..edge.encoders.encoder import Encoder
from ..edge.encoders.runtimes import choose_runtime, open_session
from ..edge.encoders.session import TensorInfo, shape_for_a_photo
from ..edge.errors import EncoderError
from ..edge.imaging.image import Pixels
from .encoders import SourceEncoder
from .errors import ExportError
from .tools import quiet

_WARM_UP = 3
_ROUNDS = 25


def card_for(model: bytes, file: str, file_format: Format, source: SourceEncoder, recipe: str) -> EncoderCard:
    """What the file says of its input and output, and what the source says of everything else. Raises ExportError."""
    try:
        with quiet(f"loading {file}"):
            session = open_session(choose_runtime(file_format), model, threads=1)
        (tensor,), (output,) = session.inputs, session.outputs
        layout = "NHWC" if tensor.shape[-1] == 3 else "NCHW"
        preprocessing = source.preprocessing
        record = {
            "name": Path(file).stem,
            "file": file,
            "sha256": hashlib.sha256(model).hexdigest(),
            "size_bytes": len(model),
            "format": file_format,
            "width": preprocessing.width,
            "height": preprocessing.height,
            "input_name": tensor.name,
            "input_dtype": tensor.dtype,
            "layout": layout,
            "output_name": output.name,
            "output_dtype": output.dtype,
            "dimension": int(np.prod([n for n in shape_for_a_photo(session, output) if n > 0])),
            "resize": preprocessing.resize,
            "crop_fraction": preprocessing.crop_fraction,
            "color_order": preprocessing.color_order,
            "provenance": f"{source.provenance}; {recipe}, by shelfmatch export",
            "license": source.license,
        }
        if preprocessing.resize == "pad":
            record["padding"] = list(preprocessing.border_color)  # the mean may be in the graph, where nobody sees it
        if source.takes_normalized:
            record["mean"], record["std"] = list(preprocessing.mean or ()), list(preprocessing.std or ())
        # Where the graph normalizes, pixels go in as they are, whatever scale the file writes beside its input.
        said: tuple[tuple[str, TensorInfo], ...] = (("output_quantization", output),)
        if source.takes_normalized:
            said = (*said, ("input_quantization", tensor))
        for field, info in said:
            if info.quantization is not None and info.dtype != "float32":
                record[field] = {"scale": info.quantization.scale, "zero_point": info.quantization.zero_point}
        return EncoderCard.from_dict(record)
    except (EncoderError, ValueError) as error:
        raise ExportError(f"{file} is no encoder that the runtime takes: {error}") from error


def encoder_for(model: bytes, card: EncoderCard) -> Encoder:
    """The runtime's encoder on the file, one thread. Raises ExportError where the runtime can't take it."""
    try:
        encoder = Encoder(card, model, threads=1, resizer="pillow")
        with quiet(f"running {card.file}"):
            encoder.warm_up()
    except EncoderError as error:
        raise ExportError(f"the runtime can't take {card.file}: {error}") from error
    return encoder


def latencies_ms(encoders: Sequence[Encoder], pixels: Pixels) -> list[float]:
    """Median milliseconds of each encoder from pixels to embedding, one thread, taken in turns so that none is favoured."""
    taken: list[list[float]] = [[] for _ in encoders]
    for number in range(_WARM_UP + _ROUNDS):
        photo = pixels[number % len(pixels)]
        for encoder, times in zip(encoders, taken, strict=True):
            start = time.perf_counter()
            encoder.embed_pixels(photo, check=False)
            times.append((time.perf_counter() - start) * 1e3)
    return [float(np.median(times[_WARM_UP:])) for times in taken]


def card_bytes(card: EncoderCard) -> bytes:
    """The card as its file holds it."""
    return json_bytes(card.to_dict())


def json_bytes(record: Any) -> bytes:
    """As a file. Names of files that are no Unicode have question marks in them."""
    return (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode(errors="replace")
