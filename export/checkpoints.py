"""Weights from a file of their own: whatever training tools wrap around a state_dict comes off, and what doesn't fit is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..edge.encoders.class_scores import why_class_scores
from .errors import ExportError, SourceError
from .tools import need

_INSIDE = (
    "state_dict_ema", "model_ema", "ema_state_dict", "ema", "state_dict", "model_state_dict", "model", "net", "module",
    "params_ema", "params",
)  # fmt: skip
"""Where training tools keep a state_dict. Averages of the weights come first, as timm takes them (timm.models.load_state_dict)."""
_WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.")
"""What torch.compile and sharded training put inside of names, anywhere."""


def load_state(net: Any, checkpoint: Path) -> tuple[str, ...]:
    """Load a .pth, .pt or .safetensors file into a network, without running anything it may hold.

    Entries that the network doesn't have, as those of a classifier, are left out; all that it has must be there. Returns what is
    to be said of those that may have been the embedding. Raises SourceError that shows both sides' names, or where the file
    holds two networks that fit.
    """
    read, own = read_state(checkpoint), net.state_dict()
    state = fitting(read, own)
    difference = difference_of(state, own)
    if difference:
        raise SourceError(f"checkpoint {checkpoint} is of another network: {difference}")
    _refuse_two(checkpoint, read, own)
    net.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)
    return _left_out(checkpoint, state, own)


def _refuse_two(checkpoint: Path, state: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raises SourceError where all of the network is there twice, as of a student and its teacher: nothing says which is meant.
    Names without a prefix are the network's own, and two of the same numbers are one."""
    bare = _unwrapped(state)
    wanted = [key for key in own if not key.endswith("num_batches_tracked")]
    hits = Counter(key[:place] for key in bare for place in (0, *_after_dots(key)) if key[place:] in own)
    whole = [
        prefix
        for prefix, count in hits.items()
        if count >= len(wanted)
        and all(prefix + key in bare and bare[prefix + key].shape == own[key].shape for key in wanted)
    ]
    if "" in whole:
        return
    for other in whole[1:]:
        if not all(bare[whole[0] + key].equal(bare[other + key]) for key in wanted):
            raise SourceError(
                f"checkpoint {checkpoint} holds the network twice, under {whole[0]!r} and {other!r}; expected it once: save the "
                "tensors of the one that is meant in a file of their own"
            )


def _left_out(checkpoint: Path, state: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[str, ...]:
    """What is to be said of a last linear layer that has as many outputs as an embedding has. Layers that the network has itself,
    and the checkpoint another time, as a teacher's, are none."""
    found = [
        key
        for key, value in state.items()
        if key.endswith("weight")
        and value.ndim == 2
        and not why_class_scores(len(value), linear=True)
        and not any(key[place:] in own and own[key[place:]].shape == value.shape for place in (0, *_after_dots(key)))
    ]
    if not found:
        return ()
    outside, inside = state[found[-1]].shape
    return (
        f"{checkpoint.name} has {found[-1]}, {outside} numbers of {inside}, which the network lacks, and which was left out; if it "
        "gives the embedding, hand the whole network over from Python and name that layer as the output",
    )


def fitting(state: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors under the network's names: without the prefix that most of them have in front, or with the one they lack."""
    bare = _unwrapped(state)
    removed: Counter[str] = Counter({"": sum(key in own for key in bare)})
    for key in bare:
        for place in _after_dots(key):
            removed[key[:place]] += key[place:] in own
    added: Counter[str] = Counter()
    for key in own:
        for place in _after_dots(key):
            added[key[:place]] += key[place:] in bare
    prefix, hits = removed.most_common(1)[0]
    longer, more = added.most_common(1)[0] if added else ("", 0)
    if more > hits:
        return {longer + key: value for key, value in bare.items()}
    return {key.removeprefix(prefix): value for key, value in bare.items() if key.startswith(prefix)}


def _unwrapped(state: Mapping[str, Any]) -> dict[str, Any]:
    bare = dict(state)
    for wrapper in _WRAPPERS:
        bare = {key.replace(wrapper, ""): value for key, value in bare.items()}
    return bare


def _after_dots(key: str) -> list[int]:
    return [place + 1 for place, letter in enumerate(key) if letter == "."]


def difference_of(state: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """What a state_dict lacks or has otherwise than the network, "" where it fits."""
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    wrong = [key for key in own if key in state and tuple(state[key].shape) != tuple(own[key].shape)]
    if wrong:
        return f"its {wrong[0]} has the shape {list(state[wrong[0]].shape)} instead of {list(own[wrong[0]].shape)}"
    if not missing:
        return ""
    others = [key for key in state if key not in own]
    beside = f", and has {others[0]} instead" if others else ""
    return f"it lacks {len(missing)} of {len(own)} tensors, for example {missing[0]}{beside}"


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The tensors of a checkpoint by name. Raises SourceError."""
    torch = need("torch", "reading a checkpoint")
    if not checkpoint.is_file():
        raise SourceError(f"checkpoint {checkpoint} does not exist; expected a .pth, .pt or .safetensors file")
    try:
        if checkpoint.suffix == ".safetensors":
            state: Any = need("safetensors.torch", "reading a checkpoint").load_file(checkpoint)
        else:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except ExportError:
        raise
    except Exception as error:
        raise SourceError(
            f"checkpoint {checkpoint} can't be read ({' '.join(str(error).split())[:120]}); "
            "expected the tensors of a state_dict in a .pth, .pt or .safetensors file"
        ) from error
    found = next(
        (state[key] for key in _INSIDE if isinstance(state, dict) and _holds_tensors(torch, state.get(key))), state
    )
    if not _holds_tensors(torch, found):
        raise SourceError(
            f"checkpoint {checkpoint} holds {_described(state)}; expected the tensors of a state_dict, by name"
        )
    return {key: value for key, value in found.items() if torch.is_tensor(value)}


def _holds_tensors(torch: Any, state: Any) -> bool:
    """Whether it is a state_dict; numbers among the tensors, as averages have their count of updates, are no reason against it."""
    return (
        isinstance(state, dict)
        and any(torch.is_tensor(value) for value in state.values())
        and all(torch.is_tensor(value) or isinstance(value, (int, float)) for value in state.values())
    )


def _described(state: Any) -> str:
    return (
        f"the entries {', '.join(map(str, list(state)[:5]))}"
        if isinstance(state, dict) and state
        else type(state).__name__
    )
