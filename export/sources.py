"""Where trained encoders come from. A new source is one row of `SOURCES` and one function."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..edge.encoders.class_scores import why_class_scores
from .checkpoints import load_state
from .encoders import SourceEncoder
from .errors import ExportError, SourceError
from .file_sources import onnx_file, tflite_file
from .hub import fetching_from_hub
from .hugging_face import hugging_face
from .preprocessing import Overrides, Preprocessing, from_timm
from .processors import timm_processor
from .source_options import POOLS, SourceOptions, refuse, with_checkpoint
from .tools import need, need_timm, quiet, reason
from .torch_encoder import torch_encoder
from .torchscript_source import SUFFIXES, is_saved_model, saved_model, torchscript_file
from .torchvision_source import torchvision_model


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


def from_module(net: Any, options: SourceOptions, name: str = "", said: Preprocessing | None = None) -> SourceEncoder:
    """Any torch.nn.Module that takes (N, 3, H, W) photos; one made by timm brings its own preprocessing, or `said` is it."""
    torch = need("torch", "exporting a PyTorch network")
    kind = type(net).__name__
    name = name or kind.lower()
    if not isinstance(net, torch.nn.Module):
        raise SourceError(f"{type(net).__name__} arrived; expected the name of a model, a file, or a torch.nn.Module")
    if isinstance(net, torch.jit.ScriptModule):
        raise SourceError(
            f"a TorchScript module arrived ({kind}); expected the network that it was made from, or its file: net.save('net.pt'), "
            "then export net.pt with its size"
        )
    with quiet(f"copying the module {name}"):
        net = copy.deepcopy(net)  # the caller's stays as it is
    config = getattr(net, "pretrained_cfg", None)
    config = config if isinstance(config, Mapping) and "input_size" in config else None
    found = said if config is None else from_timm(config)
    preprocessing = options.preprocessing.apply(found, f"the module {name}")
    notes: tuple[str, ...] = ()
    if said is not None and options.output is None:  # its checkpoint may have another number of classes
        net, notes = _without_class_scores(net, preprocessing, name)
    if options.checkpoint is not None:
        notes += load_state(net, options.checkpoint)
    _take_size(net, found, preprocessing)
    net, cut = _without_classifier(net, options, name)
    notes += cut
    if config is not None and options.output is None:
        net = _reparameterized(net, preprocessing)
    elif options.output is None and said is None:
        net, cut = _without_class_scores(net, preprocessing, name)
        notes += cut
    return torch_encoder(
        net,
        preprocessing,
        name=name,
        may_be_classes=options.output is not None,
        license="" if config is None else str(config.get("license") or ""),
        provenance=f"the PyTorch module {kind}",
        details={"pool": options.pool, "output": options.output},
        notes=notes,
        own_processor=timm_processor(config) if config is not None and options.preprocessing == Overrides() else None,
    )


def _take_size(net: Any, found: Preprocessing | None, preprocessing: Preprocessing) -> None:
    """Position embeddings and windows of another input size, as timm resizes them."""
    size = (preprocessing.height, preprocessing.width)
    if found is None or size == (found.height, found.width) or not hasattr(net, "set_input_size"):
        return
    with quiet(f"resizing position embeddings to {size[0]}x{size[1]}"):
        net.set_input_size(img_size=size)


def _reparameterized(net: Any, preprocessing: Preprocessing) -> Any:
    """A network of timm whose branches are one convolution each, as it is meant to run; as it was where that would change it."""
    import torch

    if not any(
        hasattr(module, name) for module in net.modules() for name in ("reparameterize", "fuse", "switch_to_deploy")
    ):
        return net
    from timm.utils.model import reparameterize_model

    photo = torch.rand(2, 3, preprocessing.height, preprocessing.width, generator=torch.Generator().manual_seed(0))
    with quiet("joining the branches of a network"), torch.no_grad():
        net.eval()
        before = net(photo * 4 - 2)
        joined = reparameterize_model(net).eval()
        after = joined(photo * 4 - 2)
        same = before.shape == after.shape and torch.nn.functional.cosine_similarity(before, after).min() > 0.99999
    return joined if same else net


def _without_class_scores(net: Any, preprocessing: Preprocessing, name: str) -> tuple[Any, tuple[str, ...]]:
    """The network without a last linear layer that gives class scores, and what is to be said of it."""
    import torch

    from .torch_modules import Before, last_linear

    net.eval()
    try:
        found = last_linear(net, torch.zeros(1, 3, preprocessing.height, preprocessing.width))
    except Exception:  # it takes something else than photos, and is told so
        return net, ()
    if found is None:
        return net, ()
    where, layer, through = found
    why = why_class_scores(layer.out_features, linear=True, name=where)
    if through.endswith("softmax"):
        why = f"{layer.out_features} numbers behind a softmax"
    if not why:
        note = (
            f"{name} ends in the linear layer {where}, {layer.out_features} numbers of {layer.in_features}, taken for the "
            "embedding; if these are class scores, replace it by torch.nn.Identity()"
        )
        return net, (note,) if layer.out_features < layer.in_features else ()
    if through:
        net = Before(net, where)
    else:
        parent = net.get_submodule(where.rpartition(".")[0])
        setattr(parent, where.rpartition(".")[2], torch.nn.Identity())
    return net, (f"{where} of {name} was taken for class scores ({why}) and cut off; --output {where} keeps it",)


def _without_classifier(net: Any, options: SourceOptions, name: str) -> tuple[Any, tuple[str, ...]]:
    """The network up to its pooled feature, as the options say, and what is to be said of it."""
    from .torch_modules import Inner, Pooled

    if options.output is not None:
        return Inner(net, options.output, options.pool), ()
    notes: tuple[str, ...] = ()
    if hasattr(net, "reset_classifier") and hasattr(net, "num_classes") and net.num_classes:
        # timm calls any last layer a classifier, also one that was trained to give an embedding.
        last = net.get_classifier() if hasattr(net, "get_classifier") else None
        where = next((path for path, module in net.named_modules() if path and module is last), "")
        keeps = f"; --output {where} keeps it" if where else ""
        notes = (
            f"{where or 'the last layer'} of {name} was taken for class scores ({net.num_classes} numbers) and cut off{keeps}",
        )
        net.reset_classifier(0)
    if options.pool == "auto":
        return net, notes
    if not hasattr(net, "forward_features"):
        raise SourceError(
            f"--pool {options.pool} arrived for {type(net).__name__}, which has no forward_features; "
            "pool inside the module, or name a feature map with --output"
        )
    return Pooled(net, options.pool), notes


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
    return replace(made, provenance=with_checkpoint(origin, options), license=str(config.get("license") or ""))


def _keras(name: str, options: SourceOptions) -> SourceEncoder:
    from .keras_source import keras_file

    refuse(Path(name).name, options, "checkpoint")
    return keras_file(Path(name), options.output, options.pool, options.preprocessing)


def _torchvision(name: str, options: SourceOptions) -> SourceEncoder:
    return torchvision_model(name, options, from_module)


def _onnx(name: str, options: SourceOptions) -> SourceEncoder:
    refuse(Path(name).name, options, "checkpoint")
    return onnx_file(Path(name), options)


def _tflite(name: str, options: SourceOptions) -> SourceEncoder:
    refuse(Path(name).name, options, "checkpoint", "pool")
    return tflite_file(Path(name), options.output, options.preprocessing)


SOURCES: tuple[Source, ...] = (
    Source("timm:NAME", lambda name: name.startswith("timm:"), _timm),
    Source("hf:FOLDER|ID", lambda name: name.startswith("hf:"), hugging_face),
    Source("FILE.onnx", lambda name: name.endswith(".onnx"), _onnx),
    Source("FILE.tflite", lambda name: name.endswith(".tflite"), _tflite),
    Source("torchvision:NAME", lambda name: name.startswith("torchvision:"), _torchvision),
    Source("FILE.keras|.h5", lambda name: name.endswith((".keras", ".h5", ".hdf5")), _keras),
    Source("FILE.torchscript", lambda name: name.endswith(SUFFIXES), torchscript_file),
    Source("a SavedModel", is_saved_model, saved_model),
)
