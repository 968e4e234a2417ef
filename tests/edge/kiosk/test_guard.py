"""What stands before the handlers: bodies that don't say how long they are."""

from __future__ import annotations

import asyncio
from typing import Any

from shelfmatch.edge.kiosk.guard import Guard
from shelfmatch.edge.kiosk.settings import ServerSettings

_PIECE = bytes(1 << 19)


def status_of(guard: Guard, pieces: int) -> int:
    """Of a request with so many pieces and no content-length."""
    sent: list[Any] = []
    left = [{"type": "http.request", "body": _PIECE, "more_body": number + 1 < pieces} for number in range(pieces)]

    async def receive() -> Any:
        return left.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"transfer-encoding", b"chunked")]
    scope = {"type": "http", "method": "POST", "path": "/v1/match", "headers": headers}
    asyncio.run(guard(scope, receive, send))
    return int(sent[0]["status"])


def test_bodies_without_a_length_take_no_more_room_than_there_is() -> None:
    """Each counted as 1 MB, and could be 16: with 64 connections a gigabyte where 64 MB were promised."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    guard = Guard(app, ServerSettings(memory_bytes=3 << 20))
    assert [status_of(guard, pieces) for pieces in (1, 2, 6, 7, 12, 6)] == [200, 200, 200, 503, 503, 200]
    assert status_of(Guard(app, ServerSettings()), 33) == 413
