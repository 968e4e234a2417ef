"""What a trained model wants done to a photo before it sees it, as the model's own configuration says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from ..edge.encoders.card import EncoderCard, border_of
from ..edge.imaging.image import Pixels
from .errors import ExportError, SourceError

Resize = Literal["squash", "crop", "squash-crop", "pad"]
Triple = tuple[float, float, float]
Triple255 = tuple[int, int, int]

_RESIZES = ("squash", "crop", "squash-crop", "pad")
_CUTTING = ("crop", "squash-crop")
"""Of them, those that keep a part of the photo, `crop_fraction`."""
_TIMM_RESIZE: Mapping[str, Resize] = {"center": "crop", "squash": "squash", "border": "pad"}
"""timm's crop_mode (timm/data/transforms_factory.py, transforms_imagenet_eval)."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How pixels become the network's input; also what the resize takes (`NetworkInput`). `mean` and `std` are in units of 0 to
    255, R, G, B; None: the network does it. `color_order`: in which order the network takes the colours."""

    width: int
    height: int
    mean: Triple | None
    std: Triple | None
    resize: Resize = "squash"
    crop_fraction: float = 1.0
    read_from: str = ""
    padding: Triple255 | None = None
    color_order: Literal["RGB", "BGR"] = "RGB"

    def __post_init__(self) -> None:
        if not (1 <= self.width <= 4096 and 1 <= self.height <= 4096):
            raise ExportError(f"input size {self.width}x{self.height} arrived; expected 1 to 4096 pixels a side")
        if self.resize not in _RESIZES:
            raise ExportError(f"resize {self.resize!r} arrived; expected {', '.join(_RESIZES)}")
        if not 0 < self.crop_fraction <= 1:
            raise ExportError(f"crop fraction {self.crop_fraction!r} arrived; expected a number above 0 and up to 1")
        if (self.mean is None) != (self.std is None):
            raise ExportError("only one of mean and std arrived; expected both, in units of 0 to 255")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and not (len(values) == 3 and all(abs(v) < 1e6 for v in values)):
                raise ExportError(f"{name} {values!r} arrived; expected three numbers in units of 0 to 255")
        if self.std is not None and min(self.std) <= 0:
            raise ExportError(f"std {self.std!r} arrived; expected three positive numbers")

    @property
    def border_color(self) -> Triple255:
        """(R, G, B), 0 to 255, of what is beside a padded photo: `padding`, or the mean, as timm's "border" has it."""
        return self.padding if self.padding is not None else border_of(self.mean)

    def normalized(self, pixels: Pixels) -> NDArray[np.float32]:
        """(…, H, W, 3) uint8 RGB as the float32 that the network takes, its colours in the network's order."""
        values: NDArray[np.float32] = self.ordered(pixels).astype(np.float32)
        mean, std = self.graph_normalization
        if mean is not None and std is not None:
            values -= np.array(mean, np.float32)
            values /= np.array(std, np.float32)
        return values

    def ordered(self, pixels: Pixels) -> Pixels:
        """(…, H, W, 3) RGB in the order that the network takes; a view."""
        return pixels[..., ::-1] if self.color_order == "BGR" else pixels

    @property
    def graph_normalization(self) -> tuple[Triple | None, Triple | None]:
        """Mean and std as a graph applies them, in the order that its colours have."""
        if self.mean is None or self.std is None or self.color_order == "RGB":
            return self.mean, self.std
        (red, green, blue), (wide_red, wide_green, wide_blue) = self.mean, self.std
        return (blue, green, red), (wide_blue, wide_green, wide_red)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "size": [self.height, self.width],
            "mean": "in the graph" if self.mean is None else list(self.mean),
            "std": "in the graph" if self.std is None else list(self.std),
            "resize": self.resize,
            "crop_fraction": self.crop_fraction,
            "color_order": self.color_order,
            "read_from": self.read_from,
        }


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the user says about preprocessing; None: as the model's configuration says. `normalize` False: in the graph."""

    size: tuple[int, int] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    normalize: bool = True
    resize: Resize | None = None
    crop_fraction: float | None = None
    color_order: Literal["RGB", "BGR"] | None = None

    def __post_init__(self) -> None:
        if not self.normalize and (self.mean is not None or self.std is not None):
            raise ExportError(
                "--normalized arrived with --mean or --std; expected one of them: either the network normalizes pixels itself, or "
                "it is fed normalized ones"
            )

    def apply(self, found: Preprocessing | None, what: str) -> Preprocessing:
        """The model's own preprocessing with the user's words on top.

        Raises SourceError where the model doesn't say and the user didn't either: a guess would cost recall silently; ExportError
        for words that would do nothing.
        """
        if found is None:
            said = self.size is not None and ((self.mean is not None and self.std is not None) or not self.normalize)
            if not said or self.size is None:
                raise SourceError(
                    f"{what} doesn't say how its photos were prepared; say it: --size 224, and --mean R,G,B --std R,G,B "
                    "in units of 0 to 255, or --normalized where the network does that itself"
                )
            found = Preprocessing(self.size[1], self.size[0], self.mean, self.std, read_from="the user")
        resize = self.resize or found.resize
        fraction = found.crop_fraction if resize in _CUTTING else 1.0
        changed = replace(
            found,
            height=self.size[0] if self.size else found.height,
            width=self.size[1] if self.size else found.width,
            mean=None if not self.normalize else self.mean or found.mean,
            std=None if not self.normalize else self.std or found.std,
            resize=resize,
            crop_fraction=fraction if self.crop_fraction is None else self.crop_fraction,
            color_order=self.color_order or found.color_order,
        )
        if self.crop_fraction is not None and resize not in _CUTTING:
            raise ExportError(
                f"--crop-fraction {self.crop_fraction:g} arrived with --resize {resize}, which cuts nothing off; expected --resize "
                "crop or squash-crop beside it"
            )
        return changed if changed == found else replace(changed, read_from=f"{found.read_from}, changed by the user")


