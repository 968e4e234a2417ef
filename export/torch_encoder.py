"""A PyTorch network as a source encoder: what it embeds, and how it is written as ONNX and as TFLite."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..edge.imaging.image import Pixels
from .encoders import Projection, SourceEncoder, Vectors
from .errors import ExportError, SourceError
from .onnx_graph import tidy
from .preprocessing import Preprocessing
from .tflite_graph import renamed_tensors
from .tools import need, quiet

if TYPE_CHECKING:
    from .torch_modules import Device

_OPSET = 20
"""The first with one node for Gelu."""
_BATCH = 8
_CLASSES = {1000, 1001, 21841, 21843}
"""ImageNet's class counts: an output of this size is class scores."""


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
) -> SourceEncoder:
    """A network that takes normalized photos, (N, 3, H, W) or with `nhwc_net` (N, H, W, 3), and gives vectors.

    Raises SourceError where it doesn't take such photos or gives something else.
    """
    net.eval()
    grey = np.full((1, preprocessing.height, preprocessing.width, 3), 128, np.uint8)
    with quiet(f"running {name} on a grey {preprocessing.width}x{preprocessing.height} photo"):
        dimension = int(_embed(net, preprocessing, nhwc_net, grey).shape[1])
    if dimension in _CLASSES and not may_be_classes:
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
    )


def _device(
    net: Any, preprocessing: Preprocessing, projection: Projection | None, *, nhwc_input: bool, nhwc_net: bool
) -> Device:
    from .torch_modules import Device

    mean, std = preprocessing.mean, preprocessing.std
    device: Device = Device(net, mean, std, projection, nhwc_input=nhwc_input, nhwc_net=nhwc_net).eval()
    return device


def _embed(net: Any, preprocessing: Preprocessing, nhwc_net: bool, pixels: Pixels) -> Vectors:
    """(N, H, W, 3) uint8 → (N, D) float32, by PyTorch in float32."""
    import torch

    device = _device(net, preprocessing, None, nhwc_input=True, nhwc_net=nhwc_net)
    rows = []
    with torch.no_grad():
        for start in range(0, len(pixels), _BATCH):
            batch = torch.from_numpy(pixels[start : start + _BATCH].astype(np.float32))
            rows.append(device(batch).numpy().astype(np.float32))
    return np.concatenate(rows)


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
            input_names=["pixels"], output_names=["embedding"], verbose=False,
        )  # fmt: skip
        model: bytes = program.model_proto.SerializeToString()
        return model

    with quiet("PyTorch's ONNX export"):
        try:
            model = export(({0: torch.export.Dim("batch")},))
        except Exception:  # a network that fixes its batch somewhere
            model = export(None)
    path.write_bytes(tidy(model))


def _write_tflite(
    net: Any, preprocessing: Preprocessing, nhwc_net: bool, path: Path, projection: Projection | None
) -> None:
    torch = need("torch", "writing TFLite")
    with quiet("importing litert-torch"):
        litert_torch = need("litert_torch", "writing TFLite from PyTorch")
    device = _device(net, preprocessing, projection, nhwc_input=True, nhwc_net=nhwc_net)
    with quiet("litert-torch's conversion"):
        edge_model = litert_torch.convert(device, (torch.zeros(1, preprocessing.height, preprocessing.width, 3),))
        edge_model.export(str(path))
    path.write_bytes(renamed_tensors(path.read_bytes()))


def load_state(net: Any, checkpoint: Path) -> None:
    """Load a .pth, .pt or .safetensors file into a network, without running anything it may hold.

    Entries that the network doesn't have, as those of a classifier, are left out; all that it has must be there. Raises
    SourceError.
    """
    state = _read_state(checkpoint)
    own = net.state_dict()
    # Of wrappers, and of the model that a Hugging Face classifier or a pair of encoders has inside.
    inside = getattr(net, "base_model_prefix", "") or "model"
    prefixes = ("", "module.", "model.", "backbone.", "encoder.", "vision_model.", f"{inside}.")
    fitting = max(prefixes, key=lambda p: sum(key.startswith(p) and key[len(p) :] in own for key in state))
    state = {key.removeprefix(fitting): value for key, value in state.items()}
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    wrong = [key for key in own if key in state and tuple(state[key].shape) != tuple(own[key].shape)]
    if missing or wrong:
        difference = f"it lacks {len(missing)} of {len(own)} tensors, for example {missing[0]}" if missing else ""
        if wrong:
            shapes = f"{list(state[wrong[0]].shape)} instead of {list(own[wrong[0]].shape)}"
            difference = f"its {wrong[0]} has the shape {shapes}"
        raise SourceError(f"checkpoint {checkpoint} is of another network: {difference}")
    net.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


def _read_state(checkpoint: Path) -> dict[str, Any]:
    torch = need("torch", "reading a checkpoint")
    if not checkpoint.is_file():
        raise SourceError(f"checkpoint {checkpoint} does not exist; expected a .pth, .pt or .safetensors file")
    try:
        if checkpoint.suffix == ".safetensors":
            state: Any = need("safetensors.torch", "reading a checkpoint").load_file(checkpoint)
        else:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except ExportError:
        raise
    except Exception as error:
        raise SourceError(
            f"checkpoint {checkpoint} can't be read ({' '.join(str(error).split())[:120]}); "
            "expected the tensors of a state_dict in a .pth, .pt or .safetensors file"
        ) from error
    for key in ("state_dict", "model_state_dict", "model", "state_dict_ema"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict) or not state or not all(torch.is_tensor(value) for value in state.values()):
        raise SourceError(
            f"checkpoint {checkpoint} holds {type(state).__name__}; expected the tensors of a state_dict, by name"
        )
    return state
