"""The frozen records: an encoder's card and a bundle's manifest, their validation and their JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, NoReturn, TypeVar

from ..errors import BundleDamaged, BundleError, BundleVersion, EncoderError
from ..scoring.adapter import Adaptation

CARD_VERSION = 1
ONE_ENCODER_VERSION = 2
"""2: an adapter and prototypes, and tables in the catalogue for filters and words. No release wrote format 1."""
BUNDLE_VERSION = 3
"""3: a second encoder. Bundles with one encoder stay format 2, which readers of that format can answer from."""
BUNDLE_FORMAT = "shelfmatch-bundle"
IN_THE_GRAPH = "in the graph"

_HUGE = 1e9
_STORED = {"uint8": (0, 255), "int8": (-128, 127)}

Format = Literal["tflite", "onnx"]
_Record = TypeVar("_Record")


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
    resize: Literal["squash", "crop", "pad"] = "squash"
    crop_fraction: float = 1.0
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    input_quantization: Quantization | None = None
    output_quantization: Quantization | None = None
    provenance: str = ""
    license: str = ""

    def __post_init__(self) -> None:
        _one_of("format", self.format, ("tflite", "onnx"))
        _one_of("input_dtype", self.input_dtype, ("uint8", "int8", "float32"))
        _one_of("output_dtype", self.output_dtype, ("uint8", "int8", "float32"))
        _one_of("layout", self.layout, ("NHWC", "NCHW"))
        _one_of("color_order", self.color_order, ("RGB", "BGR"))
        _one_of("resize", self.resize, ("squash", "crop", "pad"))
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
        for field in ("input_quantization", "output_quantization"):
            if isinstance(values.get(field), Mapping):
                values[field] = _build(Quantization, values[field], f"encoder card: {field}")
        return _build(cls, values, "encoder card")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a bundle: its name inside the directory, its size and its sha256 (hexadecimal)."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """What the vectors are: `kind` exact or hnsw, `dtype` i8, f16 or f32."""

    kind: Literal["exact", "hnsw"]
    dtype: Literal["i8", "f16", "f32"]
    dimension: int
    references: int


@dataclass(frozen=True, slots=True)
class SecondRecord:
    """What a bundle with two encoders has of the other one, and when that is asked: `cascade` is what `cascade.Cascade` reads."""

    encoder: EncoderCard
    index: IndexRecord
    adaptation: Adaptation
    cascade: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {
            "cascade": dict(self.cascade),
            "index": dataclasses.asdict(self.index),
            "adaptation": self.adaptation.to_dict(),
            "encoder": self.encoder.to_dict(),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], where: str) -> SecondRecord:
        """From the manifest. Raises EncoderError, BundleError, KeyError or TypeError."""
        if not isinstance(record["cascade"], Mapping):
            raise TypeError("the cascade")
        return cls(
            EncoderCard.from_dict(record["encoder"]),
            _build(IndexRecord, record["index"], where),
            Adaptation.from_dict(record["adaptation"]),
            record["cascade"],
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """A bundle's table of contents. `decision` is what `decision.Decision` reads, `resizer` what the photos went through."""

    generation: int
    created_by: str
    files: Mapping[str, FileEntry]
    encoder: EncoderCard
    index: IndexRecord
    products: int
    decision: Mapping[str, Any]
    adaptation: Adaptation
    resizer: Literal["pillow", "opencv"] = "pillow"
    second: SecondRecord | None = None

    def to_bytes(self) -> bytes:
        """Readable JSON that ends in the sha256 of everything before that hash."""
        record = {
            "format": BUNDLE_FORMAT,
            "format_version": ONE_ENCODER_VERSION if self.second is None else BUNDLE_VERSION,
            "generation": self.generation,
            "created_by": self.created_by,
            "products": self.products,
            "resizer": self.resizer,
            "files": {role: dataclasses.asdict(entry) for role, entry in self.files.items()},
            "index": dataclasses.asdict(self.index),
            "decision": dict(self.decision),
            "adaptation": self.adaptation.to_dict(),
            "encoder": self.encoder.to_dict(),
            **({} if self.second is None else {"second": self.second.to_dict()}),
        }
        body = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)[:-2].encode()
        return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + _SEAL_END

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Manifest:
        """Check the seal, the version and every field. Raises BundleDamaged, BundleVersion or BundleError.

        The version is looked at before the seal: a later format may be sealed another way.
        """
        body, seal, rest = data.rpartition(_SEAL)
        sealed = bool(seal) and rest == hashlib.sha256(body).hexdigest().encode() + _SEAL_END
        try:
            record = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise BundleDamaged(
                f"{where} is damaged: it is not JSON; build the bundle again or copy it again"
            ) from error
        if not isinstance(record, dict) or (sealed and record.get("format") != BUNDLE_FORMAT):
            raise BundleError(f"{where} is not the manifest of a shelfmatch bundle")
        version = record.get("format_version")
        if isinstance(version, int) and version > BUNDLE_VERSION:
            raise BundleVersion(
                f"{where} has bundle format {version}; this shelfmatch reads up to {BUNDLE_VERSION}, install a newer one"
            )
        if sealed and version not in (ONE_ENCODER_VERSION, BUNDLE_VERSION):
            raise BundleVersion(
                f"{where} has bundle format {version}; this shelfmatch reads {_READABLE}, build the bundle again"
            )
        if not sealed:
            raise BundleDamaged(
                f"{where} is damaged: its bytes differ from its own sha256; copy or build the bundle again"
            )
        try:
            _one_of("resizer", record["resizer"], ("pillow", "opencv"))
            if version == ONE_ENCODER_VERSION and "second" in record:
                raise KeyError("a format that has a second encoder")
            return cls(
                generation=record["generation"],
                created_by=record["created_by"],
                files={role: _build(FileEntry, entry, where) for role, entry in record["files"].items()},
                encoder=EncoderCard.from_dict(record["encoder"]),
                index=_build(IndexRecord, record["index"], where),
                products=record["products"],
                decision=record["decision"],
                adaptation=Adaptation.from_dict(record["adaptation"]),
                resizer=record["resizer"],
                second=None if version == ONE_ENCODER_VERSION else SecondRecord.from_dict(record["second"], where),
            )
        except (KeyError, AttributeError, TypeError, EncoderError) as error:
            raise BundleError(f"{where} lacks or misstates {error}; build the bundle again") from error


