"""A Keras model as a module of PyTorch, in inference mode. Imports torch at once, like torch_modules."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class KerasNet(nn.Module):  # type: ignore[misc,unused-ignore]  # torch is untyped where it is not installed
    """Keras layers ask to be told that this is no training."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        return self.model(x, training=False)
