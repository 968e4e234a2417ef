"""Ready .onnx and .tflite files as source encoders: cut at the pooled feature, normalized inside, held by their own runtime."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..edge.bundle.manifest import EncoderCard, Format
from ..edge.encoders.registry import read_card
from ..edge.encoders.runtimes import choose_runtime, open_session
from ..edge.encoders.session import Session, TensorInfo
from ..edge.errors import ShelfmatchError
from ..edge.imaging.image import Pixels
from . import onnx_graph, tflite_graph
from .cutting import cut, inner_tensors
from .device_files import card_for, encoder_for
from .encoders import Projection, SourceEncoder, Vectors
from .errors import ExportError, SourceError
from .preprocessing import Overrides, Preprocessing, from_card
from .tools import need, quiet

ONNX2TF = "SHELFMATCH_ONNX2TF"
"""Names the onnx2tf command, which lives in an environment of its own (it pins other versions of what we use)."""
_CLASSES = {1000, 1001, 21841, 21843}


def onnx_file(path: Path, output: str | None, overrides: Overrides) -> SourceEncoder:
    """A ready .onnx file, of normalized float photos or of uint8 pixels that it casts.

    Raises SourceError where it is no encoder of photos, or doesn't say how it wants them.
    """
    session, data = _opened(path, "onnx")
    layout, size, dtype = _image_input(path, session)
    card = _card_beside(path)
    found = from_card(card) if card else None
    with quiet(f"reading {path.name}"):
        if onnx_graph.is_quantized(data):
            raise SourceError(f"{path.name} is quantized already; expected the float network it was made from")
    if dtype != "float32":
        core = onnx_graph.with_float_input(data) if dtype == "uint8" else None
        if core is None:
            raise SourceError(f"{path.name} takes {dtype} pixels; expected the float network it was made from")
        data, found = core, _of_pixels(path, found, size, overrides)
    preprocessing = _sized(overrides, found, size, path.name)
    with tempfile.TemporaryDirectory(prefix="shelfmatch-cut-") as folder:
        data = _cut_at_feature(path, data, output, session, Path(folder))
    float_model = onnx_graph.named_nodes(onnx_graph.with_normalization(onnx_graph.tidy(data), preprocessing, layout))
    embed, dimension = _reference(path, float_model, "onnx", layout, size)
    return SourceEncoder(
        name=path.stem,
        preprocessing=preprocessing,
        dimension=dimension,
        embed=embed,
        writers={
            "onnx": partial(_write_onnx, float_model, dimension),
            "tflite": partial(_onnx_to_tflite, float_model, dimension, layout),
        },
        provenance=card.provenance if card else f"the ONNX file {path.name}",
        license=card.license if card else "",
        details={"output": output},
    )


def tflite_file(path: Path, output: str | None, overrides: Overrides) -> SourceEncoder:
    """A ready .tflite file: a float one to quantize, or one that is quantized already and only gets its card and report."""
    session, data = _opened(path, "tflite")
    with quiet(f"reading {path.name}"):
        if not tflite_graph.is_quantized(data):
            data = tflite_graph.with_own_names(data)
    layout, size, dtype = _image_input(path, session)
    card = _card_beside(path)
    with tempfile.TemporaryDirectory(prefix="shelfmatch-cut-") as folder:
        data = _cut_at_feature(path, data, output, session, Path(folder))
    to_onnx = (
        "no well-kept converter from TFLite exists that works beside the others; --to tflite, or export the network it was made "
        "from"
    )
    common: dict[str, Any] = {
        "name": path.stem,
        "provenance": card.provenance if card else f"the TFLite file {path.name}",
        "license": card.license if card else "",
        "details": {"output": output},
    }
    found = from_card(card) if card else None
    core: bytes | None = None
    with quiet(f"reading {path.name}"):
        if not tflite_graph.is_quantized(data):
            core = data if dtype == "float32" else tflite_graph.with_float_input(data) if dtype == "uint8" else None
    if core is not None and dtype == "uint8":
        found = _of_pixels(path, found, size, overrides)
    elif dtype == "float32":
        found = found or _from_metadata(path)
    elif found is None and overrides.mean is None:
        found = Preprocessing(size[1], size[0], None, None, read_from="the file's own input")
    preprocessing = _sized(overrides, found, size, path.name)
    if core is not None:
        float_model = tflite_graph.with_signature(core)
        embed, dimension = _reference(path, float_model, "tflite", layout, size, preprocessing)
        return SourceEncoder(
            preprocessing=preprocessing, dimension=dimension, embed=embed,
            writers={"tflite": partial(_write_tflite, float_model)}, refused={"onnx": to_onnx},
            takes_normalized=preprocessing.mean is not None, **common,
        )  # fmt: skip

    def finished(embed: Callable[[Pixels], Vectors], dimension: int) -> SourceEncoder:
        return SourceEncoder(
            preprocessing=preprocessing, dimension=dimension, embed=embed, writers={}, finished={"tflite": data},
            refused={"onnx": to_onnx}, takes_normalized=preprocessing.mean is not None, **common,
        )  # fmt: skip

    # Its card says how pixels become what it takes, by the scale of its input where that is quantized.
    card = card_for(data, path.name, "tflite", finished(lambda pixels: np.empty((0, 0), np.float32), 0), "as it is")
    encoder = encoder_for(data, card)
    return finished(
        lambda pixels: np.stack([encoder.embed_pixels(one) for one in pixels]), _vector_of(path, card.dimension)
    )


def _opened(path: Path, file_format: Format) -> tuple[Session, bytes]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}; expected a .{file_format} file") from error
    if not data:
        raise SourceError(f"{path} is empty; expected a .{file_format} file")
    if file_format == "onnx":
        _refuse_split_weights(path, data)
    with quiet(f"loading {path.name}"):
        return open_session(choose_runtime(file_format), data, threads=1), data


def _refuse_split_weights(path: Path, data: bytes) -> None:
    """An .onnx file may leave its weights in files beside it; a device file may not."""
    if b"external" not in data and b".data" not in data:
        return
    with quiet(f"reading {path.name}"):
        split = [tensor for tensor in onnx_graph.parse(data).graph.initializer if tensor.data_location == 1]
    if split:
        raise SourceError(f"{path.name} keeps weights in other files; save it whole (onnx.save without external data)")


def _image_input(path: Path, session: Session) -> tuple[str, tuple[int, int], str]:
    """(layout, (height, width), dtype) of the only input."""
    described = ", ".join(f"{info.dtype} {list(info.shape)}" for info in session.inputs) or "nothing"
    if len(session.inputs) == 1 and len(session.inputs[0].shape) == 4:
        batch, first, second, third = session.inputs[0].shape
        dtype = session.inputs[0].dtype
        if batch in (1, -1) and dtype in ("float32", "uint8", "int8"):
            if third == 3 and min(first, second) > 0:
                return "NHWC", (first, second), dtype
            if first == 3 and min(second, third) > 0:
                return "NCHW", (second, third), dtype
    raise SourceError(
        f"{path.name} takes {described}; expected one input of RGB photos of a fixed size, [1, H, W, 3] or [1, 3, H, W]"
    )


def _card_beside(path: Path) -> EncoderCard | None:
    for card_path in (Path(f"{path}.json"), path.with_suffix(".json")):
        if card_path.is_file():
            card, file = read_card(card_path)
            if file.resolve() == path.resolve():
                return card
    return None


def _of_pixels(path: Path, found: Preprocessing | None, size: tuple[int, int], overrides: Overrides) -> Preprocessing:
    """The preprocessing of a float network that takes uint8 pixels. Raises SourceError for a mean that it has already."""
    if overrides.mean is not None or overrides.std is not None:
        raise SourceError(f"{path.name} takes uint8 pixels and normalizes them itself; leave out --mean and --std")
    return found or Preprocessing(size[1], size[0], None, None, read_from="the file's own input")


def _sized(overrides: Overrides, found: Preprocessing | None, size: tuple[int, int], name: str) -> Preprocessing:
    """The preprocessing, at the size that the file has."""
    if found is None and overrides.size is None:
        normalized = not overrides.normalize or (overrides.mean is not None and overrides.std is not None)
        if normalized:
            mean, std = (overrides.mean, overrides.std) if overrides.normalize else (None, None)
            found = Preprocessing(size[1], size[0], mean, std, read_from="the user")
    applied = overrides.apply(found, name)
    if (applied.height, applied.width) != size:
        raise SourceError(
            f"{name} takes {size[0]}x{size[1]} photos and {applied.height}x{applied.width} were asked for; they must agree"
        )
    return applied


def _from_metadata(path: Path) -> Preprocessing | None:
    from ..edge.encoders.infer_card import inspect_encoder

    try:
        return from_card(inspect_encoder(path))
    except ShelfmatchError:  # nothing that says it
        return None


def _cut_at_feature(path: Path, data: bytes, output: str | None, session: Session, folder: Path) -> bytes:
    """The network `data` of the file up to its embedding: the named tensor, the only output, or what a classifier reads.

    `folder`: for what is cut.
    """
    outputs = {info.name: info for info in session.outputs}
    if output is None and len(outputs) > 1:
        named = ", ".join(f"{info.name} {list(info.shape)}" for info in session.outputs)
        raise SourceError(
            f"{path.name} has {len(outputs)} outputs ({named}); say which is the embedding, --output NAME"
        )
    if output is not None and output in outputs and len(outputs) == 1:
        return data
    whole = folder / f"whole{path.suffix}"
    whole.write_bytes(data)
    wanted = output
    if wanted is None:
        (only,) = session.outputs
        sizes = [n for n in only.shape if n > 1]
        with quiet(f"reading {path.name}"):
            is_classes = len(sizes) != 1 or sizes[0] in _CLASSES or _ends_in_softmax(path, data)
        if not is_classes:
            return data
        with quiet(f"reading {path.name}"):
            found = (
                _classifier_input(data)
                if path.suffix == ".onnx"
                else _vector_before(whole, data, int(np.prod(sizes)), only)
            )
        if found is None:
            raise SourceError(
                f"{path.name} gives {[*only.shape]}, and no pooled feature was found before it; say which tensor is the "
                "embedding, --output NAME"
            )
        wanted = found
    with quiet(f"cutting {path.name}"):
        return cut(whole, wanted, folder / path.name).read_bytes()


def _ends_in_softmax(path: Path, data: bytes) -> bool:
    if path.suffix == ".tflite":
        last = tflite_graph.last_operator(data)
        return last is not None and last[0] in ("SOFTMAX", "LOG_SOFTMAX")
    graph = onnx_graph.parse(data).graph
    made = {name: node for node in graph.node for name in node.output}
    node = made.get(graph.output[0].name)
    while node is not None and node.op_type in _PASSES_ON:
        if node.op_type in ("Softmax", "LogSoftmax"):
            return True
        node = made.get(node.input[0])
    return False


_PASSES_ON = ("Softmax", "LogSoftmax", "Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Dropout", "Add")
"""What may come after a classifier's product. Add: of its bias."""