def triple(values: Sequence[float], scale: float = 1.0) -> Triple:
    """One value, or one a channel, as three."""
    wide = list(values) * 3 if len(values) == 1 else list(values)
    if len(wide) != 3:
        raise SourceError(f"{len(wide)} values a channel arrived; expected an encoder of RGB photos with three")
    return (float(wide[0]) * scale, float(wide[1]) * scale, float(wide[2]) * scale)


def from_timm(config: Mapping[str, Any]) -> Preprocessing:
    """timm's `pretrained_cfg`: input_size (3, H, W), mean and std in units of 0 to 1, crop_pct, crop_mode."""
    channels, height, width = config["input_size"]
    if channels != 3:
        raise SourceError(f"a model of {channels} channels arrived; expected an encoder of RGB photos")
    resize = _TIMM_RESIZE.get(config.get("crop_mode", "center"), "crop")
    side = min(height, width)
    resized = max(side, math.floor(side / float(config.get("crop_pct") or 1.0)))  # to whole pixels, as timm does
    if resize == "squash" and resized > side:  # both sides to 1 / crop_pct of the input's, then its centre
        resize = "squash-crop"
    return Preprocessing(
        width, height, triple(config["mean"], 255), triple(config["std"], 255), resize,
        side / resized if resize in _CUTTING else 1.0, "timm's pretrained_cfg",
    )  # fmt: skip


def from_image_processor(config: Mapping[str, Any]) -> Preprocessing:
    """Hugging Face's preprocessor_config.json: size, crop_size, crop_pct, image_mean, image_std, rescale_factor, do_…

    Raises SourceError for what isn't one, or asks for what device files don't do.
    """
    try:
        return _from_image_processor(config)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise SourceError(
            f"preprocessor_config.json can't be read ({type(error).__name__}: {error}); expected an image processor's "
            "configuration, or say it: --size, --mean, --std"
        ) from error


_WHOLE_FROM = 384
"""ConvNeXt's image processor cuts nothing off from this size on (transformers, ConvNextImageProcessor.resize)."""


def _from_image_processor(config: Mapping[str, Any]) -> Preprocessing:
    size = _sides(config.get("size", 224))
    crop = _sides(config.get("crop_size", size)) if config.get("do_center_crop") else size
    height, width = crop
    squashed = isinstance(config.get("size"), Mapping) and "height" in config["size"]
    cropped = not squashed and (
        bool(config.get("do_center_crop")) or isinstance(config.get("size"), int) or "shortest_edge" in str(config)
    )
    mean, std = None, None
    if config.get("do_normalize", True) and "image_mean" in config:
        factor = 1 / float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
        mean, std = triple(config["image_mean"], factor), triple(config["image_std"], factor)
    elif config.get("do_rescale", True):
        mean, std = (0.0, 0.0, 0.0), triple([1 / float(config.get("rescale_factor", 1 / 255))])
    fraction = min(1.0, height / size[0])
    part = config.get("crop_pct")
    if part is not None and not config.get("do_center_crop"):
        cropped = height < _WHOLE_FROM
        fraction = float(part) if cropped else 1.0
    how: Resize = "crop" if cropped else "squash" if fraction == 1 else "squash-crop"
    return Preprocessing(
        width, height, mean, std, how, fraction, "Hugging Face's preprocessor_config.json",
        color_order="BGR" if config.get("do_flip_channel_order") else "RGB",
    )  # fmt: skip


def _sides(size: Any) -> tuple[int, int]:
    """(height, width) of the forms that preprocessor configurations have."""
    if isinstance(size, Mapping):
        size = size.get("shortest_edge") or (size.get("height"), size.get("width"))
    if isinstance(size, int):
        return size, size
    if isinstance(size, Sequence) and len(size) == 2 and all(isinstance(side, int) for side in size):
        return cast("tuple[int, int]", tuple(size))
    raise SourceError(f"preprocessor_config.json has the size {size!r}; expected shortest_edge, or height and width")


def from_card(card: EncoderCard) -> Preprocessing:
    """A card that lies beside a ready file."""
    return Preprocessing(
        card.width,
        card.height,
        card.mean,
        card.std,
        card.resize,
        card.crop_fraction,
        f"the card of {card.file}",
        card.padding,
        card.color_order,
    )
