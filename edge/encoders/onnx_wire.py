"""An .onnx file's bytes, read as far as a question needs it: whoever builds or opens a bundle may lack the onnx package.

The format is that of protocol buffers (https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import EncoderError

_LOCATION = b"\x0a\x08location"
"""The key under which a tensor says the file that holds it, as its field 1 of 8 letters. A file without these bytes isn't walked
through: looking for them takes less time than its hash does."""


def refuse_weights_elsewhere(model: bytes, name: str) -> None:
    """Raises EncoderError for a file that keeps weights in a second one. `name`: how the message calls it.

    A bundle holds one file. ONNX Runtime, given the bytes, looks for the second one in the folder that the program runs in: it
    fails there, or takes the weights of another network.
    """
    other = _weights_elsewhere(model)
    if other:
        raise EncoderError(
            f"{name} keeps its weights in a second file, {other}; expected all of them inside: shelfmatch export FILE makes one "
            "file of an encoder"
        )


def _weights_elsewhere(model: bytes) -> str:
    """The second file that a tensor is kept in, "" where all are inside."""
    if model.rfind(_LOCATION) < 0:  # from behind, which CPython does faster
        return ""
    try:
        graphs = (graph for _, graph in fields(memoryview(model), 7))
        return next((other for graph in graphs for other in _places(graph)), "")
    except Exception:  # a damaged file; its runtime has a word for it
        return ""


def _places(graph: memoryview) -> Iterator[str]:
    """The files that a graph's tensors are kept in.

    Field numbers are those of onnx.proto: ModelProto.graph is 7; GraphProto.node 1 and initializer 5; NodeProto.attribute 5;
    AttributeProto.t 5, g 6, tensors 10 and graphs 11; TensorProto.external_data 13 and data_location 14, of which 1 is EXTERNAL;
    StringStringEntryProto.key 1 and value 2.
    """
    for number, part in fields(graph, 1, 5):
        if number == 5:
            yield from _place(part)
            continue
        for _, attribute in fields(part, 5):
            for kind, inner in fields(attribute, 5, 6, 10, 11):
                yield from _place(inner) if kind in (5, 10) else _places(inner)


def _place(tensor: memoryview) -> Iterator[str]:
    found = list(fields(tensor, 13, 14))
    if (14, 1) not in found:
        return
    entries = [dict(fields(entry, 1, 2)) for number, entry in found if number == 13]
    named = [bytes(entry[2]) for entry in entries if bytes(entry.get(1, b"")) == b"location" and 2 in entry]
    yield named[0].decode(errors="replace") if named else "another one"


def fields(data: memoryview, *wanted: int) -> Iterator[tuple[int, Any]]:
    """The fields with these numbers: (number, an int or the bytes)."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        value: int | memoryview
        if wire == 0:
            value, at = varint(data, at)
        else:
            size = 8
            if wire == 2:
                size, at = varint(data, at)
            elif wire == 5:
                size = 4
            elif wire != 1:
                raise ValueError(f"wire type {wire}")
            value, at = data[at : at + size], at + size
        if number in wanted:
            yield number, value


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The whole number that begins at `at`, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