def _classifier_input(data: bytes) -> str | None:
    """The tensor that the last product of an ONNX classifier reads, if it is one vector a photo.

    Not the last pooling: LayerNorm is written with means, and squeeze-excitation pools inside of its blocks.
    """
    model = onnx_graph.parse(data)
    graph = model.graph
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    node = made.get(graph.output[0].name)
    while node is not None and node.op_type in _PASSES_ON:
        node = made.get(next((name for name in node.input if name in made), ""))
    if node is None or node.op_type not in ("Gemm", "MatMul", "Conv") or len(constants.get(node.input[1], ())) < 2:
        return None
    shape = constants[node.input[1]]
    by_row = node.op_type == "Conv" or any(entry.name == "transB" and entry.i for entry in node.attribute)
    inputs = shape[1] if by_row else shape[0]
    described = need("onnx", "reading an .onnx file").shape_inference.infer_shapes(model).graph.value_info
    sides = {entry.name: [d.dim_value for d in entry.type.tensor_type.shape.dim] for entry in described}
    known = sides.get(node.input[0])
    is_vector = bool(known) and int(np.prod([n for n in known or () if n > 1])) == inputs
    return str(node.input[0]) if is_vector and inputs not in _CLASSES else None


def _vector_before(whole: Path, data: bytes, classes: int, output: TensorInfo) -> str | None:
    """The tensor that the last product of a .tflite classifier reads, else the last inner vector that is no score of its
    classes; by number."""
    no_features = {*_CLASSES, classes}
    read = tflite_graph.last_product_input(data)
    if read is not None and int(np.prod(read[1])) == max(read[1], default=0) not in no_features:
        return str(read[0])
    vectors = [t for t in inner_tensors(whole) if int(np.prod(t.shape)) not in no_features]
    return str(vectors[-1].index) if vectors and len(output.shape) <= 4 else None