_READABLE = f"formats {ONE_ENCODER_VERSION} and {BUNDLE_VERSION}"
_SEAL = b',\n  "sha256": "'
_SEAL_END = b'"\n}\n'


def _build(record_type: type[_Record], values: Mapping[str, Any], where: str) -> _Record:
    """Make a dataclass from JSON, refusing unknown fields, missing ones and wrong types by name."""
    fields = {field.name: field for field in dataclasses.fields(record_type)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise EncoderError(f"{where}: unknown field {', '.join(unknown)}; the fields are {', '.join(fields)}")
    missing = [name for name, field in fields.items() if name not in values and field.default is dataclasses.MISSING]
    if missing:
        raise EncoderError(f"{where}: {', '.join(missing)} missing; the fields are {', '.join(fields)}")
    for name, value in values.items():
        expected = _PLAIN_TYPES.get(str(fields[name].type).partition("[")[0])
        if expected is not None and (not isinstance(value, expected) or isinstance(value, bool)):
            raise EncoderError(f"{where}: {name} is {value!r}; expected {fields[name].type}")
    return record_type(**values)


_PLAIN_TYPES: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "Literal": str, "Format": str}


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_HUGE < value < _HUGE


def _one_of(field: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        _bad_card(f"{field} is {value!r}", "one of " + ", ".join(allowed))


def _bad_card(arrived: str, expected: str) -> NoReturn:
    raise EncoderError(f"encoder card: {arrived}; expected {expected}")
