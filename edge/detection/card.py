"""A detector's card: the frozen record of everything between pixels and boxes, its checks and its JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from ..encoders.card import (
    DTYPES,
    Format,
    Quantization,
    border_of,
    check_file_and_input,
    check_quantization,
    put_input,
    take_input,
)
from ..errors import DetectorError, EncoderError
from ..records import read_record

DETECTOR_CARD_VERSION = 1

Head = Literal["shelfmatch", "yolov5", "yolov8", "yolo-nms", "nanodet", "ssd", "ssd-anchors", "ssd-nms"]
HEADS: tuple[Head, ...] = ("shelfmatch", "yolov5", "yolov8", "yolo-nms", "nanodet", "ssd", "ssd-anchors", "ssd-nms")

_CHOICES: dict[str, tuple[str, ...]] = {
    "head": HEADS,
    "resize": ("pad", "squash"),
    "distances": ("softplus", "exp", "linear"),
    "boxes": ("pixels", "shares"),
    "scores": ("probability", "logit"),
}


@dataclass(frozen=True, slots=True)
class OutputCard:
    """One output of a detector's file; `quantization` where it is stored in 8 bits."""

    name: str
    dtype: Literal["uint8", "int8", "float32"]
    quantization: Quantization | None = None


@dataclass(frozen=True, slots=True)
class DetectorCard:
    """Everything between pixels and boxes. What it says of the file and the input is as in an `EncoderCard`; `resize` is "pad" or
    "squash", since a detector looks at all of a photo.

    `head`: what the outputs mean (`heads` says it for each); `classes`: their names in order. `products`: the classes that are
    products, None for all but `gaps`, the classes that are empty places. `strides`: of grids of cells, in input pixels, in the
    order of the outputs; `distances`: what makes raw distances positive ("shelfmatch"); `center`: where in its cell a cell looks
    from, 0 to 1; `boxes`: units of boxes, pixels of the input or shares of its sides; `scores`: whether they are probabilities or
    come before the sigmoid. `floor`: scores from which on something is found; `overlap`: intersection over union above which two
    boxes are one thing.
    """

    name: str
    file: str
    sha256: str
    size_bytes: int
    format: Format
    width: int
    height: int
    input_name: str
    input_dtype: Literal["uint8", "int8", "float32"]
    layout: Literal["NHWC", "NCHW"]
    outputs: tuple[OutputCard, ...]
    head: Head
    classes: tuple[str, ...]
    products: tuple[str, ...] | None = None
    gaps: tuple[str, ...] = ("gap",)
    strides: tuple[int, ...] = ()
    distances: Literal["softplus", "exp", "linear"] = "linear"
    center: float = 0.5
    boxes: Literal["pixels", "shares"] = "pixels"
    scores: Literal["probability", "logit"] = "probability"
    floor: float = 0.3
    overlap: float = 0.5
    color_order: Literal["RGB", "BGR"] = "RGB"
    resize: Literal["squash", "pad"] = "pad"
    crop_fraction: float = 1.0
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    input_quantization: Quantization | None = None
    provenance: str = ""
    license: str = ""
    padding: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        check_file_and_input(self, _bad_card)
        for field, allowed in _CHOICES.items():
            if getattr(self, field) not in allowed:
                _bad_card(f"{field} is {getattr(self, field)!r}", f"one of {', '.join(allowed)}")
        if self.crop_fraction != 1:
            _bad_card(f"crop_fraction is {self.crop_fraction!r}", "1, a detector looks at the whole photo")
        for field in ("floor", "overlap"):
            if not 0 < getattr(self, field) < 1:
                _bad_card(f"{field} is {getattr(self, field)!r}", "a number between 0 and 1")
        if not 0 <= self.center <= 1:
            _bad_card(f"center is {self.center!r}", "a number from 0 to 1, like 0.5")
        self._check_lists()
        if not self.outputs or not all(isinstance(one, OutputCard) for one in self.outputs):
            _bad_card(f"outputs is {self.outputs!r}", "a list of objects of name, dtype and quantization")
        for one in self.outputs:
            if one.dtype not in DTYPES:
                _bad_card(f"output {one.name} has dtype {one.dtype!r}", f"one of {', '.join(DTYPES)}")
            if one.dtype != "float32" and one.quantization is None:
                _bad_card(f"output {one.name} is {one.dtype}", "its quantization as well")
            check_quantization(f"quantization of {one.name}", one.quantization, one.dtype, _bad_card)

    def _check_lists(self) -> None:
        names = {"classes": self.classes, "products": self.products or (), "gaps": self.gaps}
        for field, values in names.items():
            if not isinstance(values, tuple) or not all(isinstance(one, str) for one in values):
                _bad_card(f"{field} is {values!r}", "a list of names")
        if not 1 <= len(self.classes) <= 10_000 or len(set(self.classes)) != len(self.classes):
            _bad_card(f"classes has {len(self.classes)} names", "one or more, each once")
        for field in ("products", "gaps"):
            strange = [one for one in names[field] if one not in self.classes]
            if strange and not (field == "gaps" and self.gaps == ("gap",)):
                _bad_card(f"{field} has {strange[0]!r}", f"some of the classes, {', '.join(self.classes[:8])}")
        if not isinstance(self.strides, tuple) or not all(
            type(one) is int and 1 <= one <= 1024 for one in self.strides
        ):
            _bad_card(f"strides is {self.strides!r}", "whole numbers of pixels, like [8, 16, 32]")
        if not self.strides and self.head in ("shelfmatch", "nanodet"):
            _bad_card(f"head is {self.head!r} without strides", "whole numbers of pixels, like [8, 16, 32]")

    @property
    def border_color(self) -> tuple[int, int, int]:
        """(R, G, B), 0 to 255, of what is beside a padded photo."""
        return self.padding if self.padding is not None else border_of(self.mean)

    def to_dict(self) -> dict[str, Any]:
        """As JSON: `mean` and `std` read "in the graph" where the graph normalizes."""
        record = dataclasses.asdict(self)
        put_input(record)
        record["outputs"] = list(record["outputs"])
        return {"detector_card_version": DETECTOR_CARD_VERSION, **record}

    @classmethod
    def from_dict(cls, record: object) -> DetectorCard:
        """Check and freeze a card. Raises DetectorError that names the field."""
        if not isinstance(record, Mapping):
            _bad_card(f"{type(record).__name__} arrived", "a JSON object")
        values = dict(record)
        if "card_version" in values and "detector_card_version" not in values:
            _bad_card("an encoder's card arrived", "a detector's, with detector_card_version and head")
        version = values.pop("detector_card_version", DETECTOR_CARD_VERSION)
        if version != DETECTOR_CARD_VERSION:
            _bad_card(f"detector_card_version is {version!r}", f"{DETECTOR_CARD_VERSION}; install a newer shelfmatch")
        if isinstance(values.get("input_quantization"), Mapping):
            values["input_quantization"] = _quantization(values["input_quantization"], "input_quantization")
        take_input(values, "detector card", DetectorError)
        for field in ("classes", "products", "gaps", "strides"):
            if isinstance(values.get(field), list):
                values[field] = tuple(values[field])
        if isinstance(values.get("outputs"), list):
            values["outputs"] = tuple(_output(one) for one in values["outputs"])
        return read_record(cls, values, "detector card", DetectorError)


def _output(record: object) -> OutputCard:
    if isinstance(record, Mapping) and isinstance(record.get("quantization"), Mapping):
        own = f"quantization of {record.get('name')}"
        record = {**record, "quantization": _quantization(record["quantization"], own)}
    return read_record(OutputCard, record, "detector card: outputs", DetectorError)


def _quantization(record: object, field: str) -> Quantization:
    where = f"detector card: {field}"
    try:
        return read_record(Quantization, record, where, DetectorError)
    except EncoderError as error:  # its scale is no number to multiply by: the same record stands in encoders' cards
        raise DetectorError(f"{where}: {str(error).removeprefix('encoder card: quantization ')}") from error


def _bad_card(arrived: str, expected: str) -> NoReturn:
    raise DetectorError(f"detector card: {arrived}; expected {expected}")
