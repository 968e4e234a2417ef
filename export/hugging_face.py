"""`hf:FOLDER` or `hf:ID`: a vision model of transformers, and its image processor."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from .checkpoints import difference_of, fitting, load_state, read_state
from .encoders import OwnProcessor, SourceEncoder
from .errors import SourceError
from .hub import fetching_from_hub
from .preprocessing import Overrides, Preprocessing, from_image_processor
from .processors import asked, transformers_processor
from .source_options import SourceOptions, with_checkpoint
from .tools import need, need_transformers, quiet, reason
from .torch_encoder import torch_encoder


def hugging_face(name: str, options: SourceOptions) -> SourceEncoder:
    """The encoder of a folder or an id."""
    need("torch", "reading a Hugging Face model")
    wanted = name.removeprefix("hf:")
    folder = Path(wanted)
    with quiet("importing transformers"):
        transformers = need_transformers()
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise SourceError(f"{folder} has no config.json; expected a folder that transformers' save_pretrained wrote")
    unreachable = "" if folder.is_dir() else fetching_from_hub(wanted)
    net, kind, notes = _network(transformers, wanted, options, unreachable)
    found, own = _processor_of(transformers, wanted)
    preprocessing = options.preprocessing.apply(found, f"{wanted} (it has no preprocessor_config.json)")
    _remember_positions(net)
    from .torch_modules import Inner, Transformer

    encoder: Any = Transformer(net, options.pool)
    if options.output is not None:
        encoder = Inner(net, options.output, options.pool, called_by=encoder)
    called = folder.resolve().name if folder.is_dir() else wanted
    return torch_encoder(
        encoder,
        preprocessing,
        name=folder.resolve().name if folder.is_dir() else wanted.rpartition("/")[2],
        may_be_classes=True,
        provenance=with_checkpoint(f"Hugging Face {called} ({kind})", options),
        license=str(getattr(net.config, "license", "") or ""),
        details={"pool": options.pool, "output": options.output},
        notes=notes,
        own_processor=own if options.preprocessing == Overrides() else None,
    )


def _network(
    transformers: Any, wanted: str, options: SourceOptions, unreachable: str
) -> tuple[Any, str, tuple[str, ...]]:
    """The half of a model that sees, with its projection where it has one; the model's type; and what is to be said of it."""
    report: dict[str, Any] = {}
    with quiet(f"reading {wanted}"):
        try:
            config = transformers.AutoConfig.from_pretrained(wanted)
            named = _class_with_projection(transformers, config)
            if options.checkpoint is None:
                opened = named or transformers.AutoModel
                net, report = opened.from_pretrained(wanted, output_loading_info=True)
            else:
                net = transformers.AutoModel.from_config(config) if named is None else named(config)
        except Exception as error:
            raise SourceError(
                f"{wanted} can't be read as a Hugging Face model ({unreachable or reason(error)}); expected a folder of "
                "save_pretrained, or an id that this machine can fetch"
            ) from error
    kind = str(net.config.model_type)
    half = _half_that_sees(net).eval()
    if options.checkpoint is not None:
        return _loaded(transformers, net, half, options.checkpoint), kind, ()
    _refuse_missing(wanted, net, half, report)
    return half, kind, _left_out(wanted, net, report)


def _class_with_projection(transformers: Any, config: Any) -> Any:
    """The class that `config` names where it is a vision model saved with its projection, which AutoModel leaves out; else None."""
    said = (getattr(config, "architectures", None) or [""])[0]
    if said.startswith("Blip2") or not said.endswith(
        "VisionModelWithProjection"
    ):  # BLIP-2's has a third network between
        return None
    return getattr(transformers, said, None)


def _refuse_missing(wanted: str, net: Any, half: Any, report: dict[str, Any]) -> None:
    """Raises SourceError where the folder lacks weights of the half that sees: transformers fills them with random numbers."""
    missing = set(report.get("missing_keys", ()))
    pooler = [key for key in missing if "pooler." in key]
    if pooler and _has_dense_pooler(half):  # classifiers are saved without it, and it is not used
        half.pooler = None
        missing.difference_update(pooler)
    own = {id(value) for value in half.state_dict(keep_vars=True).values()}
    state = net.state_dict(keep_vars=True)
    # A mask token stands for patches that training hides: nothing of a photo is hidden.
    lacking = sorted(key for key in missing if id(state.get(key)) in own and not key.endswith("mask_token"))
    if not lacking:
        return
    others = sorted(report.get("unexpected_keys", ()))
    beside = f", and has {others[0]} instead" if others else ""
    raise SourceError(
        f"{wanted} lacks {len(lacking)} of the weights of {type(net).__name__}, for example {lacking[0]}{beside}; expected all "
        "of them: fetch or save it again, or give them with --checkpoint FILE"
    )


