"""Photos in work: a short queue, "no" at once past it, and what is known of a pool that is stuck."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from shelfmatch.edge.kiosk.pool import Busy, Pool


def ran(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_past_workers_and_queue_it_is_busy() -> None:
    async def work() -> None:
        pool, gate = Pool(2, 3), threading.Event()
        tasks = [asyncio.create_task(pool.run(gate.wait)) for _ in range(5)]
        await asyncio.sleep(0.05)
        assert pool.inside == 5 and pool.waiting == 3
        with pytest.raises(Busy) as refused:
            await pool.run(int)
        assert refused.value.retry_s >= 1
        with pytest.raises(Busy):
            pool.check()
        gate.set()
        assert await asyncio.gather(*tasks) == [True] * 5
        await asyncio.sleep(0.05)
        assert pool.inside == 0 and await pool.run(int, "7") == 7
        pool.close()

    ran(work())


def test_what_was_cancelled_in_the_queue_isnt_begun_and_leaves_its_place() -> None:
    async def work() -> None:
        pool, gate, begun = Pool(1, 4), threading.Event(), []
        first = asyncio.create_task(pool.run(gate.wait))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(pool.run(begun.append, 1))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.sleep(0.05)
        assert pool.inside == 1
        gate.set()
        await first
        await asyncio.sleep(0.05)
        assert begun == [] and pool.inside == 0
        pool.close()

    ran(work())


def test_an_error_comes_back_and_leaves_its_place() -> None:
    async def work() -> None:
        pool = Pool(1, 0)
        for _ in range(3):
            with pytest.raises(ValueError, match="invalid literal"):
                await pool.run(int, "x")
            await asyncio.sleep(0.02)
        assert pool.inside == 0
        pool.close()

    ran(work())


def test_a_thread_that_never_comes_back_is_noticed() -> None:
    async def work() -> None:
        pool, gate = Pool(1, 1), threading.Event()
        assert not pool.is_stuck(0.0)
        task = asyncio.create_task(pool.run(gate.wait))
        await asyncio.sleep(0.1)
        assert pool.is_stuck(0.05) and not pool.is_stuck(5.0)
        gate.set()
        await task
        await asyncio.sleep(0.05)
        assert not pool.is_stuck(0.0)
        pool.close()

    ran(work())