def _reference(
    path: Path,
    model: bytes,
    file_format: Format,
    layout: str,
    size: tuple[int, int],
    preprocessing: Preprocessing | None = None,
) -> tuple[Callable[[Pixels], Vectors], int]:
    """What the float file itself says of pixels, through its own runtime, and the embedding's dimension."""
    with quiet(f"running {path.name}"):
        session = open_session(choose_runtime(file_format), model, threads=1)

        def embed(pixels: Pixels) -> Vectors:
            rows = []
            for one in pixels:
                value = one.astype(np.float32) if preprocessing is None else preprocessing.normalized(one)
                value = value if layout == "NHWC" else value.transpose(2, 0, 1)
                row = session.run(np.ascontiguousarray(value)[np.newaxis], session.outputs[0].name)
                rows.append(row.reshape(-1).astype(np.float32))
            return np.stack(rows)

        dimension = int(embed(np.full((1, *size, 3), 128, np.uint8)).shape[1])
    return embed, _vector_of(path, dimension)


def _vector_of(path: Path, dimension: int) -> int:
    if dimension > 65536:
        raise SourceError(
            f"{path.name} gives {dimension:,} numbers a photo, a feature map and no vector; say which tensor, --output NAME"
        )
    return dimension


def _write_onnx(model: bytes, dimension: int, path: Path, projection: Projection | None) -> None:
    path.write_bytes(onnx_graph.with_projection(model, projection, dimension) if projection else model)


