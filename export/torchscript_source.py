"""TorchScript files, and weights that came without their network."""

from __future__ import annotations

import pickletools
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from .encoders import SourceEncoder
from .errors import SourceError
from .file_sources import onnx_file
from .source_options import SourceOptions, refuse
from .tools import need, quiet

SUFFIXES = (".pt", ".pth", ".ts", ".torchscript", ".safetensors", ".ckpt", ".bin")
_OPSET = 18


def torchscript_file(name: str, options: SourceOptions) -> SourceEncoder:
    """A network that torch.jit.save wrote, by way of ONNX. Raises SourceError for weights alone: they need their network."""
    path = Path(name)
    if not path.is_file():
        raise SourceError(
            f"{path} can't be read: no such file exists; expected a TorchScript file, or timm:NAME --checkpoint {path}"
        )
    refuse(path.name, options, "checkpoint")
    torch = need("torch", "reading a TorchScript file")
    net = _loaded(torch, path)
    if net is None:
        module = _pickled_module(path)
        if module:
            raise SourceError(
                f"{path} holds a pickled {module}, which runs code of its own when it is read; where you trust it, make "
                f"TorchScript of it: torch.jit.trace(torch.load({path.name!r}, weights_only=False).eval(), "
                "torch.zeros(1, 3, 224, 224)).save('net.ts')"
            )
        raise SourceError(
            f"{path} holds weights without their network; say which it is: timm:NAME --checkpoint {path}, or hf:FOLDER or "
            f"torchvision:NAME with --checkpoint {path}"
        )
    said = options.preprocessing
    if said.size is None:
        raise SourceError(f"{path} doesn't say how large its photos are; say it: --size 224")
    with tempfile.TemporaryDirectory(prefix="shelfmatch-torchscript-") as folder:
        made = Path(folder) / f"{path.stem}.onnx"
        with quiet(f"writing {path.name} as ONNX"):
            torch.onnx.export(
                net, (torch.zeros(1, 3, *said.size),), str(made), dynamo=False, opset_version=_OPSET,
                input_names=["photo"], dynamic_axes={"photo": {0: "batch"}},
            )  # fmt: skip
        source = onnx_file(made, options)
    notes = tuple(note.replace(made.name, path.name) for note in source.notes)
    return replace(source, provenance=f"the TorchScript file {path.name}", notes=notes)


def _loaded(torch: Any, path: Path) -> Any:
    """The network, None where the file holds none."""
    if path.suffix == ".safetensors":
        return None
    with quiet(f"reading {path.name}"):
        try:
            return torch.jit.load(str(path), map_location="cpu").eval()
        except Exception:  # weights alone, or no file of PyTorch
            return None


def _pickled_module(path: Path) -> str:
    """The class of a network that torch.save wrote whole, "" for what holds none. Nothing of it is run."""
    skipped = ("PROTO", "FRAME", "MARK")
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            codes = ((code.name, argument) for code, argument, _ in pickletools.genops(archive.read(name)))
            code, argument = next(one for one in codes if one[0] not in skipped)
    except (
        zipfile.BadZipFile,
        OSError,
        RuntimeError,
        StopIteration,
        ValueError,
    ):  # weights of another form, or no file of PyTorch
        return ""
    # A state_dict begins as a dictionary or as this.
    return str(argument).replace(" ", ".") if code == "GLOBAL" and argument != "collections OrderedDict" else ""


def saved_model(name: str, options: SourceOptions) -> SourceEncoder:
    """Raises SourceError that says how TensorFlow, which alone reads these folders, makes a file of one."""
    raise SourceError(
        f'{name} is a SavedModel, which TensorFlow alone reads; where it is installed: python -c "import tensorflow as tf; '
        f"open('net.tflite', 'wb').write(tf.lite.TFLiteConverter.from_saved_model('{name}').convert())\", then export net.tflite"
    )


def is_saved_model(name: str) -> bool:
    """Whether a name is of a folder that TensorFlow saved."""
    return (Path(name) / "saved_model.pb").is_file()
