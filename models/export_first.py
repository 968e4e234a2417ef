"""Turn the weights that train_first.py leaves into the device file "shelfmatch-first-cnn".

    python models/export_first.py --work FOLDER --out models

Needs PyTorch 2.13, litert-torch 0.10 and ai-edge-quantizer 0.10. The file takes the photo's pixels as int8 (pixel - 128) and
gives int8 numbers with their scale; the fp32 file it came from stays in `--work`, and what the quantization cost is printed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import torch
from ai_edge_quantizer import quantizer, recipe
from numpy.typing import NDArray

from shelfmatch.edge import Encoder
from shelfmatch.edge.inspection import inspect_encoder
from shelfmatch.models.first_net import INPUT_SIDE, FirstNet

NAME = "shelfmatch-first-cnn"
CALIBRATION = 160
PROVENANCE = (
    "trained by models/train_first.py on the Grocery Store Dataset's train photos (MIT) and on rendered products, "
    "distilled from Coral's MobileNetV1 and V2 (Apache-2.0)"
)


class ChannelsLast(torch.nn.Module):  # type: ignore[misc,unused-ignore]  # torch is untyped where it is not installed
    """The network for (1, 96, 96, 3) pixels."""

    def __init__(self, net: FirstNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.net(pixels.permute(0, 3, 1, 2))
        return embedding


def calibration_pictures(work: Path) -> NDArray[np.float32]:
    """Train photos and rendered pictures in equal parts, (N, 96, 96, 3), each with a black and a white corner.

    The corners make the input's range 0 to 255 in every sample, so that its scale is 1 and pixels go in as they are.
    """
    half, edge = CALIBRATION // 2, (144 - INPUT_SIDE) // 2
    photos, products = np.load(work / "train.npy", mmap_mode="r"), np.load(work / "products.npy", mmap_mode="r")
    chosen = [photos[:: len(photos) // half][:half], products[:: len(products) // half][:half, 1]]
    pictures = np.concatenate(chosen)[:, edge : edge + INPUT_SIDE, edge : edge + INPUT_SIDE].astype(np.float32)
    pictures[:, 0, 0], pictures[:, -1, -1] = 0, 255
    return pictures


def quantize(float_file: Path, pictures: NDArray[np.float32]) -> bytes:
    """Static int8: per-channel weights, int8 activations."""
    tool = quantizer.Quantizer(str(float_file), recipe.static_wi8_ai8())
    from ai_edge_litert.interpreter import Interpreter

    signatures: dict[str, Any] = Interpreter(str(float_file)).get_signature_list()
    (signature, tensors), *_ = signatures.items()
    samples = [{tensors["inputs"][0]: picture[np.newaxis]} for picture in pictures]
    return bytes(tool.quantize(tool.calibrate({signature: samples})).quantized_model)


def main() -> None:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description=f"Export {NAME}.")
    parser.add_argument("--work", type=Path, required=True, help="where train_first.py left first_cnn.pt")
    parser.add_argument("--out", type=Path, required=True, help="where the device file and its card go")
    options = parser.parse_args()
    net = FirstNet().eval()
    net.load_state_dict(torch.load(options.work / "first_cnn.pt", weights_only=True))
    float_file = options.work / f"{NAME}-fp32.tflite"
    litert_torch.convert(ChannelsLast(net), (torch.zeros(1, INPUT_SIDE, INPUT_SIDE, 3),)).export(str(float_file))
    pictures = calibration_pictures(options.work)
    target = options.out / f"{NAME}.tflite"
    target.write_bytes(quantize(float_file, pictures))
    card = {
        **inspect_encoder(target).to_dict(),
        "name": NAME,
        "resize": "crop",
        "provenance": PROVENANCE,
        "license": "Apache-2.0",
    }
    (options.out / f"{NAME}.json").write_text(json.dumps(card, indent=2) + "\n")
    encoder = Encoder.load(options.out / f"{NAME}.json", resizer="pillow")
    val, edge = np.load(options.work / "val.npy"), (144 - INPUT_SIDE) // 2
    val = np.ascontiguousarray(val[:, edge : edge + INPUT_SIDE, edge : edge + INPUT_SIDE])
    with torch.no_grad():
        exact = torch.nn.functional.normalize(net(torch.from_numpy(val).permute(0, 3, 1, 2).float()), dim=1).numpy()
    cosines = np.array([encoder.embed_pixels(picture) @ row for picture, row in zip(val, exact, strict=True)])
    print(f"{target.name}: {target.stat().st_size:,} bytes, input {card['input_quantization']}")
    print(f"cosine to PyTorch on {len(val)} val photos: mean {cosines.mean():.4f}, lowest {cosines.min():.4f}")


if __name__ == "__main__":
    main()
