"""PyTorch modules around a trained network: pooling, choosing a tensor, and what turns device pixels into its input.

Imports torch at once: only functions that have asked for it (`tools.need`) import this module.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .encoders import Projection
from .errors import SourceError

_GEM_POWER = 3.0
"""Generalized-mean pooling's usual exponent (Radenović et al. 2018, "Fine-tuning CNN Image Retrieval")."""
_GEM_FLOOR = 1e-6


def pooled(features: Tensor, how: str, prefix_tokens: int) -> Tensor:
    """A feature map (N, C, H, W) or tokens (N, T, C), of which the first `prefix_tokens` are no patches, as one vector a photo."""
    if features.ndim == 2:
        return features
    if features.ndim == 4 and how in ("auto", "avg"):
        return features.mean(dim=(2, 3))
    if features.ndim == 4 and how == "gem":
        return features.clamp(min=_GEM_FLOOR).pow(_GEM_POWER).mean(dim=(2, 3)).pow(1 / _GEM_POWER)
    if features.ndim == 3 and how == "cls" and not prefix_tokens:
        raise SourceError("--pool cls arrived for a network without a class token; expected auto or avg")
    if features.ndim == 3 and how in ("auto", "cls") and prefix_tokens:
        return features[:, 0]
    if features.ndim == 3 and how in ("auto", "avg"):
        return features[:, prefix_tokens:].mean(dim=1)
    allowed = "auto, avg or gem" if features.ndim == 4 else "auto, avg or cls"
    raise SourceError(
        f"--pool {how} arrived for features of shape {list(features.shape[1:])} a photo; expected {allowed}"
    )


def prefix_tokens_of(net: nn.Module) -> int:
    """How many tokens before the patches' a network has: a class token, registers and the like. 1 where it doesn't say."""
    said = getattr(net, "num_prefix_tokens", None)  # timm
    if said is not None:
        return int(said)
    embeddings = getattr(net, "embeddings", None)  # transformers
    if embeddings is None:
        return 1
    names = ("cls_token", "class_embedding", "distillation_token")
    count = sum(getattr(embeddings, name, None) is not None for name in names)
    registers = getattr(embeddings, "register_tokens", None)
    return count + (0 if registers is None else int(registers.shape[-2]))


class Pooled(nn.Module):  # type: ignore[misc,unused-ignore]  # torch is untyped where it is not installed
    """`forward_features` of a timm network and a pooling of ours in place of its own."""

    def __init__(self, net: nn.Module, how: str) -> None:
        super().__init__()
        self.net = net
        self.how = how
        self.prefix_tokens = prefix_tokens_of(net)

    def forward(self, x: Tensor) -> Tensor:
        return pooled(self.net.forward_features(x), self.how, self.prefix_tokens)


class Inner(nn.Module):  # type: ignore[misc,unused-ignore]
    """A network read at the output of one of its modules."""

    def __init__(self, net: nn.Module, name: str, how: str) -> None:
        super().__init__()
        self.net = net
        self.how = how
        self.prefix_tokens = prefix_tokens_of(net)
        modules = dict(net.named_modules())
        if name not in modules or not name:
            last = [known for known in modules if known][-4:]
            raise SourceError(f"--output {name!r} is no module of the network; the last ones are {', '.join(last)}")
        self._seen: list[Any] = []
        modules[name].register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, arguments: Any, result: Any) -> None:
        self._seen.append(result)

    def forward(self, x: Tensor) -> Tensor:
        self._seen.clear()
        self.net(x)
        if not self._seen:
            raise SourceError("the module that --output names is not used when a photo is embedded; name another one")
        result = self._seen.pop()
        self._seen.clear()
        return pooled(result, self.how, self.prefix_tokens) if isinstance(result, Tensor) else result


class Transformer(nn.Module):  # type: ignore[misc,unused-ignore]
    """A Hugging Face vision model: its pooled feature, its class token or the mean of its tokens."""

    def __init__(self, net: nn.Module, how: str) -> None:
        super().__init__()
        self.net = net
        self.how = how
        self.prefix_tokens = prefix_tokens_of(net)
        # A pooler with a dense layer (BERT's habit) is made for classification and often untrained: the token before it.
        self.has_dense_pooler = any(isinstance(part, nn.Linear) for part in _pooler(net).modules())

    def forward(self, x: Tensor) -> Tensor:
        result = self.net(pixel_values=x)
        feature = getattr(result, "pooler_output", None)
        if self.how == "auto" and feature is not None and not self.has_dense_pooler:
            return feature.flatten(1)
        return pooled(result.last_hidden_state, self.how, self.prefix_tokens)


def _pooler(net: nn.Module) -> nn.Module:
    pooler = getattr(net, "pooler", None)
    return pooler if isinstance(pooler, nn.Module) else nn.Identity()


class Device(nn.Module):  # type: ignore[misc,unused-ignore]
    """RGB pixels as float32, 0.0 to 255.0 → embedding (N, D): normalization in front, a projection behind.

    Normalization is a 1x1 depthwise convolution: int8 files then round once between the pixels and the first layer, with
    per-channel scales.
    """

    def __init__(
        self,
        net: nn.Module,
        mean: tuple[float, ...] | None,
        std: tuple[float, ...] | None,
        projection: Projection | None,
        *,
        nhwc_input: bool,
        nhwc_net: bool,
    ) -> None:
        super().__init__()
        self.net = net
        self.nhwc_input, self.nhwc_net = nhwc_input, nhwc_net
        self.normalizes = mean is not None and std is not None
        if mean is not None and std is not None:
            scale = 1 / torch.tensor(std, dtype=torch.float64)
            self.register_buffer("scale", scale.float().reshape(3, 1, 1, 1))
            self.register_buffer("shift", (-torch.tensor(mean, dtype=torch.float64) * scale).float())
        self.project: nn.Module = nn.Identity()
        if projection is not None:
            out, inside = projection.weight.shape
            self.project = nn.Linear(inside, out)
            with torch.no_grad():
                self.project.weight.copy_(torch.from_numpy(projection.weight))
                self.project.bias.copy_(torch.from_numpy(projection.bias))

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.permute(0, 3, 1, 2) if self.nhwc_input else pixels
        if self.normalizes:
            x = nn.functional.conv2d(x, self.scale, self.shift, groups=3)
        if self.nhwc_net:
            x = x.permute(0, 2, 3, 1)
        embedding: Tensor = self.project(_vector(self.net(x), self.nhwc_net))
        return embedding


def _vector(result: Any, channels_last: bool) -> Tensor:
    """The network's result as one vector a photo, maps by their mean."""
    if isinstance(result, (tuple, list)) and len(result) == 1:
        result = result[0]
    if not isinstance(result, Tensor):
        kind = f"{len(result)} outputs" if isinstance(result, (tuple, list, dict)) else type(result).__name__
        raise SourceError(f"the network gives {kind}; expected one tensor, say which module's with --output NAME")
    places = (1, 2) if channels_last else (2, 3)
    if result.ndim == 4 and result.shape[places[0]] * result.shape[places[1]] > 1:
        result = result.mean(dim=places)
    if result.ndim < 2 or result[0].numel() != max(result.shape[1:]):
        raise SourceError(
            f"the network gives {list(result.shape[1:])} a photo, which is no vector; say which module's output is, "
            "with --output NAME"
        )
    return result.flatten(1)
