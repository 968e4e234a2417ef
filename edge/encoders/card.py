"""An encoder's card: the frozen record of everything between pixels and embedding, its checks and its JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, NoReturn

from ..errors import EncoderError, ShelfmatchError
from ..records import read_record

CARD_VERSION = 1
IN_THE_GRAPH = "in the graph"

_HUGE = 1e9
MIDDLE_GREY = (128, 128, 128)
_STORED = {"uint8": (0, 255), "int8": (-128, 127)}

DTYPES = ("uint8", "int8", "float32")

Format = Literal["tflite", "onnx"]
Bad = Callable[[str, str], NoReturn]
"""Refuses a card: what arrived, what was expected."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """real = scale * (stored - zero_point), per tensor (https://ai.google.dev/edge/litert/models/quantization_spec)."""

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not 0 < self.scale < _HUGE:
            _bad_card(f"quantization scale is {self.scale!r}", "a positive number")


@dataclass(frozen=True, slots=True)
class EncoderCard:
    """Everything between pixels and embedding, so that a photo means the same on every machine.

    Pixels are RGB 0 to 255 at (height, width). `mean` and `std` are in those units, one value a channel; None means that the
    graph normalizes and takes the pixels as they are (uint8: 0 to 255; int8: minus 128; float: 0.0 to 255.0). A quantized
    input stores (pixel - mean) / std by its `input_quantization`. The embedding is the flattened output, dequantized.

    `resize` "squash-crop" changes the sides as "squash" does and keeps the middle `crop_fraction` of each, as networks want it
    whose training squashed photos and then cut out their centre. "pad" keeps all of the photo on a border of `padding` (R, G,
    B); None: of `mean`, which the network takes for nothing, or of a middle grey where the graph normalizes.
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
    output_name: str
    output_dtype: Literal["uint8", "int8", "float32"]
    dimension: int
    color_order: Literal["RGB", "BGR"] = "RGB"
    resize: Literal["squash", "crop", "squash-crop", "pad"] = "squash"
    crop_fraction: float = 1.0
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    input_quantization: Quantization | None = None
    output_quantization: Quantization | None = None
    provenance: str = ""
    license: str = ""
    padding: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        check_file_and_input(self, _bad_card)
        if self.output_dtype not in DTYPES:
            _bad_card(f"output_dtype is {self.output_dtype!r}", f"one of {', '.join(DTYPES)}")
        check_side("dimension", self.dimension, _bad_card)
        if self.output_dtype != "float32" and self.output_quantization is None:
            _bad_card(f"output_dtype is {self.output_dtype!r}", "output_quantization as well")
        check_quantization("output_quantization", self.output_quantization, self.output_dtype, _bad_card)

    @property
    def border_color(self) -> tuple[int, int, int]:
        """(R, G, B), 0 to 255, of what is beside a padded photo."""
        return self.padding if self.padding is not None else border_of(self.mean)

    def to_dict(self) -> dict[str, Any]:
        """As JSON: `mean` and `std` read "in the graph" where the graph normalizes."""
        record = dataclasses.asdict(self)
        put_input(record)
        return {"card_version": CARD_VERSION, **record}

    @classmethod
    def from_dict(cls, record: object) -> EncoderCard:
        """Check and freeze a card. Raises EncoderError that names the field."""
        if not isinstance(record, Mapping):
            _bad_card(f"{type(record).__name__} arrived", "a JSON object")
        values = dict(record)
        if "detector_card_version" in values and "card_version" not in values:
            _bad_card("a detector's card arrived", "an encoder's, with card_version, output_name and dimension")
        version = values.pop("card_version", CARD_VERSION)
        if version != CARD_VERSION:
            _bad_card(f"card_version is {version!r}", f"{CARD_VERSION}; install a newer shelfmatch")
        take_input(values, "encoder card", EncoderError)
        if isinstance(values.get("output_quantization"), Mapping):
            values["output_quantization"] = read_record(
                Quantization, values["output_quantization"], "encoder card: output_quantization", EncoderError
            )
        return read_record(cls, values, "encoder card", EncoderError)


def check_file_and_input(card: Any, bad: Bad) -> None:
    """Hold what every network's card has, its file and its only input, against what they may be. `bad` raises."""
    choices = {
        "format": ("tflite", "onnx"),
        "input_dtype": DTYPES,
        "layout": ("NHWC", "NCHW"),
        "color_order": ("RGB", "BGR"),
    }
    for field, allowed in {**choices, "resize": ("squash", "crop", "squash-crop", "pad")}.items():
        if getattr(card, field) not in allowed:
            bad(f"{field} is {getattr(card, field)!r}", f"one of {', '.join(allowed)}")
    if PurePath(card.file).name != card.file or card.file in ("", ".."):
        bad(f"file is {card.file!r}", "the name of a file beside the card")
    if card.size_bytes < 1:
        bad(f"size_bytes is {card.size_bytes!r}", "the file's size")
    for field in ("width", "height"):
        check_side(field, getattr(card, field), bad)
    if not 0 < card.crop_fraction <= 1:
        bad(f"crop_fraction is {card.crop_fraction!r}", "a number above 0 and up to 1")
    _check_normalization(card, bad)
    if card.padding is not None and not (
        isinstance(card.padding, tuple)
        and len(card.padding) == 3
        and all(type(one) is int and 0 <= one <= 255 for one in card.padding)
    ):
        bad(f"padding is {card.padding!r}", "three whole numbers from 0 to 255, or null")
    check_quantization("input_quantization", card.input_quantization, card.input_dtype, bad)
    if len(card.sha256) != 64 or set(card.sha256) - set("0123456789abcdef"):
        bad(f"sha256 is {card.sha256!r}", "64 hexadecimal digits")


def check_side(field: str, value: int, bad: Bad) -> None:
    """A number of pixels or elements."""
    if not 1 <= value <= 65536:
        bad(f"{field} is {value!r}", "a whole number from 1 to 65536")


def _check_normalization(card: Any, bad: Bad) -> None:
    if (card.mean is None) != (card.std is None):
        bad("only one of mean and std is given", "both, or 'in the graph' for both")
    for field in ("mean", "std"):
        values = getattr(card, field)
        if values is not None and not (isinstance(values, tuple) and len(values) == 3 and all(map(_finite, values))):
            bad(f"{field} is {values!r}", f"three finite numbers in units of 0 to 255, or {IN_THE_GRAPH!r}")
    if card.std is not None and min(card.std) <= 0:
        bad(f"std is {card.std!r}", "three positive numbers")
    if card.mean is not None and card.input_dtype != "float32" and card.input_quantization is None:
        bad(f"mean and std are given for a {card.input_dtype} input", "input_quantization as well")


def check_quantization(field: str, value: object, dtype: str, bad: Bad) -> None:
    """None, or a scale and a zero point that the dtype can store."""
    if value is None:
        return
    if not isinstance(value, Quantization):
        bad(f"{field} is {value!r}", "an object of scale and zero_point, or null")
    lowest, highest = _STORED.get(dtype, (0, -1))
    if not lowest <= value.zero_point <= highest:
        bad(f"{field} has zero_point {value.zero_point!r}", f"one that {dtype} can store (float32: null)")


def put_input(record: dict[str, Any]) -> None:
    """A card's record as JSON has it: `mean` and `std` read "in the graph" where the graph normalizes."""
    for field in ("mean", "std"):
        record[field] = IN_THE_GRAPH if record[field] is None else list(record[field])
    if record["padding"] is None:  # as cards were written before there was one
        del record["padding"]
    else:
        record["padding"] = list(record["padding"])


def take_input(values: dict[str, Any], where: str, error: type[ShelfmatchError]) -> None:
    """The other way round, in place. Raises `error`."""
    for field in ("mean", "std", "padding"):
        if isinstance(values.get(field), list):
            values[field] = tuple(values[field])
        elif field != "padding" and values.get(field) == IN_THE_GRAPH:
            values[field] = None
    if isinstance(values.get("input_quantization"), Mapping):
        values["input_quantization"] = read_record(
            Quantization, values["input_quantization"], f"{where}: input_quantization", error
        )


def border_of(mean: tuple[float, float, float] | None) -> tuple[int, int, int]:
    """The colour that normalizes to about zero: the mean (R, G, B in units of 0 to 255), or a middle grey where the graph
    normalizes, which is the mean of the networks of this package."""
    if mean is None:
        return MIDDLE_GREY
    red, green, blue = (min(255, max(0, round(value))) for value in mean)
    return red, green, blue


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_HUGE < value < _HUGE


def _bad_card(arrived: str, expected: str) -> NoReturn:
    raise EncoderError(f"encoder card: {arrived}; expected {expected}")
