"""The server behind `shelf edit`: rubbish gets one line, and nothing that changed meanwhile is written over."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge.shelf.edit_page import PlanEditor, start_editor
from shelfmatch.edge.shelf.planogram import read_planogram
from tests.support.shelf import contents, run

HUGE = 10**400


@pytest.fixture
def port(folder: Path) -> Iterator[int]:
    server = start_editor(PlanEditor(folder / "plan.json"), 0)
    server.handle_error = broken.append  # type: ignore[assignment, method-assign]
    broken.clear()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()
    assert broken == []


broken: list[Any] = []
"""Requests that ended in a traceback."""


def ask(
    port: int, method: str, path: str, data: bytes = b"", stamp: str = "", **headers: str
) -> tuple[int, bytes, str]:
    """Status, body and entity tag of an answer."""
    connection = http.client.HTTPConnection(f"127.0.0.1:{port}", timeout=20)
    sent = {"Origin": f"http://127.0.0.1:{port}", "Content-Type": "application/json", "If-Match": stamp, **headers}
    connection.request(method, path, data, sent)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, answer.headers.get("ETag", "")


def begun(port: int) -> tuple[dict[str, Any], str]:
    status, body, stamp = ask(port, "GET", "/plan.json")
    assert status == 200 and stamp
    plan: dict[str, Any] = json.loads(body)["plan"]
    return plan, stamp


def with_product(plan: dict[str, Any], value: Any) -> None:
    plan["planogram"]["products"][0]["id"] = value


def with_sku(plan: dict[str, Any], value: Any) -> None:
    plan["planogram"]["positions"][0]["productId"] = value


HOSTILE: dict[str, Any] = {
    "nested": lambda plan: b"[" * 100_000,
    "no text": lambda plan: b"\xff\xfe\x00",
    "no plan": lambda plan: b"[1]",
    "a product whose id is a list": lambda plan: with_product(plan, ["a"]),
    "a product whose id is an object": lambda plan: with_product(plan, {}),
    "a SKU that is an object": lambda plan: with_sku(plan, {"a": 1}),
    "a SKU that is a list": lambda plan: with_sku(plan, [1]),
    "half a character": lambda plan: plan.update(name="\ud800"),
    "half a character as a SKU": lambda plan: with_sku(plan, "\ud800"),
    "a huge number": lambda plan: plan["planogram"].update(width=HUGE),
    "a number of 5000 digits": lambda plan: b'{"version": ' + b"9" * 5000 + b"}",
    "products that are numbers": lambda plan: plan["planogram"].update(products=[1, None]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_that_sends_rubbish_gets_one_line(name: str, port: int, folder: Path) -> None:
    plan, stamp = begun(port)
    before = contents(folder)
    data = HOSTILE[name](plan)
    status, body, _ = ask(port, "PUT", "/plan.json", json.dumps(plan).encode() if data is None else data, stamp)
    assert status == 422
    message = json.loads(body)["message"]
    assert message and "\n" not in message and len(message) < 400 and contents(folder) == before


def test_a_length_of_thousands_of_digits_is_refused(port: int) -> None:
    _, stamp = begun(port)
    assert ask(port, "PUT", "/plan.json", b"", stamp, **{"Content-Length": "9" * 5000})[0] == 413


def test_a_page_that_is_old_overwrites_nothing(port: int, folder: Path) -> None:
    plan, stamp = begun(port)
    plan["name"] = "first"
    status, _, first = ask(port, "PUT", "/plan.json", json.dumps(plan).encode(), stamp)
    assert status == 200 and first not in ("", stamp) and begun(port)[1] == first
    plan["name"] = "second"  # of another page, which began with the plan before
    before = contents(folder)
    for old in (stamp, "", '"none"'):
        status, body, _ = ask(port, "PUT", "/plan.json", json.dumps(plan).encode(), old)
        assert status == 409 and "plan.json was changed or removed meanwhile" in json.loads(body)["message"]
    assert contents(folder) == before and read_planogram(folder / "plan.json").name == "first"
    assert ask(port, "PUT", "/plan.json", json.dumps(plan).encode(), first)[0] == 200
    assert read_planogram(folder / "plan.json").name == "second"


def test_a_plan_that_was_taught_meanwhile_stays_and_its_photo_is_shown(port: int, folder: Path) -> None:
    plan, stamp = begun(port)
    photo = ask(port, "GET", "/photo.jpg")[1]
    turned_round = Image.open(folder / "mine.png").rotate(180)
    turned_round.save(folder / "new.png")
    assert run("teach", folder / "plan.json", "--full", folder / "new.png", "--no-empty") == 0
    assert ask(port, "PUT", "/plan.json", json.dumps(plan).encode(), stamp)[0] == 409
    again = ask(port, "GET", "/photo.jpg")
    assert again[0] == 200 and again[1] != photo


def test_a_photo_that_was_taught_meanwhile_is_another_plan(port: int, folder: Path) -> None:
    plan, stamp = begun(port)
    before = (folder / "plan.json").read_bytes()
    Image.fromarray(np.roll(np.asarray(Image.open(folder / "mine.png")), 9, axis=1)).save(folder / "new.png")
    assert run("teach", folder / "plan.json", "--full", folder / "new.png") == 0
    assert (folder / "plan.json").read_bytes() == before, "the same names, another photo"
    assert ask(port, "PUT", "/plan.json", json.dumps(plan).encode(), stamp)[0] == 409


@pytest.mark.parametrize(("state", "status"), [("broken", 500), ("gone", 404)])
def test_a_plan_that_broke_meanwhile_is_said(state: str, status: int, port: int, folder: Path) -> None:
    plan, stamp = begun(port)
    path = folder / "plan.json"
    path.unlink()
    if state == "broken":
        path.write_text("{broken")
    before = contents(folder)
    for page in ("/plan.json", "/photo.jpg"):
        answer = ask(port, "GET", page)
        assert answer[0] == status and "plan.json" in json.loads(answer[1])["message"]
    assert ask(port, "PUT", "/plan.json", json.dumps(plan).encode(), stamp)[0] == 409
    assert ask(port, "PUT", "/plan.json", json.dumps(plan).encode(), "")[0] == 409
    assert contents(folder) == before


def test_the_page_sends_the_stamp_of_what_it_shows(port: int) -> None:
    """Both ends of it; a browser isn't everywhere."""
    program = ask(port, "GET", "/edit.js")[1].decode()
    assert program.count('headers.get("ETag")') == 2 and '"If-Match": stamp' in program
