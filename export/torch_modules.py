"""PyTorch modules around a trained network: pooling, choosing a tensor, and what turns device pixels into its input.

Imports torch at once: only functions that have asked for it (`tools.need`) import this module.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

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
    """A network read at the output of one of its modules. `called_by`: what calls the network in its own way."""

    def __init__(self, net: nn.Module, name: str, how: str, called_by: nn.Module | None = None) -> None:
        super().__init__()
        self.net = net if called_by is None else called_by
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
        # Positions of another size than the trained one are resized only where asked for.
        takes = inspect.signature(net.forward).parameters
        self.settings = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in takes else {}
        # A pooler with a dense layer (BERT's habit) is made for classification and often untrained: the token before it.
        self.has_dense_pooler = any(isinstance(part, nn.Linear) for part in _pooler(net).modules())

    def forward(self, x: Tensor) -> Tensor:
        result = self.net(pixel_values=x, **self.settings)
        feature = getattr(result, "pooler_output", None)
        if self.how == "auto" and feature is not None and not self.has_dense_pooler:
            return feature.flatten(1)
        return pooled(result.last_hidden_state, self.how, self.prefix_tokens)


class Projected(nn.Module):  # type: ignore[misc,unused-ignore]
    """The vision model of CLIP and its like with its projection, under their own names: `pooler_output` is `image_embeds`."""

    def __init__(self, vision: nn.Module, projection: nn.Module, name: str, last: str, *, first_token: bool) -> None:
        super().__init__()
        self.add_module(name, vision)
        self.add_module(last, projection)
        self.names, self.first_token = (name, last), first_token
        self.config = vision.config
        self.embeddings = getattr(vision, "embeddings", None)

    def forward(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> Any:
        vision, projection = (getattr(self, name) for name in self.names)
        result = vision(pixel_values=pixel_values, interpolate_pos_encoding=interpolate_pos_encoding)
        feature = result.last_hidden_state[:, 0] if self.first_token else result.pooler_output
        result.pooler_output = projection(feature)
        return result


@contextlib.contextmanager
def nearest_by_index() -> Iterator[None]:
    """`interpolate` of the nearest neighbour by the rows and columns that PyTorch takes, where the sides' ratio is no whole number:
    litert-torch 0.10 takes others there (3 → 7 in GhostNetV3: cosine .966)."""
    original = nn.functional.interpolate

    def interpolate(
        input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", *rest: Any, **names: Any
    ) -> Any:
        if mode != "nearest" or input.ndim != 4 or size is None:
            return original(input, size, scale_factor, mode, *rest, **names)
        sides = (size, size) if isinstance(size, int) else tuple(size)
        if all(int(new) % int(old) == 0 for new, old in zip(sides, input.shape[2:], strict=True)):
            return original(input, size, scale_factor, mode, *rest, **names)
        for axis, new in zip((2, 3), sides, strict=True):
            places = [int(place * int(input.shape[axis]) / int(new)) for place in range(int(new))]
            input = input.index_select(axis, torch.tensor(places))
        return input

    nn.functional.interpolate = interpolate
    try:
        yield
    finally:
        nn.functional.interpolate = original


class _Scores(TorchFunctionMode):  # type: ignore[misc,unused-ignore]
    """Remembers the functions that turn a layer's numbers into scores, whether a module calls them or the network itself."""

    names = ("softmax", "log_softmax", "sigmoid", "dropout")

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Any, Any]] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "")
        if name in self.names:
            self.calls.append((name, args[0] if args else (kwargs or {}).get("input"), result))
        return result


def last_linear(net: nn.Module, photo: Tensor) -> tuple[str, nn.Linear, str] | None:
    """The linear layer whose result is the network's, by name, and the softmax or sigmoid that it comes through, "" for none; None
    where it ends otherwise."""
    seen: list[tuple[str, nn.Linear, Any]] = []
    hooks = [
        module.register_forward_hook(lambda module, _, result, name=name: seen.append((name, module, result)))
        for name, module in net.named_modules()
        if isinstance(module, nn.Linear) and name
    ]
    scores = _Scores()
    try:
        with torch.no_grad(), scores:
            result = net(photo)
    finally:
        for hook in hooks:
            hook.remove()
    through = ""
    for name, given, made in reversed(scores.calls):
        if made is result:
            result, through = given, through if name == "dropout" else name
    last = next((one for one in reversed(seen) if one[2] is result), None)
    if last is None or not isinstance(result, Tensor) or result.ndim != 2:
        return None
    return (*last[:2], through)


class Before(nn.Module):  # type: ignore[misc,unused-ignore]
    """A network read at what one of its modules is given."""

    def __init__(self, net: nn.Module, name: str) -> None:
        super().__init__()
        self.net = net
        self._seen: list[Tensor] = []
        net.get_submodule(name).register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, arguments: Any) -> None:
        self._seen.append(arguments[0])

    def forward(self, x: Tensor) -> Tensor:
        self._seen.clear()
        self.net(x)
        result = self._seen.pop()
        self._seen.clear()
        return result


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
