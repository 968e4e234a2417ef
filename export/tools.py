"""The converters and what is around them: imported when a step needs them, named when missing, kept from talking."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from ..edge.errors import ShelfmatchError
from .errors import ExportError, MissingPackage

INSTALL = "pip install 'shelfmatch[export]'"


def need(module: str, step: str) -> Any:
    """Import a tool. Raises MissingPackage that says which step wanted it and how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackage(
            f"{step} needs {module.partition('.')[0]}, which can't be imported ({error}); {INSTALL}"
        ) from error


def need_timm() -> Any:
    """timm, which imports torchvision for data loading that an export never does."""
    _ready_torchvision()
    return need("timm", "reading a timm model")


def need_torchvision() -> Any:
    """torchvision, for its networks."""
    _ready_torchvision()
    return need("torchvision", "reading a torchvision model")


def need_transformers() -> Any:
    """transformers, whose models import torchvision where it is installed."""
    _ready_torchvision()
    return need("transformers", "reading a Hugging Face model")


def _ready_torchvision() -> None:
    """Make an installed torchvision importable.

    One built for another kind of PyTorch (the CUDA wheel beside the CPU one) can't load its operators and then fails on
    registering shapes for them; declaring the two names is enough for the import.
    """
    torch = need("torch", "reading a PyTorch model")
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return  # whoever needs it will say so
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        declared = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(declared)  # the declarations go with the object


_KEPT: list[Any] = []


@contextlib.contextmanager
def quiet(step: str) -> Iterator[None]:
    """Run a converter without its chatter, and turn what it raises into one line.

    Converters print to stdout and stderr from Python and from C++, warn and log. All of it is held back, as is every
    exception class of theirs: an ExportError says which step failed and why. Only while no other thread writes.
    """
    with _silence():
        try:
            yield
        except ShelfmatchError:
            raise
        except (KeyboardInterrupt, OSError, MemoryError):
            raise
        except Exception as error:
            raise ExportError(f"{step} failed: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """The first telling line of a tool's message, short enough for one line of ours."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    telling = next((line for line in lines if not line.startswith(("=", "-", "File ", "Traceback"))), "")
    return (telling or type(error).__name__)[:240]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    hole = os.open(os.devnull, os.O_WRONLY)
    before = logging.root.manager.disable
    try:
        os.dup2(hole, 1)
        os.dup2(hole, 2)
        logging.disable(logging.CRITICAL)
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        for number, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(hole)


_PACKAGES = (
    "shelfmatch", "numpy", "torch", "timm", "transformers", "keras", "onnx", "onnxscript", "onnxslim", "onnxruntime",
    "litert-torch", "ai-edge-litert", "ai-edge-quantizer",
)  # fmt: skip


def versions() -> dict[str, str]:
    """The installed packages that an exported file may depend on."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