def _left_out(wanted: str, net: Any, report: dict[str, Any]) -> tuple[str, ...]:
    """What is to be said of a projection of images that the folder has and its class doesn't."""
    heads = {key.partition(".")[0] for key in report.get("unexpected_keys", ())}
    found = sorted(head for head in heads if "projection" in head and not head.startswith("text"))
    if not found:
        return ()
    return (
        f"{wanted} has weights of {found[0]}, which {type(net).__name__} leaves out; if images are compared behind it, name the "
        'class that has it in config.json, like "architectures": ["CLIPVisionModelWithProjection"]',
    )


def _half_that_sees(net: Any) -> Any:
    """Of CLIP and its like, the vision model and its projection: what they compare images by (`image_embeds`)."""
    for vision, projection in (("vision_model", "visual_projection"), ("image_model", "image_projection")):
        inner, last = getattr(net, vision, None), getattr(net, projection, None)
        if inner is not None and last is not None:
            from .torch_modules import Projected

            return Projected(inner, last, vision, projection, first_token=vision == "image_model")
        if inner is not None:
            return inner
    return net


def _loaded(transformers: Any, net: Any, half: Any, checkpoint: Path) -> Any:
    """The network with a checkpoint's weights; names that older versions of transformers wrote are its own to translate."""
    state = read_state(checkpoint)
    _without_dense_pooler(half, state)
    if difference_of(fitting(state, half.state_dict()), half.state_dict()):
        with quiet(f"reading {checkpoint}"):
            try:
                whole, report = type(net).from_pretrained(
                    None, config=net.config, state_dict=state, output_loading_info=True
                )
            except Exception:  # it says so in its own way; ours shows both sides' names
                whole, report = None, {}
        missing = [key for key in report.get("missing_keys", ()) if "pooler." not in key or half.pooler is not None]
        if whole is not None and not missing and not report.get("mismatched_keys"):
            return _half_that_sees(whole).eval()
    load_state(half, checkpoint)
    return half


def _without_dense_pooler(half: Any, state: Any) -> None:
    """A pooler that classifiers were trained without is not used, nor asked of their weights."""
    if _has_dense_pooler(half) and not any("pooler." in key for key in state):
        half.pooler = None


def _has_dense_pooler(half: Any) -> bool:
    pooler = getattr(half, "pooler", None)
    return pooler is not None and any(type(part).__name__ == "Linear" for part in pooler.modules())


def _processor_of(transformers: Any, wanted: str) -> tuple[Preprocessing | None, OwnProcessor | None]:
    """What the image processor does, asked of itself; where transformers can't make it, what its configuration says."""
    path: Path | None = Path(wanted) / "preprocessor_config.json"
    if not Path(wanted).is_dir():
        hub = need("huggingface_hub", "reading a Hugging Face model")
        with quiet("fetching preprocessor_config.json"):
            try:
                path = Path(hub.hf_hub_download(wanted, "preprocessor_config.json"))
            except Exception:  # a model without one; the user then says how photos are prepared
                path = None
    if path is None or not path.is_file():
        return None, None
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise SourceError(f"{path} is not JSON ({error}); expected an image processor's configuration") from error
    if not isinstance(config, dict):
        raise SourceError(f"{path} holds {type(config).__name__}; expected an image processor's configuration")
    with quiet("making the image processor"):
        own = transformers_processor(transformers, wanted)
    if own is None:
        return from_image_processor(config), None
    with quiet("asking the image processor"):
        return asked(own, "Hugging Face's image processor"), own


def _remember_positions(net: Any) -> None:
    """Resize position embeddings once, at the first photo: DINOv2's are of 518 pixels, and converters can't resize bicubically."""
    for module in net.modules():
        if not hasattr(module, "interpolate_pos_encoding") or not callable(module.interpolate_pos_encoding):
            continue
        if "embeddings" in inspect.signature(module.interpolate_pos_encoding).parameters:
            _remember(module)


def _remember(module: Any) -> None:
    resize = module.interpolate_pos_encoding
    kept: list[Any] = []

    def once(*arguments: Any, **names: Any) -> Any:
        if not kept:
            kept.append(resize(*arguments, **names).detach().clone())
            module.register_buffer("fixed_positions", kept[0])
        return module.fixed_positions

    module.interpolate_pos_encoding = once
