"""Where trained encoders come from. A new source is one row of `SOURCES` and one function."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .encoders import SourceEncoder
from .errors import ExportError, SourceError
from .file_sources import onnx_file, tflite_file
from .hub import fetching_from_hub
from .preprocessing import Overrides, Preprocessing, from_image_processor, from_timm
from .tools import need, need_timm, need_transformers, quiet, reason
from .torch_encoder import load_state, torch_encoder

POOLS = ("auto", "avg", "gem", "cls")


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What the user says about a source: its weights, which tensor is the embedding, how photos are prepared."""

    checkpoint: Path | None = None
    pool: str = "auto"
    output: str | None = None
    preprocessing: Overrides = field(default_factory=Overrides)


@dataclass(frozen=True, slots=True)
class Source:
    """A row of the table: what it is called in messages, whether a name is of this kind, and who opens it."""

    example: str
    takes: Callable[[str], bool]
    open: Callable[[str, SourceOptions], SourceEncoder]


def open_source(model: Any, options: SourceOptions) -> SourceEncoder:
    """The encoder that a name, a file or a torch.nn.Module stands for. Raises SourceError that lists what there is."""
    if options.pool not in POOLS:
        raise ExportError(f"--pool {options.pool!r} arrived; expected {', '.join(POOLS)}")
    if not isinstance(model, (str, os.PathLike)):
        return from_module(model, options)
    name = os.fspath(model)
    for source in SOURCES:
        if source.takes(name):
            return source.open(name, options)
    kinds = ", ".join(source.example for source in SOURCES)
    missing = "" if Path(name).exists() or not Path(name).suffix else " (and no such file exists)"
    raise SourceError(
        f"model {name!r} is of no known kind{missing}; expected {kinds}, or a torch.nn.Module from Python"
    )


def from_module(net: Any, options: SourceOptions, name: str = "") -> SourceEncoder:
    """Any torch.nn.Module that takes (N, 3, H, W) photos; one made by timm brings its own preprocessing."""
    torch = need("torch", "exporting a PyTorch network")
    name = name or type(net).__name__.lower()
    if not isinstance(net, torch.nn.Module):
        raise SourceError(f"{type(net).__name__} arrived; expected the name of a model, a file, or a torch.nn.Module")
    with quiet(f"copying the module {name}"):
        net = copy.deepcopy(net)  # the caller's stays as it is
    if options.checkpoint is not None:
        load_state(net, options.checkpoint)
    config = getattr(net, "pretrained_cfg", None)
    found = from_timm(config) if isinstance(config, Mapping) and "input_size" in config else None
    net = _without_classifier(net, options)
    return torch_encoder(
        net,
        options.preprocessing.apply(found, f"the module {name}"),
        name=name,
        may_be_classes=options.output is not None,
        license=str(config.get("license") or "") if found and config else "",
        provenance=f"the PyTorch module {type(net).__name__}",
        details={"pool": options.pool, "output": options.output},
    )


def _without_classifier(net: Any, options: SourceOptions) -> Any:
    """The network up to its pooled feature, as the options say."""
    from .torch_modules import Inner, Pooled

    if options.output is not None:
        return Inner(net, options.output, options.pool)
    if hasattr(net, "reset_classifier") and hasattr(net, "num_classes") and net.num_classes:
        net.reset_classifier(0)
    if options.pool == "auto":
        return net
    if not hasattr(net, "forward_features"):
        raise SourceError(
            f"--pool {options.pool} arrived for {type(net).__name__}, which has no forward_features; "
            "pool inside the module, or name a feature map with --output"
        )
    return Pooled(net, options.pool)


def _timm(name: str, options: SourceOptions) -> SourceEncoder:
    """`timm:NAME`, with timm's own weights or those of a checkpoint."""
    with quiet("importing timm"):
        timm = need_timm()
    wanted = name.removeprefix("timm:")
    architecture = wanted.partition(".")[0]
    if not timm.is_model(architecture):
        close = ", ".join(sorted(timm.list_models(f"*{architecture.partition('_')[0]}*"))[:6])
        raise SourceError(
            f"timm knows no model {architecture!r}; expected one of timm.list_models(), "
            f"for example {close or 'mobilenetv4_conv_small'}"
        )
    unreachable = "" if options.checkpoint is not None else fetching_from_hub(f"the weights of timm's {wanted}")
    with quiet(f"making timm's {wanted}"):
        try:
            net = timm.create_model(wanted, pretrained=options.checkpoint is None, num_classes=0)
        except Exception as error:
            raise SourceError(
                f"the weights of timm's {wanted} can't be had ({unreachable or reason(error)}); fetch them elsewhere and give "
                "--checkpoint FILE"
            ) from error
    made = from_module(net, options, name=architecture)
    config = net.pretrained_cfg
    origin = f"timm {config.get('hf_hub_id') or wanted}" if options.checkpoint is None else f"timm {architecture}"
    return replace(made, provenance=_with_checkpoint(origin, options), license=str(config.get("license") or ""))


def _with_checkpoint(origin: str, options: SourceOptions) -> str:
    return origin if options.checkpoint is None else f"{origin}, weights of {options.checkpoint.name}"


