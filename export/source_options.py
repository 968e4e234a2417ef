"""What the user says about a source."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import SourceError
from .preprocessing import Overrides

POOLS = ("auto", "avg", "gem", "cls")


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What the user says about a source: its weights, which tensor is the embedding, how photos are prepared."""

    checkpoint: Path | None = None
    pool: str = "auto"
    output: str | None = None
    preprocessing: Overrides = field(default_factory=Overrides)


def with_checkpoint(origin: str, options: SourceOptions) -> str:
    """Where weights come from, in words."""
    return origin if options.checkpoint is None else f"{origin}, weights of {options.checkpoint.name}"


def refuse(name: str, options: SourceOptions, *unused: str) -> Any:
    """Raises SourceError for an option that would do nothing."""
    for option in unused:
        if getattr(options, option) != getattr(SourceOptions(), option):
            raise SourceError(
                f"--{option} arrived with {name}, which brings its own; leave it out, or give timm:NAME, hf:FOLDER "
                "or a torch.nn.Module"
            )
