"""The kiosk's API over real HTTP: photos, products, search, errors."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from PIL import Image

from shelfmatch.edge import Matcher
from tests.support.kiosk import KioskProcess, form, jpeg

from .conftest import Started, tile


def test_a_photo_is_answered_as_the_matcher_answers_it(kiosk: KioskProcess, tile_shop: Path) -> None:
    with Matcher.open(tile_shop / "shop.bundle") as matcher:
        for product in (0, 5, 11):
            expected = matcher.match(tile(product), top_k=3)
            found = kiosk.match(tile(product), "?top_k=3").json
            assert found["sku"] == expected.sku == f"sku-{product:03d}"
            assert found["confidence"] == pytest.approx(expected.confidence, abs=1e-6)
            assert [one["sku"] for one in found["candidates"]] == [one.sku for one in expected.candidates]


def test_a_form_is_as_good_as_a_body(kiosk: KioskProcess) -> None:
    kind, body = form([tile(4)], {}, name="photo")
    answer = kiosk.request("POST", "/v1/match", body, {"content-type": kind})
    assert answer.status == 200 and answer.json["sku"] == "sku-004"


def test_where_and_labels(kiosk: KioskProcess) -> None:
    found = kiosk.match(tile(4), "?where=category%3Dtea&top_k=12&labels=category").json
    assert {one["attributes"]["category"] for one in found["candidates"]} == {"tea"}
    assert found["labels"]["category"]["value"] == "tea"
    few = kiosk.match(tile(4), "?where=price%3C3&top_k=12").json
    assert {one["sku"] for one in few["candidates"]} == {"sku-000", "sku-001", "sku-002"}


def test_every_product_in_the_photo(kiosk: KioskProcess) -> None:
    from shelfmatch.edge.detection.registry import known_detectors
    from shelfmatch.edge.synthetic.products import make_shop
    from shelfmatch.edge.synthetic.shelf import render_shelf

    if not known_detectors():
        pytest.skip("shelfmatch-detect is not installed; models/train_detector.py makes it")
    shelf = render_shelf(make_shop(6, 4), 2, 5, (900, 600))
    found = kiosk.match(jpeg(shelf.picture), "?all=true&top_k=2").json
    assert len(shelf.facings) / 2 <= len(found["products"]) <= 2 * len(shelf.facings)
    for one in found["products"]:
        assert 0 <= one["box"][0] < one["box"][2] <= 900 and 0 < one["detection_score"] <= 1
        assert len(one["candidates"]) <= 2 and one["decision"] in ("match", "unknown")
    assert kiosk.match(tile(4)).json["products"] is None
    refused = kiosk.match(tile(4), "?all=true&session=one")
    assert refused.status == 422 and "all came with a session" in refused.json["detail"]


def test_frames_of_a_session_become_sure_and_still_ones_cost_nothing(kiosk: KioskProcess) -> None:
    answers = [kiosk.match(tile(6, photo), "?session=one").json for photo in range(60, 67)]
    assert [one["frames"] for one in answers][:2] == [1, 2]
    assert answers[-1]["sure"] and answers[-1]["sku"] == "sku-006"
    again = kiosk.match(tile(6, 66), "?session=one").json  # seven frames after the one that moved
    assert again["is_still"] and again["frames"] == answers[-1]["frames"]
    other = [kiosk.match(tile(9, photo), "?session=one").json for photo in range(60, 66)]
    assert any(one["changed"] for one in other) and other[-1]["sku"] == "sku-009"


def test_products_pages_details_pictures(kiosk: KioskProcess) -> None:
    page = kiosk.get("/v1/products?offset=3&limit=2").json
    assert page["total"] >= 12 and [one["sku"] for one in page["products"]] == ["sku-003", "sku-004"]
    details = kiosk.get("/v1/products/sku-003").json
    assert details["name"] == "Tile 3" and details["photos"] == 3 and details["taught_photos"] == []
    picture = kiosk.get(details["picture"])
    assert picture.headers["content-type"] == "image/jpeg" and picture.body[:3] == b"\xff\xd8\xff"
    again = kiosk.get(details["picture"], {"if-none-match": picture.headers["etag"]})
    assert again.status == 304 and not again.body
    assert kiosk.get("/v1/products/nothing").status == kiosk.get("/v1/products/nothing/picture").status == 404


def test_search_similar_and_bar_codes(kiosk: KioskProcess) -> None:
    assert [one["sku"] for one in kiosk.get("/v1/search?q=til%207").json["products"]] == ["sku-007"]
    assert kiosk.get("/v1/search?q=tyle").json["instead"] == {"tyle": ["tile"]}
    assert kiosk.get("/v1/search?q=4006381333931").json["products"][0]["sku"] == "sku-003"
    near = kiosk.get("/v1/similar/sku-003?top_k=2").json["products"]
    assert len(near) == 2 and "sku-003" not in [one["sku"] for one in near]
    assert kiosk.get("/v1/similar/nothing").status == 404


def test_a_bar_code_in_view_is_read(kiosk: KioskProcess) -> None:
    zxingcpp = pytest.importorskip("zxingcpp", reason="pip install zxing-cpp")
    code = zxingcpp.create_barcode("4006381333931", zxingcpp.BarcodeFormat.EAN13)
    drawn = Image.fromarray(zxingcpp.write_barcode_to_image(code, scale=3)).convert("RGB")
    picture = Image.new("RGB", (640, 480), "white")
    picture.paste(drawn, (100, 100))
    found = kiosk.match(jpeg(picture), "?bar_code=true").json["bar_code"]
    assert found["text"] == "4006381333931" and found["product"]["sku"] == "sku-003"
    assert kiosk.match(tile(1), "?bar_code=true").json["bar_code"] is None


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "kind"),
    [
        ("POST", "/v1/match", b"no photo", {"content-type": "image/jpeg"}, 422, "photo"),
        ("POST", "/v1/match", b"", {"content-type": "image/jpeg"}, 422, "invalid"),
        ("POST", "/v1/match", b"{}", {"content-type": "application/json"}, 415, "media"),
        ("POST", "/v1/match?top_k=0", b"x", {"content-type": "image/jpeg"}, 422, "invalid"),
        ("POST", "/v1/match?topk=1", b"x", {"content-type": "image/jpeg"}, 422, "invalid"),
        ("POST", "/v1/match?session=a%20b", b"x", {"content-type": "image/jpeg"}, 422, "invalid"),
        ("POST", "/v1/match?where=nonsense", b"x", {"content-type": "image/jpeg"}, 422, "invalid"),
        ("GET", "/v1/match", None, {}, 405, "method"),
        ("GET", "/v1/products?limit=100000", None, {}, 422, "invalid"),
        ("GET", "/v1/search", None, {}, 422, "invalid"),
        ("GET", "/nothing", None, {}, 404, "not-found"),
        ("GET", "/page/..%2f..%2fsetup.cfg", None, {}, 404, "not-found"),
        ("GET", "/healthz", None, {"host": "evil.example"}, 421, "host"),
        ("POST", "/v1/match", b"x", {"origin": "https://evil.example"}, 403, "origin"),
        ("POST", "/v1/match", b"x", {"content-length": "999999999999"}, 413, "too-large"),
        ("POST", "/v1/products", b"x", {}, 401, "code"),
        ("DELETE", "/v1/products/sku-001", None, {"authorization": "Bearer wrong"}, 401, "code"),
        ("PATCH", "/v1/products/sku-001", b"{}", {"authorization": "Basic eDp5"}, 401, "code"),
    ],
)  # fmt: skip
def test_errors_are_problem_documents(
    kiosk: KioskProcess, method: str, path: str, body: bytes | None, headers: dict[str, str], status: int, kind: str
) -> None:
    answer = kiosk.request(method, path, body, headers)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json
    assert set(document) == {"type", "title", "status", "detail", "instance"}
    assert document["type"] == f"/v1/docs#{kind}" and document["status"] == status and document["detail"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_slow_heads_and_bodies_are_ended_and_others_answered(started: Started, tile_shop: Path) -> None:
    kiosk = started(tile_shop / "shop.bundle", "--set", "server.head_seconds=0.5", "--set", "server.body_seconds=0.5")
    with (
        socket.create_connection(("127.0.0.1", kiosk.port)) as head,
        socket.create_connection(("127.0.0.1", kiosk.port)) as body,
    ):
        head.sendall(b"GET /healthz HTT")
        body.sendall(b"POST /v1/match HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nabc")
        assert kiosk.match(tile(2)).json["sku"] == "sku-002"
        head.settimeout(5)
        body.settimeout(5)
        assert head.recv(100) == b""
        assert b"408" in body.recv(4000).split(b"\r\n")[0]


def test_past_the_limit_of_connections_is_a_quick_503(started: Started, tile_shop: Path) -> None:
    kiosk = started(tile_shop / "shop.bundle", "--set", "server.connections=2")
    address = ("127.0.0.1", kiosk.port)
    with (
        socket.create_connection(address),
        socket.create_connection(address),
        socket.create_connection(address) as third,
    ):
        third.settimeout(5)
        head, _, document = third.recv(4000).partition(b"\r\n\r\n")
        assert b"503" in head.split(b"\r\n")[0] and b"retry-after" in head.lower()
        assert json.loads(document)["type"] == "/v1/docs#busy"
        assert f"content-length: {len(document)}".encode() in head


def test_a_kiosk_without_staff_mode_says_so(started: Started, tile_shop: Path) -> None:
    kiosk = started(tile_shop / "shop.bundle")
    assert kiosk.get("/v1/staff").json == {"is_on": False, "is_staff": False}
    answer = kiosk.enrol([tile(40)], name="x")
    assert answer.status == 403 and answer.json["type"] == "/v1/docs#staff-off"


def test_metrics_health_and_openapi(kiosk: KioskProcess) -> None:
    kiosk.match(tile(1))
    text = kiosk.get("/metrics").body.decode()
    for name in (
        "requests_total",
        "decisions_total",
        "stage_seconds_bucket",
        "photos_waiting",
        "resident_bytes",
        "products",
    ):
        assert f"shelfmatch_{name}" in text
    assert "127.0.0.1" not in text and "sku-" not in text
    document = kiosk.get("/v1/openapi.json").json
    assert document["openapi"] == "3.1.0" and "/v1/products/{sku}" in document["paths"]
    assert kiosk.get("/readyz").json["status"] == "ready"


def test_what_is_logged_names_nobody(kiosk: KioskProcess) -> None:
    kiosk.match(tile(1))
    log = kiosk.log.read_text()
    assert "serving shop.bundle at http://127.0.0.1" in log
    assert "POST" not in log and "Traceback" not in log


def test_sigterm_is_no_failure(started: Started, tile_shop: Path) -> None:
    kiosk = started(tile_shop / "shop.bundle")
    assert kiosk.stop() == 0