def _hugging_face(name: str, options: SourceOptions) -> SourceEncoder:
    """`hf:FOLDER` or `hf:ID`: a vision model of transformers and its image processor's configuration."""
    need("torch", "reading a Hugging Face model")
    from .torch_modules import Transformer

    wanted = name.removeprefix("hf:")
    folder = Path(wanted)
    with quiet("importing transformers"):
        transformers = need_transformers()
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise SourceError(f"{folder} has no config.json; expected a folder that transformers' save_pretrained wrote")
    unreachable = "" if folder.is_dir() else fetching_from_hub(wanted)
    with quiet(f"reading {wanted}"):
        try:
            if options.checkpoint is None:
                net = transformers.AutoModel.from_pretrained(wanted)
            else:
                net = transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(wanted))
        except Exception as error:
            raise SourceError(
                f"{wanted} can't be read as a Hugging Face model ({unreachable or reason(error)}); expected a folder of "
                "save_pretrained, or an id that this machine can fetch"
            ) from error
        net = getattr(net, "vision_model", net).eval()  # of CLIP and its like, the half that sees
    if options.checkpoint is not None:
        load_state(net, options.checkpoint)
    found = _processor_of(wanted)
    preprocessing = options.preprocessing.apply(found, f"{wanted} (it has no preprocessor_config.json)")
    _fix_positions(net, preprocessing)
    if options.output is not None:
        from .torch_modules import Inner

        encoder: Any = Inner(net, options.output, options.pool)
    else:
        encoder = Transformer(net, options.pool)
    return torch_encoder(
        encoder,
        preprocessing,
        name=folder.resolve().name if folder.is_dir() else wanted.rpartition("/")[2],
        may_be_classes=True,
        provenance=_with_checkpoint(
            f"Hugging Face {folder.resolve().name if folder.is_dir() else wanted} ({net.config.model_type})", options
        ),
        license=str(getattr(net.config, "license", "") or ""),
        details={"pool": options.pool, "output": options.output},
    )


def _processor_of(wanted: str) -> Preprocessing | None:
    """The image processor's configuration, read as JSON: transformers' own classes want torchvision."""
    path: Path | None = Path(wanted) / "preprocessor_config.json"
    if not Path(wanted).is_dir():
        hub = need("huggingface_hub", "reading a Hugging Face model")
        with quiet("fetching preprocessor_config.json"):
            try:
                path = Path(hub.hf_hub_download(wanted, "preprocessor_config.json"))
            except Exception:  # a model without one; the user then says how photos are prepared
                path = None
    if path is None or not path.is_file():
        return None
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise SourceError(f"{path} is not JSON ({error}); expected an image processor's configuration") from error
    if not isinstance(config, dict):
        raise SourceError(f"{path} holds {type(config).__name__}; expected an image processor's configuration")
    return from_image_processor(config)


def _fix_positions(net: Any, preprocessing: Preprocessing) -> None:
    """Resize position embeddings once, now: DINOv2's are of 518 pixels, and converters can't resize bicubically."""
    embeddings: Any = getattr(net, "embeddings", None)
    if not hasattr(embeddings, "interpolate_pos_encoding") or not hasattr(embeddings, "position_embeddings"):
        return
    import torch

    size = getattr(embeddings, "patch_size", None) or net.config.patch_size
    high, wide = size if isinstance(size, (tuple, list)) else (size, size)
    tokens = 1 + (preprocessing.height // high) * (preprocessing.width // wide)
    with torch.no_grad():
        blank = torch.zeros(1, tokens, net.config.hidden_size)
        fixed = embeddings.interpolate_pos_encoding(blank, preprocessing.height, preprocessing.width).detach()
    embeddings.register_buffer("fixed_positions", fixed)
    embeddings.interpolate_pos_encoding = lambda *arguments, **names: embeddings.fixed_positions


def _refuse(name: str, options: SourceOptions, *unused: str) -> None:
    """Raises SourceError for an option that would do nothing."""
    for option in unused:
        if getattr(options, option) != getattr(SourceOptions(), option):
            raise SourceError(
                f"--{option} arrived with {Path(name).name}, which brings its own; leave it out, or give timm:NAME, hf:FOLDER "
                "or a torch.nn.Module"
            )


def _keras(name: str, options: SourceOptions) -> SourceEncoder:
    from .keras_source import keras_file

    _refuse(name, options, "checkpoint")
    return keras_file(Path(name), options.output, options.pool, options.preprocessing)


def _onnx(name: str, options: SourceOptions) -> SourceEncoder:
    _refuse(name, options, "checkpoint", "pool")
    return onnx_file(Path(name), options.output, options.preprocessing)


def _tflite(name: str, options: SourceOptions) -> SourceEncoder:
    _refuse(name, options, "checkpoint", "pool")
    return tflite_file(Path(name), options.output, options.preprocessing)


SOURCES: tuple[Source, ...] = (
    Source("timm:NAME", lambda name: name.startswith("timm:"), _timm),
    Source("hf:FOLDER|ID", lambda name: name.startswith("hf:"), _hugging_face),
    Source("FILE.onnx", lambda name: name.endswith(".onnx"), _onnx),
    Source("FILE.tflite", lambda name: name.endswith(".tflite"), _tflite),
    Source("FILE.keras", lambda name: name.endswith(".keras"), _keras),
)
