"""An encoder's card: the frozen record of everything between pixels and embedding, its checks and its JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, NoReturn

from ..errors import EncoderError
from ..records import problem_of_choice, read_record

CARD_VERSION = 1
IN_THE_GRAPH = "in the graph"

_HUGE = 1e9
MIDDLE_GREY = (128, 128, 128)
_STORED = {"uint8": (0, 255), "int8": (-128, 127)}

Format = Literal["tflite", "onnx"]


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
        _one_of("format", self.format, ("tflite", "onnx"))
        _one_of("input_dtype", self.input_dtype, ("uint8", "int8", "float32"))
        _one_of("output_dtype", self.output_dtype, ("uint8", "int8", "float32"))
        _one_of("layout", self.layout, ("NHWC", "NCHW"))
        _one_of("color_order", self.color_order, ("RGB", "BGR"))
        _one_of("resize", self.resize, ("squash", "crop", "squash-crop", "pad"))
        if PurePath(self.file).name != self.file or self.file in ("", ".."):
            _bad_card(f"file is {self.file!r}", "the name of a file beside the card")
        if self.size_bytes < 1:
            _bad_card(f"size_bytes is {self.size_bytes!r}", "the file's size")
        for field in ("width", "height", "dimension"):
            value = getattr(self, field)
            if not 1 <= value <= 65536:
                _bad_card(f"{field} is {value!r}", "a whole number from 1 to 65536")
        if not 0 < self.crop_fraction <= 1:
            _bad_card(f"crop_fraction is {self.crop_fraction!r}", "a number above 0 and up to 1")
        if (self.mean is None) != (self.std is None):
            _bad_card("only one of mean and std is given", "both, or 'in the graph' for both")
        for field in ("mean", "std"):
            values = getattr(self, field)
            if values is not None and not (
                isinstance(values, tuple) and len(values) == 3 and all(map(_finite, values))
            ):
                _bad_card(f"{field} is {values!r}", f"three finite numbers in units of 0 to 255, or {IN_THE_GRAPH!r}")
        if self.padding is not None and not (
            isinstance(self.padding, tuple)
            and len(self.padding) == 3
            and all(type(one) is int and 0 <= one <= 255 for one in self.padding)
        ):
            _bad_card(f"padding is {self.padding!r}", "three whole numbers from 0 to 255, or null")
        if self.std is not None and min(self.std) <= 0:
            _bad_card(f"std is {self.std!r}", "three positive numbers")
        if self.mean is not None and self.input_dtype != "float32" and self.input_quantization is None:
            _bad_card(f"mean and std are given for a {self.input_dtype} input", "input_quantization as well")
        if self.output_dtype != "float32" and self.output_quantization is None:
            _bad_card(f"output_dtype is {self.output_dtype!r}", "output_quantization as well")
        self._check_quantization("input_quantization", self.input_quantization, self.input_dtype)
        self._check_quantization("output_quantization", self.output_quantization, self.output_dtype)
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            _bad_card(f"sha256 is {self.sha256!r}", "64 hexadecimal digits")

    @property
    def border_color(self) -> tuple[int, int, int]:
        """(R, G, B), 0 to 255, of what is beside a padded photo."""
        return self.padding if self.padding is not None else border_of(self.mean)

    def _check_quantization(self, field: str, value: object, dtype: str) -> None:
        if value is None:
            return
        if not isinstance(value, Quantization):
            _bad_card(f"{field} is {value!r}", "an object of scale and zero_point, or null")
        lowest, highest = _STORED.get(dtype, (0, -1))
        if not lowest <= value.zero_point <= highest:
            _bad_card(f"{field} has zero_point {value.zero_point!r}", f"one that {dtype} can store (float32: null)")

    def to_dict(self) -> dict[str, Any]:
        """As JSON: `mean` and `std` read "in the graph" where the graph normalizes."""
        record = dataclasses.asdict(self)
        for field in ("mean", "std"):
            record[field] = IN_THE_GRAPH if record[field] is None else list(record[field])
        if self.padding is None:  # as cards were written before there was one
            del record["padding"]
        else:
            record["padding"] = list(self.padding)
        return {"card_version": CARD_VERSION, **record}

    @classmethod
    def from_dict(cls, record: object) -> EncoderCard:
        """Check and freeze a card. Raises EncoderError that names the field."""
        if not isinstance(record, Mapping):
            _bad_card(f"{type(record).__name__} arrived", "a JSON object")
        values = dict(record)
        version = values.pop("card_version", CARD_VERSION)
        if version != CARD_VERSION:
            _bad_card(f"card_version is {version!r}", f"{CARD_VERSION}; install a newer shelfmatch")
        for field in ("mean", "std"):
            if isinstance(values.get(field), list):
                values[field] = tuple(values[field])
            elif values.get(field) == IN_THE_GRAPH:
                values[field] = None
        if isinstance(values.get("padding"), list):
            values["padding"] = tuple(values["padding"])
        for field in ("input_quantization", "output_quantization"):
            if isinstance(values.get(field), Mapping):
                values[field] = read_record(Quantization, values[field], f"encoder card: {field}", EncoderError)
        return read_record(cls, values, "encoder card", EncoderError)


def border_of(mean: tuple[float, float, float] | None) -> tuple[int, int, int]:
    """The colour that normalizes to about zero: the mean (R, G, B in units of 0 to 255), or a middle grey where the graph
    normalizes, which is the mean of the networks of this package."""
    if mean is None:
        return MIDDLE_GREY
    red, green, blue = (min(255, max(0, round(value))) for value in mean)
    return red, green, blue


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_HUGE < value < _HUGE


def _one_of(field: str, value: object, allowed: tuple[str, ...]) -> None:
    problem = problem_of_choice(field, value, allowed)
    if problem:
        raise EncoderError(f"encoder card: {problem}")


def _bad_card(arrived: str, expected: str) -> NoReturn:
    raise EncoderError(f"encoder card: {arrived}; expected {expected}")
