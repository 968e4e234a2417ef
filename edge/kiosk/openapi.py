"""The API's operations, and the OpenAPI 3.1 document made from them and from the types that validate."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from .._version import __version__
from . import documents
from .problems import KINDS, MEDIA_TYPE, ProblemDocument

Handler = Callable[[Request], Awaitable[Response]]
PHOTO_TYPES: Final = ("image/jpeg", "image/png", "image/webp", "image/heic")
_COMMON: Final = ("invalid", "host", "origin", "too-large", "too-slow", "busy", "method")
_STAFF: Final = ("code", "staff-off", "attempts")
_REF: Final = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: `query` the type of its query, `body` content type → type (None for bytes), `answers` status → type (or the
    content type of bytes), `problems` kinds it may answer with besides those that all may."""

    method: str
    path: str
    summary: str
    handler: Handler
    answers: dict[int, type[Any] | str]
    query: type[msgspec.Struct] = documents.NoQuery
    body: dict[str, type[Any] | None] | None = None
    problems: Sequence[str] = ()
    is_staff: bool = False
    tag: str = "shop"


def openapi(operations: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI document of these operations."""
    types: list[Any] = [ProblemDocument]
    for one in operations:
        types += [kind for kind in one.answers.values() if not isinstance(kind, str)]
        types += [kind for kind in (one.body or {}).values() if kind is not None]
    types = list(dict.fromkeys(types))
    _, components = msgspec.json.schema_components(types, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _described(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "shelfmatch kiosk",
            "version": __version__,
            "description": "Hold a product up to the camera, get the answer. Errors are problem documents (RFC 9457).",
        },
        "paths": paths,
        "x-problems": {name: {"status": kind.status, "title": kind.title} for name, kind in KINDS.items()},
        "components": {
            "schemas": components,
            "securitySchemes": {"staff": {"type": "http", "scheme": "bearer", "description": "a staff code"}},
        },
    }


def _described(one: Operation) -> dict[str, Any]:
    name = re.sub(r"\W+", "_", f"{one.method.lower()}{one.path}").strip("_")
    responses = {str(status): _answer(kind) for status, kind in one.answers.items()}
    for status, titles in _problems_of(one).items():
        schema = {"$ref": _REF.format(name="ProblemDocument")}
        responses[str(status)] = {"description": "; ".join(titles), "content": {MEDIA_TYPE: {"schema": schema}}}
    described: dict[str, Any] = {
        "operationId": name,
        "summary": one.summary,
        "tags": [one.tag],
        "parameters": [*_path_parameters(one.path), *_query_parameters(one.query)],
        "responses": responses,
    }
    if one.is_staff:
        described["security"] = [{"staff": []}]
    if one.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {media: {"schema": _body_schema(kind)} for media, kind in one.body.items()},
        }
    return described


def _problems_of(one: Operation) -> dict[int, list[str]]:
    kinds = [*_COMMON, *(_STAFF if one.is_staff else ()), *one.problems]
    found: dict[int, list[str]] = {}
    for kind in dict.fromkeys(kinds):
        found.setdefault(KINDS[kind].status, []).append(KINDS[kind].title)
    return found


def _answer(kind: type[Any] | str) -> dict[str, Any]:
    if isinstance(kind, str):
        if not kind:
            return {"description": "nothing more to say"}
        return {"description": kind, "content": {kind: {"schema": {"type": "string", "format": "binary"}}}}
    schema = {"$ref": _REF.format(name=kind.__name__)}
    first = (kind.__doc__ or "").strip().splitlines()[0]
    return {"description": first, "content": {"application/json": {"schema": schema}}}


def _body_schema(kind: type[Any] | None) -> dict[str, Any]:
    return {"type": "string", "format": "binary"} if kind is None else {"$ref": _REF.format(name=kind.__name__)}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS[name]}
        for name in re.findall(r"{(\w+)}", path)
    ]


_PATH_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "sku": {"type": "string", "minLength": 1, "maxLength": 200},
    "number": {"type": "integer", "minimum": 1, "maximum": 2**53},
    "name": {"type": "string", "pattern": "^[0-9A-Za-z-]{1,64}\\.jpg$"},
}


def _query_parameters(query: type[msgspec.Struct]) -> list[dict[str, Any]]:
    (_,), components = msgspec.json.schema_components([query], ref_template=_REF)
    schema = components[query.__name__]
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _plain(one)}
        | ({"description": one["description"]} if "description" in one else {})
        for name, one in schema["properties"].items()
    ]


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema: what may be left out can't be null in a query."""
    options = [one for one in schema.get("anyOf", []) if one.get("type") != "null"]
    kept = options[0] if options else schema
    return {key: value for key, value in kept.items() if not (key == "default" and value is None)}
