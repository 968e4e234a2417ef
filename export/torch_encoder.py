"""A PyTorch network as a source encoder: what it embeds, and how it is written as ONNX and as TFLite."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..edge.encoders.card import Format
from ..edge.encoders.class_scores import CLASS_COUNTS
from ..edge.imaging.image import Pixels
from .encoders import OwnProcessor, Projection, SourceEncoder, Vectors
from .errors import SourceError
from .onnx_graph import tidy, with_output_name
from .preprocessing import Preprocessing
from .tflite_graph import renamed_tensors
from .tools import need, quiet

if TYPE_CHECKING:
    from .torch_modules import Device

_OPSET = 20
"""The first with one node for Gelu."""
_BATCH = 8


def torch_encoder(
    net: Any,
    preprocessing: Preprocessing,
    *,
    name: str,
    nhwc_net: bool = False,
    may_be_classes: bool = False,
    provenance: str = "",
    license: str = "",
    details: Mapping[str, Any] | None = None,
    notes: tuple[str, ...] = (),
    own_processor: OwnProcessor | None = None,
) -> SourceEncoder:
    """A network that takes normalized photos, (N, 3, H, W) or with `nhwc_net` (N, H, W, 3), and gives vectors.

    Raises SourceError where it doesn't take such photos or gives something else.
    """
    net.eval()
    grey = np.full((1, preprocessing.height, preprocessing.width, 3), 128, np.uint8)
    with quiet(f"running {name} on a grey {preprocessing.width}x{preprocessing.height} photo"):
        dimension = int(_embed(net, preprocessing, nhwc_net, grey).shape[1])
    if dimension in CLASS_COUNTS and not may_be_classes:
        raise SourceError(
            f"{name} looks like a classifier ({dimension} outputs); say which module gives its pooled feature, with --output NAME"
        )
    return SourceEncoder(
        name=name,
        preprocessing=preprocessing,
        dimension=dimension,
        embed=partial(_embed, net, preprocessing, nhwc_net),
        writers={
            "onnx": partial(_write_onnx, net, preprocessing, nhwc_net),
            "tflite": partial(_write_tflite, net, preprocessing, nhwc_net),
        },
        provenance=provenance,
        license=license,
        details=details or {},
        notes=notes,
        own_processor=own_processor,
        faulty_operator=partial(_faulty_operator, net, preprocessing, nhwc_net),
    )


def _device(
    net: Any, preprocessing: Preprocessing, projection: Projection | None, *, nhwc_input: bool, nhwc_net: bool
) -> Device:
    from .torch_modules import Device

    mean, std = preprocessing.graph_normalization
    device: Device = Device(net, mean, std, projection, nhwc_input=nhwc_input, nhwc_net=nhwc_net).eval()
    return device


def _embed(net: Any, preprocessing: Preprocessing, nhwc_net: bool, pixels: Pixels) -> Vectors:
    """(N, H, W, 3) uint8 → (N, D) float32, by PyTorch in float32."""
    import torch

    device = _device(net, preprocessing, None, nhwc_input=True, nhwc_net=nhwc_net)
    rows = []
    with torch.no_grad():
        for start in range(0, len(pixels), _BATCH):
            batch = torch.from_numpy(preprocessing.ordered(pixels[start : start + _BATCH]).astype(np.float32))
            rows.append(device(batch).numpy().astype(np.float32))
    return np.concatenate(rows)


def _faulty_operator(
    net: Any, preprocessing: Preprocessing, nhwc_net: bool, file_format: Format, pixels: Pixels
) -> str:
    from .blame import faulty_operator

    device = _device(net, preprocessing, None, nhwc_input=True, nhwc_net=nhwc_net)
    return faulty_operator(device, file_format, preprocessing.ordered(pixels))


def _write_onnx(
    net: Any, preprocessing: Preprocessing, nhwc_net: bool, path: Path, projection: Projection | None
) -> None:
    torch = need("torch", "writing ONNX")
    need("onnxscript", "writing ONNX from PyTorch")
    device = _device(net, preprocessing, projection, nhwc_input=False, nhwc_net=nhwc_net)
    # Two different photos: a batch of one, or equal numbers, would let the tracer take sizes for constants.
    example = (torch.zeros(2, 3, preprocessing.height, preprocessing.width),)

    def export(shapes: Any) -> bytes:
        program = torch.onnx.export(
            device, example if shapes else (example[0][:1],), dynamo=True, opset_version=_OPSET, dynamic_shapes=shapes,
            input_names=["pixels"], verbose=False,
        )  # fmt: skip
        model: bytes = program.model_proto.SerializeToString()
        return model

    with quiet("PyTorch's ONNX export"):
        try:
            model = export(({0: torch.export.Dim("batch")},))
        except Exception:  # a network that fixes its batch somewhere
            model = export(None)
    # Named here: PyTorch's exporter recurses without end where the network has a value of that name (CLIP's patches).
    path.write_bytes(tidy(with_output_name(model, "embedding")))


def _write_tflite(
    net: Any, preprocessing: Preprocessing, nhwc_net: bool, path: Path, projection: Projection | None
) -> None:
    torch = need("torch", "writing TFLite")
    with quiet("importing litert-torch"):
        litert_torch = need("litert_torch", "writing TFLite from PyTorch")
    device = _device(net, preprocessing, projection, nhwc_input=True, nhwc_net=nhwc_net)
    from .torch_modules import nearest_by_index

    with quiet("litert-torch's conversion"), nearest_by_index():
        edge_model = litert_torch.convert(device, (torch.zeros(1, preprocessing.height, preprocessing.width, 3),))
        edge_model.export(str(path))
    path.write_bytes(renamed_tensors(path.read_bytes()))
