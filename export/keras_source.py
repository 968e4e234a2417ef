"""A Keras 3 model, through its PyTorch backend: it is a torch.nn.Module there, and nothing of TensorFlow is needed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ..edge.encoders.class_scores import why_class_scores
from .encoders import SourceEncoder
from .errors import SourceError
from .preprocessing import Overrides, Preprocessing, Triple
from .tools import need, quiet, reason
from .torch_encoder import torch_encoder

_CENTRED: tuple[Triple, Triple] = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
_IMAGENET: tuple[Triple, Triple] = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))

_APPLICATIONS: dict[str, tuple[Triple, Triple]] = {
    "mobilenet_": _CENTRED,
    "mobilenetv2_": _CENTRED,
    "nasnet": _CENTRED,
    "xception": _CENTRED,
    "inception": _CENTRED,
    "resnet50v2": _CENTRED,
    "resnet101v2": _CENTRED,
    "resnet152v2": _CENTRED,
    "densenet": _IMAGENET,
}
"""What `keras.applications.NAME.preprocess_input` does, by the name that a model of keras.applications carries
(keras/src/applications/*.py: mode "tf" is x / 127.5 - 1, mode "torch" ImageNet's mean and std)."""


def keras_file(path: Path, output: str | None, pool: str, overrides: Overrides) -> SourceEncoder:
    """A `.keras` file as a source encoder; `output` names a layer, a classifier comes off at the layer before it."""
    if not path.is_file():
        raise SourceError(f"{path} does not exist; expected a .keras file that Keras 3's model.save wrote")
    keras = keras_on_torch()
    with quiet(f"reading {path.name}"):
        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            raise SourceError(
                f"{path} can't be read as a Keras model ({reason(error)}); expected a .keras file of Keras 3"
            ) from error
    found = _preprocessing_of(path, model)
    with quiet(f"cutting {path.name}"):
        model, notes = _encoder_of(keras, path, model, output, pool)
    from .keras_modules import KerasNet

    return torch_encoder(
        KerasNet(model),
        overrides.apply(found, f"{path.name} (Keras keeps preprocess_input outside of the model)"),
        name=path.stem,
        nhwc_net=True,
        may_be_classes=output is not None,
        provenance=f"the Keras model {path.name}",
        details={"pool": pool, "output": output},
        notes=notes,
    )


def keras_on_torch() -> Any:
    """Keras with its PyTorch backend. Raises SourceError where this process has it on another one."""
    need("torch", "reading a .keras file")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    with quiet("importing keras"):
        keras = need("keras", "reading a .keras file")
    if keras.backend.backend() != "torch":
        raise SourceError(
            f"Keras runs on {keras.backend.backend()} in this process; an export needs KERAS_BACKEND=torch, set before "
            "Keras is imported"
        )
    return keras


def _preprocessing_of(path: Path, model: Any) -> Preprocessing | None:
    """Size from the input layer; normalization from a Rescaling or Normalization layer, or from the application's name."""
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] != 3:
        raise SourceError(f"{path.name} takes {shapes}; expected one input of RGB photos, (None, H, W, 3)")
    _, height, width, _ = shapes[0]
    if height is None or width is None:
        raise SourceError(
            f"{path.name} takes photos of any size; build it with a fixed input_shape, like (224, 224, 3)"
        )
    names = {type(layer).__name__ for layer in model._flatten_layers()}
    if names & {"Rescaling", "Normalization"}:
        return Preprocessing(width, height, None, None, read_from="the model's own Rescaling layer")
    if _prepares_pixels(model):
        return Preprocessing(width, height, None, None, read_from="the model's own arithmetic on its pixels")
    # Of the layers, models alone: "inception_3a" is a block of many a network of one's own.
    known = [model.name, *(layer.name for layer in model.layers if hasattr(layer, "layers"))]
    for name in known:
        for prefix, (mean, std) in _APPLICATIONS.items():
            if name.lower().startswith(prefix):
                return Preprocessing(width, height, mean, std, read_from=f"keras.applications' {name}")
    return None


def _prepares_pixels(model: Any) -> bool:
    """Whether bare arithmetic, as preprocess_input called on the model's input leaves it, comes before the first weights."""
    for operation in getattr(model, "operations", model.layers):
        if not hasattr(operation, "weights"):
            return True
        if operation.weights:
            return False
    return False


def _encoder_of(keras: Any, path: Path, model: Any, output: str | None, pool: str) -> tuple[Any, tuple[str, ...]]:
    """The model up to the layer that gives its embedding, and what is to be said of it."""
    if pool not in ("auto", "avg"):
        raise SourceError(f"--pool {pool} arrived; Keras models keep their own pooling, or name a layer with --output")
    names = [layer.name for layer in model.layers]
    if output is not None:
        if output not in names:
            raise SourceError(f"{path.name} has no layer {output!r}; the last ones are {', '.join(names[-4:])}")
        return keras.Model(model.inputs, model.get_layer(output).output), ()
    if len(model.outputs) != 1:
        raise SourceError(
            f"{path.name} has {len(model.outputs)} outputs; say which layer's is the embedding, --output NAME"
        )
    last = model.layers[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", "")
    is_softmax = type(last).__name__ == "Softmax" or activation == "softmax"
    if is_softmax and type(last).__name__ != "Dense":  # a layer of its own: the classifier is the one before it
        last = model.layers[-2]
        if type(last).__name__ != "Dense":
            raise SourceError(
                f"{path.name} ends in a softmax without a Dense layer before it; say which layer's output is the embedding, "
                "--output NAME"
            )
    if type(last).__name__ != "Dense" or len(last.input.shape) != 2:
        return model, ()
    linear = activation in ("linear", "sigmoid", "")
    why = (
        f"{last.units} numbers behind a softmax"
        if is_softmax
        else why_class_scores(last.units, linear=linear, name=last.name)
    )
    if why:
        note = (
            f"{last.name} of {path.name} was taken for class scores ({why}) and cut off; --output {last.name} keeps it"
        )
        return keras.Model(model.inputs, last.input), (note,)
    before = [name for name in names if name != last.name]
    if not linear or last.units >= last.input.shape[1] or not before:
        return model, ()
    return model, (
        f"{last.name} of {path.name} is a linear layer, {last.units} numbers of {last.input.shape[1]}, taken for the embedding; "
        f"if these are class scores, --output {before[-1]}",
    )
