"""Requests read and validated: query, JSON, photos and forms. Nothing of a body ever lies on a disk."""

from __future__ import annotations

import functools
import typing
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from .problems import Problem

_Query = TypeVar("_Query", bound=msgspec.Struct)
SLASH: Final = "\x1f"
"""Stands for an escaped slash of a path while routes are looked for: no SKU has it."""


def query_of(request: Request, kind: type[_Query]) -> _Query:
    """The query as its type. Raises Problem."""
    hints = _hints_of(kind)
    given: dict[str, Any] = {}
    for name in request.query_params:
        values = request.query_params.getlist(name)
        if name in hints and typing.get_origin(hints[name]) is list:
            given[name] = values
        elif len(values) > 1:
            raise Problem("invalid", f"{name[:60]!r} arrived {len(values)} times; expected it once")
        else:
            given[name] = values[0]
    try:
        return msgspec.convert(given, kind, strict=False)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise Problem("invalid", f"{error}; /v1/docs shows what is expected") from error


@functools.cache
def _hints_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Once for each kind: annotations are texts, and evaluating them is slow beside all else that a request takes."""
    return typing.get_type_hints(kind)


async def json_of(request: Request, kind: type[_Query]) -> _Query:
    """A JSON body as its type. Raises Problem."""
    if media_type(request) != "application/json":
        raise Problem("media", f"content type {media_type(request)[:60]!r} arrived; expected application/json")
    try:
        return msgspec.json.decode(await body_of(request), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("invalid", f"{error}; /v1/docs shows what is expected") from error


def media_type(request: Request) -> str:
    """The content type without its parameters, lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def body_of(request: Request) -> bytes:
    """The whole body. Raises Problem where the client went away."""
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise Problem("invalid", "the connection ended before the body did; send it again") from error


async def photo_of(request: Request) -> bytes:
    """The photo of a request: its body, or the first file of its form. Raises Problem."""
    if media_type(request) == "multipart/form-data":
        photos, _ = await form_of(request, most_files=1)
        if not photos:
            raise Problem("invalid", "a form without a photo arrived; expected one file in it")
        return photos[0]
    kind = media_type(request)
    if kind and not kind.startswith("image/") and kind != "application/octet-stream":
        raise Problem(
            "media", f"content type {kind[:60]!r} arrived; expected a photo: image/jpeg, or multipart/form-data"
        )
    data = await body_of(request)
    if not data:
        raise Problem("invalid", "an empty body arrived; expected a photo: JPEG, PNG, WebP or HEIC")
    return data


async def form_of(request: Request, most_files: int) -> tuple[list[bytes], dict[str, str]]:
    """(files, fields) of a form. Raises Problem."""
    if media_type(request) != "multipart/form-data":
        raise Problem("media", f"content type {media_type(request)[:60]!r} arrived; expected multipart/form-data")
    parser = MultiPartParser(request.headers, _stream_of(request), max_files=most_files, max_fields=20)
    parser.spool_max_size = 2**62  # never to a file: the guard has limited what comes
    photos: list[bytes] = []
    fields: dict[str, str] = {}
    try:
        form = await parser.parse()
    except ClientDisconnect as error:
        raise Problem("invalid", "the connection ended before the form did; send it again") from error
    except (MultiPartException, KeyError, ValueError, LookupError) as error:
        raise Problem("invalid", f"the form can't be read: {error}; expected multipart/form-data") from error
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                photos.append(await value.read())
            else:
                fields[name] = value
    finally:
        await form.close()
    return photos, fields


async def _stream_of(request: Request) -> AsyncGenerator[bytes, None]:
    async for piece in request.stream():
        yield piece


def fields_as(fields: Mapping[str, str], kind: type[_Query], photos: Sequence[bytes]) -> _Query:
    """A form as its type; `photos` in place of the files. Raises Problem."""
    unknown = set(fields) - {one.name for one in msgspec.structs.fields(kind)}
    if unknown:
        raise Problem("invalid", f"unknown field {sorted(unknown)[0][:60]!r}; /v1/docs shows what is expected")
    try:
        return msgspec.convert({**fields, "photos": ["photo"] * len(photos)}, kind)
    except msgspec.ValidationError as error:
        raise Problem("invalid", f"{error}; /v1/docs shows what is expected") from error


def sku_of(request: Request) -> str:
    """The SKU in the path."""
    return str(request.path_params["sku"]).replace(SLASH, "/")