def _write_tflite(model: bytes, path: Path, projection: Projection | None) -> None:
    if projection is not None:
        raise ExportError("--dim goes with networks that are converted; a ready .tflite file keeps its dimension")
    path.write_bytes(model)


def _onnx_to_tflite(model: bytes, dimension: int, layout: str, path: Path, projection: Projection | None) -> None:
    """onnx2tf, run as a program of an environment of its own."""
    command = os.environ.get(ONNX2TF) or shutil.which("onnx2tf")
    if command and Path(command).name != command:
        command = str(Path(command).absolute())  # it runs in a folder of its own
    if not command:
        raise ExportError(
            "ONNX → TFLite needs onnx2tf, which can't live beside the other tools: python3.12 -m venv onnx2tf && "
            f"onnx2tf/bin/pip install onnx2tf==2.6.7, then {ONNX2TF}=onnx2tf/bin/onnx2tf; or --to onnx"
        )
    with tempfile.TemporaryDirectory(prefix="shelfmatch-onnx2tf-") as name:
        folder = Path(name)
        _write_onnx(onnx_graph.with_fixed_batch(model), dimension, folder / "model.onnx", projection)
        arguments = [command, "-i", "model.onnx", "-o", "out", "-tb", "flatbuffer_direct"]
        if layout == "NHWC":
            arguments += ["-kat", onnx_graph.parse(model).graph.input[0].name]
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        try:
            done = subprocess.run(
                arguments, cwd=folder, env=environment, capture_output=True, text=True, errors="replace",
                stdin=subprocess.DEVNULL, timeout=1800,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ExportError(f"{command} can't be run ({error}); set {ONNX2TF} to onnx2tf's command") from error
        made = sorted((folder / "out").glob("*float32.tflite"))
        if done.returncode or not made:
            last = ([line for line in (done.stderr + done.stdout).splitlines() if line.strip()] or ["no message"])[-1]
            raise ExportError(f"onnx2tf failed: {last.strip()[:200]}; export to ONNX alone with --to onnx")
        path.write_bytes(tflite_graph.with_signature(tflite_graph.renamed_tensors(made[0].read_bytes())))
