"""`torchvision:NAME`: a network of torchvision, prepared as its own weights were evaluated."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Any

import numpy as np

from .encoders import OwnProcessor, SourceEncoder
from .errors import SourceError
from .hub import problem_of_reaching
from .preprocessing import Overrides, Preprocessing, triple
from .source_options import SourceOptions, with_checkpoint
from .tools import need_torchvision, quiet, reason

_SERVER = "https://download.pytorch.org"


def torchvision_model(name: str, options: SourceOptions, opened: Any) -> SourceEncoder:
    """The encoder of a name; `opened` makes it of the module (`sources.from_module`). Raises SourceError."""
    with quiet("importing torchvision"):
        models = need_torchvision().models
    wanted = name.removeprefix("torchvision:")
    known = models.list_models(module=models)
    if wanted not in known:
        close = ", ".join(difflib.get_close_matches(wanted, known, 4, 0.3) or ["mobilenet_v3_small"])
        raise SourceError(
            f"torchvision knows no model {wanted!r}; expected one of its list_models(), for example {close}"
        )
    weights = models.get_model_weights(wanted).DEFAULT
    problem = "" if options.checkpoint is not None else problem_of_reaching(_SERVER)
    with quiet(f"making torchvision's {wanted}"):
        try:
            if problem:
                raise OSError(f"{_SERVER} can't be reached: {problem}")
            net = models.get_model(wanted, weights=None if options.checkpoint is not None else weights)
        except Exception as error:
            raise SourceError(
                f"the weights of torchvision's {wanted} can't be had ({reason(error)}); fetch them elsewhere and give "
                "--checkpoint FILE"
            ) from error
    found, own = _preprocessing(weights.transforms())
    made: SourceEncoder = opened(net, options, wanted, found)
    origin = f"torchvision {wanted}" + ("" if options.checkpoint is not None else f" ({weights.name})")
    said = options.preprocessing == Overrides()
    return replace(made, provenance=with_checkpoint(origin, options), own_processor=own if said else None)


def _preprocessing(transform: Any) -> tuple[Preprocessing, OwnProcessor]:
    """Of torchvision's ImageClassification: resize the shorter side, cut out the centre, normalize."""
    (size,), (resized,) = transform.crop_size, transform.resize_size
    found = Preprocessing(
        size, size, triple(transform.mean, 255), triple(transform.std, 255), "crop", min(1.0, size / resized),
        "torchvision's weights",
    )  # fmt: skip
    return found, lambda photo: np.asarray(transform(photo).numpy(), np.float32)
